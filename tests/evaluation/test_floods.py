"""The floods of the evaluation: what is counted as kept, and that the flood is there."""

from __future__ import annotations

import numpy as np
import pytest
from floods import FLOODS, ROWS, Flood, Told, _figure, _keys, _merged, _part
from unseen_attacks import Attack, login

from gatewatch.testing.batches import batch_of

ATTACKS = [Attack(f"a{i}", "rate_spike", [login(0.0, "192.0.2.1", "x", ok=True)], frozenset()) for i in range(20)]


@pytest.mark.parametrize(("lost", "met"), [(0, True), (1, True), (2, False)])
def test_what_the_flood_hides_counts_against_what_is_found_without_it(lost: int, met: bool) -> None:
    """If this fails, a flood could hide attacks and the page would still say that 95 % are kept."""
    quiet = Told({attack.name: 10.0 for attack in ATTACKS}, seconds=1.0)
    told = Told({attack.name: 15.0 for attack in ATTACKS[lost:]}, seconds=1.0)
    figure = _figure(FLOODS[0], quiet, told, ATTACKS)
    assert figure.met is met
    assert figure.value.startswith(f"{20 - lost} of 20")
    assert ("lost: rate_spike" in figure.note) is (lost > 0)


@pytest.mark.parametrize("flood", FLOODS[:2], ids=lambda flood: flood.name)
def test_all_rows_of_a_flood_come_each_key_as_often_as_it_says(flood: Flood) -> None:
    """If this fails, ten million keys are fewer, and the tables were never full."""
    rng = np.random.default_rng(1)
    keys = _keys(rng, 1000)
    parts = [_part(rng, keys, flood, minute, 7) for minute in range(7)]
    seen = np.concatenate([part.column("k_ip") for part in parts])
    assert len(seen) == 1000 * flood.repeats
    assert set(np.unique(seen, return_counts=True)[1]) == {flood.repeats}


def test_customers_rows_stand_between_the_floods_in_time_order() -> None:
    """If this fails, the attack is over before the flood begins, or rows are lost."""
    rng = np.random.default_rng(1)
    part = _part(rng, _keys(rng, 100), FLOODS[0], 0, 1)
    low, high = float(part.ts[0]), float(part.ts[-1])
    mine = batch_of([login(low + (high - low) * share, "192.0.2.1", "x", ok=True) for share in (0.2, 0.5, 0.8)])
    merged = _merged(mine, part)
    assert merged.n == part.n + 3
    assert (np.diff(merged.ts) >= 0).all()
    assert 0 < merged.arrow.column("ip").to_pylist().index("192.0.2.1") < part.n
    assert ROWS == 10_000_000
