"""What all sections share: strict models, durations, addresses, secrets."""

from __future__ import annotations

import os
import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from gatewatch.config_files import explain
from gatewatch.errors import ConfigError

M = TypeVar("M", bound=BaseModel)

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def parse_duration(value: object) -> object:
    """Seconds of ``10m``, ``1.5h``, ``7d`` or a plain number.

    >>> parse_duration("10m")
    600.0
    >>> parse_duration(5)
    5
    """
    if not isinstance(value, str):
        return value
    if m := re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|m|h|d|w)\s*", value):
        return float(m[1]) * _UNITS_S[m[2]]
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{value[:60]!r} is no duration: write 90 (seconds), 10m, 8h or 7d") from None


Duration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0, allow_inf_nan=False)]


def check_listen(value: str) -> str:
    """``host:port`` with a port that exists; port 0 is none, or any."""
    if int(value.rsplit(":", 1)[1]) > 65535:
        raise ValueError(f"{value}: ports end at 65535")
    return value


def check_network(value: str) -> str:
    """An address or a CIDR."""
    ip_network(value, strict=False)
    return value


Listen = Annotated[str, Field(pattern=r"^.+:\d{1,5}$"), AfterValidator(check_listen)]
Network = Annotated[str, AfterValidator(check_network)]


class Section(BaseModel):
    """Base of every part of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read_secret(path: str, env: str | None, file: Path | None) -> SecretStr:
    """A secret from an environment variable or a file.

    Raises:
        ConfigError: it is not there, or empty.
    """
    if env is not None:
        value = os.environ.get(env)
        if not value:
            raise ConfigError(f"{path}_env", f"environment variable {env} is not set")
        return SecretStr(value)
    if file is not None:
        try:
            text = file.read_bytes().decode().strip()
        except OSError as error:
            raise ConfigError(f"{path}_file", f"cannot read {file}: {error.strerror}") from error
        except UnicodeDecodeError:
            raise ConfigError(f"{path}_file", f"{file} is not UTF-8 text") from None  # its text would show the secret
        if not text:
            raise ConfigError(f"{path}_file", f"{file} is empty")
        return SecretStr(text)
    raise ConfigError(path, f"say where it is: {path.rsplit('.', 1)[-1]}_env or {path.rsplit('.', 1)[-1]}_file")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "gatewatch.internal")]
    [True, True, True, False, False]
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse(data: dict[str, Any], model: type[M], prefix: str = "") -> M:
    """Validate ``data`` as ``model``.

    Raises:
        ConfigError: the first thing that is wrong, with its path.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise explain(error, model, prefix) from error
