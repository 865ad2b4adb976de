"""docs/alerts.md shows what receivers really send."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewatch.testing.alerts_page import page

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def made() -> tuple[str, dict[str, str]]:
    """The page and its pictures, as they would be written now."""
    return page()


def test_the_page_is_made_from_the_code(made: tuple[str, dict[str, str]]) -> None:
    """Otherwise a reader builds on a payload that is not sent any more (`make docs` writes the page)."""
    assert (DOCS / "alerts.md").read_text(encoding="utf-8") == made[0]


def test_the_pictures_are_made_from_the_code(made: tuple[str, dict[str, str]]) -> None:
    """Otherwise a reader sees a message that does not look like that any more."""
    stored = {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "img").glob("alert-*.svg")}
    assert stored == made[1]


def test_what_the_attacker_wrote_is_inert_in_every_picture(made: tuple[str, dict[str, str]]) -> None:
    """Otherwise the page that says how safe it is shows that it is not."""
    for name, image in made[1].items():
        assert "https://evil.example" not in image, name
        assert "<!channel>" not in image, name
