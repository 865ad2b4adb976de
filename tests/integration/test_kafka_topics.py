"""`gatewatch topics` on a real cluster."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import ConfigResource, ConfigResourceType
from typer.testing import CliRunner

from gatewatch import settings as settings_module
from gatewatch.cli import app
from gatewatch.errors import StateError
from gatewatch.log.base import TopicSpec
from gatewatch.log.kafka import KafkaLog
from gatewatch.log.topics import specs
from gatewatch.settings import Settings
from gatewatch.state.layout import check_layout

pytestmark = pytest.mark.kafka


@pytest.fixture
def config(kafka: str, tmp_path: Path) -> Path:
    """A settings file of an installation that nobody has used."""
    path = tmp_path / "gatewatch.yaml"
    prefix = f"gw-{uuid.uuid4().hex[:8]}"
    text = {
        "kafka": {"bootstrap": [kafka], "prefix": prefix, "partitions": 3},
        "sources": [{"topic": f"{prefix}-access", "format": "native"}],
    }
    path.write_text(json.dumps(text), encoding="utf-8")  # JSON is YAML
    return path


@pytest.fixture
def settings(config: Path) -> Settings:
    """The same, read."""
    return settings_module.load(config)


@pytest.fixture
def log(settings: Settings) -> Iterator[KafkaLog]:
    """The same cluster."""
    with closing(KafkaLog(settings.kafka)) as log:
        yield log


def _topics(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["topics", *arguments], env={"COLUMNS": "200"})
    return done.exit_code, done.stdout + done.stderr


def _json(*arguments: str) -> tuple[int, dict[str, Any]]:
    code, text = _topics(*arguments, "--json")
    data: dict[str, Any] = json.loads(text)
    return code, data


def test_create_then_check(config: Path, settings: Settings, log: KafkaLog) -> None:
    """A first installation would not start, or a second `create` would damage it."""
    code, said = _topics("check", "-c", str(config))
    assert code == 1
    assert "gatewatch topics create" in said
    with pytest.raises(StateError, match="gatewatch topics create"):
        _with_state_topic(settings, log)
    code, made = _json("create", "-c", str(config))
    assert code == 0
    assert (
        sum(topic["created"] for topic in made["topics"]) == len(specs(settings)) - 1
    )  # all but the one that is there
    assert [d["topic"] for d in made["differences"]] == [settings.sources[0].topic]
    with closing(log.admin()) as admin:
        admin.create([TopicSpec(settings.sources[0].topic, 2)])
    code, checked = _json("check", "-c", str(config))
    assert (code, checked["differences"], checked["layout_problem"]) == (0, [], None)
    assert checked["layout"] == made["layout"]
    assert check_layout(log, settings).id == made["layout"]["seed_id"]
    code, again = _json("create", "-c", str(config))
    assert code == 0
    assert not any(topic["created"] for topic in again["topics"])
    assert again["layout"] == made["layout"]


def _with_state_topic(settings: Settings, log: KafkaLog) -> None:
    """A state topic as it must be, but without a layout."""
    with closing(log.admin()) as admin:
        configs = {"cleanup.policy": "compact", "segment.ms": "3600000", "min.cleanable.dirty.ratio": "0.1"}
        admin.create([TopicSpec(settings.kafka.topic("state"), 3, 1, configs)])
    check_layout(log, settings)


def test_a_setting_that_was_changed_is_told(config: Path, settings: Settings, log: KafkaLog) -> None:
    """Retention that somebody cut would show as lost events, weeks later."""
    _topics("create", "-c", str(config))
    with closing(log.admin()) as admin:
        admin.create([TopicSpec(settings.sources[0].topic, 1)])
        admin.alter(settings.kafka.topic("routed"), {"retention.ms": "60000"})
    code, said = _topics("check", "-c", str(config))
    assert code == 1
    line = next(line for line in said.splitlines() if "retention.ms" in line)
    assert settings.kafka.topic("routed") in line
    assert "60000" in line
    assert "at least 86400000" in line


def test_other_partitions_are_refused(config: Path) -> None:
    """Editing `kafka.partitions` would send keys to other partitions than before."""
    _topics("create", "-c", str(config))
    config.write_text(config.read_text(encoding="utf-8").replace('"partitions": 3', '"partitions": 4'), "utf-8")
    code, said = _topics("create", "-c", str(config))
    assert code == 2
    assert "laid out for 3" in said
    code, checked = _json("check", "-c", str(config))
    assert code == 1
    assert "laid out for 3" in checked["layout_problem"]


def test_a_cluster_that_cannot_do_it_says_why(config: Path) -> None:
    """`replication: 3` on one broker would end in a traceback."""
    config.write_text(config.read_text(encoding="utf-8").replace('"partitions": 3', '"replication": 7'), "utf-8")
    code, said = _topics("create", "-c", str(config))
    assert code == 2
    assert "cannot be created" in said
    assert "replication factor" in said


def _late(monkeypatch: pytest.MonkeyPatch, client: Any, method: str, answers: list[Any]) -> None:
    """A broker that hears of what the controller did after so many answers."""
    ask = getattr(client, method)
    monkeypatch.setattr(client, method, lambda *args, **named: answers.pop(0) if answers else ask(*args, **named))


def test_what_was_made_or_changed_is_in_effect_when_it_is_said(log: KafkaLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, who makes a topic again commits and restores by the id of the one that is gone."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    admin: Any
    with closing(log.admin()) as admin:
        admin.create([TopicSpec(name, 1)])
        gone, client = admin.describe([name])[name].id, admin._client
        old = client.describe_topics([name])
        admin.delete(name)
        _late(monkeypatch, client, "describe_topics", [old, old])
        assert admin.create([TopicSpec(name, 1)]) == [name]
        assert admin.describe([name])[name].id != gone
        before = client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)], config_filter="all")
        _late(monkeypatch, client, "describe_configs", [before])
        admin.alter(name, {"retention.ms": "60000"})
        assert admin.describe([name])[name].configs["retention.ms"] == "60000"
