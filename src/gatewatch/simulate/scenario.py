"""Named scenarios, and the stream that one of them makes.

Event time drives everything: the stream is made window by window, each source's rows wait until their time has come,
and the merged rows leave in time order.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gatewatch.config_files import nearest
from gatewatch.errors import ConfigError
from gatewatch.simulate import benign
from gatewatch.simulate.attacks import ATTACKS, Attack, Stage
from gatewatch.simulate.calendar import Calendar
from gatewatch.simulate.encode import Writer
from gatewatch.simulate.labels import Episode, Header, Label, episode_of
from gatewatch.simulate.rows import Rng, Rows, joined
from gatewatch.simulate.world import build

# A window is short enough that its columns stay in the processor's cache (larger ones were a fifth slower), and never
# longer than five minutes, because rhythms are followed window by window.
_WINDOW_S, _WINDOW_ROWS = 300.0, 4000
# Of benign events. People: 1 login to 8 calls, so logins are some 2 % of everything.
_SERVICE_SHARE, _PEOPLE_SHARE, _BATCH_SHARE = 0.72, 0.18, 0.10
# When, as shares of the duration, the ordinary troubles begin.
_DEPLOY_AT, _PASSWORDS_AT, _EXPIRED_AT = 0.33, 0.28, 0.15


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens, and when: pairs of an attack's name and the share of the duration after which it begins."""

    name: str
    text: str
    attacks: tuple[tuple[str, float], ...] = ()


# A day and two hours to learn from (detectors call a service known from its second day on), then eight hours.
DEMO_HOURS = 34.0
_DEMO_AT_HOUR = (
    ("slow_ramp", 26.0),
    ("spike", 26.6),
    ("stuffing", 27.2),
    ("payload_drift", 27.6),
    ("cracking", 28.2),
    ("spraying", 28.7),
    ("key_leak", 29.3),
    ("restricted_probe", 30.0),
    ("distributed_stuffing", 30.4),
    ("output_change", 30.9),
    ("model_extraction", 31.7),
    ("key_flood", 33.2),
)
_NAMED = (
    Scenario("quiet", "benign traffic only, with a bad deploy, forgotten passwords and an expired key"),
    Scenario("mixed", "every attack, evenly spread", tuple((n, 0.1 + 0.07 * i) for i, n in enumerate(ATTACKS))),
    Scenario(
        "demo", "a quiet day to learn from, then every attack", tuple((n, h / DEMO_HOURS) for n, h in _DEMO_AT_HOUR)
    ),
    *(Scenario(a.name, a.text, ((a.name, 0.5),)) for a in ATTACKS.values()),
)
SCENARIOS = {scenario.name: scenario for scenario in _NAMED}


@dataclass(slots=True)
class Window:
    """One stretch of the stream: parallel rows, ids and values, in time order."""

    start: float
    stop: float
    rows: Rows
    request_ids: list[str]
    values: list[bytes]


class Simulation:
    """One scenario, made real.

    Args:
        scenario: a name of :data:`SCENARIOS`.
        rate: benign events a second, on the average of a working day; attacks come on top.
        duration_s: how much event time.
        start: epoch seconds.
        seed: the same arguments give the same bytes.

    Attributes:
        episodes: the attacks that lie within the duration; what lies past it is cut off.
        hostile: their rows, in time order; ``episode`` indexes ``episodes``.

    Raises:
        ConfigError: no such scenario, or a rate or duration that makes no sense.
    """

    def __init__(self, scenario: str, *, rate: float, duration_s: float, start: float, seed: int) -> None:
        if scenario not in SCENARIOS:
            raise ConfigError("--scenario", f"no scenario {scenario!r}{nearest(scenario, SCENARIOS)}")
        if not (0 < rate <= 1e6 and 0 < duration_s <= 366 * 86400):
            raise ConfigError("--rate, --duration", "need 0 < rate <= 1,000,000 a second and 0 < duration <= 366 days")
        self.scenario = SCENARIOS[scenario]
        self.rate, self.start, self.stop, self.seed = rate, start, start + duration_s, seed
        self.world = build(self._rng("world"), rate, service_share=_SERVICE_SHARE)
        self._deploy = benign.Deploy(self._rng("deploy"), self._at(_DEPLOY_AT))
        self._sources = self._benign()
        self.episodes: list[Episode] = []
        self.hostile = self._hostile()
        self._writer = Writer(self.world, self._rng("ids"))

    @property
    def header(self) -> Header:
        """First record of a labels file."""
        return Header(self.scenario.name, self.seed, self.rate, self.start, self.stop)

    def windows(self) -> Iterator[Window]:
        """The stream, once. Cost: about 5 us an event."""
        length_s = min(_WINDOW_S, _WINDOW_ROWS / self.rate)
        calendar = Calendar(self.start, length_s)
        calendar.add(self.hostile)
        calendar.add(self._preludes())
        low = self.start
        for number in range(1, 1 + math.ceil((self.stop - self.start) / length_s)):
            high = min(self.start + number * length_s, self.stop)
            fresh = joined([source.rows(low, high) for source in self._sources])
            calendar.add(joined([fresh, self._deploy.strike(fresh)]))
            rows = calendar.take()
            rows = rows[: np.searchsorted(rows["ts"], self.stop)]
            ids = self._writer.request_ids(len(rows))
            yield Window(low, high, rows, ids, self._writer.events(rows, ids))
            low = high

    def labels(self, window: Window) -> list[Label]:
        """The labels of the hostile events of a window."""
        where = np.flatnonzero(window.rows["episode"] >= 0).tolist()
        episodes = window.rows["episode"].tolist()
        return [Label(window.request_ids[i], self.episodes[episodes[i]].attack, episodes[i]) for i in where]

    def _at(self, share: float) -> float:
        return self.start + share * (self.stop - self.start)

    def _rng(self, name: str) -> Rng:
        """A generator of its own for each part, so that parts do not disturb each other."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def _benign(self) -> list[benign.Source]:
        world = self.world
        return [
            benign.Services(world, self._rng("services")),
            benign.BatchJobs(world, self._rng("batch"), self.rate * _BATCH_SHARE),
            benign.People(world, self._rng("people"), self.rate * _PEOPLE_SHARE),
            benign.ForgottenPasswords(world, self._rng("passwords"), self._at(_PASSWORDS_AT)),
            benign.ExpiredKey(world, self._rng("expired"), self._at(_EXPIRED_AT)),
        ]

    def _hostile(self) -> Rows:
        parts = []
        for name, share in self.scenario.attacks:
            rows = self._attack(ATTACKS[name], self._at(share))
            if len(rows):
                rows["episode"] = len(self.episodes)
                self.episodes.append(episode_of(self.world, len(self.episodes), name, rows))
                parts.append(rows)
        return joined(parts)

    def _preludes(self) -> Rows:
        """What some attacks need to have gone before: benign, and only where there is room for it."""
        parts = []
        for name, share in self.scenario.attacks:
            prelude, at = ATTACKS[name].prelude, self._at(share)
            if prelude is not None and at > self.start:
                stage = Stage(self.world, self._rng(f"before {name}"), self.start, at - self.start)
                parts.append(prelude(stage))
        return joined(parts)

    def _attack(self, attack: Attack, at: float) -> Rows:
        """Its rows within the duration."""
        length_s = min(attack.length_s, max(0.5 * attack.length_s, self.stop - at))
        rows = attack.make(Stage(self.world, self._rng(attack.name), at, length_s))
        rows = joined([rows, self._deploy.strike(rows)])
        return rows[rows["ts"] < self.stop]
