"""Each attack does what its name says."""

from __future__ import annotations

import numpy as np
import pytest

from gatewatch.simulate import rows as r
from gatewatch.simulate.attacks import ATTACKS, Stage
from gatewatch.simulate.rows import Rows
from gatewatch.simulate.world import World, build

_AT = 1772539200.0


def _world() -> World:
    return build(np.random.default_rng(4), 20.0, service_share=0.7)


def _rows(name: str, world: World | None = None) -> Rows:
    attack = ATTACKS[name]
    world = world or _world()
    return attack.make(Stage(world, np.random.default_rng(9), _AT, attack.length_s))


@pytest.mark.parametrize("name", list(ATTACKS))
def test_an_attack_keeps_to_its_time(name: str) -> None:
    """The truth about when an attack began and ended would be wrong, and with it every delay."""
    rows = _rows(name)
    assert rows["ts"].min() >= _AT
    assert rows["ts"].max() <= _AT + ATTACKS[name].length_s + 1


def test_a_spike_is_some_eighty_times_the_usual() -> None:
    """The scoreboard would claim more than was shown."""
    world = _world()
    rows = _rows("spike", world)
    who = np.unique(rows["principal"])
    assert len(who) == 1
    usual = max(float(world.service_rate[who[0]]), 1 / 120)
    assert 60 * usual < len(rows) / ATTACKS["spike"].length_s < 100 * usual


def test_a_slow_ramp_grows_all_the_way() -> None:
    """A ramp with a step in it is a spike."""
    ts = _rows("slow_ramp")["ts"]
    quarters = np.histogram(ts, bins=4)[0]
    assert (np.diff(quarters) > 0).all()


def test_stuffing_tries_each_account_once_from_one_address() -> None:
    """It would be spraying or cracking under another name."""
    rows = _rows("stuffing")
    assert len(np.unique(rows["ip"])) == 1
    assert len(np.unique(rows["account"])) == len(rows)
    assert (rows["auth"] == r.SUCCESS).mean() < 0.06
    assert 0.5 < (rows["known"] == 0).mean() < 0.9


def test_spraying_comes_back_to_the_same_accounts() -> None:
    """It would be stuffing under another name."""
    rows = _rows("spraying")
    _, counts = np.unique(rows["account"], return_counts=True)
    assert (counts == 3).all()
    assert (rows["known"] == 1).all()
    assert len(np.unique(rows["ip"])) == 1


def test_a_botnet_uses_each_address_once() -> None:
    """An address with two tries could be caught as one, which is what makes this attack hard."""
    rows = _rows("distributed_stuffing")
    assert len(np.unique(rows["ip"])) == len(rows)
    assert len(np.unique(rows["account"])) == len(rows)


def test_cracking_ends_in_success() -> None:
    """The takeover after the attack would never be tried."""
    rows = _rows("cracking")
    assert len(np.unique(rows["account"])) == 1
    assert rows["auth"][np.argmax(rows["ts"])] == r.SUCCESS
    assert (rows["auth"] == r.SUCCESS).sum() == 1


def test_a_probe_is_refused_everywhere() -> None:
    """It would touch nothing restricted, or be let in."""
    rows = _rows("restricted_probe")
    assert (rows["status"] == 403).all()
    assert (rows["denied"] == 1).all()
    assert len(np.unique(rows["endpoint"])) > 10


def test_drifted_payloads_have_shapes_new_for_their_sender_at_the_usual_rate() -> None:
    """It would be caught as a spike, which proves nothing about shapes."""
    world = _world()
    rows = _rows("payload_drift", world)
    who = int(rows["principal"][0])
    assert not np.isin(rows["shape"], world.callers.shape[who]).any()
    assert len(rows) / ATTACKS["payload_drift"].length_s == pytest.approx(float(world.service_rate[who]), rel=0.3)


def test_a_leaked_key_is_used_from_where_its_owner_never_is() -> None:
    """Nothing would tell the thief from the owner, not even in principle."""
    world = _world()
    rows = _rows("key_leak", world)
    who = int(rows["principal"][0])
    assert not np.isin(rows["ip"], world.callers.ip[who]).any()
    assert (rows["agent"] != world.callers.agent[who]).all()
    assert (rows["credential"] == world.callers.credential[who]).all()


def test_a_key_flood_never_repeats_a_key() -> None:
    """The tables would not be flooded, and the promise of bounded memory not be tried."""
    rows = _rows("key_flood")
    assert len(np.unique(rows["credential"])) == len(rows) == 20_000
    assert len(np.unique(rows["ip"])) > 5_000


def test_rented_addresses_are_nobody_elses() -> None:
    """An innocent person would share the attacker's address, and every block would hit them."""
    world = _world()
    used = set(world.callers.ip.ravel().tolist()) | set(world.mobile.tolist())
    for name in ("stuffing", "spraying", "cracking", "distributed_stuffing"):
        assert not used & set(_rows(name, world)["ip"].tolist())


def test_an_extraction_sweeps_one_template_with_log_probabilities() -> None:
    """It would be a spike under another name, or too slow to copy anything."""
    world = _world()
    known = len(world.principals)
    rows = _rows("model_extraction", world)
    assert len(rows) > 0.6 * ATTACKS["model_extraction"].length_s
    assert len(np.unique(rows["shape"])) == 1
    assert len(np.unique(rows["bytes_in"])) < 20
    assert (rows["asked"] == r.LOGPROBS).all()
    assert (rows["principal"] >= known).all(), "a service that was there before"


def test_an_output_change_follows_a_prelude_with_longer_answers() -> None:
    """There would be nothing to compare the answers with, or no change."""
    attack, world = ATTACKS["output_change"], _world()
    assert attack.prelude is not None
    before = attack.prelude(Stage(world, np.random.default_rng(3), _AT - 86400.0, 86400.0))
    after = _rows("output_change", world)
    assert before["ts"].max() <= _AT
    assert set(after["endpoint"]) == set(before["endpoint"])
    assert np.nanmedian(before["tokens_out"]) > 3 * np.nanmedian(after["tokens_out"])
    assert (before["model"] == after["model"][0]).mean() < 0.01
