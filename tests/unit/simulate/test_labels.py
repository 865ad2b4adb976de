"""The side file says which events are hostile, and what a detector could at best say about each attack."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gatewatch.records import Scope
from gatewatch.simulate import labels
from gatewatch.simulate.scenario import Simulation


def _simulation() -> Simulation:
    return Simulation("mixed", rate=5.0, duration_s=3600.0, start=1772539200.0, seed=2)


def test_every_hostile_event_has_one_label_and_no_other_has(tmp_path: Path) -> None:
    """Recall and false alarms would be counted against a wrong truth."""
    simulation = _simulation()
    path = tmp_path / "labels.jsonl"
    hostile: dict[str, int] = {}
    with path.open("wb") as file:
        labels.write(file, [simulation.header, *simulation.episodes])
        for window in simulation.windows():
            labels.write(file, simulation.labels(window))
            truth = dict(zip(window.request_ids, window.rows["episode"].tolist(), strict=True))
            hostile |= {request_id: episode for request_id, episode in truth.items() if episode >= 0}
    records = labels.read(path)
    assert records[0] == simulation.header
    assert hostile == {record.request_id: record.episode for record in records if isinstance(record, labels.Label)}


def test_an_episode_names_its_keys_times_and_size() -> None:
    """An alert on the attacker could not be matched to the attack."""
    simulation = _simulation()
    seen = {episode.episode: 0 for episode in simulation.episodes}
    for window in simulation.windows():
        for request_id, value, label in zip(
            window.request_ids, window.values, window.rows["episode"].tolist(), strict=True
        ):
            if label < 0:
                continue
            event = msgspec.json.decode(value)
            episode = simulation.episodes[label]
            assert event["request_id"] == request_id
            assert event["ip"] in episode.keys[Scope.IP]
            assert labels.network(event["ip"]) in episode.keys[Scope.NETWORK]
            if "principal" in event:
                assert event["principal"] in episode.keys[Scope.PRINCIPAL]
            if "account" in event:
                assert event["account"] in episode.keys[Scope.ACCOUNT]
            assert episode.first_ts - 0.001 <= event["ts"] <= episode.last_ts + 0.001
            seen[label] += 1
    assert seen == {episode.episode: episode.events for episode in simulation.episodes}


def test_a_damaged_labels_file_is_refused(tmp_path: Path) -> None:
    """A wrong file would be read as "no attacks"."""
    path = tmp_path / "labels.jsonl"
    path.write_text('{"record": "verdict"}\n')
    with pytest.raises(msgspec.ValidationError, match="verdict"):
        labels.read(path)
