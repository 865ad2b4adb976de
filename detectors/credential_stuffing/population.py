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
    TableStats,
)

from . import constants as k
from .clients import Clients
from .cusum import RHO, F, dispersion
from .detector import Config
from .excursion import due, step
from .explain import explain_population
from .populations import FIRST, MINUTE_S, UNKNOWN, Populations
from .usual import expected, is_warm, learn, take_successes, unrecovered

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
        self._populations = Populations()
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
            hits = self._hits(self._step((self._minute + 1) * MINUTE_S), rollup)
        self._minute = max(minute, self._minute)
        self._add(rollup)
        return hits

    def explain(self, finding: RawFinding) -> Explanation:
        """See :mod:`.explain`."""
        return explain_population(finding)

    def release(self, scope: Scope, key: int, until: float) -> None:
        """Failures until then teach as any others do; they are told of as long as they are news."""
        at = self._populations.place(scope, key)
        if at is not None:
            self._populations.rows["released_until"][at] = until

    def opinion(self, scope: Scope, key: int) -> Opinion:
        """Blind where rollups came, but none with a login."""
        if not self._on or scope not in self.scopes:
            return Opinion.BLIND
        at = self._populations.place(scope, key)
        if at is None:
            return Opinion.BLIND if self._rollups and not len(self._populations.rows) else Opinion.WARMING
        row = self._populations.rows[at]
        if (row["s"] >= self._threshold()[at]).any():
            return Opinion.FINDING
        return Opinion.QUIET if is_warm(self._populations.rows[at : at + 1])[0] else Opinion.WARMING

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """All rows, the minute that is open, and the clients."""
        return {
            "rows": self._populations.rows.copy(),
            "numbers": np.array([self._minute, self._rollups], np.int64),
            "clients": np.frombuffer(json.dumps(self._clients.state()).encode(), np.uint8).copy(),
        }

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what :meth:`snapshot` saved.

        Raises:
            StateError: another version.
        """
        self._populations.restore(arrays)
        self._minute, self._rollups = (int(n) for n in arrays["numbers"])
        self._clients = Clients.of(json.loads(arrays["clients"].tobytes()))

    def tables(self) -> dict[str, TableStats]:
        """The one table of populations."""
        return {"populations": self._populations.stats()}

    def _add(self, rollup: Rollup) -> None:
        logins = rollup.column("successes") + rollup.column("failures")
        wanted = np.flatnonzero((rollup.kinds <= Kind.PROJECT) & (logins > 0))
        if len(wanted):
            at = [self._populations.admit(int(rollup.kinds[i]), int(rollup.keys[i]), rollup.start) for i in wanted]
            keep = [j for j, row in enumerate(at) if row >= 0]
            rows, of, r = np.array([at[j] for j in keep]), wanted[keep], self._populations.rows
            r["x"][rows, UNKNOWN] += rollup.column("unknown_failures")[of]
            r["x"][rows, FIRST] += rollup.column("first_failures")[of]
            r["successes"][rows] += rollup.column("account_hours")[of]
            r["firsts"][rows] += rollup.column("first_successes")[of]
            r["recovered"][rows] += rollup.column("recovered")[of]
            r["seen"][rows] = rollup.start
        self._clients.add(rollup)

    def _step(self, end: float) -> npt.NDArray[np.intp]:
        """Test the minute that ended and learn from it; returns the places of rows that are to be told of."""
        r, threshold = self._populations.rows, self._threshold()
        if not len(r):
            return np.zeros(0, np.intp)
        broken = take_successes(r)
        x = np.stack([r["x"][:, UNKNOWN], unrecovered(r)], axis=1)
        mean, spread = expected(r), dispersion(r["excess"], r["square"], r["hours"])
        step(r, x, mean, spread, threshold=threshold, scored=is_warm(r) & ~broken, end=end)
        learn(r, x, mean, spread, threshold=threshold, broken=broken, end=end)
        r["x"], r["successes"], r["firsts"], r["recovered"] = 0.0, 0.0, 0.0, 0.0
        return due(r, threshold=threshold, end=end)

    def _threshold(self) -> F:
        """(keys,) nats. Half of the budget is for the whole site, half is shared by its projects."""
        kinds = self._populations.rows["kind"]
        share = np.where(kinds == Kind.ALL, 0.5, 0.5 / max(1, int((kinds == Kind.PROJECT).sum())))
        return np.asarray(np.log(1440.0 * TESTS / (share * self.context.alarms_per_day)), np.float64)

    def _hits(self, places: npt.NDArray[np.intp], rollup: Rollup) -> list[PopulationHit]:
        r, threshold = self._populations.rows, self._threshold()
        hits = []
        for at in places:
            row = r[at]
            of = np.flatnonzero((rollup.kinds == row["kind"]) & (rollup.keys == row["key"]))
            if not len(of):
                continue  # nothing of it in this bucket, so no name for it: the next one
            r["told"][at], r["fresh"][at] = rollup.start, 0.0
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
