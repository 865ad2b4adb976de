"""The settings file: what it takes, and how it says no."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gatewatch.errors import ConfigError
from gatewatch.records import Mode, Scope, Severity
from gatewatch.settings import (
    AllowEntry,
    BlockSettings,
    KafkaSecurity,
    Settings,
    load,
    parse,
    parse_duration,
    read_secret,
)

SAMPLE = """
kafka: {bootstrap: ["127.0.0.1:9092"], security: {protocol: PLAINTEXT}, prefix: gatewatch, partitions: 4}
sources:
  - {topic: access-events, format: native}        # native | apisix | kong | envoy | nginx | litellm | otlp | ocsf | ...
catalog: catalog.yaml
budget: {false_alarms_per_day: 1}                 # per project, medium or worse
detectors:
  rate_spike: {mode: alert, limits: {requests_per_minute: 3000}}
  credential_stuffing: {mode: block, block: {scope: ip, ttl: 10m}}
projects:
  billing: {budget: {false_alarms_per_day: 3}, detectors: {rate_spike: {mode: block}}}
guards:
  blocks_per_minute: 30
  share_of_traffic: 0.02
  allow: [{ip: 203.0.113.7, owner: sre, reason: load test, until: 2027-01-31}]
notify: {slack: {channel: "#model-abuse", token_env: SLACK_TOKEN}, pagerduty: {routing_key_env: PD_KEY, severity: high}}
enforce: {listen: "127.0.0.1:8081", fail: open}
metrics: {listen: "127.0.0.1:9108"}
"""


def loaded(tmp_path: Path, text: str) -> Settings:
    """The settings of a file with this text."""
    path = tmp_path / "gatewatch.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def test_the_sample_of_the_documentation_loads(tmp_path: Path) -> None:
    """Otherwise the first file that a user copies is refused."""
    settings = loaded(tmp_path, SAMPLE)
    stuffing = settings.detectors["credential_stuffing"]
    assert (stuffing.mode, stuffing.block.scope, stuffing.block.ttl) == (Mode.BLOCK, Scope.IP, 600.0)
    assert settings.detectors["rate_spike"].options == {"limits": {"requests_per_minute": 3000}}
    assert settings.projects["billing"].detectors["rate_spike"].mode is Mode.BLOCK
    assert settings.guards.allow[0].value == "203.0.113.7"
    assert settings.notify is not None
    assert settings.notify.pagerduty is not None
    assert settings.notify.pagerduty.severity is Severity.HIGH
    assert settings.metrics.address == ("127.0.0.1", 9108)


def test_no_file_gives_the_defaults() -> None:
    """Otherwise `gatewatch demo` needs a file."""
    assert load(None) == Settings()


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    """Otherwise a file with every line commented out is an error nobody understands."""
    assert loaded(tmp_path, "# nothing yet\n") == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kafak: {}", "kafak: unknown key: did you mean 'kafka'?"),
        ("kafka: {partition: 3}", "kafka.partition: unknown key: did you mean 'partitions'?"),
        ("sources: [{topic: a, format: native, fromat: x}]", "sources.0.fromat: unknown key: did you mean 'format'?"),
        (
            "projects: {billing: {detectors: {rate_spike: {mod: block}}}}",
            "projects.billing.detectors.rate_spike.mod: unknown key: did you mean 'mode'?",
        ),
        (
            "guards: {allow: [{ip: 1.2.3.4, owner: a, reason: b, untill: 2027-01-01}]}",
            "guards.allow.0.untill: unknown key: did you mean 'until'?",
        ),
        ("notify: {slack: {chanel: x}}", "notify.slack.chanel: unknown key: did you mean 'channel'?"),
        ("logging: {zzz: 1}", "logging.zzz: unknown key (known: format, level)"),
        (
            "detectors: {rate_spike: {block: {tll: 10m}}}",
            "detectors.rate_spike.block.tll: unknown key: did you mean 'ttl'?",
        ),
    ],
)
def test_an_unknown_key_names_its_path_and_the_nearest(tmp_path: Path, text: str, message: str) -> None:
    """Otherwise a typo is ignored in silence, and a guard that the user believes in is not there."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert str(caught.value) == f"{tmp_path / 'gatewatch.yaml'} line 1: {message}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kafka:\n  prefix: a\n  partitons: 3\n", "line 3: kafka.partitons"),
        (
            "sources:\n  - {topic: a, format: native}\n  - topic: b\n    format: native\n    hops: 1\n",
            "line 5: sources.1.hops",
        ),
        ("projects:\n  a.b:\n    budget:\n      false_alarms_per_day: -1\n", "line 4: projects.a.b.budget"),
        ("guards:\n  allow:\n    - {ip: 1.2.3.4, owner: a, reason: b}\n", "line 3: guards.allow.0.until"),
    ],
)
def test_an_error_names_the_line(tmp_path: Path, text: str, told: str) -> None:
    """Otherwise somebody looks for one wrong key in a file of three hundred lines."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("detectors: {rate_spike: {mode: alrt}}", "no 'alrt' here: did you mean 'alert'?"),
        ("detectors: {rate_spike: {mode: loud}}", "no 'loud' here; there are: off, shadow, alert, block"),
        (
            "detectors: {rate_spike: {block: {ttl: 10 minutes}}}",
            "'10 minutes' is no duration: write 90 (seconds), 10m, 8h or 7d",
        ),
    ],
)
def test_a_wrong_value_is_told_with_what_would_be_right(tmp_path: Path, text: str, message: str) -> None:
    """Otherwise the error repeats the words of a library, and the user has to find the manual."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert caught.value.problem == message


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("kafka: {partitions: 0}", "kafka.partitions"),
        ("kafka: {prefix: 'a b'}", "kafka.prefix"),
        ("kafka: {session_timeout: soon}", "kafka.session_timeout"),
        ("budget: {false_alarms_per_day: 0}", "budget.false_alarms_per_day"),
        ("detectors: {rate_spike: {mode: loud}}", "detectors.rate_spike.mode"),
        ("detectors: {rate_spike: {block: {ttl: -5m}}}", "detectors.rate_spike.block.ttl"),
        ("guards: {share_of_traffic: 2}", "guards.share_of_traffic"),
        ("guards: {protected_networks: [10.0.0.0/99]}", "guards.protected_networks.0"),
        ("guards: {allow: [{ip: nobody, owner: a, reason: b, until: 2027-01-01}]}", "guards.allow.0.ip"),
        ("guards: {allow: [{ip: 1.2.3.4, principal: x, owner: a, reason: b, until: 2027-01-01}]}", "guards.allow.0"),
        ("guards: {allow: [{owner: a, reason: b, until: 2027-01-01}]}", "guards.allow.0"),
        ("guards: {allow: [{ip: 1.2.3.4, owner: a, reason: b}]}", "guards.allow.0.until"),
        ("guards: {allow: [{ip: 1.2.3.4, reason: b, until: 2027-01-01}]}", "guards.allow.0.owner"),
        ("metrics: {listen: '9108'}", "metrics.listen"),
        ("metrics: {listen: '127.0.0.1:99999'}", "metrics.listen"),
        ("metrics: {listen: '0.0.0.0:9108'}", "metrics"),
        ("kafka: {security: {protocol: SASL_SSL, username: u, password_env: P}}", "kafka.security"),
        ("kafka: {security: {protocol: SASL_SSL, mechanism: PLAIN, username: u}}", "kafka.security"),
        ("sources: [{topic: a}]", "sources.0.format"),
        ("sources: [{topic: a, format: native}, {topic: a, format: apisix}]", "sources"),
    ],
)
def test_a_wrong_value_names_its_key(tmp_path: Path, text: str, path: str) -> None:
    """Otherwise the user has to guess which of a hundred keys is meant."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert caught.value.path == path
    assert caught.value.problem


def test_a_port_for_all_needs_a_token_or_a_clear_word(tmp_path: Path) -> None:
    """Otherwise a container publishes who attacks whom, because its default had to be changed to be scraped at all."""
    with pytest.raises(ConfigError, match="set token_env, or allow_anonymous: true"):
        loaded(tmp_path, "metrics: {listen: '0.0.0.0:9108'}")
    assert loaded(tmp_path, "metrics: {listen: '[::]:9108', allow_anonymous: true}").metrics.address == ("::", 9108)
    assert loaded(tmp_path, "metrics: {listen: '0.0.0.0:9108', token_env: T}").metrics.token_env == "T"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kafka: [", "is not YAML: line 1, column 9: while parsing a flow node"),
        ("- a", "must be a mapping of sections"),
        ("just words", "must be a mapping of sections"),
        ("kafka: {prefix: a}\nkafka: {prefix: b}", "'kafka' stands there twice"),
    ],
)
def test_what_is_no_settings_file_is_told_with_its_name(tmp_path: Path, text: str, message: str) -> None:
    """Otherwise a wrong path to some other YAML file starts a worker with the defaults."""
    with pytest.raises(ConfigError, match=message) as caught:
        loaded(tmp_path, text)
    assert "gatewatch.yaml" in str(caught.value)
    assert "\n" not in str(caught.value), "one line, as all errors are"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Otherwise a missing mount looks like a bug of ours."""
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read: No such file"):
        load(tmp_path / "absent.yaml")


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    """Otherwise a gzipped or UTF-16 file ends in a traceback."""
    path = tmp_path / "gatewatch.yaml"
    path.write_bytes(b"\xff\xfe\x00kafka")
    with pytest.raises(ConfigError, match=r"gatewatch\.yaml: is not UTF-8 text"):
        load(path)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("10s", 10.0), ("10m", 600.0), ("1.5h", 5400.0), ("7d", 604800.0), ("2w", 1209600.0)],
)
def test_durations_have_units(text: str, seconds: float) -> None:
    """Otherwise `ttl: 10m` is refused, or is ten seconds."""
    assert parse_duration(text) == seconds
    assert parse({"ttl": text}, BlockSettings).model_dump()["ttl"] == seconds


@given(st.floats(0.001, 1e6, allow_nan=False))
def test_a_plain_number_is_seconds(seconds: float) -> None:
    """Otherwise `ttl: 600` means something else than `ttl: 10m`."""
    assert parse_duration(seconds) == seconds


@pytest.mark.parametrize("text", ["10 minutes", "m", "1.2.3s", "", "10m5s", "nan", "inf", ".5.m"])
def test_a_duration_that_cannot_be_read_is_refused(text: str) -> None:
    """Otherwise a block lasts for ever, or no time at all."""
    with pytest.raises(ConfigError) as caught:
        parse({"ttl": text}, BlockSettings, "detectors.rate_spike.block")
    assert caught.value.path == "detectors.rate_spike.block.ttl"


def test_secrets_come_from_the_environment_or_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Otherwise passwords stand in a file that goes into version control."""
    monkeypatch.setenv("KAFKA_PASSWORD", "s3cret")
    file = tmp_path / "password"
    file.write_text("from-file\n", encoding="utf-8")
    login = {"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "u"}
    by_env = KafkaSecurity.model_validate({**login, "password_env": "KAFKA_PASSWORD"})
    by_file = KafkaSecurity.model_validate({**login, "password_file": str(file)})
    assert by_env.password().get_secret_value() == "s3cret"
    assert by_file.password().get_secret_value() == "from-file"
    assert "s3cret" not in repr(by_env.password())
    assert "s3cret" not in by_env.model_dump_json()


@pytest.mark.parametrize("section", ["kafka: {security: {password: x}}", "notify: {slack: {channel: c, token: x}}"])
def test_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path: Path, section: str) -> None:
    """Otherwise a password in the wrong place works, or is printed by the error that refuses it."""
    with pytest.raises(ConfigError, match=r"unknown key: did you mean '(password|token)_env'") as caught:
        loaded(tmp_path, section.replace("x}", "hunter2}"))
    assert "hunter2" not in str(caught.value)


def test_a_secret_that_is_not_there_names_where_it_was_looked_for(tmp_path: Path) -> None:
    """Otherwise a missing variable is an empty password, and the broker's refusal says nothing."""
    with pytest.raises(ConfigError, match=r"a\.password_env: environment variable NOPE is not set"):
        read_secret("a.password", "NOPE", None)
    with pytest.raises(ConfigError, match=r"a\.password_file: cannot read .*nope: No such file"):
        read_secret("a.password", None, tmp_path / "nope")
    with pytest.raises(ConfigError, match=r"a\.password: say where it is: password_env or password_file"):
        read_secret("a.password", None, None)


def test_an_empty_secret_file_is_refused(tmp_path: Path) -> None:
    """Otherwise a secret that was mounted before it was filled is an empty password."""
    (tmp_path / "empty").write_text("\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"a\.password_file: .*empty is empty"):
        read_secret("a.password", None, tmp_path / "empty")


@pytest.mark.parametrize(
    ("until", "ts"),
    [
        ("2027-01-31", datetime(2027, 2, 1, tzinfo=UTC).timestamp()),
        ("2027-01-31T12:00:00+00:00", datetime(2027, 1, 31, 12, tzinfo=UTC).timestamp()),
        ("2027-01-31T12:00:00", datetime(2027, 1, 31, 12, tzinfo=UTC).timestamp()),
    ],
)
def test_an_allow_entry_lasts_to_its_end(until: str, ts: float) -> None:
    """Otherwise a load test is blocked on the last day on which it was allowed."""
    entry = AllowEntry.model_validate({"ip": "203.0.113.7", "owner": "sre", "reason": "load test", "until": until})
    assert entry.until_ts == ts


def test_allow_entries_name_their_scope() -> None:
    """Otherwise an entry for a principal lets an address through."""
    given_ = {"owner": "sre", "reason": "partner", "until": "2027-01-31"}
    scopes = {
        "ip": "2001:db8::1",
        "network": "198.51.100.0/24",
        "principal": "batch",
        "credential": "k",
        "account": "a",
    }
    for name, value in scopes.items():
        entry = AllowEntry.model_validate({name: value, **given_})
        assert (entry.scope.value, entry.value) == (name, value)


def test_the_hash_differs_where_the_settings_do(tmp_path: Path) -> None:
    """Otherwise an alert cannot say under which settings it was made."""
    one = loaded(tmp_path, SAMPLE)
    other = loaded(tmp_path, SAMPLE.replace("requests_per_minute: 3000", "requests_per_minute: 3001"))
    assert one.hash == loaded(tmp_path, SAMPLE).hash
    assert one.hash != other.hash
    assert len(one.hash) == 8


def test_settings_survive_a_round_trip_through_yaml(tmp_path: Path) -> None:
    """Otherwise what `check` prints cannot be used as a file."""
    one = loaded(tmp_path, SAMPLE)
    assert loaded(tmp_path, yaml.safe_dump(one.model_dump(mode="json", exclude_none=True))) == one
