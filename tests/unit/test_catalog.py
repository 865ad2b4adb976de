"""Who owns what."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewatch.catalog import Catalog, Sensitivity, Watched, load
from gatewatch.errors import ConfigError

TEXT = """
projects:
  billing: {owner: team-billing, escalation: "#billing", sensitivity: low}
  search: {escalation: "#search"}
endpoints:
  /v1/chat: {owner: ml-platform}
models:
  fraud: {owner: team-risk, sensitivity: high}
principals:
  batch-7: {owner: team-batch}
restricted: {endpoints: [/v1/fine-tunes]}
canary: {models: [trap]}
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """A small one, from a file."""
    path = tmp_path / "catalog.yaml"
    path.write_text(TEXT)
    return load(path)


def test_who_acts_is_the_owner_of_what_is_attacked(catalog: Catalog) -> None:
    """If this fails, the team that runs the attacked endpoint hears of it last."""
    found = catalog.lookup("billing", "/v1/chat", "fraud", "batch-7")
    assert (found.owner, found.escalation) == ("ml-platform", "#billing")
    assert found.sensitivity is Sensitivity.HIGH  # the highest of all that have one
    assert catalog.lookup(model="fraud").owner == "team-risk"
    assert catalog.lookup("other", principal="batch-7").owner == "team-batch"
    assert catalog.lookup("billing").sensitivity is Sensitivity.LOW


def test_what_is_restricted_and_what_is_a_canary_is_said(catalog: Catalog) -> None:
    """If this fails, a touch of a trap looks like any other request."""
    assert catalog.lookup(endpoint="/v1/fine-tunes").restricted
    assert catalog.lookup(model="trap").canary
    assert not catalog.lookup(endpoint="/v1/chat", model="fraud").canary


def test_that_nobody_owns_something_is_said_only_where_there_is_a_catalog(catalog: Catalog) -> None:
    """If this fails, a forgotten project stays forgotten, or a site without a catalog reads a note in each alert."""
    assert catalog.lookup("search").note == "nobody owns project search in the catalog"
    assert catalog.lookup(endpoint="/x").note == "nobody owns endpoint /x in the catalog"
    assert catalog.lookup("billing").note is None
    assert "name no project" in str(catalog.lookup().note)
    assert Catalog.load(None).lookup("search").note is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("projects: {a: {ownr: x}}", r"projects\.a\.ownr: unknown key: did you mean 'owner'"),
        ("project: {}", r"project: unknown key: did you mean 'projects'"),
        ("models: {m: {sensitivity: extreme}}", r"models\.m\.sensitivity"),
        ("[1]", "must be a mapping"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_wrong_catalog_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    """If this fails, a misspelt owner is nobody and the page goes nowhere."""
    path = tmp_path / "catalog.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(path)


def test_a_hash_tells_catalogs_apart_and_is_the_same_everywhere(catalog: Catalog, tmp_path: Path) -> None:
    """If this fails, nobody can say which owners held when an alert was made."""
    path = tmp_path / "other.yaml"
    path.write_text(TEXT.replace("[trap]", "[trap, a, b, c, d]"))
    other = load(path)
    assert len({catalog.hash, other.hash, Catalog().hash}) == 3
    assert (Catalog().hash, len(other.hash)) == ("", 8)
    path.write_text(TEXT.replace("[trap]", "[d, c, b, a, trap]"))
    assert load(path).hash == other.hash == "e6bd13dc"


def test_what_nobody_owns_is_listed(catalog: Catalog) -> None:
    """If this fails, the first alert on a forgotten project tells that nobody owns it."""
    assert list(catalog.unowned(["new", "billing"])) == [
        "project new", "project search", "endpoint /v1/fine-tunes", "model trap",
    ]  # fmt: skip


def test_a_changed_file_is_read_again_and_a_wrong_one_refused_once(tmp_path: Path) -> None:
    """If this fails, a new on-call rota needs a restart; or a typing error takes all owners away."""
    path = tmp_path / "catalog.yaml"
    path.write_text(TEXT)
    watched = Watched(path)
    assert watched.changed() is None
    path.write_text("projects: {billing: {owner: somebody-else}}")
    changed = watched.changed()
    assert changed is not None
    assert changed.lookup("billing").owner == "somebody-else"
    assert watched.changed() is None
    path.write_text("projects: {billing: {ownr: x}}")
    with pytest.raises(ConfigError, match="ownr"):
        watched.changed()
    assert watched.changed() is None
    path.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        watched.changed()
    path.write_text(TEXT)
    assert watched.changed() is not None
    assert Watched(None).changed() is None


def test_a_catalog_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """If this fails, a wrong path means a site without owners, in silence."""
    with pytest.raises(ConfigError, match="cannot be read"):
        Catalog.load(tmp_path / "none.yaml")
