"""The compact tables from program counters to numbers: frame sizes, lines, files, inline indexes.

Encoding: Go's src/runtime/symtab.go, pcvalue and step (the same from Go 1.2 to 1.27): pairs of varints, the change of
the value (zig-zag) and the length of code it holds for, in units of the machine's shortest instruction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WINDOWS: Final = (512, 8 * 1024, 128 * 1024, 1024 * 1024)
"""Bytes of a table that are read at first, then more. No real function has a table near the last."""


def value_at(table: bytes, distance: int, quantum: int) -> int | None:
    """The value `distance` bytes into the function; -1 past the table's end, None when `table` is cut before."""
    at, code, value, size = 0, 0, -1, len(table)
    while at < size:
        byte = table[at]
        at += 1
        if byte == 0 and at > 1:
            return -1
        delta = byte & 0x7F
        shift = 7
        while byte & 0x80:
            if at >= size or shift > 28:
                return None if at >= size else -1
            byte = table[at]
            at += 1
            delta |= (byte & 0x7F) << shift
            shift += 7
        value += -(delta >> 1) - 1 if delta & 1 else delta >> 1
        if at >= size:
            return None
        byte = table[at]
        at += 1
        delta = byte & 0x7F
        shift = 7
        while byte & 0x80:
            if at >= size or shift > 28:
                return None if at >= size else -1
            byte = table[at]
            at += 1
            delta |= (byte & 0x7F) << shift
            shift += 7
        code += delta * quantum
        if distance < code:
            return _int32(value)
    return None


def _int32(value: int) -> int:
    return (value + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000


def look_up(read: Callable[[int], bytes], distance: int, quantum: int) -> int:
    """As `value_at`, of a table that is read by `read(size)`, at most so many bytes; -1 for a damaged one."""
    for size in WINDOWS:
        table = read(size)
        value = value_at(table, distance, quantum)
        if value is not None:
            return value
        if len(table) < size:
            break
    return -1


MAX_RUNS: Final = 100_000
"""Pieces of one function that are looked at; the longest of real programs have some thousand."""


def runs(table: bytes, size: int, quantum: int) -> Iterator[tuple[int, int]]:
    """Where each value begins to hold, as a distance from the function's beginning, and the value; up to `size` bytes.

    Ends where the table does, is cut, or leads out of the function.
    """
    at, code, value = 0, 0, -1
    for _ in range(MAX_RUNS):
        change = _varint(table, at)
        if change is None or (change[0] == 0 and at > 0):
            return
        length = _varint(table, change[1])
        if length is None or code >= size:
            return
        delta, at = change[0], length[1]
        value += -(delta >> 1) - 1 if delta & 1 else delta >> 1
        yield code, _int32(value)
        code += length[0] * quantum


def _varint(table: bytes, at: int) -> tuple[int, int] | None:
    """A number and where the next one begins."""
    result = 0
    for shift in range(0, 35, 7):
        if at >= len(table):
            return None
        byte = table[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return result, at
    return None
