"""What is served is what is decided, not a second longer, and the strongest wins."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gatewatch.enforce.ledger import Ledger
from gatewatch.records import LONGEST_S, Action, Decision, Mode, Scope
from gatewatch.testing.decisions import NOW, decision, ledger, put


def test_an_address_is_stopped_by_itself_and_by_its_network() -> None:
    """If this fails, a blocked attacker gets through, or a neighbour is refused."""
    book = ledger(decision("203.0.113.9"), decision("198.51.100.0/24", Scope.NETWORK))
    assert book.match({Scope.IP: "203.0.113.9"}.items(), NOW) is not None
    assert book.match({Scope.IP: "::ffff:203.0.113.9"}.items(), NOW) is not None
    assert book.match({Scope.IP: "198.51.100.77"}.items(), NOW) is not None
    assert book.match({Scope.IP: "203.0.113.10"}.items(), NOW) is None
    assert book.match({Scope.IP: "198.51.101.1"}.items(), NOW) is None


def test_everything_ends_by_itself_and_shadow_never_begins() -> None:
    """If this fails, customers stay locked out after a block's end, or by a detector that was only being tried."""
    book = ledger(decision("203.0.113.9", ttl_s=10), decision("203.0.113.8", mode=Mode.SHADOW))
    assert book.match({Scope.IP: "203.0.113.9"}.items(), NOW + 9.9) is not None
    assert book.match({Scope.IP: "203.0.113.9"}.items(), NOW + 10.0) is None
    assert book.match({Scope.IP: "203.0.113.8"}.items(), NOW) is None


def test_a_removal_takes_effect_at_once() -> None:
    """If this fails, an operator's unblock does nothing."""
    book = ledger(decision("203.0.113.9", id_="d"))
    put(book, decision("203.0.113.9", id_="d", removed=NOW + 1))
    assert book.match({Scope.IP: "203.0.113.9"}.items(), NOW + 1) is None


def test_the_strongest_action_wins() -> None:
    """If this fails, a throttle hides a block."""
    book = ledger(
        decision("203.0.113.9", action=Action.THROTTLE, ttl_s=900), decision("acme", Scope.PRINCIPAL, ttl_s=60)
    )
    both = {Scope.IP: "203.0.113.9", Scope.PRINCIPAL: "acme"}
    match = book.match(both.items(), NOW)
    assert match is not None
    assert match.action is Action.BLOCK


def test_a_decision_past_its_end_is_counted_and_not_served() -> None:
    """If this fails, an enforcer that was down for an hour blocks people for what is long over."""
    book = ledger(decision("203.0.113.9", ttl_s=-5), decision("203.0.113.8", ttl_s=-4000))
    assert (book.live(NOW), book.late) == ([], 2)
    assert [e.decision.value for e in book.ended(NOW)] == ["203.0.113.9"]  # of an hour ago nobody asks


def test_what_ended_is_forgotten() -> None:
    """If this fails, the ledger of a busy site grows for ever."""
    book = ledger(decision("203.0.113.9", ttl_s=10), decision("198.51.100.0/24", Scope.NETWORK, ttl_s=10))
    book.sweep(NOW + 4000)
    assert len(book) == 0
    assert book.match({Scope.IP: "198.51.100.7"}.items(), NOW) is None


NETWORKS = st.builds(
    lambda n, length: str(ip_network((n, length), strict=False)), st.integers(0, 2**32 - 1), st.integers(8, 32)
)


@given(st.lists(NETWORKS, max_size=12), st.integers(0, 2**32 - 1))
def test_networks_match_as_the_standard_library_says(networks: list[str], address: int) -> None:
    """If this fails, some prefix length blocks too much or nothing."""
    book = ledger(*(decision(n, Scope.NETWORK) for n in networks))
    inside = any(ip_address(address) in ip_network(n) for n in networks)
    assert (book.match({Scope.IP: str(ip_address(address))}.items(), NOW) is not None) == inside


@pytest.mark.parametrize(
    ("scope", "value"),
    [
        (Scope.NETWORK, "0.0.0.0/0"), (Scope.NETWORK, "::/0"), (Scope.NETWORK, "192.0.0.0/7"), (Scope.NETWORK, "all"),
        (Scope.IP, "0.0.0.0"), (Scope.IP, "::"), (Scope.IP, "0.0.0.0/0"), (Scope.IP, ""), (Scope.PRINCIPAL, " "),
        (Scope.NETWORK, "::ffff:0:0/96"), (Scope.NETWORK, "::/64"), (Scope.NETWORK, "::ffff:10.0.0.0/103"),
        (Scope.NETWORK, "0.0.0.0/0.0.0.0"), (Scope.IP, "::ffff:0.0.0.0"), (Scope.IP, "２０３.0.113.9"),
        (Scope.CREDENTIAL, ""), (Scope.ENDPOINT, "/v1/chat/completions"), (Scope.ALL, "all"),
    ],
)  # fmt: skip
def test_an_order_that_names_everybody_is_never_enforced(scope: Scope, value: str) -> None:
    """If this fails, one record that somebody wrote past the guards stops the whole endpoint."""
    book = Ledger()
    assert book.apply(decision(value, scope), 0, NOW) is not None
    assert book.live(NOW) == []
    assert book.match({Scope.IP: "203.0.113.9", Scope.PRINCIPAL: "acme"}.items(), NOW) is None


@pytest.mark.parametrize(
    ("scope", "written", "known"),
    [
        (Scope.IP, "::ffff:203.0.113.9", "203.0.113.9"),
        (Scope.IP, "2001:DB8:0::1", "2001:db8::1"),
        (Scope.IP, "fe80::1%eth0", "fe80::1"),
        (Scope.NETWORK, "203.0.113.9/24", "203.0.113.0/24"),
        (Scope.NETWORK, "203.0.113.0/255.255.255.0", "203.0.113.0/24"),
        (Scope.NETWORK, "::ffff:203.0.113.0/120", "203.0.113.0/24"),
        (Scope.PRINCIPAL, "::ffff:203.0.113.9", "::ffff:203.0.113.9"),
    ],
)
def test_gateways_are_told_of_an_address_in_one_spelling(scope: Scope, written: str, known: str) -> None:
    """If this fails, nginx refuses its whole file for a netmask, or a bouncer blocks an address that nobody has."""
    book = ledger(decision(written, scope))
    assert [entry.decision.value for entry in book.live(NOW)] == [known]
    put(book, decision(written, scope, removed=NOW))
    assert book.live(NOW + 1) == []
    assert [entry.decision.value for entry in book.ended(NOW + 1)] == [known]


@pytest.mark.parametrize("until", [float("inf"), NOW + 2 * LONGEST_S])
def test_an_order_without_an_end_is_never_enforced(until: float) -> None:
    """If this fails, one record makes an error of every bouncer's pull, here or there: no block reaches a gateway."""
    book = Ledger()
    endless = decision("203.0.113.9").model_copy(update={"until": until})
    assert book.apply(endless, 0, NOW) is not None
    assert book.live(NOW) == []


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "NaN", "1e999"])
def test_an_order_holds_numbers_only(number: str) -> None:
    """If this fails, what JSON has no number for is read as one, and compared with times."""
    text = decision("203.0.113.9").model_dump_json().replace(f'"until":{NOW + 600.0}', f'"until":{number}')
    with pytest.raises(ValidationError):
        Decision.model_validate_json(text)


@pytest.mark.parametrize("skew_s", [-60.0, 0.0, 60.0])
def test_a_clock_that_is_a_minute_off_delays_no_removal(skew_s: float) -> None:
    """If this fails, somebody who was let go stays out for a minute, or for ever at a bouncer that is never told."""
    here = NOW + skew_s
    book = Ledger()
    book.apply(decision("203.0.113.9", id_="a"), 0, here)
    assert [e.decision.id for e in book.live(here)] == ["a"]
    book.apply(decision("203.0.113.9", id_="a", removed=NOW + 5), 1, here + 5)
    assert book.live(here + 5) == []
    assert [e.decision.id for e in book.changes(here + 4, here + 5)[1]] == ["a"]
    assert book.match({Scope.IP: "203.0.113.9"}.items(), here + 5) is None
