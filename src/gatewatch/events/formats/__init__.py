"""How each gateway writes; one module each, found by the name that stands in ``sources``."""

from __future__ import annotations

from collections.abc import Callable

from gatewatch.config_files import nearest
from gatewatch.errors import ConfigError
from gatewatch.events.formats.apisix import Apisix
from gatewatch.events.formats.base import Format
from gatewatch.events.formats.cloudevents import CloudEvents
from gatewatch.events.formats.combined import Combined
from gatewatch.events.formats.envoy import Envoy
from gatewatch.events.formats.kong import Kong
from gatewatch.events.formats.litellm import LiteLLM
from gatewatch.events.formats.native import Mapped, Native
from gatewatch.events.formats.nginx import Nginx
from gatewatch.events.formats.ocsf import Ocsf
from gatewatch.events.formats.otlp import Otlp
from gatewatch.settings import Source

_FORMATS: dict[str, Callable[[int], Format]] = {
    "native": lambda _hops: Native(),
    "apisix": Apisix,
    "nginx": Nginx,
    "combined": lambda _hops: Combined(),
    "litellm": LiteLLM,
    "kong": Kong,
    "envoy": Envoy,
    "otlp": Otlp,
    "ocsf": Ocsf,
    "cloudevents": CloudEvents,
}


def names() -> list[str]:
    """Formats there are."""
    return sorted(_FORMATS)


def get(name: str, *, source: Source | None = None) -> Format:
    """The format of that name, set up for a source (``map``, ``trusted_hops``).

    Raises:
        ConfigError: there is none, or the source's map is wrong.
    """
    if name not in _FORMATS:
        raise ConfigError("format", f"no format {name!r}{nearest(name, names())}")
    if source is not None and source.map is not None:
        if name != "native":
            raise ConfigError("sources.map", "goes with format native only")
        return Mapped(source.map, source.trusted_hops)
    return _FORMATS[name](source.trusted_hops if source is not None else 0)
