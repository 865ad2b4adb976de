"""Traffic that is in order, and not easy: much of it looks like an attack to a careless detector.

A source makes the rows of one window after another; rows may end later than the window (retries, sessions), never
earlier. Each source draws from a generator of its own, so adding one does not change the others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gatewatch.simulate import rows as r
from gatewatch.simulate.rows import Codes, Floats, Rng, Rows, joined, lognormal, pick
from gatewatch.simulate.traffic import bad_keys, calls, end, logins
from gatewatch.simulate.world import ENDPOINTS, PROJECTS, RESTRICTED, Place, World

_DAY_S = 86400.0
# Activity by hour of day (UTC), mean 1 after scaling: flat machines, office hours, evenings.
RHYTHMS = (
    (10, 10, 10, 11, 10, 10, 10, 10, 11, 11, 11, 11, 11, 11, 11, 11, 11, 10, 10, 10, 10, 10, 10, 10),
    (2, 2, 2, 2, 3, 4, 7, 12, 20, 24, 25, 23, 20, 22, 24, 23, 20, 14, 9, 7, 5, 4, 3, 2),
    (9, 6, 4, 3, 2, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 10, 12, 15, 19, 23, 25, 24, 19, 14),
)
_OFFICE, _EVENING = 1, 2
_WEEKEND = (0.95, 0.35, 1.1)  # the same three on Saturday and Sunday


def activity(rhythm: int, ts: float) -> float:
    """How busy this rhythm is at ``ts`` (epoch seconds), 1 on average over a working day.

    >>> activity(1, 0.0) < 0.3 < 1.5 < activity(1, 10 * 3600.0)
    True
    """
    table = RHYTHMS[rhythm]
    hour = ts / 3600.0 % 24
    low = int(hour)
    level = table[low] + (hour - low) * (table[(low + 1) % 24] - table[low])
    weekday = int(ts // _DAY_S + 3) % 7  # 1970-01-01 was a Thursday
    return level * len(table) / sum(table) * (_WEEKEND[rhythm] if weekday >= 5 else 1.0)


class Source(ABC):
    """One kind of traffic."""

    def __init__(self, world: World, rng: Rng) -> None:
        self.world = world
        self.rng = rng

    @abstractmethod
    def rows(self, start: float, stop: float) -> Rows:
        """What begins in [start, stop), epoch seconds; windows come in order."""


class Services(Source):
    """Services that call models with a key: Zipf rates, rhythms, a level that wanders, several calls a work item."""

    _CALLS_PER_ITEM = 1.6  # an agent or a chain asks more than once
    _WANDER = 0.3  # spread of the logarithm of a service's level
    _MEMORY_S = 1800.0  # how long a level lasts
    _MANAGERS = 10  # each tenth service has the right to what is restricted,
    _MANAGES = 0.02  # and uses it in so many of its calls

    def __init__(self, world: World, rng: Rng) -> None:
        super().__init__(world, rng)
        self._level = self._WANDER * rng.standard_normal(world.services)

    def rows(self, start: float, stop: float) -> Rows:
        """See :class:`Source`."""
        width = stop - start
        keep = np.exp(-width / self._MEMORY_S)
        noise = self._WANDER * np.sqrt(1 - keep * keep) * self.rng.standard_normal(self.world.services)
        self._level = keep * self._level + noise
        busy = np.array([activity(k, start) for k in range(len(RHYTHMS))])[self.world.rhythm]
        mean = self.world.service_rate * busy * np.exp(self._level - self._WANDER**2 / 2) * width
        items = self.rng.poisson(mean / self._CALLS_PER_ITEM)
        who = np.repeat(np.arange(self.world.services), items)
        begin = start + width * self.rng.random(len(who))
        return self._work(who, begin)

    def _work(self, who: Codes, begin: Floats) -> Rows:
        each = self.rng.geometric(1 / self._CALLS_PER_ITEM, len(who))
        ts = np.repeat(begin, each) + _gaps_within(self.rng, each, 1.5)
        rows = calls(self.world, self.rng, np.repeat(who, each), ts)
        manages = (rows["principal"] % self._MANAGERS == 0) & (rows["status"] == 200)
        manages &= self.rng.random(len(rows)) < self._MANAGES
        rows["endpoint"][manages] = pick(self.rng, RESTRICTED, int(manages.sum()))
        return rows


class BatchJobs(Source):
    """Six services that sleep most of the hour and then send thousands of calls in minutes, on the hour or near it."""

    _JOBS = 6
    _PERIOD_S = 3600.0

    def __init__(self, world: World, rng: Rng, rate: float) -> None:
        super().__init__(world, rng)
        self._who = rng.choice(np.arange(world.services // 2, world.services), size=self._JOBS, replace=False)
        self._offset = rng.uniform(30.0, 1500.0, self._JOBS)
        share = rng.dirichlet(np.full(self._JOBS, 3.0))
        self._size = rate * self._PERIOD_S * share

    def rows(self, start: float, stop: float) -> Rows:
        """See :class:`Source`."""
        parts = [self._run(job, begin) for job in range(self._JOBS) for begin in self._begins(job, start, stop)]
        return joined(parts)

    def _begins(self, job: int, start: float, stop: float) -> list[float]:
        begin = np.ceil((start - self._offset[job]) / self._PERIOD_S) * self._PERIOD_S + self._offset[job]
        return [float(begin)] if begin < stop else []

    def _run(self, job: int, begin: float) -> Rows:
        n = int(self.rng.poisson(lognormal(self.rng, self._size[job], 0.25, 1)[0]))
        late = float(self.rng.exponential(20.0))
        length = float(self.rng.uniform(150.0, 480.0))
        ts = begin + late + length * self.rng.random(n)
        return calls(self.world, self.rng, np.full(n, self._who[job]), ts)


class People(Source):
    """People who sign in and chat: 3 to 8 % of attempts fail, some by a mistyped name, most are tried again."""

    _CALLS_PER_VISIT = 8.0
    _PAUSE_S = 35.0
    _GIVE_UP = 0.1  # of those who failed once
    _TYPO = 0.25  # of failed attempts

    def __init__(self, world: World, rng: Rng, rate: float) -> None:
        super().__init__(world, rng)
        self._visits = rate / (1 + self._CALLS_PER_VISIT)
        self._fails = rng.uniform(0.03, 0.08, world.people)
        # A few come every other hour, most now and then: the busiest three times as often as the average.
        weights = rng.permutation(1.0 / (np.arange(world.people) + 0.2 * world.people))
        self._cumulative = np.cumsum(weights) / weights.sum()

    def rows(self, start: float, stop: float) -> Rows:
        """See :class:`Source`."""
        busy = 0.6 * activity(_OFFICE, start) + 0.4 * activity(_EVENING, start)
        n = int(self.rng.poisson(self._visits * busy * (stop - start)))
        person = np.searchsorted(self._cumulative, self.rng.random(n)).astype(np.int64)
        begin = start + (stop - start) * self.rng.random(n)
        ip = where_from(self.world, self.rng, person)
        failed = np.minimum(self.rng.geometric(1 - self._fails[person]) - 1, 4)
        stays = (failed == 0) | (self.rng.random(n) > self._GIVE_UP)
        attempts, done = sign_in(self.world, self.rng, person, begin, ip, failed, stays, typo_share=self._TYPO)
        return joined([attempts, self._chat(person[stays], done[stays], ip[stays])])

    def _chat(self, person: Codes, begin: Floats, ip: Codes) -> Rows:
        each = self.rng.poisson(self._CALLS_PER_VISIT, len(person))
        ts = np.repeat(begin, each) + _gaps_within(self.rng, each, self._PAUSE_S, first=True)
        session = np.repeat(self.rng.integers(1, 1 << 48, len(person)), each)
        who = self.world.services + np.repeat(person, each)
        return calls(self.world, self.rng, who, ts, ip=np.repeat(ip, each), session=session)


def where_from(world: World, rng: Rng, person: Codes) -> Codes:
    """The address of each visit: the usual one, or, for people on the move, any of their provider's."""
    moving = world.place[person] == Place.MOBILE
    ip: Codes = world.callers.ip[world.services + person, 0].copy()
    ip[moving] = pick(rng, world.mobile, int(moving.sum()))
    return ip


def sign_in(
    world: World,
    rng: Rng,
    person: Codes,
    begin: Floats,
    ip: Codes,
    failed: Codes,
    succeeds: npt.NDArray[np.bool_],
    *,
    typo_share: float,
    pause_s: float = 7.0,
) -> tuple[Rows, Floats]:
    """``failed`` (n,) bad attempts of each person and then, where ``succeeds`` (n,), a good one.

    Returns the attempts, and when each person's last one ended.
    """
    each = failed + succeeds
    gaps = _gaps_within(rng, each, pause_s)
    ts = np.repeat(begin, each) + gaps
    last = np.cumsum(each) - 1
    good = np.zeros(len(ts), np.bool_)
    good[last[succeeds]] = True
    account = np.repeat(person, each)
    typo = ~good & (rng.random(len(ts)) < typo_share)
    account[typo] = world.typo[account[typo]]
    agent = np.repeat(world.callers.agent[world.services + person], each)
    done = begin.copy()
    some = each > 0
    done[some] = ts[last[some]]
    return logins(world, rng, account, ts, good, ip=np.repeat(ip, each), agent=agent), done


class ForgottenPasswords(Source):
    """A morning after all passwords of a group ran out: many known accounts fail a few times each, then succeed."""

    _LENGTH_S = 2400.0
    _SHARE = 0.03  # of all people

    def __init__(self, world: World, rng: Rng, at: float) -> None:
        super().__init__(world, rng)
        n = max(10, int(self._SHARE * world.people))
        person = rng.choice(world.people, size=n, replace=False).astype(np.int64)
        begin = at + self._LENGTH_S * rng.beta(1.3, 2.5, n)
        failed = rng.integers(1, 5, n)
        ip = where_from(world, rng, person)
        succeeds = np.ones(n, np.bool_)
        self._rows, _ = sign_in(world, rng, person, begin, ip, failed, succeeds, typo_share=0.02, pause_s=45.0)

    def rows(self, start: float, stop: float) -> Rows:
        """See :class:`Source`."""
        return self._rows[(self._rows["ts"] >= start) & (self._rows["ts"] < stop)]


class ExpiredKey(Source):
    """A service whose key has run out and that asks again and again, from ``at`` until somebody sees it."""

    _LENGTH_S = 3 * 3600.0
    _PAUSE_S = 25.0

    def __init__(self, world: World, rng: Rng, at: float) -> None:
        super().__init__(world, rng)
        self._at = at
        self._who = world.service_near(0.6)

    def rows(self, start: float, stop: float) -> Rows:
        """See :class:`Source`."""
        low, high = max(start, self._at), min(stop, self._at + self._LENGTH_S)
        n = int(self.rng.poisson(max(0.0, high - low) / self._PAUSE_S))
        ts = low + (high - low) * self.rng.random(n)
        callers = self.world.callers
        return bad_keys(
            self.rng,
            np.full(n, self.world.services + 1),
            ts,
            endpoint=np.full(n, callers.endpoint[self._who, 0]),
            ip=np.full(n, callers.ip[self._who, 1]),
            agent=np.full(n, callers.agent[self._who]),
        )


@dataclass(slots=True)
class Deploy:
    """A deploy that goes wrong: for some minutes a share of one project's calls ends in 503 and is tried again.

    It strikes whatever goes through that project, benign or hostile.
    """

    rng: Rng
    at: float
    project: str = PROJECTS[2]
    length_s: float = 240.0
    share: float = 0.35

    def strike(self, rows: Rows) -> Rows:
        """Let rows fail, in place; returns the retries that follow from that."""
        inside = (rows["ts"] >= self.at) & (rows["ts"] < self.at + self.length_s) & (rows["status"] == 200)
        if not inside.any():
            return rows[:0]
        mine = np.isin(rows["endpoint"], [i for i, e in enumerate(ENDPOINTS) if e.project == self.project])
        hit = inside & mine & (self.rng.random(len(rows)) < self.share)
        again = np.repeat(rows[hit], self.rng.integers(1, 4, int(hit.sum())))
        again["ts"] += self.rng.exponential(4.0, len(again)) + 0.5
        end(rows, hit, self.rng, status=503, error=r.UNAVAILABLE)
        return again


def _gaps_within(rng: Rng, each: npt.NDArray[np.integer], mean_s: float, *, first: bool = False) -> Floats:
    """Seconds since the begin for runs of ``each`` (n,) events: exponential gaps added up within each run.

    The first event of a run is at 0 unless ``first``.
    """
    total = int(each.sum())
    gaps = rng.exponential(mean_s, total)
    starts = (np.cumsum(each) - each)[each > 0]
    if not first:
        gaps[starts] = 0.0
    sums = np.cumsum(gaps)
    before = np.concatenate([[0.0], sums])[starts]
    since: Floats = sums - np.repeat(before, each[each > 0])
    return since
