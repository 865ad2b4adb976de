"""Network operator and country of an address, from MaxMind-format files (GeoLite2, DB-IP, IPinfo Lite).

Asked once for each distinct address of a batch; memory-mapped, so every process shares one copy.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import maxminddb

from gatewatch.errors import ConfigError
from gatewatch.settings import IngestSettings

Place = tuple[int | None, str | None]
Locate = Callable[[str], Place]


def locator(settings: IngestSettings) -> Locate | None:
    """(ASN, ISO country code) of an address; ``None`` where no file is configured.

    Cost: about 10 us an address and file.

    Raises:
        ConfigError: a file cannot be read, or is no such file.
    """
    if settings.asn_file is None and settings.country_file is None:
        return None
    operators = _open("ingest.asn_file", settings.asn_file)
    countries = _open("ingest.country_file", settings.country_file)

    def locate(ip: str) -> Place:
        return _asn(_row(operators, ip)), _country(_row(countries, ip))

    return locate


def _open(key: str, path: Path | None) -> maxminddb.Reader | None:
    if path is None:
        return None
    try:
        return maxminddb.open_database(path)
    except (OSError, maxminddb.InvalidDatabaseError) as error:
        raise ConfigError(key, f"{path} cannot be read as a MaxMind-format file: {error}") from error


def _row(reader: maxminddb.Reader | None, ip: str) -> dict[str, Any]:
    if reader is None:
        return {}
    try:
        row = reader.get(ip)
    except ValueError:  # an IPv6 address, and a file of IPv4 only
        return {}
    return row if isinstance(row, dict) else {}


def _asn(row: dict[str, Any]) -> int | None:
    """GeoLite2 and DB-IP have a number, IPinfo "AS64500"."""
    value = row.get("autonomous_system_number", row.get("asn"))
    if isinstance(value, str) and value.upper().startswith("AS") and value[2:].isdigit():
        return int(value[2:])
    return value if isinstance(value, int) else None


def _country(row: dict[str, Any]) -> str | None:
    """GeoLite2 and DB-IP nest it, IPinfo has the code at the top."""
    country = row.get("country")
    code = country.get("iso_code") if isinstance(country, dict) else row.get("country_code", country)
    return code if isinstance(code, str) else None
