"""Who asks is told as events tell it, and a client's own lines among the headers change nothing."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewatch.enforce.identity import Identity
from gatewatch.events.event import STRING_CAP, AccessEvent
from gatewatch.events.formats.headers import SECRET_HEADERS, credential_of
from gatewatch.ingest.columns import Cleaner
from gatewatch.records import Scope
from gatewatch.settings import Identify
from gatewatch.state.hashing import HashSeed

SEED = HashSeed.from_secret("identity")
KEY = "sk-live-0123456789abcdef"
NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=STRING_CAP + 20)


@given(NAMES)
@example("jürgen")
@example("用户-7")
@example(KEY)
@example("aB3" * 20)
@example("x" * (STRING_CAP + 1))
def test_a_principal_is_named_as_its_events_name_it(name: str) -> None:
    """If this fails, a block on somebody whose name is long, not English or random stops nobody."""
    kept = Cleaner(SEED).columns([AccessEvent(ts=0.0, principal=name)])["principal"][0].as_py()
    identity = Identity(Identify(principal_header="X-Consumer"))
    found = dict(identity.keys([(b"x-consumer", name.encode())]))
    assert kept is None or found == {Scope.PRINCIPAL: kept}


@pytest.mark.parametrize("header", SECRET_HEADERS)
def test_a_key_is_known_in_whatever_header_it_comes(header: str) -> None:
    """If this fails, a blocked key goes on working under the other name that the gateway takes."""
    secret = f"Bearer {KEY}" if header.endswith("authorization") else KEY
    assert Identity(Identify()).keys([(header.encode(), secret.encode())]) == [
        (Scope.CREDENTIAL, credential_of({header: secret}))
    ]


def test_a_line_of_the_client_above_the_proxys_own_names_nobody() -> None:
    """If this fails, who sends X-Forwarded-For to a proxy that adds a line (HAProxy) walks past his block."""
    lines = [(b"x-forwarded-for", b"198.51.100.1"), (b"x-forwarded-for", b"203.0.113.9")]
    assert Identity(Identify(ip_header="X-Forwarded-For")).keys(lines) == [(Scope.IP, "203.0.113.9")]
    one_hop = Identity(Identify(ip_header="x-forwarded-for", trusted_hops=1))
    assert one_hop.keys([*lines, (b"x-forwarded-for", b"192.0.2.1")]) == [(Scope.IP, "203.0.113.9")]


def test_a_second_name_or_key_does_not_hide_the_first() -> None:
    """If this fails, who is blocked sends another's name or key first, and is served by his own."""
    lines = [(b"x-consumer", b"acme"), (b"x-consumer", b"mallory"), (b"authorization", b"Bearer a"), (b"cookie", b"b")]
    found = Identity(Identify(principal_header="x-consumer")).keys(lines)
    assert [scope for scope, _ in found] == [Scope.PRINCIPAL, Scope.PRINCIPAL, Scope.CREDENTIAL, Scope.CREDENTIAL]


@given(st.lists(st.tuples(st.sampled_from([b"x-real-ip", b"x-consumer", b"authorization"]), st.binary(max_size=40))))
def test_no_bytes_of_a_client_are_an_error(lines: list[tuple[bytes, bytes]]) -> None:
    """If this fails, some header makes a 500 of the answer, and gateways that fail open let the request pass."""
    Identity(Identify(principal_header="x-consumer")).keys(lines)
