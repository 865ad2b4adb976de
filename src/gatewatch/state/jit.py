"""One decorator for all kernels: compiled once, cached on disk, strictly sequential IEEE arithmetic.

``fastmath`` and ``parallel`` stay off: the same rows must give the same bits however they are cut into batches.

Numba's disk cache knows only the file of the function itself, not the files it calls into, so a change in this room
could leave stale machine code in a detector's kernel. Hence the cache folder carries a hash of this room's sources.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def _cache_dir() -> str:
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return str(Path(base) / "gatewatch" / f"kernels-{digest}")


if not os.environ.get("NUMBA_CACHE_DIR"):
    numba.config.CACHE_DIR = _cache_dir()


def kernel(function: F) -> F:
    """Compile with Numba at the first call for each signature; releases the GIL."""
    return cast("F", numba.njit(cache=True, nogil=True, fastmath=False)(function))
