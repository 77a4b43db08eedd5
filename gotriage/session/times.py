"""Times of a stranger's stream made comparable: every one has UTC, and none is so far away that arithmetic fails."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec
from msgspec import inspect

if TYPE_CHECKING:
    from collections.abc import Callable

S = TypeVar("S", bound=msgspec.Struct)
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)

Shape = Literal["time", "struct", "structs", "mapping"]


def timely(value: S) -> S:
    """The record with its times in UTC and between EARLIEST and LATEST; itself when they are."""
    changed = {}
    for name, shape in _times_of(type(value)):
        before = getattr(value, name)
        if before is None:
            continue
        after = _FIXERS[shape](before)
        if after is not before:
            changed[name] = after
    return msgspec.structs.replace(value, **changed) if changed else value


def _time(time: datetime) -> datetime:
    if time.tzinfo is UTC and 1970 <= time.year < 2200:
        return time
    try:
        moved = (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        return EARLIEST if time.year < 2000 else LATEST
    return min(max(moved, EARLIEST), LATEST)


def _structs(items: tuple[msgspec.Struct, ...]) -> tuple[msgspec.Struct, ...]:
    if items and _all_right(items):
        return items
    fixed = [timely(item) for item in items]
    return items if all(one is other for one, other in zip(fixed, items, strict=True)) else tuple(fixed)


def _all_right(items: tuple[msgspec.Struct, ...]) -> bool:
    """The short way for the many: rows with one time field each, as log lines have."""
    times = _times_of(type(items[0]))
    if len(times) != 1 or times[0][1] != "time":
        return False
    found = map(attrgetter(times[0][0]), items)
    return all(time is None or (time.tzinfo is UTC and 1970 <= time.year < 2200) for time in found)


def _mapping(items: dict[str, msgspec.Struct]) -> dict[str, msgspec.Struct]:
    fixed = {key: timely(item) for key, item in items.items()}
    return items if all(fixed[key] is item for key, item in items.items()) else fixed


_FIXERS: dict[Shape, Callable[..., object]] = {
    "time": _time,
    "struct": timely,
    "structs": _structs,
    "mapping": _mapping,
}


@cache
def _times_of(kind: type[msgspec.Struct]) -> tuple[tuple[str, Shape], ...]:
    """The fields of a type that are a time, or hold one further in."""
    description = inspect.type_info(kind)
    assert isinstance(description, inspect.StructType)
    return tuple((field.name, shape) for field in description.fields for shape in _shapes(field.type))


def _shapes(info: inspect.Type) -> list[Shape]:
    if isinstance(info, inspect.UnionType):
        return [shape for part in info.types for shape in _shapes(part)]
    if isinstance(info, inspect.DateTimeType):
        return ["time"]
    if isinstance(info, inspect.StructType):
        return ["struct"] if _times_of(info.cls) else []
    inner: inspect.Type | None = None
    if isinstance(info, inspect.VarTupleType):
        inner = info.item_type
    elif isinstance(info, inspect.DictType):
        inner = info.value_type
    if isinstance(inner, inspect.StructType) and _times_of(inner.cls):
        return ["structs" if isinstance(info, inspect.VarTupleType) else "mapping"]
    return []
