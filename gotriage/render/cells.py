"""One cell: a row's field as text, by the column's unit. The TUI, `show` and reports all read it here."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from gotriage.render import loglines, units

if TYPE_CHECKING:
    from collections.abc import Callable

    from gotriage.render.columns import Column

UNLIMITED = "no limit"
LEAST_GROWTH = 0.5
"""A minute, in the unit of the value: less is noise, and would read "+0"."""

_READERS: dict[str, Callable[[Any], str]] = {
    "count": units.count,
    "bytes": units.size,
    "seconds": units.seconds,
    "latency": units.latency,
    "share": units.share,
    "cores": units.cores,
    "rate": units.rate,
    "byterate": lambda value: units.UNKNOWN if value is None else f"{units.size(value)}/s",
    "time": units.clock,
}
"""Column unit to the function that reads it."""

_OWN_UNITS: dict[str, Callable[[float], str]] = {
    "count": units.count,
    "bytes": units.size,
    "seconds": units.seconds,
    "cores": units.cores,
    "microseconds": lambda value: units.seconds(value / 1e6),
    "priority": units.count,
}
"""What a row's own `unit` says (records.limits) to the function that reads it."""


def cell(row: object, column: Column) -> str:
    """The text of one cell; a value that is not known is a dash."""
    value = getattr(row, column.field)
    if column.unit == "value":
        return _own(row, column.field, value)
    if column.unit == "text":
        return words(value)
    if column.unit == "log":
        return loglines.said(row)  # type: ignore[arg-type]  # only tables of log lines have such a column
    if column.unit == "flag":
        return "yes" if value else ""
    return _READERS[column.unit](value)


def _own(row: object, field: str, value: float | None) -> str:
    """A value in the unit that the row names; a growth is read per minute."""
    if value is None:
        if field == "soft" and getattr(row, "unlimited", False):
            return UNLIMITED
        if field == "hard" and getattr(row, "name", "").startswith(("RLIMIT_", "Limit")):
            return UNLIMITED
        return units.UNKNOWN
    read = _OWN_UNITS.get(getattr(row, "unit", ""), units.count)
    if field == "growth":
        return f"{'+' if value > 0 else ''}{read(value * 60)}/m" if abs(value * 60) >= LEAST_GROWTH else "0"
    return read(value)


def words(value: object) -> str:
    """Any value in words: sequences and mappings joined, None as a dash, true and false as yes and no."""
    if value is None:
        return units.UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, msgspec.Struct):
        return struct_words(value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={words(item)}" for key, item in value.items())
    if isinstance(value, (tuple, list)):
        return ", ".join(words(item) for item in value)
    return _scalar(value)


def struct_words(value: msgspec.Struct) -> str:
    """The fields of a small struct that say something: "fd 0, goes to /dev/null"."""
    fields = ((name, getattr(value, name)) for name in value.__struct_fields__)
    return ", ".join(f"{name.replace('_', ' ')} {words(item)}" for name, item in fields if item not in (None, "", ()))


def _scalar(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return units.timestamp(value) if isinstance(value, datetime) else str(value)
