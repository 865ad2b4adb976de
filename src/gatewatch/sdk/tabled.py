"""Detectors on keys whose whole memory is key tables and arrays, as that of nearly all is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from gatewatch.sdk.detector import Detector
from gatewatch.sdk.stats import TableStats, table_stats
from gatewatch.state.keytable import KeyTable
from gatewatch.state.parts import restore_parts, snapshot_parts


class TableDetector(Detector):
    """It says what its tables and arrays are; how they are saved, restored and measured follows from that."""

    @abstractmethod
    def key_tables(self) -> Mapping[str, KeyTable]:
        """Its key tables, by their names in snapshots and metrics."""

    @abstractmethod
    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """All else that it remembers, by name."""

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """Copies of all tables and arrays."""
        return snapshot_parts(self.key_tables(), self.arrays())

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what :meth:`snapshot` saved.

        Raises:
            StateError: another version or capacity.
        """
        restore_parts(self.name, self.key_tables(), self.arrays(), arrays)

    def tables(self) -> dict[str, TableStats]:
        """Sizes of its key tables."""
        return table_stats(self.key_tables())
