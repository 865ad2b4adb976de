"""Kinds of characters tell an injection from a name, and give nothing else away."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewatch.events.batch import FLOATS, ROUTED
from gatewatch.events.kinds import KINDS, kinds_of
from gatewatch.events.shape import shape_of


def names(kinds: int) -> set[str]:
    """The kinds by name."""
    return {name for bit, name in enumerate(KINDS) if kinds >> bit & 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Marvin42", set()),
        ("1' or '1'='1", {"space", "'", "="}),
        ("<script>alert(1)</script>", {"< >", "( )", "/"}),
        ("../../etc/passwd", {".", "/", ".."}),
        ("a\r\nSIGNOUT: x", {"line break or tab", ":", "space"}),
        ("null\x00byte", {"control character"}),
        ("naïve", {"not ASCII"}),
        ("\ud800", {"?"}),  # a lone surrogate is no character: it is replaced, as everywhere
    ],
)
def test_each_kind_is_seen(text: str, expected: set[str]) -> None:
    """If this fails, an injection of this kind looks like any other value."""
    assert names(kinds_of([text])) == expected


@given(st.lists(st.text(max_size=8), max_size=5))
def test_strings_add_up_and_do_not_run_together(strings: list[str]) -> None:
    """If this fails, two harmless values beside each other make a suspicious one, or one hides another."""
    alone = 0
    for text in strings:
        alone |= kinds_of([text])
    assert kinds_of(strings) == alone


@given(st.text(alphabet=string.ascii_letters + string.digits))
def test_letters_and_digits_leave_nothing(text: str) -> None:
    """If this fails, something of what people write stands in a topic."""
    assert kinds_of([text]) == 0


def test_a_body_has_the_kinds_of_its_strings_and_not_of_its_own_syntax() -> None:
    """If this fails, every JSON body has brackets and quotes, and an injected one is nothing new."""
    assert names(shape_of(b'{"q": ["ada", 1.5, {"r": "o\'neill"}], "t": null}').kinds or 0) == {"'"}
    assert names(shape_of(b"q=1'--").kinds or 0) == {"'", "-", "--", "="}
    assert names(shape_of('"{not json}"').kinds or 0) == {"{ }", "space"}
    assert shape_of(b"84").kinds is None


def test_all_kinds_fit_the_column() -> None:
    """If this fails, kinds get lost on the way to detectors."""
    assert len(KINDS) == len(set(KINDS)) <= 53
    assert "shape_kinds" in FLOATS
    assert ROUTED.names[-1] == "shape_kinds"  # its bit in the header of batches written before stays free
