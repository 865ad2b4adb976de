"""Secrets in columns of text become hashes; what gateways and people must recognise stays."""

from __future__ import annotations

import string
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewatch.events.event import STRING_CAP, TEXT_CAP, AccessEvent, Shape
from gatewatch.events.secrets import hide_name, hide_secrets
from gatewatch.ingest.columns import Cleaner
from gatewatch.state.hashing import HashSeed

NAMES = ("principal", "credential", "account", "session")
TEXTS = ("path", "endpoint", "user_agent", "error")
LABELS = (
    "request_id", "method", "project", "country", "ja4", "model", "model_version", "provider", "label", "finish_reason",
)  # fmt: skip
COLUMNS = (*NAMES, *TEXTS, *LABELS)
OF_SHAPE = ("label", "finish_reason")
FORMED = "sk-live-Zx81kLmQ9vT2rB7nYc4dW6eH"
RANDOM = "Zx81kLmQ9vT2rB7nYc4dW6eHq3"
_PREFIXES = (
    "sk-",
    "rk_",
    "ghp_",
    "glpat-",
    "xoxb-",
    "AIza",
    "hf_",
    "SG.",
    "eyJ",
    "whsec_",
    "Bearer ",
    "basic ",
    "%73k-",
)
_WORDS = st.text(string.ascii_letters + string.digits + "-_=+.~%", min_size=0, max_size=40)
_TEXTS = st.lists(
    st.builds(str.__add__, st.sampled_from(("", *_PREFIXES)), _WORDS), min_size=1, max_size=6
).flatmap(lambda words: st.sampled_from("/ ;=:").map(lambda mark: mark.join(words)))  # fmt: skip


def hidden(values: Mapping[str, str | None], cleaner: Cleaner | None = None) -> dict[str, str | None]:
    """One event through the rules, beside another."""
    event = AccessEvent(ts=1.0, shape=Shape())
    for name, value in values.items():
        setattr(event.shape if name in OF_SHAPE else event, name, value)
    other = AccessEvent(ts=1.0, principal="other", path="/other")
    columns = (cleaner or Cleaner(HashSeed(1, 2))).columns([event, other])
    return {name: columns[name].to_pylist()[0] for name in values}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("around", ["{}", "key={}", "a ({}; b)", "x/{}/y", "Bearer {}"])
def test_what_has_the_form_of_a_secret_stands_in_no_column(column: str, around: str) -> None:
    """If this fails, a key that a client put into that field is in Kafka for a day, and in alerts for a month."""
    value = hidden({column: around.format(FORMED)})[column]
    assert value is not None
    assert FORMED not in value
    assert "sha256:" in value


@pytest.mark.parametrize("column", [*NAMES, *TEXTS])
def test_a_long_random_word_is_hidden_where_models_do_not_stand(column: str) -> None:
    """If this fails, the vendor whose keys have no prefix leaks them."""
    assert RANDOM not in str(hidden({column: RANDOM}))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("path", "/v1/models/meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ("path", "/openai/deployments/gpt-4o/chat/completions"),
        ("path", "/jobs/0f8fad5b-d9cb-469f-a165-70867728950e"),
        ("user_agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0"),
        ("user_agent", "AsyncOpenAI/Python 1.99.0"),
        ("model", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ("model", "ft:gpt-4o-mini-2024-07-18:acme::9dXyZ1Ab"),
        ("model", "us.anthropic.claude-3-5-sonnet-20241022-v2:0"),
        ("request_id", "chatcmpl-AbC123dEf456GhI789jKl012mNo3"),
        ("principal", "arn:aws:iam::123456789012:role/ModelRunner2Prod"),
        ("principal", "auth0|5f7c8ec7c33c6c004bbafe82"),
        ("account", "jean-pierre.dupont2024@Example-Company.com"),
        ("session", "s-1"),
        ("error", "rate limit of tenant acme-batch exceeded"),
        ("path", None),
    ],
)
def test_names_and_models_stay_readable(column: str, value: str | None) -> None:
    """If this fails, alerts name hashes that nobody can look up."""
    assert hidden({column: value}) == {column: value}


def test_features_asked_for_are_labels_too() -> None:
    """If this fails, a gateway whose map reads features from the wrong place publishes what stands there."""
    lists = [["tools", FORMED], None, [], ["logprobs"]]
    events = [AccessEvent(ts=1.0, features=features) for features in lists]
    clean = Cleaner(HashSeed(1, 2)).columns(events)["features"].to_pylist()
    assert clean[0][0] == "tools"
    assert clean[0][1].startswith("sha256:")
    assert clean[1:] == lists[1:]


def test_one_secret_is_one_hash_and_two_are_two() -> None:
    """If this fails, a sweep over a thousand capability URLs looks like one path, or one key like many."""
    cleaner = Cleaner(HashSeed(1, 2))
    first, again = (hidden({"path": f"/v1/{FORMED}/x"}, cleaner) for _ in range(2))
    assert first == again
    assert hidden({"path": f"/v1/{FORMED}2/x"}, cleaner) != first


@given(text=_TEXTS | st.text(max_size=60) | st.text(string.printable, max_size=60))
@example("xoxa-Zx81kLmQ9vT2")
@example("ya29.Zx81kLmQ9vT2")
@example("BEARER\x1cZx81kLmQ9vT2rB")
@example("api-key Zx81kLmQ9vT2rB7nYc")
def test_what_is_beyond_suspicion_is_what_the_rules_would_not_change(text: str) -> None:
    """If this fails, the rules would hide a secret and are not asked."""
    columns = ("user_agent", "error", "model", "request_id", "principal")
    text = text.encode(errors="replace").decode()
    wanted = {
        "user_agent": hide_secrets(text[:TEXT_CAP], random=True),
        "error": hide_secrets(text[:STRING_CAP], random=True),
        "model": hide_secrets(text[:STRING_CAP], random=False),
        "request_id": hide_secrets(text[:STRING_CAP], random=False),
        "principal": hide_name(text[:STRING_CAP]),
    }
    assert hidden(dict.fromkeys(columns, text)) == (dict.fromkeys(columns) if text in {"", "-"} else wanted)
