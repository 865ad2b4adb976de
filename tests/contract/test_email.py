"""Mail, against a real SMTP server on loopback: what each answer means, that nothing hostile comes alive."""

from __future__ import annotations

import email
import email.policy
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from gatewatch.clock import ManualClock
from gatewatch.notify.base import Result
from gatewatch.notify.notice import Bulletin, Line
from gatewatch.notify.receivers.email import Email, _html, _text
from gatewatch.notify.words import words_of
from gatewatch.records import Severity, Status
from gatewatch.testing.alerts import NOW, notice
from gatewatch.testing.mail import Mailbox, mail_server

PASSWORD = "correct horse"
HOSTILE = (
    '<img src=x onerror=alert(1)> <a href="https://evil.test">x</a> \u202e\r\nBcc: all@corp.test\r\n\r\n'
    + "x" * 100_000
)


@pytest.fixture
def sink() -> Mailbox:
    """What arrived."""
    return Mailbox()


@pytest.fixture
def port(sink: Mailbox) -> Iterator[int]:
    """A server without TLS."""
    with mail_server(sink) as made:
        yield made


def mailer(port: int, **options: Any) -> Email:
    """A receiver that mails two people."""
    options = {"security": "none", **options}
    security = options.pop("security")
    to = ("ana@corp.test", "ben@corp.test")
    return Email("127.0.0.1", port, security, "gatewatch@corp.test", to, ManualClock(NOW), **options)


def test_a_mail_arrives_as_text_and_html_and_its_end_in_the_same_thread(port: int, sink: Mailbox) -> None:
    """If this fails, the owner is not told, or cannot see that it is over."""
    handle = mailer(port).send(notice(), None).handle
    attempt = mailer(port).send(notice(revision=9, status=Status.RESOLVED), handle)
    assert attempt.result is Result.DELIVERED
    first, second = sink.messages
    assert first["Message-ID"] == handle
    assert second["In-Reply-To"] == handle
    assert "Resolved" in second["Subject"]
    for kind in ("plain", "html"):
        body = first.get_body((kind,))
        assert body is not None
        assert "412 accounts" in body.get_content()
        assert "gatewatch alerts explain" in body.get_content()


def test_a_repeated_try_has_the_same_message_id(port: int, sink: Mailbox) -> None:
    """If this fails, a mail that was sent twice is two mails even where the server drops repeats."""
    for _ in range(2):
        mailer(port).send(notice(), None)
    assert sink.messages[0]["Message-ID"] == sink.messages[1]["Message-ID"]


@pytest.mark.parametrize(
    ("answer", "result"),
    [(f"{code} x", Result.AGAIN) for code in (421, 450, 451, 452)]
    + [(f"{code} x", Result.NEVER) for code in (550, 552, 554)],
)
@pytest.mark.parametrize("stage", ["rcpt", "data"])
def test_every_answer_means_what_it_says(stage: str, answer: str, result: Result, port: int, sink: Mailbox) -> None:
    """If this fails, a greylisted mail is dropped, or a refused one is sent for ever."""
    getattr(sink, stage).extend([answer] * 2)
    assert mailer(port).send(notice(), None).result is result
    assert sink.messages == []


def test_one_refused_address_does_not_stop_the_other(port: int, sink: Mailbox) -> None:
    """If this fails, a colleague who left silences the mail of all."""
    sink.rcpt.append("550 no such user")
    attempt = mailer(port).send(notice(), None)
    assert (attempt.result, attempt.detail) == (Result.DELIVERED, "1 of 2 addresses refused")


def test_a_server_that_is_not_there_hangs_or_hangs_up_is_tried_again() -> None:
    """If this fails, a mail server that restarts loses alerts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert mailer(port, timeout_s=0.2).send(notice(), None).result is Result.AGAIN  # it never answers
    assert mailer(port).send(notice(), None).result is Result.AGAIN  # nobody listens


def test_a_password_is_never_sent_in_the_clear(port: int, sink: Mailbox) -> None:
    """If this fails, who can make a server say that it has no STARTTLS reads the password."""
    attempt = mailer(port, security="starttls", login=("gw", SecretStr(PASSWORD))).send(notice(), None)
    assert attempt.result is Result.NEVER
    assert PASSWORD not in attempt.detail
    assert sink.messages == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody signed."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return key, cert


def test_starttls_with_a_login(sink: Mailbox, certificate: tuple[Path, Path]) -> None:
    """If this fails, mail cannot be sent through the usual server, or goes to anybody who claims to be it."""
    key, cert = certificate
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)

    def authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"gw", PASSWORD.encode()), handled=False)

    options = {"tls_context": context, "require_starttls": True, "authenticator": authenticate, "auth_required": True}
    with mail_server(sink, **options) as port:
        right = {"security": "starttls", "login": ("gw", SecretStr(PASSWORD)), "ca_file": str(cert)}
        assert mailer(port, **right).send(notice(), None).result is Result.DELIVERED
        wrong = mailer(port, **{**right, "login": ("gw", SecretStr("wrong"))}).send(notice(), None)
        assert (wrong.result, wrong.detail) == (Result.NEVER, "SMTP 535")
        stranger = mailer(port, **{**right, "ca_file": None}).send(notice(), None)
        assert (stranger.result, stranger.detail) == (Result.NEVER, "SSLCertVerificationError")
    assert len(sink.messages) == 1


def test_hostile_strings_arrive_inert(port: int, sink: Mailbox) -> None:
    """If this fails, an attacker's key adds recipients, or runs a script in the reader's mail program."""
    hostile = notice(
        key=HOSTILE,
        title=HOSTILE,
        summary=HOSTILE,
        project=HOSTILE,
        owner=HOSTILE,
        context={"user_agent": HOSTILE},
    )
    assert mailer(port).send(hostile, None).result is Result.DELIVERED
    (message,) = sink.messages
    assert message["Bcc"] is None
    assert set(message.keys()) <= {
        "Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type",
    } | {"X-Peer", "X-MailFrom", "X-RcptTo"}  # fmt: skip
    assert len(message.as_bytes()) < 60_000
    html = message.get_body(("html",))
    assert html is not None
    assert_inert(html.get_content())


def assert_inert(html: str) -> None:
    """Nothing in it is a tag, a link or an invisible character that a stranger wrote."""
    assert "<img" not in html
    assert "<a " not in html
    assert "https://" not in html
    assert "\u202e" not in html


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("<>&\"'\r\n\u202e"), max_size=200))
def test_whatever_a_stranger_writes_is_text_in_the_mail(text: str) -> None:
    """If this fails, somebody finds a string that comes alive in a mail program."""
    told = notice(key=text, title=text, summary=text, project=text, owner=text, context={text[:20]: text})
    plain = _html(words_of(notice(key="x")), notice(key="x"))
    html = _html(words_of(told), told)
    assert html.count("<") - html.count("<li>") * 2 - html.count("<tr>") * 6 <= plain.count("<")
    message = mailer(1)._message(words_of(told).title, text)
    message.set_content(_text(words_of(told), None))
    assert email.message_from_bytes(message.as_bytes(), policy=email.policy.default)["To"] == message["To"]


def test_a_bulletin_is_one_mail(port: int, sink: Mailbox) -> None:
    """If this fails, "and 41 more" is never heard of."""
    told = Bulletin(
        "capped-1", "61 more alerts", Severity.HIGH, (Line(Severity.HIGH, "one"),), 41, "all of them: there"
    )
    assert mailer(port).announce(told).result is Result.DELIVERED
    assert "and 41 more" in sink.messages[0].get_content()
