"""Columns: one declaration serves the TUI table, the text output and the JSON keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal[
    "text", "count", "bytes", "seconds", "latency", "share", "cores", "rate", "byterate", "time", "flag", "value", "log"
]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table of rows.

    Attributes:
        field: attribute of the row; the JSON key.
        title: the heading, short.
        unit: how the value reads (`render.units`); numbers are right-aligned. "value" is in the unit that the row's own
            `unit` field names; "log" is a whole log line, its fields with it.
        width: cells at 80 columns; 0 takes what is left.
        weight: share of what is left, where several columns take it.
        wide: shown only where the terminal is wider than 120 columns.
    """

    field: str
    title: str
    unit: Unit = "text"
    width: int = 0
    wide: bool = False
    weight: int = 1

    @property
    def right(self) -> bool:
        """Numbers are right-aligned."""
        return self.unit not in ("text", "flag", "time", "log")
