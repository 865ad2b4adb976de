"""What looks like a secret is hashed; what is an identifier stays readable."""

from __future__ import annotations

import hashlib
import random
import string
import uuid

import pytest

from gatewatch.events.secrets import hash_secret, hashed_id, looks_secret

BASE62 = string.ascii_letters + string.digits


def _random(alphabet: str, length: int, seed: int) -> str:
    rng = random.Random(seed)
    return "".join(rng.choice(alphabet) for _ in range(length))


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnop",
        "sk-ant-api03-abcdefghijkl",
        "sk_live_4242424242424242",
        "pk-lf-8f3c2b1a9d7e6f50",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "gho_16C7e42F292c6912E7710c838347Ae178B4a",
        "xoxb-123456789012-abcdefghijkl",
        "AIzaSyA-1234567890abcdefghijklmnopqrstu",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl",
        "Bearer abc",
        "basic dXNlcjpwYXNz",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY1",
        _random(string.ascii_lowercase + string.digits, 40, 7),
    ],
)
def test_secrets_are_recognised(secret: str) -> None:
    """If this fails, a customer's key stands readable in a topic, an alert, or Slack."""
    assert looks_secret(secret)


@pytest.mark.parametrize(
    "name",
    [
        "customer-7",
        "customer-service-prod-eu-west-1-batch-7",
        "svc-recommendation-engine-v2@acme-prod.iam.gserviceaccount.com",
        "arn:aws:iam::123456789012:role/ModelRunner2Prod",
        "Key Account Manager",
        "token service",
        "AKIAIOSFODNN7EXAMPLE",  # an id by its own documentation
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        "5f2d9b0c7a1e4c3f8b6d0a9e7c5b3a1f",
        "a" * 64,
        "sha256:" + "ab" * 32,
        "auth0|5f7c8ec7c33c6c004bbafe82",
        "spiffe://cluster.test/ns/default/sa/api",
        "jean-pierre.dupont2024@Example-Company.com",
        "litellm_proxy_master_key",
        "203.0.113.9",
        "",
    ],
)
def test_identifiers_stay_readable(name: str) -> None:
    """If this fails, alerts name a hash that nobody can look up, and no gateway can block it."""
    assert not looks_secret(name)


def test_random_tokens_are_recognised_and_random_ids_are_not() -> None:
    """If this fails, the vendor that has no prefix leaks, or every UUID becomes a hash."""
    tokens = [looks_secret(_random(BASE62, 32, seed)) for seed in range(300)]
    assert sum(tokens) >= 0.97 * len(tokens)
    rng = random.Random(1)
    ids = [str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(300)]
    assert not any(map(looks_secret, [*ids, *(i.replace("-", "") for i in ids), *(i.upper() for i in ids)]))


def test_a_hash_tells_keys_apart_and_the_scheme_does_not_matter() -> None:
    """If this fails, one key is two credentials, or two keys are one."""
    plain = "sha256:" + hashlib.sha256(b"k-1").hexdigest()
    assert hash_secret("k-1") == hash_secret("Bearer k-1") == hash_secret(" bearer  k-1 ") == plain
    assert hash_secret("k-1") != hash_secret("k-2")
    assert hash_secret("\ud83d").startswith("sha256:")


def test_a_hash_is_not_hashed_again() -> None:
    """If this fails, a gateway's own hash of a key and ours of the key itself are two credentials."""
    digest = hashlib.sha256(b"k-1").hexdigest()
    assert hashed_id(digest) == hashed_id(digest.upper()) == hashed_id(f"sha256:{digest}") == hash_secret("k-1")
    assert hashed_id("k-1") == hash_secret("k-1")


def test_nobody_passes_for_another_by_showing_a_hash() -> None:
    """If this fails, whoever has read an alert can act as the key that it names, as far as detectors can tell."""
    digest = hashlib.sha256(b"k-1").hexdigest()
    assert hash_secret(digest) != hash_secret("k-1")
