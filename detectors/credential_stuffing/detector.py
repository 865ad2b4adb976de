"""The detector: what it sees, its options, its tables. The tests themselves are in ``kernel.py``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from gatewatch.sdk import (
    Batch,
    Context,
    DetectorConfig,
    Explanation,
    HashSeed,
    Hits,
    KeyTable,
    Need,
    Opinion,
    RawFinding,
    Reason,
    Scope,
    Severity,
    StateError,
    TableDetector,
    TableStats,
    hash_text,
    no_pairs,
    no_rows,
    pair_stats,
    rows_of,
)

from . import constants as k
from .doors import no_doors
from .explain import explain
from .kernel import scan
from .layout import COMMON, FLEET, FOUND, ROW, SITE, Memory, Tables

REFRESH_S = 300.0  # what goes on is told again after so long (CrowdSec's "blackhole" is 5 min as well)
_TRIED = ("accounts", "failures", "successes", "gain", "credit", "theta0")
_SEE_AUTH = "log the status (401 is a failure; else see docs/formats.md) or the outcome of authentication"

REASONS = (
    Reason(k.STUFFING, "stuffing", "Credential stuffing", "accounts", Severity.HIGH, learned=False, columns=_TRIED),
    Reason(k.SPRAYING, "spraying", "Password spraying", "accounts", Severity.HIGH, learned=False, columns=_TRIED),
    Reason(
        k.CRACKING, "cracking", "Password cracking", "failures in a row", Severity.HIGH,
        learned=False, columns=("failures", "accounts_behind"),
    ),
    Reason(
        k.DISTRIBUTED, "distributed_cracking", "Distributed password cracking", "networks", Severity.HIGH,
        learned=False, columns=_TRIED,
    ),
    Reason(
        k.TAKEOVER, "takeover", "Account takeover after an attack", "accounts", Severity.CRITICAL,
        learned=False, columns=("taken", "accounts", "failures"),
    ),
    Reason(
        k.BROKEN, "expired_key", "Expired or revoked key, still in use", "failures in a row", Severity.LOW,
        learned=False, columns=("failures", "accounts_behind"),
    ),
    Reason(
        k.AT_ONCE, "failures_at_once", "Failed logins faster than a person types", "failures at once",
        Severity.LOW, learned=False,
    ),
    Reason(
        k.TOO_MANY_FAILURES, "too_many_failures", "More failed logins than the limit", "failures a minute",
        Severity.MEDIUM, learned=False,
    ),
    Reason(
        k.TOO_MANY_ACCOUNTS, "too_many_accounts", "More accounts failed on than the limit", "accounts in 10 minutes",
        Severity.MEDIUM, learned=False,
    ),
)  # fmt: skip


class Limits(BaseModel):
    """Plain limits for one address, network or account. No baseline moves them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    failures_at_once: float = Field(5.0, gt=0)
    failures_per_minute: float = Field(600.0, gt=0)
    distinct_accounts_per_10min: float = Field(200.0, gt=0)


class Config(DetectorConfig):
    """Options; what each does is in :class:`CredentialStuffing`."""

    limits: Limits = Limits()
    expired_key_failures: float = Field(50.0, ge=11)
    networks: bool = True
    accounts: bool = True
    distributed: bool = True
    sources_total: int = Field(64_512, ge=96)
    pairs_total: int = Field(3_000_000, ge=96)


class CredentialStuffing(TableDetector):
    """Finds sources that try many accounts or one account many times, and accounts tried from many places.

    Sees:
        * *stuffing*: many accounts, one or two tries each, nearly all failing, from one address or one network (/24,
          /48; three addresses at least that are not accused themselves). After 6 accounts at a small site, 9 at the
          largest.
        * *spraying*: several accounts, some tries each.
        * *cracking*: one account, failure after failure, with no success ever by this pair (11 in a row at a small
          site); *distributed cracking* of an account from five networks or more.
        * *failures at once*: six failed logins within some ten seconds, on accounts that the address never got into: a
          script, whatever else it is. Severity low.
        * *takeover*: a success by a pair never seen to succeed, while its source or its account is under attack.
        * *expired key*: a pair that used to succeed and now fails on and on, or a bare credential sent again and
          again, or nothing where others come in with a token: a broken client, severity low, not an attack. Of clients
          of one program and project that break together the first of a partition stands for all. Forgotten-password
          waves and outages raise nothing: known pairs do not count, new ones only by sources that fail on five names.

    Misses:
        * one try an address and account (a botnet at 1.2 tries an address): the part on populations sees that;
        * guessing by a source that has succeeded on the same account in the last 7 days (a colleague behind the same
          NAT): reported as an expired key;
        * guessing on more than eight accounts in turn, but fewer than the first-contact test needs (6 to 9): only the
          limits see it; a source with a success by a new account for each two failures: only the limits see it;
        * gateways that log neither account nor credential: all failures of an address on one route or path count as one
          name, so lists and sprays show as a run on the login, not as many names; failures on many paths are no tries
          of passwords at all (``restricted_probe`` tells of the walk);
        * failed logins that are answered by a redirect to the form, a 200 or a 400 (docs/formats.md says how to send
          what was meant);
        * guessing at a login that callers with a token use as well, and nobody without one: reported as an expired key;
        * a second broken client of the same program and project within the hour.

    Options:
        limits: failures at once (one less every ten seconds), failures a minute and distinct accounts in 10 minutes
            (both decayed counts) above which a key is reported whatever the tests say.
        expired_key_failures: failures in a row of a broken client before it is mentioned.
        networks, accounts: watch these scopes too; addresses always are.
        distributed: watch logins as a whole, by the part on populations.
        sources_total: rows of each of the three tables, over all partitions.
        pairs_total: pairs remembered a generation, over all partitions.

    The threshold is ln(chances of a false alarm a day / false alarms allowed a day), within 9.2 and 14 nats; that of
    first contacts is divided by how much surer the test is than it claims, at the success ratio that the site has
    (Lundberg's coefficient, at most 1.5). The site's ratio is learned from sources that succeed at least once: lists
    that only fail teach nothing. Nats are those of "a benign source does this": W bounds -ln p (Wald 1945).

    Cost: 0.06 us a row where 2 % of rows authenticate; 0.3 us for a row that does, all three scopes together; 3 us in
    a flood in which every row is a failure by new keys. Memory: 384 bytes a key (three keys an event at most: address,
    network, account), 4 bytes a pair; all of it fixed at the start.

    Sources: Jung, Paxson, Berger and Balakrishnan 2004 (Threshold Random Walk); Lorden 1971 (CUSUM's false alarms);
    Javed and Paxson 2013 (failures of people are beta-binomial); Zeek, Elastic and Sentinel rules for the scale of the
    plain numbers.
    """

    name = "credential_stuffing"
    version = 4
    Config: ClassVar[type[DetectorConfig]] = Config
    scopes = (Scope.IP, Scope.NETWORK, Scope.ACCOUNT)  # in the order of kernel.IP, NETWORK, ACCOUNT
    tests = 3  # one for each scope
    reasons = REASONS
    needs = (
        Need(Scope.IP, ("auth", "status"), _SEE_AUTH),
        Need(Scope.IP, ("ip",), "log the client's address"),
        Need(Scope.NETWORK, ("auth", "status"), _SEE_AUTH),
        Need(Scope.NETWORK, ("ip",), "log the client's address"),
        Need(Scope.ACCOUNT, ("auth", "status"), _SEE_AUTH),
        Need(Scope.ACCOUNT, ("account",), "log the account name that was tried"),
    )

    def __init__(self, config: DetectorConfig, context: Context) -> None:
        super().__init__(config, context)
        assert isinstance(config, Config)
        self._watched = {Scope.IP: True, Scope.NETWORK: config.networks, Scope.ACCOUNT: config.accounts}
        rows = max(8, config.sources_total // context.partitions)
        self._tables = {scope: KeyTable(rows, ROW) for scope in self.scopes}
        pairs = max(8, config.pairs_total // context.partitions)
        self._memory = Memory(
            no_pairs(pairs),
            no_pairs(pairs),
            np.zeros(k.FLEETS, FLEET),
            no_doors(),
            _new_site(),
            _new_common(config, context),
        )
        self._site, self._common = self._memory.site, self._memory.common
        ip, network, account = self._tables.values()
        self._kernel_tables = Tables(ip.head, network.head, account.head, ip.rows, network.rows, account.rows)
        self._hits = Hits.empty(0)
        self._found = np.zeros(0, FOUND)
        self._rows = np.zeros(1, np.int64)

    def process(self, batch: Batch) -> Hits:
        """Score each row, then learn from it."""
        room = batch.n * len(self.scopes)
        self._hits = self._hits.fitting(room)
        self._rows[0] += batch.n
        if batch.has("auth"):
            if len(self._found) < room:
                self._found = np.zeros(2 * room, FOUND)
            n = scan(rows_of(batch), self._kernel_tables, self._memory, self._found)
            if n:
                self._hits.add(self._found[:n])  # warm: sequential tests need no warming up
        return self._hits

    def explain(self, finding: RawFinding) -> Explanation:
        """See :mod:`.explain`."""
        return explain(finding)

    def opinion(self, scope: Scope, key: int) -> Opinion:
        """Blind where rows came but none that authenticated with such a key."""
        if not self._watched.get(scope, False):
            return Opinion.BLIND  # nobody looks
        site = self._site[self.scopes.index(scope)]
        if site["rows"] == 0:
            return Opinion.BLIND if self._rows[0] else Opinion.WARMING
        at = self._tables[scope].row_of(key)
        if at < 0:
            return Opinion.WARMING
        row = self._tables[scope].rows[at]
        told = self._common[0]["now"] - max(row["told_at"], row["taken_at"]) < REFRESH_S
        return Opinion.FINDING if told or row["w"] >= site["first"] else Opinion.QUIET

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what :meth:`snapshot` saved.

        Raises:
            StateError: another version, capacity or hash seed.
        """
        mine, theirs = self._common.copy(), arrays.get("common")
        if theirs is not None and theirs.dtype == COMMON and theirs["no_name"][0] != mine["no_name"][0]:
            raise StateError("credential_stuffing: the snapshot was made under another hash seed")
        super().restore(arrays)
        for option in _OPTIONS:  # options may differ: they are the new owner's
            self._common[option] = mine[option]

    def tables(self) -> dict[str, TableStats]:
        """The three key tables and the two memories of pairs."""
        common, memory = self._common[0], self._memory
        return {
            **super().tables(),
            "failed_pairs": pair_stats(memory.seen, int(common["seen_added"]), int(common["seen_turns"])),
            "good_pairs": pair_stats(memory.good, int(common["good_added"]), int(common["good_turns"])),
        }

    def key_tables(self) -> dict[str, KeyTable]:
        """The three scopes' keys."""
        return {scope.value: table for scope, table in self._tables.items()}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Both memories of pairs, the site and the clock."""
        return {**self._memory._asdict(), "rows": self._rows}

    @classmethod
    def warm_up(cls) -> None:
        """Compile by running over no rows. Cost: about 10 s once, then 2 s from the cache on disk."""
        detector = cls(Config(sources_total=96, pairs_total=96), Context(_NO_SEED, partitions=1, alarms_per_day=1.0))
        scan(no_rows(), detector._kernel_tables, detector._memory, detector._found)


_OPTIONS = (
    "failures_at_once", "failures_per_minute", "accounts_per_10min", "broken_client_failures", "alarms_per_day",
    "refresh_s", "networks", "accounts",
)  # fmt: skip
_NO_SEED = HashSeed(0, 0)


def _new_site() -> npt.NDArray[np.void]:
    """What is assumed of a site before anything is known."""
    site = np.zeros(len(CredentialStuffing.scopes), SITE)
    site["theta0"], site["threshold"], site["first"] = k.PRIOR_THETA0, k.LEAST_NATS, k.LEAST_NATS
    return site


def _new_common(config: Config, context: Context) -> npt.NDArray[np.void]:
    common = np.zeros(1, COMMON)
    for name in ("now", "tick", "seen_since", "good_since"):
        common[name] = -np.inf
    common["salts"][0] = [hash_text(f"credential_stuffing/{s.value}", context.seed) for s in CredentialStuffing.scopes]
    common["no_name"] = hash_text("credential_stuffing/no name", context.seed)
    common["failures_at_once"] = config.limits.failures_at_once
    common["failures_per_minute"] = config.limits.failures_per_minute
    common["accounts_per_10min"] = config.limits.distinct_accounts_per_10min
    common["broken_client_failures"] = config.expired_key_failures
    common["alarms_per_day"] = context.alarms_per_day / len(CredentialStuffing.scopes)
    common["refresh_s"] = REFRESH_S
    common["networks"], common["accounts"] = config.networks, config.accounts
    return common
