"""Python looks for cyclic garbage by going through all objects; 50,000 open episodes are a second of standing still.

What decide knows is freed when it is dropped: there are no cycles in it. So what has lived for some seconds is taken
out of the search (``gc.freeze``), and the search over everything is made only when there are twice as many objects as
after the last one. Where nothing leaks that is when episodes have become twice as many.
"""

from __future__ import annotations

import gc

from gatewatch.clock import Clock

FREEZE_S = 10.0  # what came since then is searched: some milliseconds
SPARE = 200_000  # objects that may come on top of twice as many: a search over so few takes 50 ms (two shared cores)
_NEVER = 1 << 30


class Garbage:
    """The garbage collector of a process whose work is decide's. Undo by :meth:`close`.

    Args:
        clock: injected time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._freeze_at = clock.monotonic()
        self._before = gc.get_threshold()
        self._known = 0  # objects that were left after the last search over everything
        gc.set_threshold(*self._before[:2], _NEVER)

    def turn(self) -> None:
        """Once in a while, take what is there out of the search."""
        now = self._clock.monotonic()
        if now < self._freeze_at:
            return
        self._freeze_at = now + FREEZE_S
        gc.collect(1)
        gc.freeze()
        if gc.get_freeze_count() > 2 * self._known + SPARE:
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            self._known = gc.get_freeze_count()

    def close(self) -> None:
        """As it was."""
        gc.unfreeze()
        gc.set_threshold(*self._before)
