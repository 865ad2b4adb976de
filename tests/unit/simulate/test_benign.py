"""Benign traffic looks like traffic, troubles included."""

from __future__ import annotations

from functools import cache

import numpy as np

from gatewatch.simulate import rows as r
from gatewatch.simulate.benign import activity
from gatewatch.simulate.rows import Rows
from gatewatch.simulate.scenario import Simulation
from gatewatch.simulate.world import LOGIN, Place

_MORNING = 1772517600.0  # 2026-03-03T06:00Z, a Tuesday
_DAY = 86400.0


@cache
def _run() -> tuple[Simulation, Rows]:
    simulation = Simulation("quiet", rate=20.0, duration_s=6 * 3600.0, start=_MORNING, seed=11)
    return simulation, np.concatenate([window.rows for window in simulation.windows()])


def test_a_few_services_send_most_of_it() -> None:
    """Rates that are all alike would make every detector look good."""
    simulation, rows = _run()
    counts = np.sort(np.bincount(rows["principal"][rows["principal"] >= 0]))[::-1]
    assert counts[: simulation.world.services // 10].sum() > 0.4 * counts.sum()
    assert (counts[:200] > 0).sum() > 100


def test_people_come_by_day_and_machines_by_night_too() -> None:
    """Without a rhythm no seasonal baseline would be put to the test."""
    noon, night = 12 * 3600.0, 2 * 3600.0
    assert activity(1, _DAY + noon) > 5 * activity(1, _DAY + night)
    assert activity(0, _DAY + noon) < 1.2 * activity(0, _DAY + night)
    saturday = 2 * _DAY
    assert activity(1, saturday + noon) < 0.5 * activity(1, _DAY + noon)


def test_a_rhythm_is_one_on_average() -> None:
    """Rates would be off by a factor that depends on the rhythm."""
    for rhythm in range(3):
        assert abs(np.mean([activity(rhythm, _DAY + 60 * i) for i in range(1440)]) - 1) < 0.01


def test_three_to_ten_percent_of_ordinary_sign_ins_fail() -> None:
    """Without failed sign-ins any failure would be an attack, which is not how people are."""
    simulation, rows = _run()
    at = rows[
        (rows["endpoint"] == LOGIN) & (rows["ts"] < simulation.start + 0.25 * (simulation.stop - simulation.start))
    ]
    assert 0.03 < (at["auth"] == r.FAILURE).mean() < 0.10
    assert (at["known"] == 0).any()


def test_nat_and_office_put_many_people_behind_one_address() -> None:
    """A detector that blames an address for its many users would pass."""
    _, rows = _run()
    logins = rows[rows["endpoint"] == LOGIN]
    accounts = [len(np.unique(logins["account"][logins["ip"] == ip])) for ip in np.unique(logins["ip"])]
    assert max(accounts) > 50


def test_people_on_the_move_change_their_address() -> None:
    """A new address for a known account would always look like a takeover."""
    simulation, rows = _run()
    people = np.flatnonzero(simulation.world.place == Place.MOBILE)
    logins = rows[(rows["endpoint"] == LOGIN) & np.isin(rows["account"], people)]
    addresses = [len(np.unique(logins["ip"][logins["account"] == a])) for a in np.unique(logins["account"])]
    assert max(addresses) > 2


def test_the_deploy_brings_a_wave_of_503_and_retries() -> None:
    """Error waves that are nobody's fault would never be tried on the detectors."""
    _, rows = _run()
    times = rows["ts"][rows["error"] == r.UNAVAILABLE]
    assert len(times) > 50
    assert times.max() - times.min() < 300


def test_forgotten_passwords_end_in_success() -> None:
    """The wave would be an attack in truth, and an alert on it no false alarm."""
    simulation, rows = _run()
    share = (rows["ts"] - simulation.start) / (simulation.stop - simulation.start)
    wave = rows[(rows["endpoint"] == LOGIN) & (share > 0.28) & (share < 0.42)]
    failed = np.unique(wave["account"][wave["auth"] == r.FAILURE])
    good = np.unique(wave["account"][wave["auth"] == r.SUCCESS])
    known = failed[failed < simulation.world.people]
    assert len(known) > 60
    assert np.isin(known, good).mean() > 0.9


def test_the_expired_key_fails_for_hours_from_one_address() -> None:
    """A broken client would not be told from an attacker, because there would be none."""
    _, rows = _run()
    bad = rows[rows["error"] == r.INVALID_KEY]
    assert len(np.unique(bad["credential"])) == 1
    assert len(np.unique(bad["ip"])) == 1
    assert bad["ts"].max() - bad["ts"].min() > 2 * 3600


def test_batch_jobs_send_hundreds_of_calls_in_minutes_each_hour() -> None:
    """Bursts that are in order would never be tried on the rate detector."""
    simulation, rows = _run()
    calls = rows[rows["principal"] >= 0]
    tenth = ((calls["ts"] - _MORNING) // 600).astype(np.int64)
    counts = np.zeros((simulation.world.services + simulation.world.people, 37), np.int64)
    np.add.at(counts, (calls["principal"], tenth), 1)
    bursty = (np.median(counts, axis=1) < 20) & ((counts > 200).sum(axis=1) >= 4)
    assert bursty.sum() >= 3
