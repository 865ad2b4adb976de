"""Any River model as an :class:`EventModel`, made from a few lines of config.

River is imported when a model is made, not before: who uses none does not wait for it.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

SEED = 0  # of models that draw random numbers and were given no seed: the same rows must give the same scores
# A path is text of a settings file, and to make what it names is to run it: only classes of these, written there.
# Models of one's own go into a detector folder, which is code already.
PACKAGES = ("river", "gatewatch.adapters", "gatewatch.detectors")
LIMIT = 1e15  # numbers are cut here: beyond it sums of squares lose all digits


class ModelSpec(BaseModel):
    """One model: where it is imported from, and what its constructor gets.

    A parameter that is itself such a mapping, with ``path``, becomes a model too (of a filter, say).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")
    parameters: dict[str, Any] = Field(default_factory=dict)

    def build(self) -> Any:
        """Make it.

        Raises:
            ImportError: no such module.
            AttributeError: no such class in it.
            TypeError: wrong parameters; ValueError likewise.
            ValueError: it is no model of :data:`PACKAGES`; nothing was made then.
        """
        make = _model_class(self.path)
        parameters = {key: _value(value) for key, value in self.parameters.items()}
        if "seed" in inspect.signature(make).parameters:
            parameters.setdefault("seed", SEED)
        return make(**parameters)


def _model_class(path: str) -> Any:
    """The class that a path names."""
    module, _, name = path.rpartition(".")
    if not _within(module):
        raise ValueError(f"{path}: models come from {', '.join(PACKAGES)}")
    found = getattr(importlib.import_module(module), name)
    # A module also holds what it imported, and River has classes that read and write files: neither is a model.
    if not isinstance(found, type) or not _within(found.__module__):
        raise ValueError(f"{path}: no class of {', '.join(PACKAGES)}")
    if found.__module__.startswith("river.") and not issubclass(found, importlib.import_module("river.base").Base):
        raise ValueError(f"{path}: no model of River")
    return found


def _within(module: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in PACKAGES)


def _value(value: Any) -> Any:
    if isinstance(value, dict) and "path" in value and set(value) <= set(ModelSpec.model_fields):
        return ModelSpec.model_validate(value).build()
    return value


def build(spec: ModelSpec | Sequence[ModelSpec]) -> Any:
    """One model, or a pipeline of several: all but the last transform.

    Raises:
        ImportError, AttributeError, TypeError, ValueError: as :meth:`ModelSpec.build`.
    """
    if isinstance(spec, ModelSpec):
        return spec.build()
    compose = importlib.import_module("river.compose")
    return compose.Pipeline(*(step.build() for step in spec))


class RiverModel:
    """Features in, score out.

    Three kinds are told apart by their methods: anomaly detectors (``score_one``), supervised ones, which look at one
    number (the first feature) given the others, and drift tests (``update``), which look at the only feature; a drift
    test's score is 1 for the event after the one at which it fired, else 0.

    Args:
        spec: what to make.
        features: numeric columns, in order.
        log1p: take the logarithm first: sizes and counts are spread over decades.
        each_key: a model for each key, else one for all.
    """

    def __init__(
        self, spec: ModelSpec | Sequence[ModelSpec], features: Sequence[str], *, log1p: bool, each_key: bool
    ) -> None:
        self._spec, self._features, self._log1p = spec, tuple(features), log1p
        self._each_key = each_key
        self._first = build(spec)
        self.is_drift = is_drift(self._first)
        self._supervised = not self.is_drift and bool(getattr(self._first, "_supervised", False))
        self._models: dict[int, Any] = {}

    def score(self, event: Any) -> float | None:
        """The model's score; None where a feature is absent."""
        x = self._x(event)
        if x is None:
            return None
        model = self._models.get(event.key if self._each_key else 0, self._first)
        if self.is_drift:
            return float(model.drift_detected)
        if self._supervised:
            y = x.pop(self._features[0])
            return float(model.score_one(x, y))
        return float(model.score_one(x))

    def learn(self, event: Any) -> None:
        """Let the model learn."""
        x = self._x(event)
        if x is None:
            return
        at = event.key if self._each_key else 0
        model = self._models.get(at)
        if model is None:
            model = self._models[at] = build(self._spec)
        if self.is_drift:
            model.update(x[self._features[0]])
        elif self._supervised:
            y = x.pop(self._features[0])
            model.learn_one(x, y)
        else:
            model.learn_one(x)

    def _x(self, event: Any) -> dict[str, float] | None:
        x = {}
        for name in self._features:
            value = float(getattr(event, name))
            if not math.isfinite(value):
                return None
            value = max(-LIMIT, min(LIMIT, value))
            x[name] = math.log1p(max(value, 0.0)) if self._log1p else value
        return x


def is_drift(model: Any) -> bool:
    """Whether it is a drift test: one number in, a flag out."""
    return hasattr(model, "update") and hasattr(model, "drift_detected")


def problem(model: Any, features: Sequence[str]) -> str | None:
    """What is wrong with a model for those features, in words."""
    if is_drift(model):
        return None if len(features) == 1 else "a drift test looks at one feature"
    if not (hasattr(model, "score_one") and hasattr(model, "learn_one")):
        return "it has neither score_one and learn_one nor update and drift_detected"
    return None
