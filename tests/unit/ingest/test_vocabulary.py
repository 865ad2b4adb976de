"""Strings become codes, and come out as they went in but for what the rules take away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewatch.events.address import canonical_ip, network_of
from gatewatch.events.event import AccessEvent
from gatewatch.ingest import vocabulary
from gatewatch.ingest.columns import Cleaner
from gatewatch.state.hashing import HashSeed, hash_text

SEED = HashSeed(1, 2)
_OCTETS = st.lists(st.integers(-1, 300), min_size=3, max_size=5).map(lambda octets: ".".join(map(str, octets)))
ADDRESSES = (
    st.ip_addresses().map(str) | _OCTETS | st.sampled_from(("01.2.3.4", "1.2.3.4:80", "1..2.3", "x", "1.2.3.4."))
)


def _events(low: int, high: int) -> list[AccessEvent]:
    return [
        AccessEvent(
            ts=1.0,
            principal=f"customer {i}",
            path=f"/v1/é/{i}" if i % 3 else f"/v1/{i}?key=x",
            ip=f"10.{i // 256}.{i % 256}.1" if i % 5 else f"2001:db8:{i:x}::1",
            session="s" * (i % 300),
        )
        for i in range(low, high)
    ]


def test_a_string_that_was_seen_is_the_same_again_also_after_all_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a worker that has seen many strings gives an event another event's names."""
    monkeypatch.setattr(vocabulary, "_MOST_STRINGS", 9000)
    cleaner = Cleaner(SEED)
    for low in (*range(0, 12_000, 1500), 0, 3000):
        events = _events(low, low + 2000)
        columns, fresh = cleaner.columns(events), Cleaner(SEED).columns(events)
        for name in fresh:
            assert columns[name].to_pylist() == pytest.approx(fresh[name].to_pylist(), nan_ok=True), name
        assert columns["principal"].to_pylist() == [e.principal for e in events]
        assert columns["k_principal"].to_pylist() == [hash_text(e.principal, SEED) for e in events]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, an attacker who never repeats himself fills the memory of ingest."""
    monkeypatch.setattr(vocabulary, "_MOST_STRINGS", 5000)
    monkeypatch.setattr(vocabulary, "_MOST_BYTES", 1 << 20)
    words = vocabulary.Vocabulary(SEED)
    cleaner = Cleaner(SEED)
    cleaner._words = words
    for low in range(0, 40_000, 1000):
        cleaner.columns(_events(low, low + 1000))
    assert len(words.hashes) <= 1 << 15
    assert len(words.arena) <= 4 << 20


@given(st.lists(ADDRESSES, min_size=1, max_size=20))
def test_addresses_are_those_of_the_library(texts: list[str]) -> None:
    """If this fails, the kernel takes for an address what is none, or spells one in a way of its own."""
    columns = Cleaner(SEED).columns([AccessEvent(ts=1.0, ip=text) for text in texts])
    wanted = [canonical_ip(text) for text in texts]
    networks = [network_of(ip) if ip else None for ip in wanted]
    assert columns["ip"].to_pylist() == wanted
    assert columns["network"].to_pylist() == networks
    assert columns["k_ip"].to_pylist() == [hash_text(ip, SEED) for ip in wanted]
    assert columns["k_network"].to_pylist() == [hash_text(network, SEED) for network in networks]
