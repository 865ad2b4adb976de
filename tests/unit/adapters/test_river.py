"""River's models by import path."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from gatewatch.adapters import RiverConfig, RiverDetector
from gatewatch.adapters.river_model import ModelSpec
from gatewatch.sdk import Context, Need, Reason, Scope, Severity
from gatewatch.testing.batches import SEED, batch_of

HST = {
    "path": "river.anomaly.HalfSpaceTrees",
    "parameters": {
        "n_trees": 5,
        "height": 6,
        "window_size": 50,
        "limits": {"tokens_in": [0, 16], "tokens_out": [0, 16]},
    },
}


class Sizes(RiverDetector):
    """Only for these tests."""

    name = "sizes"
    version = 1
    scopes = (Scope.PRINCIPAL,)
    reasons = (Reason(0, "sizes", "Sizes", "score", Severity.LOW, learned=True),)
    needs = (Need(Scope.PRINCIPAL, ("principal",), "name the caller"),)


def detector(model: Any, features: tuple[str, ...] = ("tokens_in", "tokens_out"), **options: Any) -> Sizes:
    """One for a single partition."""
    config = RiverConfig.model_validate({"model": model, "features": features, "threshold_nats": 6.5, **options})
    return Sizes(config, Context(seed=SEED, partitions=1, alarms_per_day=1e9))


def calm(n: int, seed: int = 1) -> list[dict[str, Any]]:
    """Callers with ordinary sizes."""
    rng = np.random.default_rng(seed)
    return [
        {
            "ts": 1.77e9 + 10.0 * i,
            "principal": f"app-{i % 4}",
            "status": 200,
            "tokens_in": int(math.exp(rng.normal(5, 0.5))),
            "tokens_out": int(math.exp(rng.normal(5, 0.5))),
        }
        for i in range(n)
    ]


def monster(ts: float) -> dict[str, Any]:
    """A request like no other."""
    return {"ts": ts, "principal": "app-1", "status": 200, "tokens_in": 500_000, "tokens_out": 500_000}


@pytest.mark.parametrize(
    "model",
    [
        HST,
        [{"path": "river.preprocessing.StandardScaler"}, {"path": "river.anomaly.OneClassSVM"}],
        {"path": "river.anomaly.QuantileFilter", "parameters": {"q": 0.99, "anomaly_detector": HST}},
        {"path": "river.anomaly.LODA"},
        {"path": "river.anomaly.LocalOutlierFactor", "parameters": {"n_neighbors": 5}},
        {"path": "river.anomaly.GaussianScorer", "parameters": {"grace_period": 50}},
        {"path": "river.anomaly.StandardAbsoluteDeviation"},
        {"path": "gatewatch.adapters.Surprisal"},
    ],
    ids=lambda model: model[-1]["path"] if isinstance(model, list) else model["path"],
)
def test_any_anomaly_model_runs_and_survives_a_restart(model: Any) -> None:
    """Otherwise the promise "any River model by import path" holds for the one that was tried."""
    options: dict[str, Any] = {
        "remember_events": 100
    }  # two generations within the test; the local outlier factor is quadratic
    here, there = detector(model, **options), detector(model, **options)
    events = calm(250)
    here.process(batch_of(events[:200]))
    there.restore(here.snapshot())
    rest = batch_of([*events[200:], monster(events[-1]["ts"] + 1)], first_offset=200)
    first, second = here.process(rest), there.process(rest)
    assert len(first) == len(second)
    for name, array in here.snapshot().items():
        assert array.tobytes() == there.snapshot()[name].tobytes(), name


def test_the_monster_is_told_and_does_not_teach() -> None:
    """Otherwise the example of every talk on anomaly detection goes unseen, or is seen once and then is normal."""
    one = detector({"path": "gatewatch.adapters.Surprisal"}, threshold_nats=9.2)
    events = calm(600)
    assert len(one.process(batch_of(events))) == 0
    now = events[-1]["ts"]
    hits = one.process(batch_of([monster(now + 100.0 * i) for i in range(1, 40)]))
    assert len(hits) == 39
    assert hits.nats[38] > 9.2


def test_a_drift_test_tells_of_the_key_that_changed() -> None:
    """Otherwise ADWIN and its like are accepted by the config and then say nothing."""
    one = detector({"path": "river.drift.ADWIN", "parameters": {"delta": 0.002}}, ("tokens_in",), each_key=True)
    events = calm(3000)
    changed = [
        {**e, "tokens_in": 50_000} if e["principal"] == "app-2" and i > 2400 else e for i, e in enumerate(events)
    ]
    hits = one.process(batch_of(changed))
    keys = {changed[int(row)]["principal"] for row in hits.row[: len(hits)]}
    assert keys == {"app-2"}
    assert all(int(row) > 2400 for row in hits.row[: len(hits)])


@pytest.mark.parametrize(
    ("model", "features", "why"),
    [
        ({"path": "river.anomaly.HalfSpaceTree"}, ("tokens_in",), "HalfSpaceTree"),
        ({"path": "river.anomaly.HalfSpaceTrees", "parameters": {"trees": 5}}, ("tokens_in",), "trees"),
        ({"path": "rivers.anomaly.X"}, ("tokens_in",), "rivers"),
        ({"path": "river.drift.ADWIN"}, ("tokens_in", "tokens_out"), "one feature"),
        ({"path": "river.stats.Mean"}, ("tokens_in",), "score_one"),
        (HST, ("principal",), "numeric"),
        (HST, (), "features"),
    ],
)
def test_a_wrong_model_is_refused_when_the_settings_are_read(model: Any, features: tuple[str, ...], why: str) -> None:
    """Otherwise it is found in production, by a quarantine."""
    with pytest.raises(ValidationError, match=why):
        RiverConfig.model_validate({"model": model, "features": features})


@pytest.mark.parametrize(
    "path",
    [
        "subprocess.getoutput",
        "os.system",
        "builtins.exec",
        "antigravity.fly",  # the import alone would run it
        "riverbed.Model",
        "river.stream.Cache",  # pickles to a folder
        "river.datasets.Phishing",
        "river.base.estimator.abc",  # what a module imported
        "gatewatch.adapters.river_model.importlib",
        "gatewatch.adapters.river_model.Field",
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_path_that_names_no_model_is_refused_and_not_run(path: str, tmp_path: Path, *, nested: bool) -> None:
    """If this fails, who may edit the settings runs commands as the worker: a settings file is data, not code."""
    trace = tmp_path / "ran"
    model: dict[str, Any] = {"path": path, "parameters": {"cmd": f"touch {trace}", "command": f"touch {trace}"}}
    if nested:
        model = {"path": "river.anomaly.QuantileFilter", "parameters": {"q": 0.99, "anomaly_detector": model}}
    with pytest.raises(
        ValidationError, match=r"the model cannot be made: ValueError: .*(models come from|no class of|no model of)"
    ):
        RiverConfig.model_validate({"model": model, "features": ("tokens_in",)})
    assert not trace.exists()
    assert "antigravity" not in sys.modules


def test_models_without_a_seed_get_one() -> None:
    """Otherwise two workers that read the same log say different things."""
    spec = ModelSpec.model_validate(HST)
    one, two = spec.build(), spec.build()
    events = [{"tokens_in": e["tokens_in"] / 100, "tokens_out": 1.0} for e in calm(300)]
    for x in events:
        one.learn_one(x)
        two.learn_one(x)
    assert [one.score_one(x) for x in events] == [two.score_one(x) for x in events]
