"""Calls of C library functions by the target, counted: for cgo programs, and for any that is linked dynamically."""

from __future__ import annotations

from typing import ClassVar

from gotriage.records.base import Record, Row


class LibraryCall(Row, frozen=True, kw_only=True):
    """One function.

    Attributes:
        library: path of the file that has it, as the target's mapping names it; "" where that is not told.
        count: calls while the trace was attached. Probes stand at the function itself: calls by other libraries, and
            by the library of itself, count too. ltrace sees those of the program alone.
        rate: a second, of the last seconds; `share`: the part of all calls in that time, 0 to 1.
        seconds, each: time in it by ltrace, all together and of one call, most of which is ltrace's own doing; None
            where time is not measured.
    """

    function: str
    library: str = ""
    count: int = 0
    rate: float | None = None
    share: float | None = None
    seconds: float | None = None
    each: float | None = None


class LibraryCalls(Record, frozen=True, kw_only=True, tag="librarycalls"):
    """What was counted since the start.

    Attributes:
        rows: functions that were called, the most frequent first.
        way: "probes" or "ltrace".
        count, rate: of all functions.
        functions: how many are counted, called or not; None where that is not known.
        libraries: the files that they are in.
        refused: functions that are called by the program and cannot be counted, and why.
        attached: seconds that it counted.
    """

    keep: ClassVar[int] = 600

    rows: tuple[LibraryCall, ...] = ()
    way: str = ""
    count: int = 0
    rate: float | None = None
    functions: int | None = None
    libraries: tuple[str, ...] = ()
    refused: dict[str, str] = {}
    attached: float = 0.0
