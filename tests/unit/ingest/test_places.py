"""Operator and country come from the files that the settings name, and never overrule the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from gatewatch.errors import ConfigError
from gatewatch.events.event import AccessEvent
from gatewatch.ingest.columns import Cleaner
from gatewatch.ingest.places import locator
from gatewatch.settings import IngestSettings
from gatewatch.state.hashing import HashSeed


def _file(path: Path, rows: dict[str, dict[str, Any]]) -> Path:
    writer = MMDBWriter(4, "Test", languages=["en"], description="test")
    for network, row in rows.items():
        writer.insert_network(IPSet([network]), row)
    writer.to_db_file(str(path))
    return path


@pytest.fixture
def settings(tmp_path: Path) -> IngestSettings:
    """A file of operators as GeoLite2 has them, and one of countries as IPinfo has them."""
    return IngestSettings(
        asn_file=_file(tmp_path / "asn.mmdb", {"203.0.113.0/24": {"autonomous_system_number": 64500}}),
        country_file=_file(tmp_path / "country.mmdb", {"203.0.113.0/24": {"country_code": "NL"}}),
    )


def test_addresses_get_operator_and_country(settings: IngestSettings) -> None:
    """If this fails, leaked keys are judged without the two facts that tell most."""
    locate = locator(settings)
    assert locate is not None
    assert locate("203.0.113.9") == (64500, "NL")
    assert locate("198.51.100.1") == (None, None)
    assert locate("2001:db8::1") == (None, None)


def test_what_the_gateway_says_wins(settings: IngestSettings) -> None:
    """If this fails, an old file overrules a gateway that knows better."""
    events = [
        AccessEvent(ts=1.0, ip="203.0.113.9"),
        AccessEvent(ts=1.0, ip="203.0.113.9", asn=65550, country="BE"),
        AccessEvent(ts=1.0, ip="198.51.100.1"),
        AccessEvent(ts=1.0),
    ]
    columns = Cleaner(HashSeed(1, 2), locate=locator(settings)).columns(events)
    assert columns["asn"].to_pylist() == [64500, 65550, -1, -1]
    assert columns["country"].to_pylist() == ["NL", "BE", None, None]
    assert columns["k_country"].to_pylist()[0] != 0


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    """If this fails, a wrong path is found out only by detectors that see nothing."""
    (tmp_path / "x.mmdb").write_text("not a database")
    for path in (tmp_path / "x.mmdb", tmp_path / "missing.mmdb"):
        with pytest.raises(ConfigError, match=r"ingest\.asn_file"):
            locator(IngestSettings(asn_file=path))


def test_without_files_nothing_is_looked_up() -> None:
    """If this fails, every address costs a look-up in nothing."""
    assert locator(IngestSettings()) is None
