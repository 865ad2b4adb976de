"""Bare secrets never leave ingest: they become ``sha256:<hex>``, which still tells two keys apart."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from itertools import pairwise
from urllib.parse import unquote

# Prefixes by which vendors make their secrets recognisable; those that are also words need a digit behind them
_PREFIX = re.compile(
    r"(?:sk|rk)[-_](?=.{12})|(?:pk|ak|key|tok)[-_](?=.{12})(?=.*\d)(?=\S+$)|sk-ant-|gh[pousr]_|github_pat_|glpat-"
    r"|xox[abeoprs]-|xapp-|AIza|ya29\.|hf_|nvapi-|gsk_|r8_|pplx-|xai-|npm_|shpat_|dop_v1_|SG\.|whsec_|eyJ[\w-]{6}"
)
_SCHEME = re.compile(r"(?:bearer|basic|token|apikey|api-key|key)\s+", re.IGNORECASE)
# A scheme and one word that is long enough for a secret: "Bearer x..." is one, "Key Account Manager" is not
_WITH_SCHEME = re.compile(r"(?:(?:bearer|basic)\s+\S+|(?:token|apikey|api-key|key)\s+\S{16,})\s*", re.IGNORECASE)
# The same within a text; a word of eight letters at least: "basic auth" is none
_AUTHORIZATION = re.compile(r"\b(?:bearer|basic)\s+[\w\-+/=.~]{8,}", re.IGNORECASE)
_WORD = re.compile(r"[^\s/?#&;,:=@|()<>\[\]{}'\"]+")
_UNBROKEN = re.compile(r"[A-Za-z0-9]{16,}")
_SHOWN = len("sha256:") + 12  # of a hash in a text: 48 bits tell the keys of one site apart
_HEX = re.compile(r"[0-9a-fA-F-]+")
_TOKEN = re.compile(r"[A-Za-z0-9_\-+/=.~]{24,}")
_RUN = re.compile(r"[a-z0-9]{32,}|[A-Z0-9]{32,}")
_HASHED = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")
# Identifiers in words have about 3 bits a character, random base64 of 24 or more characters over 4.
_RANDOM_BITS = 3.9
# Letters and digits of one case, drawn at random, change between the two at least at every sixth place; names do not.
_CHANGES = 1 / 6


def hash_secret(text: str) -> str:
    """``sha256:`` and the hash of a secret, whatever it looks like. An auth scheme before it is taken off.

    >>> hash_secret("Bearer abc") == hash_secret("abc")
    True
    """
    bare = _SCHEME.sub("", text.strip(), count=1)
    return "sha256:" + hashlib.sha256(bare.encode(errors="replace")).hexdigest()


def hashed_id(text: str) -> str:
    """The same for a field that holds a hash by its contract: what is a SHA-256 already passes.

    Never for what a client sends: who knows the hash of a key would pass for its owner.

    >>> hashed_id("AB" * 32) == "sha256:" + "ab" * 32
    True
    """
    hashed = _HASHED.fullmatch(text.strip())
    return "sha256:" + hashed[1].lower() if hashed else hash_secret(text)


def looks_secret(text: str) -> bool:
    """Whether an identifier is probably a bare secret: a known prefix, an auth scheme, or a long random token.

    Hashes, UUIDs and hex ids are not; neither are names, addresses and ARNs. An id drawn at random from letters of both
    cases and digits cannot be told from a secret, and counts as one.

    Cost: 0.5 us for a short name, 5 us for a long token: once for each distinct value.

    >>> [looks_secret(t) for t in ("sk-proj-abcdefghijkl", "customer-7", "0f8fad5b-d9cb-469f-a165-70867728950e")]
    [True, False, False]
    """
    if _PREFIX.match(text) or _WITH_SCHEME.fullmatch(text):
        return True
    if len(text) < 24 or _HEX.fullmatch(text) or not _TOKEN.fullmatch(text):
        return False
    if _RUN.fullmatch(text):
        return _changes(text) >= _CHANGES and _bits(text) >= _RANDOM_BITS
    has_all = any(c.isdigit() for c in text) and any(c.islower() for c in text) and any(c.isupper() for c in text)
    return has_all and _bits(text) >= _RANDOM_BITS


def hide_name(text: str) -> str:
    """A name (of a principal, an account, a session) as events keep it: a secret as a whole becomes its whole hash.

    >>> hide_name("customer-7"), hide_name("sk-live-0123456789ab") == hash_secret("sk-live-0123456789ab")
    ('customer-7', True)
    """
    return hash_secret(text) if looks_secret(text) else hide_secrets(text, random=False)


def hide_secrets(text: str, *, random: bool) -> str:
    """A text of a client's in which each word that is probably a bare secret has become the start of its hash.

    Args:
        text: a path, a user agent, a name: clients put keys into all of them.
        random: also hide words that are long and random in an unbroken run, which names of models never are. False
            where such words are names that a gateway must recognise.

    Cost: 1 us for each word.

    >>> hide_secrets("/v1/keys/sk-live-0123456789ab/usage", random=True)
    '/v1/keys/sha256:3c68aa489cc4/usage'
    >>> hide_secrets("curl/8.1 (Basic dXNlcjpwYXNz)", random=True)
    'curl/8.1 (sha256:0e9d220616f0)'
    """

    def hidden(found: re.Match[str]) -> str:
        word = unquote(found[0])
        is_random = random and _UNBROKEN.search(word) is not None and looks_secret(word)
        return hash_secret(word)[:_SHOWN] if is_random or _PREFIX.match(word) else found[0]

    return _WORD.sub(hidden, _AUTHORIZATION.sub(lambda found: hash_secret(found[0])[:_SHOWN], text))


def _bits(text: str) -> float:
    """Shannon entropy, bits a character."""
    n = len(text)
    return -sum(k / n * math.log2(k / n) for k in Counter(text).values())


def _changes(text: str) -> float:
    """How often letters and digits alternate, of all places."""
    return sum(a.isdigit() != b.isdigit() for a, b in pairwise(text)) / (len(text) - 1)
