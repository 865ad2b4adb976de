"""Bare secrets in what clients and gateways write become hashes, in every column of text, before anything is kept.

Three rules, because what a column is for differs:

- a *name* (who it is) that is a secret as a whole becomes its whole hash: still one key, and nobody's secret;
- a *text* of the client's (path, user agent) loses each word that has the form of a secret, or is long and random;
- a *label* (a model, a project) loses words that have the form of a secret: model names are long, and must stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from gatewatch.events.secrets import hide_name, hide_secrets

NAMES = ("principal", "credential", "account", "session")
TEXTS = ("path", "endpoint", "user_agent", "error")
LABELS = (
    "request_id", "method", "project", "country", "ja4", "model", "model_version", "provider", "label", "finish_reason",
)  # fmt: skip
LISTS = ("features",)  # of labels; names of fields are cleaned where a body is looked at

_CACHE_CAP = 100_000  # distinct values of each rule remembered between batches: some 30 MB
# What a text without a secret rarely has: only where Arrow finds this are words looked at one by one, in Python. It is
# wider than the rules for words in `events.secrets`, and a test holds it to them.
_FORM = (
    r"(?i:bearer|basic)\s|%|(?:sk|rk|pk|ak|key|tok)[-_]|gh[pousr]_|github_pat_|glpat-|xox[a-z]-|xapp-"
    r"|AIza|ya29\.|hf_|nvapi-|gsk_|r8_|pplx-|xai-|npm_|shpat_|dop_v1_|SG\.|whsec_|eyJ"
)
_FORM_OR_RANDOM = rf"[A-Za-z0-9]{{16,}}|{_FORM}"


@dataclass(slots=True)
class Hider:
    """Applies the three rules; remembers what it worked out for values it has seen."""

    _names: dict[str, str] = field(default_factory=dict)
    _texts: dict[str, str] = field(default_factory=dict)
    _labels: dict[str, str] = field(default_factory=dict)

    def hide(self, columns: dict[str, pa.Array]) -> None:
        """Replace what must not be kept. Cost: 0.3 us a row, and 5-30 us for each new value that is suspicious."""
        for name in NAMES:
            columns[name] = _hidden(columns[name], hide_name, self._names, suspicious=None)
        for name in TEXTS:
            columns[name] = _hidden(columns[name], _text, self._texts, suspicious=_FORM_OR_RANDOM)
        for name in LABELS:
            columns[name] = _hidden(columns[name], _label, self._labels, suspicious=_FORM)
        for name in LISTS:
            lists = columns[name]
            if lists.null_count < len(lists):
                values = _hidden(lists.values, _label, self._labels, suspicious=_FORM)
                columns[name] = pa.ListArray.from_arrays(lists.offsets, values, mask=lists.is_null())


def _hidden(array: pa.Array, rule: Callable[[str], str], known: dict[str, str], *, suspicious: str | None) -> pa.Array:
    """The column with the rule applied to each distinct value, where given only to those that match ``suspicious``."""
    if array.null_count == len(array):
        return array
    if suspicious is not None and not pc.any(pc.match_substring_regex(array, pattern=suspicious)).as_py():
        return array
    encoded = array.dictionary_encode()
    distinct = encoded.dictionary.to_pylist()
    if len(known) + len(distinct) > _CACHE_CAP:
        known.clear()
    clean = [known.get(text) or known.setdefault(text, rule(text)) for text in distinct]
    return array if clean == distinct else pa.array(clean, pa.string()).take(encoded.indices)


def _text(text: str) -> str:
    return hide_secrets(text, random=True)


def _label(text: str) -> str:
    return hide_secrets(text, random=False)
