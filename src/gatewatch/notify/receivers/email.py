"""Mail by SMTP: one conversation a thread, as text and as HTML in which everything is escaped."""

from __future__ import annotations

import smtplib
import ssl
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from hashlib import sha256
from html import escape
from typing import Literal

from pydantic import SecretStr

from gatewatch.clock import Clock
from gatewatch.notify.base import Attempt, Result, Traits
from gatewatch.notify.notice import Bulletin, Notice
from gatewatch.notify.words import Words, cut, words_of
from gatewatch.records import Severity

TIMEOUT_S = 15.0
SUBJECT_MAX = 150  # longer ones are folded, and cut by most readers
UPDATES_PER_MINUTE = 20
_HTML = """<!doctype html><html><body style="font-family:sans-serif;max-width:44em">
<h2 style="border-left:.4em solid {colour};padding-left:.5em">{title}</h2><p>{summary}</p>{rate}
<table>{facts}</table>{steps}{lists}<p style="color:#666">{command}</p></body></html>
"""
_COLOURS = {
    Severity.CRITICAL: "#a30200",
    Severity.HIGH: "#d9480f",
    Severity.MEDIUM: "#e8a317",
    Severity.LOW: "#4a90d9",
    Severity.INFO: "#8a8f98",
}


class Email:
    """One set of addresses.

    Args:
        host: of the mail server.
        port: of it.
        security: ``starttls`` (refused where the server cannot), ``tls`` from the start, or ``none``.
        sender: the address mails come from.
        to: the addresses they go to.
        clock: for the date.
        severity: the least that is mailed.
        login: user and password, where the server wants them.
        ca_file: certificates that are trusted, besides the machine's.
        name: of this receiver.
        per_minute: new mails at most.
        timeout_s: of each answer of the server.
    """

    def __init__(
        self,
        host: str,
        port: int,
        security: Literal["starttls", "tls", "none"],
        sender: str,
        to: tuple[str, ...],
        clock: Clock,
        *,
        severity: Severity = Severity.MEDIUM,
        login: tuple[str, SecretStr] | None = None,
        ca_file: str | None = None,
        name: str = "email",
        per_minute: int = 10,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.name, self._host, self._port, self._security = name, host, port, security
        self._sender, self._to, self._clock, self._severity = sender, to, clock, severity
        self._login, self._ca_file, self._timeout_s = login, ca_file, timeout_s
        self.traits = Traits(people=True, per_minute=per_minute, updates_per_minute=UPDATES_PER_MINUTE)

    def wants(self, notice: Notice) -> bool:
        """From the configured severity on."""
        return notice.severity.rank >= self._severity.rank

    def send(self, notice: Notice, handle: str | None) -> Attempt:
        """Mail it, in the thread of the first mail. The handle is that mail's Message-ID."""
        words = words_of(notice)
        message = self._message(words.title, f"{notice.key}/{notice.about}/{notice.revision}/{notice.news}")
        if handle is not None:
            message["In-Reply-To"] = message["References"] = handle
        message.set_content(_text(words, notice.link))
        message.add_alternative(_html(words, notice), subtype="html")
        attempt = self._deliver(message)
        if attempt.result is not Result.DELIVERED:
            return attempt
        return Attempt(Result.DELIVERED, attempt.detail, handle=handle or str(message["Message-ID"]))

    def announce(self, bulletin: Bulletin) -> Attempt:
        """One mail with all lines."""
        message = self._message(bulletin.title, bulletin.id)
        message.set_content("\n".join((bulletin.title, "", *bulletin.rows, "", bulletin.footer)))
        return self._deliver(message)

    def close(self) -> None:
        """Each mail has a connection of its own; none is kept."""

    def _message(self, subject: str, identity: str) -> EmailMessage:
        """An empty mail. A second try has the same Message-ID, by which many servers drop it."""
        domain = self._sender.rsplit("@", 1)[1]
        message = EmailMessage()
        message["Subject"] = cut(subject, SUBJECT_MAX)
        message["From"] = Address("Gatewatch", addr_spec=self._sender)
        message["To"] = ", ".join(self._to)
        message["Date"] = format_datetime(datetime.fromtimestamp(self._clock.now(), UTC))
        message["Message-ID"] = f"<gatewatch.{sha256(identity.encode()).hexdigest()[:32]}@{domain}>"
        message["Auto-Submitted"] = "auto-generated"  # no holiday answers
        return message

    def _deliver(self, message: EmailMessage) -> Attempt:
        try:
            with self._connect() as server:
                if self._login is not None:
                    server.login(self._login[0], self._login[1].get_secret_value())
                refused = server.send_message(message, self._sender, list(self._to))
        except smtplib.SMTPException as error:
            return judge(error)
        except (OSError, ssl.SSLError) as error:
            never = isinstance(error, ssl.SSLCertVerificationError)
            return Attempt(Result.NEVER if never else Result.AGAIN, type(error).__name__)
        return Attempt(Result.DELIVERED, f"{len(refused)} of {len(self._to)} addresses refused" if refused else "")

    def _connect(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        if self._ca_file is not None:
            context.load_verify_locations(self._ca_file)
        if self._security == "tls":
            return smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout_s, context=context)
        server = smtplib.SMTP(self._host, self._port, timeout=self._timeout_s)
        if self._security == "starttls":
            try:
                server.starttls(context=context)
            except BaseException:
                server.close()
                raise
        return server


def judge(error: smtplib.SMTPException) -> Attempt:
    """What the server's answer means: 4xx passes, 5xx does not (RFC 5321, 4.2.1). Its text may quote us, so it goes.

    >>> judge(smtplib.SMTPDataError(554, b"no")).detail, judge(smtplib.SMTPConnectError(421, b"busy")).result.value
    ('SMTP 554', 'again')
    """
    codes = [error.smtp_code] if isinstance(error, smtplib.SMTPResponseException) else []
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _text in error.recipients.values()]
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return Attempt(Result.NEVER, "the server has no STARTTLS, or no login")
    if codes and all(500 <= code < 600 for code in codes):
        return Attempt(Result.NEVER, f"SMTP {max(codes)}")
    return Attempt(Result.AGAIN, f"SMTP {max(codes)}" if codes and max(codes) > 0 else type(error).__name__)


def _text(words: Words, link: str | None) -> str:
    """The plain part, for readers without HTML and for phones."""
    parts = [words.title, words.summary, words.spark]
    parts += ["\n".join(f"{name}: {value}" for name, value in words.facts)]
    if words.steps:
        parts += ["What to do\n" + "\n".join(f"{i}. {step}" for i, step in enumerate(words.steps, 1))]
    if words.members:
        parts += ["What belongs to it\n" + "\n".join(words.members)]
    parts += ["Why\n" + "\n".join((*words.why, *(f"{name}: {value}" for name, value in words.details)))]
    parts += [link or "", words.command]
    return "\n\n".join(part for part in parts if part) + "\n"


def _html(words: Words, notice: Notice) -> str:
    rows = "".join(f"<tr><th align=left>{escape(n)}</th><td>{escape(v)}</td></tr>" for n, v in words.facts)
    details = (*words.why, *(f"{name}: {value}" for name, value in words.details))
    link = f'<a href="{escape(notice.link)}">Open in the console</a> &middot; ' if notice.link is not None else ""
    return _HTML.format(
        colour=_COLOURS[notice.severity],
        title=escape(words.title),
        summary=escape(words.summary),
        rate=f"<p style='font-family:monospace'>{escape(words.spark)}</p>" if words.spark else "",
        facts=rows,
        steps=_list("What to do", words.steps, "ol"),
        lists=_list("What belongs to it", words.members, "ul") + _list("Why", details, "ul"),
        command=link + f"<code>{escape(words.command)}</code>",
    )


def _list(title: str, items: tuple[str, ...], tag: str) -> str:
    inner = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<h3>{title}</h3><{tag}>{inner}</{tag}>" if items else ""
