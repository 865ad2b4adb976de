"""Names and addresses that belong to nobody.

Addresses come from ranges that the Internet never routes: documentation (RFC 5737, RFC 3849), benchmarking (RFC 2544)
and the reserved class E (RFC 1112), which has room for thousands of networks. They are not private ranges, which the
guards protect from blocks, so the simulated attacker can be blocked. AS numbers are those of RFC 5398, mail domains
those of RFC 2606.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from uuid import UUID

import numpy as np

from gatewatch.simulate.rows import Rng

_HOSTED = (("198.51.100.0", 8), ("203.0.113.0", 8), ("192.0.2.0", 8), ("198.18.0.0", 17))  # first address, free bits
_ACCESS = ("240.0.0.0", 24)
_V6_PREFIX = 0x20010DB8 << 96
DOC_ASNS = (*range(64496, 64512), *range(65536, 65552))
COUNTRIES = ("DE", "US", "FR", "NL", "PL", "GB", "IN", "BR", "ES", "SE", "IT", "JP", "CA", "VN", "ID", "TR")
_GIVEN = (
    "ana", "ben", "carla", "deniz", "emil", "fatma", "goran", "hana", "ivan", "jana", "kofi", "lena", "marek", "nina",
    "omar", "petra", "quentin", "rosa", "samir", "tereza", "ugo", "vera", "wen", "xenia", "yusuf", "zoe",
)  # fmt: skip
_FAMILY = (
    "adler", "berger", "costa", "dvorak", "eriksen", "fischer", "garcia", "horvat", "ito", "jansen", "kaya", "lang",
    "mensah", "novak", "okafor", "park", "quist", "rossi", "silva", "tanaka", "urban", "varga", "weber", "yilmaz",
)  # fmt: skip
_DOMAINS = ("example.com", "example.org", "example.net")


def hosted_addresses(rng: Rng, n: int) -> list[str]:
    """Different addresses of data centres, offices and gateways of mobile networks; at most some 100,000."""
    room = np.cumsum([1 << bits for _, bits in _HOSTED])
    picks = rng.choice(int(room[-1]), size=n, replace=False)
    block = np.searchsorted(room, picks, side="right")
    starts = np.concatenate([[0], room[:-1]])
    return [str(IPv4Address(_HOSTED[b][0]) + int(p - starts[b])) for p, b in zip(picks, block, strict=True)]


def access_addresses(rng: Rng, n: int, v6_share: float = 0.2) -> list[str]:
    """Different addresses of homes, most of them IPv4; they lie in as many networks, nearly."""
    low = rng.choice(1 << _ACCESS[1], size=n, replace=False)
    base = IPv4Address(_ACCESS[0])
    addresses = [str(base + int(p)) for p in low]
    six = np.flatnonzero(rng.random(n) < v6_share)
    sites, subnets = rng.integers(0, 1 << 16, (2, len(six)))
    hosts = rng.integers(1, 1 << 62, len(six))
    for place, site, subnet, host in zip(six.tolist(), sites.tolist(), subnets.tolist(), hosts.tolist(), strict=True):
        addresses[place] = ipv6(site, subnet, host)
    return addresses


def ipv6(site: int, subnet: int, host: int) -> str:
    """An address in 2001:db8:site::/48.

    >>> ipv6(0x17, 2, 0xabc)
    '2001:db8:17:2::abc'
    """
    return str(IPv6Address(_V6_PREFIX | site << 80 | subnet << 64 | host))


def account_names(rng: Rng, n: int) -> list[str]:
    """Different mail addresses, such as people sign in with."""
    given = rng.integers(0, len(_GIVEN), n)
    family = rng.integers(0, len(_FAMILY), n)
    domain = rng.integers(0, len(_DOMAINS), n)
    numbers = rng.choice(max(10_000, 4 * n), size=n, replace=False)
    return [
        f"{_GIVEN[g]}.{_FAMILY[f]}{k}@{_DOMAINS[d]}" for g, f, k, d in zip(given, family, numbers, domain, strict=True)
    ]


def key_ids(rng: Rng, n: int) -> list[str]:
    """Ids of API keys as gateways log them: UUIDs, never the key itself."""
    text = rng.bytes(16 * n).hex()
    return [str(UUID(text[i : i + 32], version=4)) for i in range(0, 32 * n, 32)]
