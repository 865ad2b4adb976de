"""Jobs that come again and again: who is told of them, and for how long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from figures import Figure, native, replayed, sent

from gatewatch.records import Severity

TITLE = "Jobs that come again and again"
ON = (
    "All of it invented, and none of it an attack: two weeks of 32 services (some 700,000 requests), whose calls come "
    "as those of jobs do: every quarter of an hour within half a minute; every hour, somewhat more each day; a night's "
    "3,000 within twenty minutes, 0.7 to 1.4 times as many; a weekend's 4,000; office hours; a few sessions a day; "
    "steady; steady from the fifth day on. Counted are alerts of medium severity or worse about a service or one of "
    "its addresses. A first and a second run beside other calls are news; from then on nothing is, nor is what a "
    "key did when it was first seen. Before rate_spike knew habits by their height in calls, the same "
    "stream had 105 alerts in its second week, 98 of them about the jobs of the night."
)
DAYS, EACH, DAY_S, START = 14, 4, 86400.0, 20371 * 86400.0  # a Friday
SETTLED = 7  # days after which every job but the weekly one has run more than twice
BURST, WINDOW_S = 10.0, 300.0  # the simplest rule: ten times the service's mean so far, and twelve requests
LEAST = 12
Floats = npt.NDArray[np.float64]
Rng = np.random.Generator


def run() -> list[Figure]:
    """Alerts by kind of job, and all of them after the first week."""
    rng = np.random.default_rng(8)
    times = {f"{kind.split()[0]}-{i}": np.sort(make(rng, i)) for kind, make in KINDS.items() for i in range(EACH)}
    stream = sorted((row for who, at in times.items() for row in _rows(who, at, rng)), key=lambda row: float(row["ts"]))
    alerts = [a for a in sent(replayed(native(stream))) if a.severity.rank >= Severity.MEDIUM.rank]
    early, late = Counter[str](), Counter[str]()
    for alert in alerts:
        kind = next((k for k in KINDS if _is_of(alert.key, k)), "other")
        (late if alert.first_ts >= START + SETTLED * DAY_S else early)[kind] += 1
    grave = sum(n for kind, n in late.items() if not kind.startswith("weekly"))
    days = DAYS - SETTLED
    ruled = sum(_rule(at) for who, at in times.items() if not who.startswith("weekly"))
    return [
        Figure(
            "alerts a day from the second week on, the weekly jobs' second runs apart",
            f"{grave / days:.1f} ({grave} in {days} days)",
            "<= 1",
            grave <= days,
            rule=f"ten times the mean in five minutes: {ruled / days:.1f}",
        ),
        *(Figure(kind, f"{early[kind]} in the first week, {late[kind]} in the second") for kind in KINDS),
    ]


def _is_of(key: str, kind: str) -> bool:
    """Whether a service or an address is of that kind; addresses carry the kind's place in their second octet."""
    return key.startswith((kind.split(maxsplit=1)[0], f"10.{list(KINDS).index(kind)}."))


def _rows(who: str, times: Floats, rng: Rng) -> Iterator[Mapping[str, Any]]:
    kind, i = who.split("-")
    place = next(n for n, k in enumerate(KINDS) if k.split()[0] == kind)
    tokens = rng.lognormal(6.0, 1.0, len(times))
    hosts = rng.integers(1, 4, len(times))
    for at, size, host in zip(times.tolist(), tokens.tolist(), hosts.tolist(), strict=True):
        yield {
            "ts": at,
            "principal": who,
            "credential": f"key-{who}",
            "ip": f"10.{place}.{i}.{host}",
            "user_agent": f"{kind}/1.{i}",
            "endpoint": "/v1/chat/completions",
            "method": "POST",
            "status": 200,
            "model": "m-small",
            "tokens_in": round(size),
            "project": f"p{i}",
        }


def _rule(times: Floats) -> int:
    """On how many days of the second week the simplest rule fires."""
    fired = set()
    ends = np.searchsorted(times, times, side="right")
    counts = ends - np.searchsorted(times, times - WINDOW_S, side="right")
    usual = np.arange(len(times)) / np.maximum(times - times[0], WINDOW_S) * WINDOW_S
    late = times >= START + SETTLED * DAY_S
    for at in times[(counts >= np.maximum(BURST * usual, LEAST)) & late]:
        fired.add(int((at - START) // DAY_S))
    return len(fired)


def _days(make: Callable[[int], Floats], first: int = 0, step: int = 1) -> Floats:
    return np.concatenate([START + day * DAY_S + make(day) for day in range(first, DAYS, step)])


def _quarters(rng: Rng, i: int) -> Floats:
    return _days(lambda _day: np.repeat(np.arange(96) * 900.0, 20 + 10 * i) + rng.uniform(0, 30, 96 * (20 + 10 * i)))


def _hours(rng: Rng, _i: int) -> Floats:
    def day(n: int) -> Floats:
        calls = int(40 * 1.03**n)
        return np.repeat(np.arange(24) * 3600.0, calls) + rng.uniform(0, 400, 24 * calls)

    return _days(day)


def _nights(rng: Rng, _i: int) -> Floats:
    return _days(lambda _day: 7200.0 + rng.uniform(0, 300) + rng.uniform(0, 1200, int(3000 * rng.uniform(0.7, 1.4))))


def _offices(rng: Rng, _i: int) -> Floats:
    def day(n: int) -> Floats:
        calls = rng.poisson(rng.gamma(3.0, 20.0, 11)) if n % 7 not in (1, 2) else np.zeros(11, int)
        at: Floats = np.repeat(8 * 3600.0 + np.arange(11) * 3600.0, calls)
        return at + rng.uniform(0, 3600, len(at))

    return _days(day)


def _weeks(rng: Rng, _i: int) -> Floats:
    return _days(lambda _day: 4 * 3600.0 + rng.uniform(0, 2400, int(4000 * rng.uniform(0.8, 1.2))), first=2, step=7)


def _sessions(rng: Rng, _i: int) -> Floats:
    def session() -> Floats:
        gaps: Floats = rng.exponential(20.0, rng.integers(1, 12))
        return rng.uniform(0, 80_000) + gaps.cumsum()

    return _days(lambda _day: np.concatenate([session() for _ in range(int(rng.integers(1, 4)))]))


def _steady(rng: Rng, _i: int) -> Floats:
    return _days(lambda _day: rng.uniform(0, DAY_S, rng.poisson(4000)))


def _new(rng: Rng, i: int) -> Floats:
    return _days(lambda _day: rng.uniform(0, DAY_S, rng.poisson(1000 + 500 * i)), first=5)


KINDS: Mapping[str, Callable[[Rng, int], Floats]] = {
    "quarterly (every quarter of an hour)": _quarters,
    "hourly": _hours,
    "nightly": _nights,
    "office": _offices,
    "weekly": _weeks,
    "sessions": _sessions,
    "steady": _steady,
    "new (from the fifth day on)": _new,
}
