"""Which detector is meant to see which simulated attack, and whether it is here.

An attack that no detector on the search path is made for is said to be so, and not counted as missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gatewatch.records import Scope
from gatewatch.registry import Entry


@dataclass(frozen=True, slots=True)
class Sees:
    """A detector that must see an attack, and on which scopes it can."""

    detector: str
    scopes: frozenset[Scope]

    def is_in(self, entries: Mapping[str, Entry]) -> bool:
        """Whether the detector is here and looks at one of the scopes."""
        entry = entries.get(self.detector)
        return entry is not None and not self.scopes.isdisjoint(entry.scopes)

    def __str__(self) -> str:
        return f"detector {self.detector} on {' or '.join(scope.value for scope in Scope if scope in self.scopes)}"


def _sees(detector: str, *scopes: Scope) -> Sees:
    return Sees(detector, frozenset(scopes))


_POPULATIONS = (Scope.PROJECT, Scope.ENDPOINT, Scope.ALL)
COVERAGE: dict[str, Sees] = {
    "spike": _sees("rate_spike", Scope.PRINCIPAL),
    "slow_ramp": _sees("rate_spike", Scope.PRINCIPAL),
    "stuffing": _sees("credential_stuffing", Scope.IP),
    "spraying": _sees("credential_stuffing", Scope.IP),
    "cracking": _sees("credential_stuffing", Scope.IP, Scope.ACCOUNT),
    "distributed_stuffing": _sees("credential_stuffing", *_POPULATIONS),
    "restricted_probe": _sees("restricted_probe", Scope.PRINCIPAL),
    "payload_drift": _sees("payload_drift", Scope.PRINCIPAL),
    "key_leak": _sees("leaked_key", Scope.CREDENTIAL),
    "model_extraction": _sees("model_extraction", Scope.PRINCIPAL),
    "output_change": _sees("output_drift", Scope.ENDPOINT),
    "key_flood": _sees("credential_stuffing", Scope.NETWORK),
}
