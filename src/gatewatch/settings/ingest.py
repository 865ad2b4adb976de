"""What is read, and how it becomes batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from gatewatch.settings.base import Duration, Section


class Source(Section):
    """One topic that a gateway writes."""

    topic: str
    format: str
    map: dict[str, Any] | None = None  # format native: our field -> JSON path, or {path, unit}
    trusted_hops: int = Field(0, ge=0, le=16)  # proxies of ours that add to X-Forwarded-For
    silent_after: Duration | None = None  # an alert after so long without a record; None: learned


class IngestSettings(Section):
    """How events become batches."""

    batch_rows: int = Field(1000, ge=1, le=100_000)
    batch_bytes: int = Field(512 * 1024, ge=4096, le=8 << 20)  # DESIGN section 2; below Kafka's own 1 MiB limit
    batch_time: Duration = 0.02
    align: Duration = 5.0  # a source partition this far ahead of the slowest busy one waits
    field_names: bool = True  # keep field names of bodies (never values)
    # A source partition of which so many elements in a row, or such a share of the last ones, cannot be read is paused:
    # its format has changed, and what is read now is lost to detection. A thousand is a second of a busy gateway.
    dead_letter_run: int = Field(1000, ge=1)
    dead_letter_share: float = Field(0.5, gt=0, le=1)  # 1: never by its share
    dead_letter_retry: Duration = 60.0  # then it is tried again, and after twice as long each time it fails
    raw_dead_letters: bool = False  # keep up to 4 KiB of a bad element; it may hold content
    asn_file: Path | None = None  # MaxMind format
    country_file: Path | None = None
