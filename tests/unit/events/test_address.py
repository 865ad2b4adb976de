"""One spelling for an address, whoever wrote it, and the entry of a chain that can be believed."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewatch.events.address import canonical_ip, client_of, forwarded_client, network_of


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("203.0.113.9", "203.0.113.9"),
        (" 203.0.113.9 ", "203.0.113.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:0DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("[::ffff:203.0.113.9]:80", "203.0.113.9"),
        ("fe80::1%eth0", "fe80::1"),
        ("unknown", None),
        ("", None),
        ("203.0.113", None),
        ("203.0.113.256", None),
        ("203.0.113.9\x00", None),
        ("2001:db8::1%\x00", "2001:db8::1"),
        ("\ud83d", None),
        ("example.test:443", None),
    ],
)
def test_one_spelling(written: str, meant: str | None) -> None:
    """If this fails, one client has two baselines, a block misses it, or a zero byte in an address ends ingest."""
    assert canonical_ip(written) == meant


@given(st.ip_addresses())
def test_it_agrees_with_the_standard_library(address: IPv4Address | IPv6Address) -> None:
    """If this fails, a block on an address is written otherwise than the address."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    found = canonical_ip(str(address))
    assert found is not None
    assert ip_address(found) == (mapped or address)
    assert canonical_ip(found) == found
    network = ip_network(network_of(found))
    assert ip_address(found) in network
    assert network.prefixlen == (24 if ":" not in found else 48)


@given(st.text())
def test_no_text_can_stop_it(text: str) -> None:
    """If this fails, an address that is none ends the worker."""
    assert canonical_ip(text) is None or ip_address(canonical_ip(text) or "")
    client_of(text, 3)


def test_only_our_own_proxies_are_believed() -> None:
    """If this fails, a client chooses its address by a header, and is never blocked."""
    spoofed = "6.6.6.6, 203.0.113.9, 10.0.0.1"
    assert client_of(spoofed) == "10.0.0.1"
    assert client_of(spoofed, 1) == "203.0.113.9"
    assert forwarded_client(spoofed, 2) == "203.0.113.9"  # the peer is the second proxy, and not in the header
    assert forwarded_client(spoofed, 0) == "10.0.0.1"


def test_a_chain_shorter_than_our_proxies_ends_at_its_start() -> None:
    """If this fails, a request that went past one of the proxies has no address at all."""
    assert client_of("203.0.113.9", 3) == "203.0.113.9"
