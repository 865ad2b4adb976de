"""Distributed stuffing: what no single address shows, the whole does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import (
    Context,
    DetectorConfig,
    Explanation,
    Kind,
    Need,
    Opinion,
    PopulationDetector,
    PopulationHit,
    RawFinding,
    Reason,
    Rollup,
    Scope,
    Severity,
    StateError,
    TableStats,
)

from . import constants as k
from .clients import Clients
from .cusum import (
    CAP_NATS,
    LEARN_HALF_LIFE_MIN,
    PRIOR_RATIO,
    PRIOR_WEIGHT,
    RHO,
    WINDOW_MIN,
    dispersion,
    evidence,
    winsorised,
)
from .detector import Config
from .explain import explain_population

UNKNOWN, FIRST = 0, 1  # which failures: on accounts that do not exist; by a network on an account for the first time
KEYS_MAX = 1025  # everything, and 1,024 projects
MINUTE_S = 60.0
SUCCESS_TAU_MIN = 30.0  # a minute without a login must not make one failure look like an attack
WARM_SUCCESSES, WARM_S = 1000.0, 12 * 3600.0  # a failure ratio is worth something after so many, and a night
FLOOR = 0.5  # of the usual failures: where few succeed, the ratio alone would call every failure an attack
LEAST = 0.01  # failures a minute that surprise nobody
BEGUN_NATS = 1.0  # an excursion begins where its evidence was last this small
OUTAGE = 0.3  # of the usual successes: with fewer, logins fail because something is broken
USUAL_TAU_MIN, FAST_TAU_MIN = 240.0, 5.0
BUSY = 10.0  # successes a minute from which a single minute tells an outage
FROZEN_S, RELEASE = 86_400.0, 1.05  # DESIGN section 2: after a day without a verdict 5 % a day
REFRESH_S = 300.0
NEWS = 0.5  # of the threshold, in evidence since the last time
HOLD_MIN = 5  # of a failed first contact, for it to be made good: most people need a minute or two
GIVE_UP = 1.0  # people who give up for each who recovers, at most: where more seem to, they are none
LATE = 0.1  # and so many more, of each who does: who takes longer is missing for a while, now more, now fewer of them
LATER, LATER_MIN = 0.4, 15.0  # people who will recover later than that for each more who does: a mail takes its time
TESTS = 2 * len(RHO)
_COLUMNS = ("failures", "expected", "successes", "minutes", "rho", "evidence", "against")

REASONS = (
    Reason(
        k.DISTRIBUTED_STUFFING, "distributed_stuffing", "Distributed credential stuffing",
        "failed first contacts an hour", Severity.HIGH, learned=True, columns=_COLUMNS,
    ),
    Reason(
        k.UNKNOWN_ACCOUNTS, "unknown_accounts", "Logins on accounts that do not exist",
        "tries on unknown accounts an hour", Severity.HIGH, learned=True, columns=_COLUMNS,
    ),
)  # fmt: skip

# One key's numbers. [2]: by kind of failure; [2, rhos]: by test.
_ROW = np.dtype(
    [
        ("key", "u8"), ("kind", "u1"), ("seen", "f8"), ("born", "f8"),
        ("x", "f8", (2,)), ("successes", "f8"), ("firsts", "f8"), ("recovered", "f8"),  # of the minute that is open
        ("held", "f8", (HOLD_MIN,)),  # failed first contacts of the last minutes, the oldest first: see _unrecovered
        ("smooth", "f8", (2,)), ("usual", "f8"), ("fast", "f8"), ("total", "f8"),  # successes
        ("bad", "f8", (2,)), ("good", "f8", (2,)),  # learned: failures, and the successes they are measured by
        ("back", "f8"),  # learned: people who failed and recovered
        ("came_back", "f8"), ("came_usually", "f8"),  # their mean of the last minutes, and of a quarter of an hour
        ("minutes", "f8"),  # in which that was learned
        ("hour_x", "f8", (2,)), ("hour_m", "f8", (2,)), ("hour_min", "f8"),  # of the hour that teaches
        ("excess", "f8", (2,)), ("square", "f8", (2,)), ("hours", "f8"),  # moments of the dispersion
        ("before", "f8", (2, len(RHO))), ("age", "f8", (2, len(RHO))),  # the test's window: s when it began, minutes
        ("window_x", "f8", (2, len(RHO))), ("window_m", "f8", (2, len(RHO))),
        ("s", "f8", (2, len(RHO))), ("evidence", "f8", (2, len(RHO))), ("since", "f8", (2, len(RHO))),
        ("sum_x", "f8", (2, len(RHO))), ("sum_m", "f8", (2, len(RHO))), ("sum_ok", "f8", (2, len(RHO))),
        ("frozen_since", "f8"), ("told", "f8"), ("fresh", "f8", (2, len(RHO))),
        ("released_until", "f8"),  # so long a person expects the failures
    ]
)  # fmt: skip


class DistributedStuffing(PopulationDetector):
    """Finds attacks on logins that use each address once or twice: botnets and residential proxies.

    Sees:
        * *distributed stuffing*: failures of (network, account) pairs that were never seen before (three a network at
          most) and did not get in within five minutes, more than the site's own ratio to successful first contacts
          explains; with 60 an hour on a service of 2,000 logins an hour it is proved after an hour or so.
          People who forgot their passwords do get in: a forced reset, or a release that logs all out, is no attack.
        * *unknown accounts*: failures on accounts that do not exist, where the gateway says so (``account_known``).
        The user agent that most of the failures share and few of the successes is named.

    Misses:
        * what is less than about 2 % of the logins, or is over within minutes;
        * during such a rush, for an hour or two, what is no more than a tenth of those who recover;
        * an attacker who knows which accounts exist, and gets as many pairs right as people do;
        * the first twelve hours of an installation, and sites with fewer than 1,000 logins so far (shadow until then);
        * an attack that began before Gatewatch did: it is in the ratio.

    Options:
        distributed: watch logins as a whole (on by default). The other options are those of the part on keys.

    The threshold is ln(tests a day / false alarms allowed a day): a CUSUM of likelihood ratios passes h by chance once
    in exp(h) steps. An outage (less than 30 % of the usual successes) is not scored.

    Cost: nothing a row; some 100 us for each ten seconds. Memory: 500 bytes a project, 1,025 of them at most.

    Sources: Javed and Paxson 2013 (site-wide CUSUM of login failures); Herley and Schechter 2019 (successes are a clean
    sample); Lorden 1971.
    """

    name = "credential_stuffing"
    version = 4
    Config: ClassVar[type[DetectorConfig]] = Config
    scopes = (Scope.PROJECT, Scope.ALL)
    tests = 2  # one for each scope
    reasons = REASONS
    needs = (
        Need(Scope.PROJECT, ("project",), "log the project, team or tenant that is billed"),
        Need(Scope.PROJECT, ("auth", "status"), "log the outcome of authentication"),
        Need(Scope.ALL, ("auth", "status"), "log the outcome of authentication"),
        Need(Scope.ALL, ("account",), "log the account name that was tried"),
    )

    def __init__(self, config: DetectorConfig, context: Context) -> None:
        super().__init__(config, context)
        assert isinstance(config, Config)
        self._on = config.distributed
        self._rows = np.zeros(0, _ROW)
        self._at: dict[tuple[int, int], int] = {}
        self._labels: dict[int, Mapping[str, str]] = {}
        self._minute = -1
        self._rollups = 0
        self._clients = Clients()

    def process(self, rollup: Rollup) -> Sequence[PopulationHit]:
        """Add the bucket to its minute; when a minute is over, test it and learn from it."""
        self._rollups += 1
        if not self._on:
            return ()
        hits: list[PopulationHit] = []
        minute = int(rollup.start // MINUTE_S)
        if self._minute >= 0 and minute > self._minute:
            due = self._step((self._minute + 1) * MINUTE_S)
            hits = self._hits(due, rollup)
        self._minute = max(minute, self._minute)
        self._add(rollup)
        return hits

    def explain(self, finding: RawFinding) -> Explanation:
        """See :mod:`.explain`."""
        return explain_population(finding)

    def release(self, scope: Scope, key: int, until: float) -> None:
        """Failures until then teach as any others do; they are told of as long as they are news."""
        at = self._place(scope, key)
        if at is not None:
            self._rows["released_until"][at] = until

    def opinion(self, scope: Scope, key: int) -> Opinion:
        """Blind where rollups came, but none with a login."""
        if not self._on or scope not in self.scopes:
            return Opinion.BLIND
        at = self._place(scope, key)
        if at is None:
            return Opinion.BLIND if self._rollups and not self._at else Opinion.WARMING
        row = self._rows[at]
        if (row["s"] >= self._threshold()[at]).any():
            return Opinion.FINDING
        return Opinion.QUIET if _warm(self._rows[at : at + 1])[0] else Opinion.WARMING

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """All rows, the minute that is open, and the clients."""
        return {
            "rows": self._rows.copy(),
            "numbers": np.array([self._minute, self._rollups], np.int64),
            "clients": np.frombuffer(json.dumps(self._clients.state()).encode(), np.uint8).copy(),
        }

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what :meth:`snapshot` saved.

        Raises:
            StateError: another version.
        """
        if arrays["rows"].dtype != _ROW:
            raise StateError("credential_stuffing: the snapshot of its populations is another version's")
        self._rows = arrays["rows"].copy()
        self._at = {(int(row["kind"]), int(row["key"])): i for i, row in enumerate(self._rows)}
        self._minute, self._rollups = (int(n) for n in arrays["numbers"])
        self._clients = Clients.of(json.loads(arrays["clients"].tobytes()))

    def tables(self) -> dict[str, TableStats]:
        """The one table of populations."""
        return {"populations": TableStats(len(self._rows), KEYS_MAX, 0, 0, int(self._rows.nbytes))}

    def _place(self, scope: Scope, key: int) -> int | None:
        """Where the row of a key stands; there is one of everything, whatever it is called."""
        return self._at.get((int(Kind.ALL), 0) if scope is Scope.ALL else (int(Kind.PROJECT), key))

    def _add(self, rollup: Rollup) -> None:
        logins = rollup.column("successes") + rollup.column("failures")
        wanted = np.flatnonzero((rollup.kinds <= Kind.PROJECT) & (logins > 0))
        if len(wanted):
            at = [self._row(int(rollup.kinds[i]), int(rollup.keys[i]), rollup.start) for i in wanted]
            keep = [j for j, row in enumerate(at) if row >= 0]
            rows, of = np.array([at[j] for j in keep]), wanted[keep]
            self._rows["x"][rows, UNKNOWN] += rollup.column("unknown_failures")[of]
            self._rows["x"][rows, FIRST] += rollup.column("first_failures")[of]
            self._rows["successes"][rows] += rollup.column("account_hours")[of]
            self._rows["firsts"][rows] += rollup.column("first_successes")[of]
            self._rows["recovered"][rows] += rollup.column("recovered")[of]
            self._rows["seen"][rows] = rollup.start
        self._clients.add(rollup)

    def _row(self, kind: int, key: int, now: float) -> int:
        """The key's row, a new one if need be; the one longest without a login makes room. -1: everybody is busier."""
        at = self._at.get((kind, key))
        if at is not None:
            return at
        if len(self._rows) < KEYS_MAX:
            self._rows = np.concatenate([self._rows, np.zeros(1, _ROW)])
            at = len(self._rows) - 1
        else:
            at = int(np.argmin(np.where(self._rows["kind"] == Kind.ALL, np.inf, self._rows["seen"])))
            if self._rows["seen"][at] > now - MINUTE_S:
                return -1
            del self._at[int(self._rows["kind"][at]), int(self._rows["key"][at])]
        self._at[kind, key] = at
        self._rows[at] = np.zeros((), _ROW)
        for name, value in (("kind", kind), ("key", key), ("born", now), ("seen", now), ("told", -np.inf)):
            self._rows[name][at] = value
        self._rows["bad"][at] = PRIOR_RATIO * PRIOR_WEIGHT
        self._rows["good"][at] = PRIOR_WEIGHT
        return at

    def _step(self, end: float) -> npt.NDArray[np.intp]:
        """Test the minute that ended and learn from it; returns rows that are over their threshold."""
        r = self._rows
        if not len(r):
            return np.zeros(0, np.intp)
        # A pair's first success can be bought with one account from many networks; an account's hour cannot.
        bought = np.minimum(r["firsts"], r["successes"])
        now = np.stack([r["successes"], bought], axis=1)
        r["smooth"] += (now - r["smooth"]) / SUCCESS_TAU_MIN
        r["usual"] += (r["successes"] - r["usual"]) / USUAL_TAU_MIN
        r["total"] += r["successes"]
        for name, minutes in (("came_back", HOLD_MIN), ("came_usually", LATER_MIN)):
            r[name] += (r["recovered"] - r[name]) / minutes
        x = np.stack([r["x"][:, UNKNOWN], self._unrecovered()], axis=1)
        mean = self._expected()
        spread = dispersion(r["excess"], r["square"], r["hours"])
        warm = _warm(r)
        r["fast"] += (r["successes"] - r["fast"]) / FAST_TAU_MIN
        lately = np.where(r["usual"] >= BUSY, np.minimum(r["successes"], r["fast"]), r["fast"])
        broken = lately < OUTAGE * r["usual"]
        self._test(x, mean, spread, warm & ~broken, end)
        self._learn(x, mean, spread, broken, end)
        r["x"], r["successes"], r["firsts"], r["recovered"] = 0.0, 0.0, 0.0, 0.0
        over = (r["s"] >= self._threshold()[:, None, None]).any(axis=(1, 2))
        ended = np.isfinite(r["told"]) & ~over
        r["s"][ended] = 0.0  # what is left of an attack that is over must not, with a bad hour, be told again
        r["told"] = np.where(over, r["told"], -np.inf)
        # Once told it is told again only on new evidence: what is over must not go on accusing while it is forgotten.
        news = (r["fresh"] >= NEWS * self._threshold()[:, None, None]).any(axis=(1, 2)) | np.isinf(r["told"])
        return np.flatnonzero(over & news & (end - r["told"] >= REFRESH_S))

    def _unrecovered(self) -> npt.NDArray[np.float64]:
        """(keys,) failed first contacts of :data:`HOLD_MIN` minutes ago that nobody made good since.

        A person who forgot a password fails and then gets in; who has a list does not. Who recovers later than that is
        taken off what failed now, so it may be less than none.
        """
        r = self._rows
        waiting = np.concatenate([r["held"], r["x"][:, FIRST, None]], axis=1)
        left = np.clip(np.cumsum(waiting, axis=1) - r["recovered"][:, None], 0.0, waiting)
        r["held"] = left[:, 1:]
        late = np.maximum(r["recovered"] - waiting.sum(axis=1), 0.0)
        return np.asarray(left[:, 0] - late, np.float64)

    def _test(
        self, x: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], spread: npt.NDArray[np.float64],
        scored: npt.NDArray[np.bool_], end: float,
    ) -> None:  # fmt: skip
        r = self._rows
        new = (r["s"] <= 0.0) | (r["age"] >= WINDOW_MIN)
        r["before"] = np.where(new, r["s"], r["before"])
        for name, value in (("window_x", x[..., None]), ("window_m", mean[..., None]), ("age", 1.0)):
            r[name] = np.where(new, 0.0, r[name]) + value
        begun = r["s"] <= BEGUN_NATS
        for name in ("evidence", "sum_x", "sum_m", "sum_ok"):
            r[name][begun] = 0.0
        r["since"][begun] = end - MINUTE_S
        s = np.maximum(r["before"] + evidence(r["window_x"], r["window_m"], spread), 0.0)
        s = np.where(scored[:, None, None], np.minimum(s, (self._threshold() + CAP_NATS)[:, None, None]), 0.0)
        r["fresh"] = np.where(scored[:, None, None], np.maximum(r["fresh"] + s - r["s"], 0.0), 0.0)
        r["s"] = s
        r["evidence"] += x[..., None] * np.log(RHO)
        r["sum_x"] += x[..., None]
        r["sum_m"] += mean[..., None]
        r["sum_ok"] += r["smooth"][..., None]

    def _learn(
        self, x: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], spread: npt.NDArray[np.float64],
        broken: npt.NDArray[np.bool_], end: float,
    ) -> None:  # fmt: skip
        """What surprises nobody teaches, or what a person expects; a key frozen for a day rises by 5 % a day."""
        r = self._rows
        surprised = (r["s"] >= 0.5 * self._threshold()[:, None, None]).any(axis=(1, 2)) & (end >= r["released_until"])
        r["frozen_since"] = np.where(surprised, np.where(r["frozen_since"] > 0, r["frozen_since"], end), 0.0)
        released = surprised & (end - r["frozen_since"] > FROZEN_S)
        teaches = (~surprised | released) & ~broken
        taught = np.where(released[:, None], np.minimum(x, RELEASE * mean), winsorised(x, mean, spread))
        fade = 0.5 ** (1.0 / LEARN_HALF_LIFE_MIN)
        r["minutes"] = np.where(teaches, r["minutes"] * fade + 1.0, r["minutes"])
        for name, value in (("bad", taught), ("good", r["smooth"])):
            r[name] = np.where(teaches[:, None], np.maximum(r[name] * fade + value, 0.0), r[name])
        r["back"] = np.where(teaches, r["back"] * fade + r["recovered"], r["back"])
        for name, value in (("hour_x", taught), ("hour_m", mean)):
            r[name] += np.where(teaches[:, None], value, 0.0)
        r["hour_min"] += teaches
        self._learn_spread(r["hour_min"] >= WINDOW_MIN)

    def _learn_spread(self, over: npt.NDArray[np.bool_]) -> None:
        """An hour is over for some keys: how far it was from what was expected."""
        r = self._rows
        fade = 0.5 ** (WINDOW_MIN / LEARN_HALF_LIFE_MIN)
        x, m = r["hour_x"], r["hour_m"]
        for name, value in (("excess", (x - m) ** 2 - m), ("square", m**2)):
            r[name] = np.where(over[:, None], r[name] * fade + value, r[name])
        r["hours"] = np.where(over, r["hours"] * fade + 1.0, r["hours"])
        r["hour_min"] = np.where(over, 0.0, r["hour_min"])
        for name in ("hour_x", "hour_m"):
            r[name] = np.where(over[:, None], 0.0, r[name])

    def _expected(self) -> npt.NDArray[np.float64]:
        """(keys, kinds) failures of this minute: by the ratio, and never far below what is usual at any hour.

        Where many recover, many forgot, and some of them give up: as many for each who recovers as is usual here.
        """
        r = self._rows
        usual = r["bad"] / np.maximum(r["minutes"], 1.0)[:, None]
        mean = np.maximum(r["bad"] / r["good"] * r["smooth"], FLOOR * usual)
        give_up = np.minimum(r["bad"][:, FIRST] / np.maximum(r["back"], 1.0), GIVE_UP)
        rising = np.maximum(r["came_back"] - r["came_usually"], 0.0)
        mean[:, FIRST] = np.maximum(mean[:, FIRST], (give_up + LATE) * r["came_back"] + LATER * rising)
        return np.asarray(mean + LEAST, np.float64)

    def _threshold(self) -> npt.NDArray[np.float64]:
        """(keys,) nats. Half of the budget is for the whole site, half is shared by its projects."""
        projects = max(1, int((self._rows["kind"] == Kind.PROJECT).sum()))
        share = np.where(self._rows["kind"] == Kind.ALL, 0.5, 0.5 / projects)
        return np.asarray(np.log(1440.0 * TESTS / (share * self.context.alarms_per_day)), np.float64)

    def _hits(self, due: npt.NDArray[np.intp], rollup: Rollup) -> list[PopulationHit]:
        threshold = self._threshold()
        hits = []
        for at in due:
            row = self._rows[at]
            of = np.flatnonzero((rollup.kinds == row["kind"]) & (rollup.keys == row["key"]))
            if not len(of):
                continue  # nothing of it in this bucket, so no name for it: the next one
            self._rows["told"][at], self._rows["fresh"][at] = rollup.start, 0.0
            which, rho = np.unravel_index(int(np.argmax(row["s"])), row["s"].shape)
            hits.append(self._hit(int(of[0]), row, int(which), int(rho), float(threshold[at]), rollup.start))
        return hits

    def _hit(
        self, row: int, r: npt.NDArray[np.void], which: int, rho: int, threshold: float, now: float
    ) -> PopulationHit:
        since = float(r["since"][which, rho])
        hours = max(now - since, MINUTE_S) / 3600.0
        nats, evidence = float(r["s"][which, rho]), float(r["evidence"][which, rho])
        return PopulationHit(
            row=row,
            scope=Scope.ALL if r["kind"] == Kind.ALL else Scope.PROJECT,
            reason=REASONS[0] if which == FIRST else REASONS[1],
            nats=nats,
            threshold_nats=threshold,
            observed=float(r["sum_x"][which, rho]) / hours,
            expected=float(r["sum_m"][which, rho]) / hours,
            window_s=3600.0,
            since=since,
            warm=True,
            detail={
                "failures": float(r["sum_x"][which, rho]),
                "expected": float(r["sum_m"][which, rho]),
                "successes": float(r["sum_ok"][which, rho]),
                "minutes": hours * 60.0,
                "rho": float(RHO[rho]),
                "evidence": evidence,
                "against": evidence - nats,
            },
            context=self._clients.suspect(),
        )


def _warm(rows: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    known = (rows["total"] >= WARM_SUCCESSES) & (rows["seen"] - rows["born"] >= WARM_S)
    return np.asarray(known, np.bool_)
