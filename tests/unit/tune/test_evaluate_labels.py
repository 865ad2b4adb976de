"""Labels files of both forms, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewatch.errors import ConfigError
from gatewatch.records import Scope
from gatewatch.simulate.labels import write
from gatewatch.simulate.scenario import Simulation
from gatewatch.tune.evaluate_labels import read, spelt

LINE = '{"attack": "a", "kind": "stuffing", "scope": "ip", "key": "203.0.113.9", "start": 10.0, "end": 20.0}'


def _file(folder: Path, *lines: str) -> Path:
    path = folder / "labels.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_lines_of_one_attack_are_one_attack(tmp_path: Path) -> None:
    """If this fails, an attack with two addresses counts as two, one of which is missed."""
    second = LINE.replace("113.9", "113.10").replace("20.0", "30.0")
    truth = read(_file(tmp_path, LINE, "", second))
    assert [(a.kind, a.start, a.end, len(a.keys)) for a in truth.attacks] == [("stuffing", 10.0, 30.0, 2)]


def test_times_may_be_iso_with_a_zone(tmp_path: Path) -> None:
    """If this fails, people must convert times by hand; without a zone they would be an hour or two off."""
    iso = LINE.replace("10.0", '"1970-01-01T00:00:10Z"').replace("20.0", '"1970-01-01T02:00:20+02:00"')
    assert (read(_file(tmp_path, iso)).attacks[0].start, read(_file(tmp_path, iso)).attacks[0].end) == (10.0, 20.0)
    with pytest.raises(ConfigError, match=r"line 1: .*without a zone"):
        read(_file(tmp_path, LINE.replace("10.0", '"1970-01-01T00:00:10"')))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2"),
        (LINE.replace('"ip"', '"address"'), "line 2"),
        (LINE.replace('"key"', '"keys"'), "line 2"),
        (LINE.replace("20.0", "5.0"), "ends before it starts"),
        ('{"record": "label", "request_id": "x", "attack": "a", "episode": 4}', "no episode 4"),
    ],
)
def test_a_wrong_line_is_named(line: str, said: str, tmp_path: Path) -> None:
    """If this fails, a typo in line 812 of a labels file must be found by eye, or silently costs an attack."""
    with pytest.raises(ConfigError, match=said):
        read(_file(tmp_path, LINE, line))


def test_a_file_without_attacks_is_refused(tmp_path: Path) -> None:
    """If this fails, an empty file looks like a perfect result."""
    with pytest.raises(ConfigError, match="names no attack"):
        read(_file(tmp_path))


def test_what_simulate_writes_is_read(tmp_path: Path) -> None:
    """If this fails, `gatewatch simulate --labels` and `gatewatch evaluate` do not fit together."""
    simulation = Simulation("stuffing", rate=2.0, duration_s=1800.0, start=1_772_517_600.0, seed=1)
    path = tmp_path / "labels.jsonl"
    with path.open("wb") as file:
        write(file, [simulation.header, *simulation.episodes])
        for window in simulation.windows():
            found = simulation.labels(window)
            if found:
                write(file, found)
    truth = read(path)
    assert [attack.kind for attack in truth.attacks] == ["stuffing"]
    assert len(truth.request_ids) == simulation.episodes[0].events
    assert Scope.IP in {scope for scope, _ in truth.attacks[0].keys}


def test_an_ipv6_address_stands_for_its_64() -> None:
    """If this fails, an alert about a household's /64 is a false alarm although the attacker is in it."""
    assert (Scope.IP, "2001:db8:1:2::/64") in spelt({(Scope.IP, "2001:db8:1:2::3")})
    assert spelt({(Scope.IP, "203.0.113.9")}) == {(Scope.IP, "203.0.113.9")}
