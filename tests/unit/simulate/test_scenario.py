"""The stream of a scenario: repeatable, in order, as long and as dense as asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from gatewatch.errors import ConfigError
from gatewatch.events.event import AccessEvent
from gatewatch.simulate.attacks import ATTACKS
from gatewatch.simulate.scenario import SCENARIOS, Simulation

_NOON = 1772539200.0  # 2026-03-03T12:00Z, a Tuesday
_HOUR = 3600.0


def _simulation(scenario: str = "mixed", **changed: float) -> Simulation:
    asked = {"rate": 15.0, "duration_s": _HOUR, "start": _NOON, "seed": 7} | changed
    return Simulation(
        scenario, rate=asked["rate"], duration_s=asked["duration_s"], start=asked["start"], seed=int(asked["seed"])
    )


def _values(simulation: Simulation) -> Iterator[bytes]:
    for window in simulation.windows():
        yield from window.values


def _digest(simulation: Simulation) -> str:
    return hashlib.sha256(b"\n".join(_values(simulation))).hexdigest()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not() -> None:
    """A reported run could not be repeated, nor a demo be compared with yesterday's."""
    assert _digest(_simulation()) == _digest(_simulation())
    assert _digest(_simulation()) != _digest(_simulation(seed=8))


@pytest.mark.parametrize("rate", [3.0, 15.0, 400.0])
def test_events_leave_in_time_order_at_every_rate(rate: float) -> None:
    """Streams would be merged out of order, and detectors would see late rows that no gateway sends."""
    simulation = _simulation(rate=rate, duration_s=_HOUR if rate < 100 else 120.0)
    ts = np.concatenate([window.rows["ts"] for window in simulation.windows()])
    assert (np.diff(ts) >= 0).all()
    assert ts[0] >= simulation.start
    assert ts[-1] < simulation.stop


def test_windows_hold_what_their_bounds_say() -> None:
    """A paced run would send events before or after their time."""
    previous = _NOON
    for window in _simulation().windows():
        assert window.start == previous
        assert len(window.rows) == len(window.values) == len(window.request_ids)
        if len(window.rows):
            assert window.rows["ts"].min() >= window.start
            assert window.rows["ts"].max() < window.stop
        previous = window.stop
    assert previous == _NOON + _HOUR


def test_every_event_is_a_native_access_event() -> None:
    """`gatewatch replay --format native` would refuse what `gatewatch simulate` wrote."""
    decoder = msgspec.json.Decoder(AccessEvent)
    events = [decoder.decode(value) for value in _values(_simulation())]
    assert all(event.ip and event.status and event.request_id for event in events)
    assert {event.project for event in events} >= {"billing", "portal", "vision"}


def test_the_rate_is_the_rate_asked_for() -> None:
    """A load test at 100 events a second would in truth run at another load."""
    day = Simulation("quiet", rate=2.0, duration_s=24 * _HOUR, start=_NOON, seed=3)
    events = sum(len(window.values) for window in day.windows())
    assert events / (24 * _HOUR) == pytest.approx(2.0, rel=0.15)


def test_benign_rows_do_not_depend_on_the_attacks() -> None:
    """Comparing a run with attacks to one without would compare two different days."""

    def benign(name: str) -> list[float]:
        rows = np.concatenate([window.rows for window in _simulation(name).windows()])
        return rows["ts"][rows["episode"] < 0].tolist()  # type: ignore[no-any-return]

    assert benign("quiet") == benign("cracking")


@pytest.mark.parametrize("name", list(ATTACKS))
def test_each_attack_can_be_run_alone(name: str) -> None:
    """A detector's author could not make the one attack that the detector is for."""
    simulation = _simulation(name)
    assert [episode.attack for episode in simulation.episodes] == [name]
    seen = sum(int((window.rows["episode"] >= 0).sum()) for window in simulation.windows())
    assert seen == simulation.episodes[0].events > 10


def test_the_scenario_of_the_demo_has_every_attack() -> None:
    """The demo would claim to show everything and leave an attack out."""
    assert {name for name, _ in SCENARIOS["demo"].attacks} == set(ATTACKS)
    assert {name for name, _ in SCENARIOS["mixed"].attacks} == set(ATTACKS)


def test_an_unknown_scenario_names_those_that_exist() -> None:
    """A typo would end in a traceback instead of a list of what to write."""
    with pytest.raises(ConfigError, match="did you mean 'quiet'"):
        _simulation("qiet")
    with pytest.raises(ConfigError, match="there are: quiet, mixed, demo"):
        _simulation("everything")


@pytest.mark.parametrize(("name", "value"), [("rate", 0.0), ("rate", float("nan")), ("duration_s", -1.0)])
def test_a_rate_or_duration_without_sense_is_refused(name: str, value: float) -> None:
    """`--rate 0` would loop for ever or divide by zero."""
    with pytest.raises(ConfigError, match="rate"):
        _simulation("quiet", **{name: value})
