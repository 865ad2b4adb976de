"""First contacts: how soon a source that guesses is named, and how often one that logs in honestly is."""

from __future__ import annotations

import numpy as np
from figures import NOT_SHIPPED, Figure, native, of, replayed, shipped

TITLE = "Logins: first contacts of a source"
ON = (
    "Simulated through the whole flow: a site of 2,000 people who log in from their own addresses (92 % of first tries "
    "succeed), then sources that try accounts they never tried before, 20 s apart. Guessing sources succeed in 1 %, "
    "honest ones (a shared office: each colleague once) in 92 %, careless ones in 60 %. Each source has a "
    "/24 of its own, so that networks add nothing."
)
START = 1_772_409_600.0
GUESSERS, HONEST, CARELESS, TRIES = 200, 20_000, 500, 30


def run() -> list[Figure]:
    """Contacts until named, and wrong accusations."""
    if not shipped("credential_stuffing"):
        return [Figure("credential_stuffing", NOT_SHIPPED)]
    rng = np.random.default_rng(1)
    n = GUESSERS + HONEST + CARELESS
    success = np.repeat([0.01, 0.92, 0.60], [GUESSERS, HONEST, CARELESS])
    named = np.zeros(n, np.int64)
    for low in range(0, n, 6900):  # the sources of a site and day, 3 in all
        some = np.arange(low, min(low + 6900, n))
        rows = [*_site(rng), *_sources(rng, some, success[some])]
        done = replayed(native(sorted(rows, key=lambda row: float(str(row["ts"])))))
        first: dict[str, float] = {}
        for finding in done.findings:
            if finding.scope == "ip" and finding.reason in ("stuffing", "spraying", "cracking"):
                first.setdefault(finding.key, finding.ts)
        for source in some:
            began = _began(int(source) - low)
            told = first.get(_address(int(source) - low))
            named[source] = 0 if told is None else round((told - began) / 20.0) + 1
    guess, honest, careless = named[:GUESSERS], named[GUESSERS : GUESSERS + HONEST], named[GUESSERS + HONEST :]
    soon = int(((guess > 0) & (guess <= 7)).sum())
    wrong = int((honest > 0).sum())
    return [
        Figure(
            what="sources with 1 % success named within 7 first contacts",
            value=of(soon, GUESSERS),
            target="all but those whose luck forbids it",
            met=soon >= 0.9 * GUESSERS,
            published="TRW (Jung 2004), our simulation: 4.1 to 6.2 by its error rates",
            rule="5 accounts failed in a row (Elastic's least): 5",
            note=f"median {np.median(guess[guess > 0]):.0f}, at most {guess.max()}; never: {int((guess == 0).sum())}",
        ),
        Figure(
            what="sources with 92 % success wrongly named in 30 contacts",
            value=f"{wrong / HONEST:.1e} ({wrong} of {HONEST})",
            target="< 1e-4",
            met=wrong < 1e-4 * HONEST,
            rule=f"5 failures in a row: {_in_a_row(0.08, 5):.1e}",
        ),
        Figure(
            what="sources with 60 % success wrongly named in 30 contacts",
            value=of(int((careless > 0).sum()), CARELESS),
            target="< 5 %",
            met=(careless > 0).mean() < 0.05,
            published="TRW: 1.3 to 16 %, our simulation",
            rule=f"5 failures in a row: {100 * _in_a_row(0.4, 5):.0f} %",
        ),
    ]


def _site(rng: np.random.Generator) -> list[dict[str, object]]:
    """A morning of 2,000 people."""
    people = rng.integers(0, 2000, 6000)
    ok = rng.random(6000) < 0.92
    ts = START + np.sort(rng.random(6000)) * 10_000.0
    return [
        _login(float(t), f"10.{p // 250}.{p % 250}.1", f"person-{p}", ok=bool(good))
        for t, p, good in zip(ts, people, ok, strict=True)
    ]


def _sources(rng: np.random.Generator, some: np.ndarray, success: np.ndarray) -> list[dict[str, object]]:
    rows = []
    for source, share in zip(some.tolist(), success.tolist(), strict=True):
        k = source - int(some[0])
        for contact, ok in enumerate(rng.random(TRIES) < share):
            rows.append(_login(_began(k) + 20.0 * contact, _address(k), f"tried-{source}-{contact}", ok=bool(ok)))
    return rows


def _login(ts: float, ip: str, account: str, *, ok: bool) -> dict[str, object]:
    auth = "success" if ok else "failure"
    return {"ts": ts, "ip": ip, "account": account, "auth": auth, "status": 200 if ok else 401}


def _began(k: int) -> float:
    return START + 10_000.0 + 3.0 * k


def _address(k: int) -> str:
    """One source a /24, of addresses that no person of the site has."""
    return f"{198 + k // 62_500}.{k // 250 % 250}.{k % 250}.9"


def _in_a_row(p: float, run: int) -> float:
    """Chance of a run of failures somewhere in the contacts."""
    state = np.zeros(run + 1)
    state[0] = 1.0
    for _ in range(TRIES):
        after = np.zeros(run + 1)
        after[0] = state[:run].sum() * (1 - p)
        after[1 : run + 1] = state[:run] * p
        after[run] += state[run]
        state = after
    return float(state[run])
