"""``gatewatch check`` finds what a worker would refuse, and what it would accept and regret."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import gatewatch.detectors
from gatewatch.cli import app
from gatewatch.cli.check import remarks_on
from gatewatch.errors import ConfigError
from gatewatch.registry import load_all
from gatewatch.settings import Settings, parse

_GOOD = """
sources: [{topic: access-events, format: native}]
detectors: {credential_stuffing: {mode: alert}}
projects:
  billing: {budget: {false_alarms_per_day: 3}, detectors: {credential_stuffing: {mode: shadow}}}
  search: {}
"""


def _check(tmp_path: Path, text: str, *args: str) -> tuple[int, list[dict[str, str]], list[dict[str, str]]]:
    path = tmp_path / "gatewatch.yaml"
    path.write_text(text)
    result = CliRunner().invoke(app, ["check", "--config", str(path), "--json", *args])
    printed = json.loads(result.stdout)
    return result.exit_code, printed["remarks"], printed["modes"]


def _of(remarks: list[dict[str, str]], level: str) -> dict[str, str]:
    return {remark["path"]: remark["text"] for remark in remarks if remark["level"] == level}


def _remarks(data: dict[str, Any]) -> list[dict[str, str]]:
    settings = parse(data, Settings)
    return [{"level": r.level, "path": r.path, "text": r.text} for r in remarks_on(settings, load_all(), None)]


def test_a_good_file_passes_even_with_strict(tmp_path: Path) -> None:
    """Nobody could put the check into a deployment without turning warnings off."""
    code, remarks, _ = _check(tmp_path, _GOOD, "--strict")
    assert code == 0
    assert not _of(remarks, "error")
    assert not _of(remarks, "warning")


def test_modes_are_shown_for_each_detector_and_project(tmp_path: Path) -> None:
    """An operator could not see which mode holds where, before it blocks somebody."""
    _, _, table = _check(tmp_path, _GOOD)
    modes = {(row["detector"], row["project"]): row["mode"] for row in table}
    assert modes["credential_stuffing", ""] == "alert"
    assert modes["credential_stuffing", "billing"] == "shadow"
    assert modes["credential_stuffing", "search"] == "alert"
    assert {name for name, _ in modes} == set(load_all())


def test_budgets_are_added_up(tmp_path: Path) -> None:
    """Ten projects at three alarms a day would be thirty a day, and nobody would have been told."""
    _, remarks, _ = _check(tmp_path, _GOOD)
    assert "4 in all for the 2 listed" in _of(remarks, "ok")["budget"]


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("detectors: {rate_spice: {}}", "detectors.rate_spice", "did you mean 'rate_spike'?"),
        ("detectors: {credential_stuffing: {limitz: {}}}", "detectors.credential_stuffing.limitz", "'limits'"),
        ("projects: {a: {detectors: {rate_spice: {}}}}", "projects.a.detectors.rate_spice", "did you mean"),
        ("sources: [{topic: t, format: nginxx}]", "sources.0.format", "did you mean 'nginx'"),
        ("catalog: none.yaml", "catalog", "cannot be read"),
        (
            "kafka: {security: {protocol: SASL_SSL, mechanism: PLAIN, username: u, password_env: NO_SUCH_VARIABLE}}",
            "kafka.security.password_env",
            "NO_SUCH_VARIABLE is not set",
        ),
    ],
)  # fmt: skip
def test_what_a_worker_would_refuse_is_an_error_with_its_place(tmp_path: Path, text: str, path: str, said: str) -> None:
    """The mistake would show at the next restart, at night."""
    code, remarks, _ = _check(tmp_path, text)
    assert code == 2
    assert said in _of(remarks, "error")[path]


def test_all_errors_are_shown_at_once(tmp_path: Path) -> None:
    """An operator would mend one mistake after the other, a run for each."""
    _, remarks, _ = _check(tmp_path, "sources: [{topic: t, format: x}]\ndetectors: {a: {}, b: {}}\n")
    assert set(_of(remarks, "error")) == {"sources.0.format", "detectors.a", "detectors.b"}


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    """A typo in a key would be a traceback."""
    path = tmp_path / "gatewatch.yaml"
    path.write_text("sorces: []\n")
    result = CliRunner().invoke(app, ["check", "--config", str(path)])
    assert result.exit_code == 2
    assert result.stderr == f"error: {path} line 1: sorces: unknown key: did you mean 'sources'?\n"


def test_a_detector_that_a_format_blinds_is_named_with_the_cure() -> None:
    """A detector that can see nothing would look like a site without attacks."""
    data = {"sources": [{"topic": "t", "format": "native", "map": {"ts": "$.t"}}]}
    blind = [r["text"] for r in _remarks(data) if r["level"] == "warning"]
    assert any("credential_stuffing is blind on ip" in text and "log the client's address" in text for text in blind)
    assert not [r for r in _remarks({"sources": [{"topic": "t", "format": "native"}]}) if r["level"] == "warning"]


def test_a_block_that_nothing_enforces_is_said() -> None:
    """An operator would believe that attackers are stopped."""
    data: dict[str, Any] = {
        "sources": [{"topic": "t", "format": "native"}],
        "projects": {"a": {"detectors": {"credential_stuffing": {"mode": "block"}}}},
    }
    said = {r["path"]: r["text"] for r in _remarks(data) if r["level"] == "warning"}
    assert "stop nobody" in said["enforce"]


def _enforcing(enforce: dict[str, Any], **block: str) -> dict[str, dict[str, str]]:
    """What is said of a credential_stuffing that blocks, by level and path."""
    data = {
        "sources": [{"topic": "t", "format": "native"}],
        "detectors": {"credential_stuffing": {"mode": "block", "block": block}},
        "enforce": enforce,
    }
    remarks = _remarks(data)
    return {level: _of(remarks, level) for level in ("error", "warning")}


def test_a_block_on_a_scope_that_no_gateway_can_stop_is_refused() -> None:
    """A block would be ordered, written, shown as active, and would stop nobody."""
    edge: dict[str, Any] = {"bouncers": {"edge": {"key_env": "K"}}}
    place = "detectors.credential_stuffing"
    assert "nothing enforces a block on account" in _enforcing(edge, scope="account")["error"][place]
    assert "nothing enforces a block on ip" in _enforcing({}, scope="ip")["error"][place]
    own = {"gateways": {"own": {"reads_topic": True, "enforces": ["account"]}}}
    for good in (_enforcing(edge, scope="ip"), _enforcing(own, scope="account")):
        assert place not in good["error"]
        assert place not in good["warning"]


def test_a_block_that_only_some_of_its_scopes_lose_is_a_warning() -> None:
    """Half of a detector's orders would stop nobody, without a word."""
    data = {
        "detectors": {"rate_spike": {"mode": "block"}},
        "enforce": {"bouncers": {"edge": {"key_env": "K"}}},
    }
    said = _of(_remarks(data), "warning")["detectors.rate_spike"]
    assert said.startswith("nothing enforces a block on principal: name a gateway")
    data["enforce"] = {"gateways": {"edge": {"identify": {"principal_header": "x-consumer"}}}}
    assert "detectors.rate_spike" not in _of(_remarks(data), "warning")


def test_a_gateway_that_cannot_tell_a_principal_cannot_enforce_one() -> None:
    """A gateway would be trusted to stop a customer whom it cannot tell from others."""
    with pytest.raises(ConfigError, match="does not say where principal stands"):
        parse({"enforce": {"gateways": {"edge": {"enforces": ["principal"]}}}}, Settings)


def test_the_blind_spots_of_a_format_are_told_without_a_settings_file() -> None:
    """Who chooses what to log would learn what is missing only after an attack."""
    result = CliRunner().invoke(app, ["check", "--format", "combined", "--json"])
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    leaked = [row for row in found if row["detector"] == "leaked_key" and row["scope"] == "credential"]
    assert leaked[0]["fields"] == ["credential"]
    assert "API key" in leaked[0]["how"]
    assert "blind" in CliRunner().invoke(app, ["check", "--format", "native"]).stdout
    assert CliRunner().invoke(app, ["check", "--format", "nginxx"]).exit_code == 2


def test_slow_detectors_are_named_with_the_role_that_runs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who starts roles one by one would leave out the one that runs a team's own detector, and never hear of it."""
    assert not any("detect-slow" in remark["text"] for remark in _remarks({}))
    examples = Path(__file__).resolve().parents[3] / "examples" / "detectors"
    monkeypatch.setattr(gatewatch.detectors, "__path__", [str(examples), *gatewatch.detectors.__path__])
    said = [remark["text"] for remark in _remarks({"detectors": {"odd_sizes": {"mode": "off"}}})]
    assert "night_owl: run by role detect-slow, in a group of its own" in said


def _warned(data: dict[str, Any]) -> dict[str, str]:
    return _of(_remarks(data), "warning")


def test_buttons_that_nobody_may_press_are_said() -> None:
    """At night every press would be refused."""
    slack = {"channel": "#abuse", "token_env": "T", "buttons": {"app_token_env": "A"}}
    data: dict[str, Any] = {"notify": {"slack": slack, "receivers": {"sre": {"slack": slack}}}}
    places = {"notify.slack.buttons", "notify.receivers.sre.slack.buttons"}
    assert places <= {path for path, text in _warned(data).items() if "nobody may press" in text}
    assert places.isdisjoint(_warned(data | {"verdicts": {"actors": [{"name": "ana", "slack": "U042"}]}}))
    quiet = {"notify": {"slack": {"channel": "#abuse", "token_env": "T"}}}
    assert places.isdisjoint(_warned(quiet)), "without buttons there is nothing to press"


@pytest.mark.parametrize(
    ("actors", "says"),
    [
        ([], "nobody may approve"),
        (["ana"], "only ana may approve"),
        (["ana", {"name": "ben", "approve": False}], "only ana may approve"),
        (["ana", "ben"], None),
    ],
)
def test_approval_that_too_few_can_give_is_said(actors: list[Any], says: str | None) -> None:
    """An order would wait for a second person whom there is not, and the attack would go on."""
    block = {"detectors": {"credential_stuffing": {"mode": "block", "block": {"approval": True}}}}
    said = _warned({"projects": {"billing": block}, "verdicts": {"actors": actors}}).get("verdicts.actors")
    assert (said is None) if says is None else (said is not None and says in said and "in billing" in said)


def test_an_allow_entry_that_ran_out_is_said() -> None:
    """A load test would be blocked, and nobody would know why the entry did not help."""
    entry = {"ip": "203.0.113.7", "owner": "sre", "reason": "load test", "until": "2020-01-31"}
    said = {r["path"]: r["text"] for r in _remarks({"guards": {"allow": [entry]}}) if r["level"] == "warning"}
    assert "203.0.113.7 of sre ran out" in said["guards.allow.0"]


def test_every_detector_off_is_a_warning_and_strict_makes_it_count(tmp_path: Path) -> None:
    """A settings file could switch everything off and be called fine."""
    off = ", ".join(f"{name}: {{mode: 'off'}}" for name in load_all())
    text = f"sources: [{{topic: t, format: native}}]\ndetectors: {{{off}}}\n"
    code, remarks, _ = _check(tmp_path, text)
    assert code == 0
    assert "nothing will be found" in _of(remarks, "warning")["detectors"]
    assert _check(tmp_path, text, "--strict")[0] == 1


def test_online_says_what_to_do_when_no_broker_answers(tmp_path: Path) -> None:
    """An unreachable Kafka would be a traceback or an endless wait."""
    path = tmp_path / "gatewatch.yaml"
    path.write_text(
        "kafka: {bootstrap: ['127.0.0.1:1'], bootstrap_timeout: 1}\nsources: [{topic: t, format: native}]\n"
    )
    result = subprocess.run(
        [sys.executable, "-m", "gatewatch", "check", "--config", str(path), "--json", "--online"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 2
    assert "127.0.0.1:1" in _of(json.loads(result.stdout)["remarks"], "error")["kafka"]


def test_the_printed_page_counts_what_was_found(tmp_path: Path) -> None:
    """The last line, which people read, would say something else than the exit code."""
    path = tmp_path / "gatewatch.yaml"
    path.write_text("detectors: {nobody: {}}\n")
    result = CliRunner().invoke(app, ["check", "--config", str(path)])
    assert result.exit_code == 2
    assert "1 errors, 1 warnings" in result.output
