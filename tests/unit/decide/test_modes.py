"""Which mode holds, and how text of strangers is shown."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewatch.decide import modes
from gatewatch.decide.text import clean
from gatewatch.records import Action, Finding, Mode, Scope
from gatewatch.registry import Defaults, Entry
from gatewatch.settings import BlockSettings, Settings

MODES = st.one_of(st.none(), st.sampled_from(list(Mode)))


@given(default=st.sampled_from(list(Mode)), detector=MODES, project=MODES, learned=st.booleans(), warm=st.booleans())
def test_the_most_specific_mode_holds_and_a_cold_baseline_stays_in_shadow(
    entries: dict[str, Entry],
    make_finding: Callable[..., Finding],
    default: Mode,
    detector: Mode | None,
    project: Mode | None,
    learned: bool,
    warm: bool,
) -> None:
    """If this fails, somebody is blocked in a project that chose to be alerted only, or on no baseline at all."""
    old = entries["door_knocker"]
    entry = Entry(old.name, old.detector, Defaults(mode=default), old.playbook, old.folder)
    settings = Settings.model_validate(
        {
            "detectors": {"door_knocker": {"mode": detector}},
            "projects": {"shop": {"detectors": {"door_knocker": {"mode": project}}}},
        }
    )
    finding = make_finding(0.0, project="shop", learned=learned, warm=warm)
    wanted = project or detector or default
    capped = min(wanted, Mode.SHADOW, key=modes.rank) if learned and not warm else wanted
    assert modes.of(settings, {"door_knocker": entry}, finding) is capped
    elsewhere = make_finding(0.0, project="other", learned=False)
    assert modes.of(settings, {"door_knocker": entry}, elsewhere) is (detector or default)


def test_a_detector_that_is_not_installed_here_is_off(make_finding: Callable[..., Finding]) -> None:
    """If this fails, decide falls over findings of a detector that another worker has and it has not."""
    assert modes.of(Settings(), {}, make_finding(0.0)) is Mode.OFF


def test_each_block_setting_comes_from_the_most_specific_place_that_names_it(entries: dict[str, Entry]) -> None:
    """If this fails, a user who changes the ttl also, without knowing, changes whom a detector blocks."""
    old = entries["door_knocker"]
    defaults = Defaults(block=BlockSettings(scope=Scope.IP, ttl=60.0, action=Action.THROTTLE))
    entry = {"door_knocker": Entry(old.name, old.detector, defaults, old.playbook, old.folder)}
    settings = Settings.model_validate(
        {
            "detectors": {"door_knocker": {"block": {"ttl": "2m"}}},
            "projects": {"shop": {"detectors": {"door_knocker": {"block": {"action": "block"}}}}},
        }
    )
    merged = modes.block_settings(settings, entry, "door_knocker", "shop")
    assert (merged.scope, merged.ttl, merged.action) == (Scope.IP, 120.0, Action.BLOCK)
    general = modes.block_settings(settings, entry, "door_knocker", None)
    assert (general.scope, general.ttl, general.action) == (Scope.IP, 120.0, Action.THROTTLE)


@given(st.text(), st.integers(1, 200))
def test_a_cleaned_text_is_one_printable_line_of_bounded_length(text: str, cap: int) -> None:
    """If this fails, what a stranger typed moves a cursor, hides text or fills a page."""
    line = clean(text, cap)
    assert len(line) <= cap
    assert "\n" not in line
    assert not any(0x202A <= ord(c) <= 0x202E or 0x2066 <= ord(c) <= 0x2069 or ord(c) < 0x20 for c in line)


@pytest.mark.parametrize("text", ["root", "alice@example.com", "Zoë Müller", "日本語", "a_b-c.d/e"])
def test_ordinary_names_stay_as_they_are(text: str) -> None:
    """If this fails, people search for a name that does not exist."""
    assert clean(text) == text
