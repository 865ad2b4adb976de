"""What people call a row of a rollup, and the way back: from the key of an alert to the keys of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from gatewatch.events.event import TEXT_CAP
from gatewatch.events.rollup import Kind
from gatewatch.records import Scope
from gatewatch.state.hashing import HashSeed, hash_text, mix

NAME_CAP = 4 * TEXT_CAP  # characters: no row has a longer name, and each space in one costs two hashes


def name_of(kind: Kind, label: Mapping[str, str]) -> str:
    """All, a project, an endpoint with its model, a user agent with the network's number."""
    if kind is Kind.ALL:
        return "all"
    if kind is Kind.PROJECT:
        return label.get("project", "")
    if kind is Kind.ENDPOINT:
        return " ".join(label[name] for name in ("endpoint", "model") if name in label)
    return " ".join((label.get("user_agent", ""), f"AS{label['asn']}" if "asn" in label else "")).strip()


def keys_of(scope: Scope, name: str, seed: HashSeed) -> Iterator[int]:
    """Keys of rows that are called so; none for a scope that no row has.

    An endpoint and its model are told apart by nothing but a space, which both may hold: each place may be the one.
    Keys that no row has among them do no harm, a hash is met by chance once in 2^64.

    >>> from gatewatch.testing.batches import SEED
    >>> list(keys_of(Scope.ALL, "all", SEED)), len(set(keys_of(Scope.ENDPOINT, "/v1/chat large 2", SEED)))
    ([0], 4)
    """
    if scope is Scope.ALL:
        yield 0
    elif scope is Scope.PROJECT:
        yield hash_text(name, seed)
    elif scope is Scope.ENDPOINT and len(name) <= NAME_CAP:
        words = name.split(" ")
        for n in range(len(words) + 1):
            endpoint, model = " ".join(words[:n]) or None, " ".join(words[n:]) or None
            yield int(mix(np.uint64(hash_text(endpoint, seed)), np.uint64(hash_text(model, seed))))
