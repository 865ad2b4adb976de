"""One decorator for all kernels: compiled once, cached on disk, strictly sequential IEEE arithmetic.

``fastmath`` and ``parallel`` stay off: the same rows must give the same bits however they are cut into batches.

Numba's disk cache knows only the file of the function itself, not the files it calls into or takes constants from, so
a change in this room, or in another file of a detector's folder, could leave stale machine code. Hence the cache folder
carries a hash of the sources of this room and of the function's own folder.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar, cast, overload

import numba
import numpy as np
from llvmlite.binding import get_host_cpu_name

F = TypeVar("F", bound=Callable[..., Any])


_chosen = os.environ.get("NUMBA_CACHE_DIR")


@cache
def _cache_dir(folder: Path) -> str:
    sources = [*sorted(Path(__file__).parent.glob("*.py")), *sorted(folder.glob("*.py"))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return str(Path(base) / "gatewatch" / f"kernels-{digest}")


def is_compiled(detector: type) -> bool:
    """Whether a detector's kernels are in the disk cache, as far as :func:`mark_compiled` was told."""
    return _mark(detector).is_file()


def mark_compiled(detector: type) -> None:
    """A detector's kernels are in the disk cache now."""
    mark = _mark(detector)
    with suppress(OSError):  # a read-only cache is still a cache, only slower to find out about
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def _mark(detector: type) -> Path:
    """A file by all that Numba looks at: it compiles anew for another place of the sources, another CPU or version."""
    folder = Path(sys.modules[detector.__module__].__file__ or "").parent.absolute()
    looked_at = [Path(_cache_dir(folder)).name, str(folder), __file__, numba.__version__, get_host_cpu_name()]
    digest = hashlib.sha256("\n".join(looked_at).encode()).hexdigest()[:12]
    return Path(_chosen or _cache_dir(folder)) / f"compiled-{detector.__name__}-{digest}"


@overload
def kernel(function: F) -> F: ...


@overload
def kernel(*, allocates: bool = False, inline: bool = False) -> Callable[[F], F]: ...


def kernel(function: F | None = None, *, allocates: bool = False, inline: bool = False) -> F | Callable[[F], F]:
    """Compile with Numba at the first call for each signature; releases the GIL.

    ``allocates``: it makes arrays (``np.zeros`` and the like). All others do without Numba's counts of references,
    which are locked instructions at each array taken out of a tuple: up to a third of the time of a loop over rows.
    Arguments live as long as the call does, so nothing is lost. A kernel that allocates and does not say so does not
    compile ("NRT required but not enabled").

    ``inline``: kernels that call it take it in as a whole. A call hands on each array as seven numbers or more, ten
    tuples of arrays a hundred of them, through memory; where that is done for every field of an event it took two
    thirds of the time. It makes the callers longer, so it is for what is small or is called in one place.
    """
    if function is None:
        return partial(_compiled, allocates=allocates, inline=inline)
    return _compiled(function, allocates=allocates, inline=inline)


def _compiled(function: F, *, allocates: bool, inline: bool) -> F:
    if not _chosen:  # Numba reads it when a function is decorated
        numba.config.CACHE_DIR = _cache_dir(Path(function.__code__.co_filename).parent)
    return cast("F", numba.njit(cache=True, nogil=True, fastmath=False, forceinline=inline, _nrt=allocates)(function))


@kernel
def scale(array: Any, factor: Any) -> None:
    """``array *= factor`` in kernels, where Numba would first make the product elsewhere."""
    for place in np.ndindex(array.shape):
        array[place] *= factor
