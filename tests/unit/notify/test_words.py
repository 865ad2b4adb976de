"""What an alert says: numbers with comparison, steps with the alert's own values, nothing of a stranger's alive."""

from __future__ import annotations

import unicodedata
from dataclasses import astuple, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewatch import registry
from gatewatch.notify.notice import Notice
from gatewatch.notify.words import SPARK_CELLS, measured, shown, spark, steps_of, visible, words_of
from gatewatch.records import ContributionModel, Scope, Severity, Status
from gatewatch.testing.alerts import NOW, PLAYBOOK, alert, incident, notice

HOSTILE = {
    "mention": "<!channel> <@U042> <!subteam^S1>",
    "link": "<https://evil.test|click> http://evil.test HTTPS://evil.test",
    "markup": "*bold* _it_ ~no~ `code` <b onclick=x>",
    "rtl": "\u202egnp.exe \u200f\u2066x\u2069 a\u061cb",
    "invisible": "a\u200bb\ufeffc\u00add\U000e0041",
    "newlines": "one\r\ntwo\n\nthree\u2028four\u2029five\x85six",
    "control": "\x00\x1b[2J\x07\x9b",
    "long": "x" * 100_000,
    "template": "{key} {{ .Labels }} ${HOME} %s `key`",
}
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def texts(told: Notice) -> list[str]:
    """Every text that a receiver may take from the words."""
    found: list[str] = []
    for part in astuple(words_of(told)):
        for item in part if isinstance(part, tuple) else (part,):
            found += item if isinstance(item, tuple) else (item,)
    return found


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize(
    "field",
    [
        "key",
        "summary",
        "title",
        "project",
        "owner",
        "baseline",
        "counterfactual",
        "unit",
        "escalation",
        "context",
        "samples",
    ],
)
def test_what_a_stranger_writes_is_one_line_cut_and_without_links(field: str, kind: str) -> None:
    """If this fails, somebody's user agent moves, hides or adds to what the person on call reads."""
    text = HOSTILE[kind]
    values: dict[str, Any] = {"context": {"user_agent": text, text[:40]: text}, "samples": (text,)}
    told = replace(
        notice(**{field: values.get(field, text)}),
        playbook=PLAYBOOK + "4. Look at {user_agent} and `context.user_agent`.\n",
    )
    for said in (told, replace(told, incident=incident(told.alert, story=text, title=text, owner=text))):
        for part in texts(said):
            assert not [c for c in part if unicodedata.category(c) in _UNSEEN]
            assert len(part) <= 1000
            assert "http://" not in part.lower()
            assert "https://" not in part.lower()


@given(st.text(max_size=400), st.integers(1, 300))
def test_visible_text_is_bounded_and_stays_as_it_is(text: str, most: int) -> None:
    """If this fails, a message is larger than its sink takes, or escaping twice changes it."""
    for clean in (visible(text, most), shown(text, most)):
        assert len(clean) <= most
        assert visible(clean, most) == clean


def test_numbers_come_with_unit_time_and_comparison() -> None:
    """If this fails, the reader cannot say whether 412 is much."""
    assert measured(alert()) == "412 accounts over 10 min; expected 2, 206 times as many"
    assert measured(alert(observed=1234567.8, expected=0.0, window_s=0.0)) == "1,234,568 accounts; expected 0"


def test_steps_have_the_alerts_own_values() -> None:
    """If this fails, the first thing to do cannot be done from a phone: the reader must look the values up."""
    text = (
        "1. Look at `key` and `context.user_agent`, since `first_ts`,\n   twice.\n"
        "2. Block {key}; ask {nobody}.\n"
        "3. Compare `observed` with `expected` over {window_s}; with scope `ip` read the parts.\n"
        "4. Ask `owner`, else escalate to `escalation`.\n\nThis is no step.\n"
    )
    assert steps_of(alert(owner="team"), text) == [
        "Look at ip 203.0.113.9 and user agent (curl/8), since 2027-01-15 07:58:30 UTC, twice.",
        "Block 203.0.113.9; ask unknown.",
        "Compare observed (412 accounts) with expected (2 accounts) over 10 min; with scope ip read the parts.",
        "Ask owner (team), else escalate to whoever decides (the catalog names nobody).",
    ]


def test_what_guards_need_has_words_and_units() -> None:
    """If this fails, the reader sees "share 0.0120" at night."""
    told = alert(context={"share": "0.0120", "healthy_principals": "3", "ja4": "t13d"}, series=(2.0, 3.0, 412.0))
    words = words_of(Notice("a", "a", 1, told))
    details = dict(words.details)
    assert details["share of what is served"] == "1.2 %"
    assert details["callers in good health there"] == "3"
    assert dict(words.facts)["How sure"] == "42.0 nats of surprise; 9.2 are enough for an alert"
    assert words.spark == "▁▁█ 412 requests a minute now, 412 at most in the last 15 min"
    odd = alert(context={"share": "most"})
    assert dict(words_of(Notice("a", "a", 1, odd)).details)["share of what is served"] == "most"


def test_a_step_repeats_nothing_and_nests_no_brackets() -> None:
    """If this fails, the first step is four lines of what stands above it, and the reader scrolls on a phone."""
    told = alert(context={"credential": "k-1", "model": "small"})
    [step] = steps_of(told, "1. Read `baseline`; revoke its credentials (`context.credential`, `model`) at `model`.")
    expected = (
        "Read baseline (see Compared with); revoke its credentials (credential k-1, model small) at model (small)."
    )
    assert step == expected


def test_what_says_nothing_is_left_out() -> None:
    """If this fails, "0 %" and "+0.0 nats" take the place of what matters on the first screen."""
    parts = (
        ContributionModel(name="window", nats=23.4, text="168 USD an hour"),
        ContributionModel(name="season", nats=0.0, text="1.00 times the mean"),
    )
    words = words_of(Notice("a", "a", 1, alert(context={"share": "0.0000"}, contributions=parts)))
    assert "share of what is served" not in dict(words.details)
    assert words.why == ("168 USD an hour (+23.4 nats)",)


@pytest.mark.parametrize(
    ("scope", "done"),
    [
        (Scope.IP, "nothing: mode block would stop it"),
        (Scope.ENDPOINT, "nothing: it names no caller that a gateway could stop"),
        (Scope.ALL, "nothing: it names no caller that a gateway could stop"),
    ],
)
def test_a_block_is_offered_only_where_one_can_be(scope: Scope, done: str) -> None:
    """If this fails, somebody sets mode block at night for an alert about an endpoint, and nothing changes."""
    assert dict(words_of(Notice("a", "a", 1, alert(scope=scope))).facts)["Done"] == done


def test_one_is_one() -> None:
    """If this fails, people read "1 accounts over 14.9 min" and doubt the rest."""
    told = alert(observed=1.0, expected=0.2857, window_s=893.0)
    assert measured(told) == "1 account over 15 min; expected 0.29, 4 times as many"


@pytest.mark.parametrize("name", registry.names())
def test_every_playbook_has_steps_that_can_be_filled(name: str) -> None:
    """If this fails, an alert of that detector says what happens and not what to do."""
    steps = steps_of(alert(detector=name), registry.load(name).playbook)
    assert 2 <= len(steps) <= 5
    assert "203.0.113.9" in " ".join(steps)


@pytest.mark.parametrize(
    ("series", "picture"),
    [
        ((), ""),
        ((0.0, 0.0), ""),
        ((float("nan"), -1.0), ""),
        ((1.0, float("inf")), ""),
        ((5.0, 5.0), "██"),
        (tuple(range(8)), "▁▂▃▄▅▆▇█"),
    ],
)
def test_a_rate_as_bars(series: tuple[float, ...], picture: str) -> None:
    """If this fails, the picture is missing, or a strange number ends the notify role."""
    assert spark(series) == picture
    assert len(spark([float(i) for i in range(1, 1000)])) == SPARK_CELLS


def test_a_peak_survives_being_made_small() -> None:
    """If this fails, a burst of one minute does not show in a picture of a day."""
    assert "█" in spark([1.0] * 700 + [50.0] + [1.0] * 739)


def test_an_incident_is_as_grave_and_as_open_as_it_says() -> None:
    """If this fails, a message is green while the attack goes on."""
    grave = alert(id="a", severity=Severity.CRITICAL, status=Status.RESOLVED)
    going_on = alert(id="b", severity=Severity.MEDIUM)
    both = replace(notice(), members=(going_on, grave), alert=grave)
    assert (both.severity, both.status) == (Severity.MEDIUM, Status.UPDATED)
    over = replace(both, members=(grave,))
    assert (over.severity, over.status) == (Severity.CRITICAL, Status.RESOLVED)
    whole = incident(going_on, grave, severity=Severity.HIGH, last_ts=NOW)
    assert replace(both, incident=whole).severity is Severity.HIGH
