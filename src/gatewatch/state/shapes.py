"""Objects of a state class as named parts of plain values, and back: how what is no array goes into a snapshot.

A state class is a dataclass, and the types of its fields say what is in it: so a field that somebody adds is in the
next snapshot without being named anywhere, and what cannot be written is refused when the class is loaded. A field
with ``metadata=UNSAVED`` stays out: a setting, or what follows from the rest.

- A mutable dataclass in a field of its own is a part of its owner: it is filled where it is.
- One with ``eq=False`` has an identity: it is written once, and a number stands wherever it is referred to.
- Any other is a row in the container that holds it.
- Everything that does not change (text, numbers, enums, tuples, frozen records) is written as it is.

A copy is of one moment, and made in steps, so that the loop never stands still for long (:class:`Copying`): containers
are copied at once, and objects one by one while the loop goes on. Whoever is about to change one says so first, and it
is copied before. :func:`encode` makes bytes of the copy, on a thread.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from gatewatch.clock import stopwatch
from gatewatch.errors import StateError
from gatewatch.state.packing import Arrays
from gatewatch.state.plans import Plan, Plans, Refs, Row, has_identity, is_mutable, saved

T = TypeVar("T")
Parts = dict[str, Any]  # plain values by path: "episodes/_open"; objects with an identity by class: "@Case"
# Encoding holds the interpreter for one block at a time: a few ms for the largest rows we have
BLOCK_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """One field of the state, or of a part of it."""

    owner: tuple[str, ...]  # attributes that lead to whose field it is
    name: str
    plan: Plan

    @property
    def path(self) -> str:
        """Its name in a snapshot."""
        return "/".join((*self.owner, self.name))

    def of(self, state: object) -> Any:
        """Whose field it is."""
        return reduce(getattr, self.owner, state)


class Shape(Generic[T]):
    """What a state class holds.

    Args:
        cls: the dataclass; its parts are made by its own constructor.

    Raises:
        TypeError: a field cannot be in a snapshot; the text names it.
    """

    def __init__(self, cls: type[T]) -> None:
        plans = Plans()
        self._parts = _parts_of(plans, cls, ())
        self._identities = plans.identities
        texts = [f"{part.path}: {part.plan.text}" for part in self._parts]
        texts += [row.text for row in self._identities.values()]
        self.digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:8]  # differs where any field differs

    def copy(self, state: T) -> Parts:
        """Copies of all parts, which share with the state only what never changes.

        Cost: some 5 us for each object with a row, next to nothing for containers of what never changes; 12 us for an
        open episode of decide. Where a loop waits for it: :meth:`begin`.
        """
        copying = self.begin(state)
        copying.go_on(float("inf"))
        try:
            return copying.parts()
        finally:
            copying.drop()

    def begin(self, state: T, done: Callable[[], None] = lambda: None) -> Copying:
        """The beginnings of a copy, which :meth:`Copying.go_on` completes. Cost: some 50 ns an entry of a container.

        Args:
            state: of which no object may change from now on that :meth:`Copying.before` was not told of.
            done: called once it need not be told any more.
        """
        return Copying(self._parts, self._identities, state, done)

    def fill(self, state: T, parts: Parts) -> None:
        """Make a new state what it was when ``parts`` were copied.

        Raises:
            StateError: they are not of this shape; the state is of no use then.
        """
        with _without_collections():
            self._fill(state, parts)

    def _fill(self, state: T, parts: Parts) -> None:
        refs = Refs()
        try:
            for cls, row in self._identities.items():
                refs.objects[cls] = [row.empty() for _ in parts[_name(cls)]]
            for cls, row in self._identities.items():
                row.fill(refs.objects[cls], parts[_name(cls)], refs)
            for part in self._parts:
                setattr(part.of(state), part.name, part.plan.build([parts[part.path]], refs)[0])
        except (msgspec.MsgspecError, LookupError, TypeError, ValueError) as error:
            # Without the error's own text, which may show what was read
            raise StateError(f"a snapshot does not fit this version ({type(error).__name__})") from error


class Copying:
    """A copy of a state as it was when this was made, by :meth:`Shape.begin`.

    Objects are copied when their turn comes, or before they change, whichever is first. Until :meth:`drop` Python does
    not look for garbage in what there was before, nor in the copy: a look at a million objects takes half a second.
    """

    def __init__(
        self, parts: Sequence[Part], identities: Mapping[type, Row], state: object, done: Callable[[], None]
    ) -> None:
        self._parts, self._identities, self._done = parts, identities, done
        self._held: dict[str, Any] = {}  # what each part held; it keeps the objects alive, so that ids stay theirs
        self._rows: dict[int, dict[str, Any]] = {}  # copies of objects, by id
        self._row_of = dict(identities)  # how to copy one
        self._ahead: list[Iterator[Any]] = []  # objects to copy
        with _without_collections(freeze=True):
            for part in parts:
                self._hold(part, getattr(part.of(state), part.name))

    def before(self, one: object) -> None:
        """An object is about to change. One that came since then is copied in vain."""
        if id(one) not in self._rows:
            self._copy(one)

    def go_on(self, seconds: float) -> bool:
        """Copy for about so long; whether everything is copied."""
        until = stopwatch() + seconds
        with _without_collections(freeze=True):
            while self._ahead:
                one = next(self._ahead[-1], None)
                if one is None:
                    self._ahead.pop()
                elif id(one) not in self._rows:
                    self._copy(one)
                    if stopwatch() >= until:
                        return False
        self._be_done()
        return True

    def drop(self) -> None:
        """It is not wanted any more. For the thread that had its parts: what is large goes piece by piece."""
        self._ahead.clear()
        self._be_done()
        while self._rows:
            self._rows.popitem()
        gc.unfreeze()

    def parts(self) -> Parts:
        """The whole copy, once everything is copied. For a thread: some 3 us an object."""
        refs = Refs()
        parts: Parts = {}
        with _without_collections(freeze=True):
            for part in self._parts:
                held, plan = self._held[part.path], part.plan
                if plan.row is not None:
                    held = [(key, self._rows[id(one)]) for key, one in held.items()]
                elif plan.shallow:
                    held = list(held.items())
                parts[part.path] = held if plan.write is None else plan.write(held, refs)
            rows: dict[type, list[Any]] = {cls: [] for cls in self._identities}
            while any(len(refs.objects.get(cls, ())) > len(done) for cls, done in rows.items()):
                for cls, done in rows.items():  # a row may refer to objects that were not met before
                    new = refs.objects.get(cls, [])[len(done) :]
                    done += [self._identities[cls].write(self._rows[id(one)], refs) for one in new]
        return parts | {_name(cls): done for cls, done in rows.items()}

    def _be_done(self) -> None:
        """Say so, once: another copy may have begun by the time that this one is dropped."""
        done, self._done = self._done, lambda: None
        done()

    def _hold(self, part: Part, value: Any) -> None:
        plan = part.plan
        if plan.shallow:
            value = value.copy()
        elif plan.copy is not None:
            value = plan.copy(value)
        if plan.row is not None:  # rows wait for their turn
            self._row_of[plan.row.cls] = plan.row
            self._ahead.append(iter(value.values()))
        elif plan.objects is not None:
            self._ahead.append(iter(plan.objects(value.items() if plan.shallow else value)))
        self._held[part.path] = value

    def _copy(self, one: object) -> None:
        row = self._row_of[type(one)]
        self._rows[id(one)] = copied = row.copy(one)
        if row.refers:
            self._ahead.append(row.objects(copied))


def encode(parts: Parts) -> dict[str, npt.NDArray[np.uint8]]:
    """Parts as MessagePack in arrays of bytes, a block of rows each."""
    arrays: dict[str, npt.NDArray[np.uint8]] = {}
    for path, value in parts.items():
        many = isinstance(value, list) and len(value) > BLOCK_ROWS
        blocks = [value[i : i + BLOCK_ROWS] for i in range(0, len(value), BLOCK_ROWS)] if many else [value]
        for n, block in enumerate(blocks):
            arrays[f"{path}#{n}"] = np.frombuffer(msgspec.msgpack.encode(block, enc_hook=_plain), np.uint8)
    return arrays


def decode(arrays: Arrays) -> Parts:
    """The parts of :func:`encode`.

    Raises:
        StateError: an array is something else.
    """
    parts: Parts = {}
    for name, array in arrays.items():
        path, _, number = name.rpartition("#")
        try:
            with _without_collections():
                value = msgspec.msgpack.decode(array.tobytes())
            if number == "0":
                parts[path] = value
            else:
                parts[path] += value
        except (msgspec.DecodeError, LookupError, TypeError) as error:
            raise StateError(f"a snapshot's part {name} cannot be read ({type(error).__name__})") from error
    return parts


def _parts_of(plans: Plans, cls: type, owner: tuple[str, ...]) -> list[Part]:
    found: list[Part] = []
    for name, hint in saved(cls):
        if is_mutable(hint) and not has_identity(hint):
            found += _parts_of(plans, hint, (*owner, name))
        else:
            found.append(Part(owner, name, plans.of(cls, name, hint)))
    return found


@contextmanager
def _without_collections(*, freeze: bool = False) -> Iterator[None]:
    """So many new objects make Python look for garbage again and again, which takes three times as long as they do.

    With ``freeze`` it does not look at them afterwards either, until ``gc.unfreeze``.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if freeze:
            gc.freeze()
        if was:
            gc.enable()


def _name(cls: type) -> str:
    return f"@{cls.__name__}"


def _plain(value: object) -> dict[str, Any]:
    if isinstance(value, BaseModel):
        return value.model_dump()
    raise TypeError(f"{type(value).__name__} cannot be in a snapshot")
