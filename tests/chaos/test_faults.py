"""Faults on a real broker: what is said is what an undisturbed site says. `make chaos` is the long form."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewatch.roles import Role
from gatewatch.testing.chaos.faults import DEPLOY
from gatewatch.testing.chaos.run import run
from gatewatch.testing.kafka import Broker

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.chaos,
    pytest.mark.usefixtures("client_leaks"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.timeout(600),
]

# One of each way to be lost: in good order, at once, under another id, without the old source.
FAULTS = (
    DEPLOY,
    "kill -9 of one of each role at once",
    "detect replaced under another id",
    "source topic deleted and made again",
)
# A worker that is started again on a busy machine is away for up to 20 s (seen): it must find its partitions still its
# own, or what follows is the work of a rebalance and not of the stop.
SESSION_S = 30.0


def test_what_is_said_under_faults_is_what_an_undisturbed_site_says(own_broker: Broker, tmp_path: Path) -> None:
    """If this fails, a crash loses alerts, doubles them, or makes some that nobody can reproduce."""
    result = run(
        tmp_path,
        own_broker.bootstrap,
        iter(FAULTS),
        seed=1,
        seconds=600.0,
        detectors={"credential_stuffing": "block"},
        broker=own_broker,
        session_s=SESSION_S,
        crew=((Role.INGEST, 2), (Role.DETECT, 2), (Role.DECIDE, 1)),
    )
    assert [s.name for s in result.suffered] == list(FAULTS)
    assert [str(difference) for difference in result.differences if not difference.ok] == []
    expected = {difference.what: difference.expected for difference in result.differences}
    assert min(expected[name] for name in ("rows", "dead-letters", "rollups", "findings", "alerts", "decisions")) > 0
    # A clean stop leaves nothing to do again: neither for the successor of one worker, nor at the end.
    assert result.again(DEPLOY) == {}
    assert set(result.undone.values()) == {0}
