"""From the type of a field to how its values are copied, and built again from what MessagePack gives back.

They are copied one by one and built all at once, a column at a time: to look at a type costs more than a value does.
"""

from __future__ import annotations

import types
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from operator import attrgetter
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
from pydantic import BaseModel

from gatewatch.state.recent import Recent

UNSAVED: Mapping[str, bool] = types.MappingProxyType({"saved": False})
Before = Callable[[object], None]  # called with an object that is about to change
_SCALARS = (str, int, float, bool, bytes, type(None), Enum)


def nobody(_one: object) -> None:
    """Wants to know before an object changes."""


class Refs:
    """Objects with an identity, by class: numbered in the order in which they were met, or found by number."""

    def __init__(self) -> None:
        self.objects: dict[type, list[Any]] = {}
        self._numbers: dict[int, int] = {}

    def number(self, of: object) -> int:
        """Of an object; a new one if it was not met before."""
        number = self._numbers.get(id(of))
        if number is None:
            met = self.objects.setdefault(type(of), [])
            number = self._numbers[id(of)] = len(met)
            met.append(of)
        return number

    def numbered(self, cls: type, number: object) -> Any:
        """The object of a class with that number.

        Raises:
            ValueError: there is none.
        """
        if not isinstance(number, int) or not 0 <= number < len(self.objects[cls]):
            raise ValueError("not the number of an object")
        return self.objects[cls][number]


@dataclass(frozen=True, slots=True)
class Plan:
    """How values of one type are copied, written and built.

    Without ``copy`` they never change, or are objects with an identity, which are copied by themselves. Without
    ``write`` a copy refers to no such object, and is written as it is.
    """

    text: str  # what differs where the type differs
    build: Callable[[list[Any], Refs], list[Any]]  # all of a column
    copy: Callable[[Any], Any] | None = None
    write: Callable[[Any, Refs], Any] | None = None  # a copy, with numbers for objects
    objects: Callable[[Any], Iterable[Any]] | None = None  # those that a copy refers to
    row: Row | None = None  # of a mapping's values, where these are rows
    shallow: bool = False  # a mapping whose values are copied by themselves, or never change


class Plans:
    """Plans by type. ``identities`` are the rows of all classes with an identity that were met on the way."""

    def __init__(self) -> None:
        self.identities: dict[type, Row] = {}

    def of(self, cls: type, name: str, hint: Any) -> Plan:
        """For a field.

        Raises:
            TypeError: such a value cannot be in a snapshot; the text names the field.
        """
        try:
            return self._of(hint)
        except TypeError as error:
            raise TypeError(f"{cls.__name__}.{name}: {error}") from error

    def _of(self, hint: Any) -> Plan:
        origin, args = get_origin(hint), get_args(hint)
        plan: Plan | None = None
        if never_changes(hint):
            column = _list_of(hint)
            plan = Plan(repr(hint), lambda values, _refs: convert(values, column))
        elif origin in (Union, types.UnionType) and len(args) == 2 and type(None) in args:
            plan = _optional(self._of(next(arg for arg in args if arg is not type(None))))
        elif origin in (dict, OrderedDict, Recent):
            plan = self._mapping(hint, origin, args)
        elif origin is Counter:
            plan = self._mapping(hint, lambda rows: Counter(dict(rows)), (*args, int))
        elif origin in (list, set, deque) and never_changes(args[0]):
            plan = _collection(hint, origin, args[0])
        elif is_mutable(hint):
            plan = self._referred(hint) if has_identity(hint) else self._row(hint)
        if plan is None:
            raise TypeError(f"{hint} cannot be in a snapshot")
        return plan

    def _mapping(self, hint: Any, make: Callable[[Any], Any], args: tuple[Any, ...]) -> Plan:
        """A mapping as pairs, in its own order."""
        key, value = args
        if not never_changes(key):
            raise TypeError(f"{hint} has keys that change")
        plan = self._of(value)
        copy, write, objects, build = plan.copy, plan.write, plan.objects, plan.build
        pairs = _list_of(_list_of(types.GenericAlias(tuple, (key, value))))
        if copy is None and write is None:
            return Plan(
                repr(hint),
                lambda values, _refs: [make(rows) for rows in convert(values, pairs)],
                lambda v: list(v.items()),
                shallow=True,
            )
        keys = _list_of(_list_of(key))

        def built(values: list[Any], refs: Refs) -> list[Any]:
            columns = convert([[k for k, _ in rows] for rows in values], keys)
            parts = iter(build([v for rows in values for _, v in rows], refs))
            return [make([(k, next(parts)) for k in column]) for column in columns]

        text = f"{hint.__origin__.__name__}[{key!r}, {plan.text}]"
        return Plan(
            text,
            built,
            (lambda v: list(v.items())) if copy is None else (lambda v: [(k, copy(one)) for k, one in v.items()]),
            None if write is None else (lambda v, refs: [(k, write(one, refs)) for k, one in v]),
            None if objects is None else (lambda v: (found for _, one in v for found in objects(one))),
            plan.row,
            shallow=copy is None or plan.row is not None,
        )

    def _referred(self, cls: type) -> Plan:
        """A number in place of an object with an identity."""
        if cls not in self.identities:
            row = self.identities[cls] = Row(cls)
            row.plan(self)  # which may refer to its own kind
        return Plan(
            f"@{cls.__name__}",
            lambda numbers, refs: [refs.numbered(cls, n) for n in numbers],
            write=lambda v, refs: refs.number(v),
            objects=lambda v: (v,),
        )

    def _row(self, cls: type) -> Plan:
        row = Row(cls)
        row.plan(self)
        return Plan(
            row.text,
            lambda rows, refs: row.fill([row.empty() for _ in rows], rows, refs),
            row.copy,
            row.write if row.refers else None,
            row.objects if row.refers else None,
            row,
        )


class Row:
    """An object by the names of its fields.

    Raises:
        TypeError: the class has fields that are not saved; nobody would set them.
    """

    def __init__(self, cls: type) -> None:
        self.cls = cls
        if len(saved(cls)) < len(fields(cls)):
            raise TypeError(f"{cls.__name__} is in a container, where nobody would set what is not saved")
        self._plans: dict[str, Plan] = {}

    def plan(self, plans: Plans) -> None:
        """Look at the fields."""
        for name, hint in saved(self.cls):
            self._plans[name] = plans.of(self.cls, name, hint)
        self._names = tuple(self._plans)
        self._changing = [(name, plan.copy) for name, plan in self._plans.items() if plan.copy is not None]
        self._referring = [(n, p.write, p.objects) for n, p in self._plans.items() if p.write and p.objects]
        self._get = attrgetter(*self._names, "__class__")  # one more, so that it always gives a tuple

    @property
    def text(self) -> str:
        """What differs where the class differs."""
        return f"{self.cls.__name__}({', '.join(f'{name}: {plan.text}' for name, plan in self._plans.items())})"

    def empty(self) -> Any:
        """An object without anything in it."""
        return object.__new__(self.cls)

    @property
    def refers(self) -> bool:
        """Whether an object with an identity may be in it."""
        return bool(self._referring)

    def copy(self, one: object) -> dict[str, Any]:
        """Its fields. Cost: some 2 us for twenty, and what its containers cost."""
        row = dict(zip(self._names, self._get(one), strict=False))
        for name, copy in self._changing:
            row[name] = copy(row[name])
        return row

    def write(self, row: dict[str, Any], refs: Refs) -> dict[str, Any]:
        """A copy, with numbers for the objects in it."""
        return row | {name: write(row[name], refs) for name, write, _ in self._referring}

    def objects(self, row: Mapping[str, Any]) -> Iterator[Any]:
        """Those with an identity that a copy refers to."""
        for name, _, objects in self._referring:
            yield from objects(row[name])

    def fill(self, ones: list[Any], rows: list[Mapping[str, Any]], refs: Refs) -> list[Any]:
        """Set the fields of empty ones."""
        for name, plan in self._plans.items():
            for one, value in zip(ones, plan.build([row[name] for row in rows], refs), strict=True):
                setattr(one, name, value)
        return ones


def saved(cls: type) -> list[tuple[str, Any]]:
    """Fields that are in a snapshot, with their types."""
    hints = get_type_hints(cls)
    return [(f.name, hints[f.name]) for f in fields(cls) if f.metadata.get("saved", True)]


def has_identity(cls: type) -> bool:
    """Whether it matters which object it is, and not only what is in it: a dataclass with ``eq=False``."""
    return "__eq__" not in cls.__dict__


def is_mutable(hint: Any) -> bool:
    """Whether it is a dataclass whose values change."""
    return isinstance(hint, type) and is_dataclass(hint) and not never_changes(hint)


def never_changes(hint: Any) -> bool:
    """Whether values of this type are the same for ever."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (tuple, Union, types.UnionType):
        return all(arg is Ellipsis or never_changes(arg) for arg in args)
    if not isinstance(hint, type) or origin is not None:
        return hint is None
    if is_dataclass(hint) or issubclass(hint, tuple):
        # setattr of a frozen dataclass raises; a named tuple has none
        frozen = issubclass(hint, tuple) or "__setattr__" in hint.__dict__
        return frozen and all(never_changes(part) for part in get_type_hints(hint).values())
    if issubclass(hint, BaseModel):
        return bool(hint.model_config.get("frozen"))
    return issubclass(hint, _SCALARS) or (issubclass(hint, msgspec.Struct) and hint.__struct_config__.frozen)


def convert(value: Any, hint: Any) -> Any:
    """What never changes, from what MessagePack gives back.

    Raises:
        msgspec.ValidationError: it is of another type.
    """
    return msgspec.convert(value, hint, dec_hook=_model)


def _optional(plan: Plan) -> Plan:
    copy, write, objects, build = plan.copy, plan.write, plan.objects, plan.build

    def built(values: list[Any], refs: Refs) -> list[Any]:
        some = iter(build([value for value in values if value is not None], refs))
        return [None if value is None else next(some) for value in values]

    return Plan(
        f"{plan.text}?",
        built,
        None if copy is None else (lambda value: None if value is None else copy(value)),
        None if write is None else (lambda value, refs: None if value is None else write(value, refs)),
        None if objects is None else (lambda value: () if value is None else objects(value)),
    )


def _collection(hint: Any, make: Callable[..., Any], item: Any) -> Plan:
    """A list, a set, or a deque with its greatest length."""
    lists = _list_of(_list_of(item))
    if make is not deque:
        return Plan(
            repr(hint),
            lambda values, _refs: [make(rows) for rows in convert(values, lists)],
            list,
        )

    def built(values: list[Any], _refs: Refs) -> list[Any]:
        lengths = convert([maxlen for maxlen, _ in values], list[int | None])
        contents = convert([rows for _, rows in values], lists)
        return [deque(rows, maxlen) for rows, maxlen in zip(contents, lengths, strict=True)]

    return Plan(repr(hint), built, lambda value: (value.maxlen, list(value)))


def _list_of(item: Any) -> types.GenericAlias:
    return types.GenericAlias(list, (item,))


def _model(cls: type, value: Any) -> Any:
    if issubclass(cls, BaseModel):
        return cls.model_validate(value)
    raise TypeError(f"{cls.__name__} cannot be in a snapshot")
