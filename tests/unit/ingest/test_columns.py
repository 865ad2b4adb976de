"""Events become clean columns: outcomes inferred, secrets hashed, query strings gone, numbers within reason."""

from __future__ import annotations

import numpy as np
import pytest

from gatewatch.events.batch import AuthCode, Flag
from gatewatch.events.event import STRING_CAP, TEXT_CAP, AccessEvent, Shape
from gatewatch.ingest.columns import Cleaner, Columns
from gatewatch.state.hashing import HashSeed, hash_text

SEED = HashSeed(1, 2)


def _columns(*events: AccessEvent) -> Columns:
    return Cleaner(SEED).columns(events)


def _named(field: str, value: str) -> AccessEvent:
    event = AccessEvent(ts=1.0)
    setattr(event, field, value)
    return event


def test_outcome_is_inferred_only_where_the_gateway_did_not_say() -> None:
    """If this fails, logins by status code are invisible, or a gateway's own word is overruled."""
    columns = _columns(
        AccessEvent(ts=1.0, status=401, account="a"),
        AccessEvent(ts=1.0, status=200, principal="p"),
        AccessEvent(ts=1.0, status=200),
        AccessEvent(ts=1.0, status=401, account="a", auth="success"),
        AccessEvent(ts=1.0, status=403, principal="p"),
        AccessEvent(ts=1.0, status=403, principal="p", denied=False),
    )
    assert columns["auth"].to_pylist()[:4] == [
        AuthCode.FAILURE,
        AuthCode.SUCCESS,
        AuthCode.UNKNOWN,
        AuthCode.SUCCESS,
    ]
    assert columns["denied"].to_pylist()[4:] == [1, 0]


def test_addresses_are_canonical_and_have_a_network() -> None:
    """If this fails, one client written in two ways has two baselines, and a block misses it."""
    columns = _columns(
        AccessEvent(ts=1.0, ip="203.0.113.9"),
        AccessEvent(ts=1.0, ip="::ffff:203.0.113.9"),
        AccessEvent(ts=1.0, ip="2001:DB8:0:0::1"),
        AccessEvent(ts=1.0, ip="not an address"),
        AccessEvent(ts=1.0),
    )
    assert columns["ip"].to_pylist() == ["203.0.113.9", "203.0.113.9", "2001:db8::1", None, None]
    assert columns["network"].to_pylist() == ["203.0.113.0/24", "203.0.113.0/24", "2001:db8::/48", None, None]
    assert columns["k_ip"].to_pylist()[0] == columns["k_ip"].to_pylist()[1] == hash_text("203.0.113.9", SEED)
    assert columns["k_ip"].to_pylist()[3:] == [0, 0]


@pytest.mark.parametrize("field", ["principal", "credential"])
def test_bare_secrets_never_become_columns(field: str) -> None:
    """If this fails, customers' API keys stand in a Kafka topic, in alerts and in Slack."""
    secret = "sk-proj-Zx81kLmQ9vT2rB7nYc4dW6eH3aJ5"
    columns = _columns(_named(field, secret), _named(field, "customer-7"))
    hashed, plain = columns[field].to_pylist()
    assert hashed.startswith("sha256:")
    assert plain == "customer-7"
    assert all(secret not in str(column.to_pylist()) for column in columns.values())


def test_query_strings_are_dropped() -> None:
    """If this fails, tokens in query strings are kept, and one endpoint looks like thousands."""
    columns = _columns(AccessEvent(ts=1.0, path="/v1/chat?api_key=hunter2"), AccessEvent(ts=1.0, path="/v1/chat#x"))
    assert columns["path"].to_pylist() == ["/v1/chat", "/v1/chat"]


def test_long_strings_are_cut_and_marked() -> None:
    """If this fails, a hostile 100 kB user agent makes every batch of everybody larger."""
    columns = _columns(AccessEvent(ts=1.0, user_agent="é" * 5000, model="m" * 5000), AccessEvent(ts=1.0, model="m"))
    assert len(columns["user_agent"].to_pylist()[0]) == TEXT_CAP
    assert len(columns["model"].to_pylist()[0]) == STRING_CAP
    assert [f & Flag.CUT for f in columns["flags"].to_pylist()] == [Flag.CUT, 0]


def test_numbers_without_sense_become_absent() -> None:
    """If this fails, one event with a negative or endless size ruins its key's baseline, or ends the worker."""
    columns = _columns(
        AccessEvent(ts=1.0, bytes_in=-5.0, tokens_in=float("inf"), status=10**30, asn=10**30),
        AccessEvent(ts=1.0, bytes_in=5.0, tokens_in=7.0, status=200, asn=64500),
        AccessEvent(ts=1.0, shape=Shape(depth=10**25, body_size=2**60 + 1)),
    )
    assert np.isnan(columns["bytes_in"].to_pylist()[0])
    assert np.isnan(columns["tokens_in"].to_pylist()[0])
    assert columns["status"].to_pylist() == [-1, 200, -1]
    assert columns["asn"].to_pylist() == [-1, 64500, -1]
    assert columns["flags"].to_pylist()[0] & Flag.OUT_OF_RANGE


def test_empty_strings_are_absent_and_broken_text_is_kept_readable() -> None:
    """If this fails, "" is a customer of its own, or half a surrogate pair ends the worker."""
    columns = _columns(AccessEvent(ts=1.0, principal="", model="a\ud800b"))
    assert columns["principal"].to_pylist() == [None]
    assert columns["k_principal"].to_pylist() == [0]
    assert columns["model"].to_pylist() == ["a?b"]


def test_shapes_become_columns_and_names_can_be_switched_off() -> None:
    """If this fails, structure is not seen, or field names are kept against the config."""
    event = AccessEvent(ts=1.0, shape=Shape(hash="00ff", fields=["a:int"], depth=2, refusal=True))
    kept, dropped = Cleaner(SEED).columns([event]), Cleaner(SEED, field_names=False).columns([event])
    assert kept["shape_fields"].to_pylist() == [["a:int"]]
    assert dropped["shape_fields"].to_pylist() == [None]
    assert (kept["shape_depth"].to_pylist(), kept["refusal"].to_pylist()) == ([2.0], [1])
