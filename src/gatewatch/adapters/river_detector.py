"""A detector whose model stands in its config: any of River's, by import path."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from gatewatch.adapters.per_event import PerEventConfig, PerEventDetector
from gatewatch.adapters.river_model import ModelSpec, RiverModel, build, is_drift, problem
from gatewatch.adapters.rows import EventModel
from gatewatch.events.batch import CODES, FLOATS
from gatewatch.sdk import Context, DetectorConfig

FEATURES = (*FLOATS, *CODES, "status")


class RiverConfig(PerEventConfig):
    """A model, and what it looks at."""

    model: ModelSpec | tuple[ModelSpec, ...]  # several are a pipeline
    features: tuple[str, ...] = Field(min_length=1, max_length=32)  # numeric columns
    log1p: bool = True
    each_key: bool = False  # a model for each key, not one for all: for drift tests, and models that are small

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """The model can be made and used: better said when the settings are read than by a quarantine later."""
        if unknown := sorted(set(self.features) - set(FEATURES)):
            raise ValueError(f"no numeric column: {', '.join(unknown)}; there are {', '.join(FEATURES)}")
        try:
            model = build(self.model)
        except Exception as error:
            raise ValueError(f"the model cannot be made: {type(error).__name__}: {error}") from error
        if wrong := problem(model, self.features):
            raise ValueError(f"the model cannot be used: {wrong}")
        return self


class RiverDetector(PerEventDetector):
    """Runs one River model, or a pipeline, that the options name.

    A subclass has a name, a scope, a reason (``learned``), needs and a docstring; see ``examples/detectors/odd_sizes``.
    """

    Config: ClassVar[type[DetectorConfig]] = RiverConfig
    config: RiverConfig

    def __init__(self, config: DetectorConfig, context: Context) -> None:
        assert isinstance(config, RiverConfig)
        self._drift = is_drift(build(config.model))
        super().__init__(config, context)

    @property
    def gated(self) -> bool:  # type: ignore[override]  # of others a class says it, here the model does
        """A drift test must see what drifts; everything else learns only what does not surprise."""
        return not self._drift

    def columns(self) -> tuple[str, ...]:
        """The features."""
        return self.config.features

    def model(self) -> EventModel:
        """A model that has learned nothing."""
        config: Any = self.config
        return RiverModel(config.model, config.features, log1p=config.log1p, each_key=config.each_key)
