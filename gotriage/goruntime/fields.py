"""Fields of many structs at once, as columns of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gotriage.goruntime.layout import Layout
    from gotriage.goruntime.memory import Memory

Wanted = Mapping[str, tuple[str, str]]
"""Column to field path and numpy type, as {"goid": ("goid", "<u8")}."""


def cut(table: NDArray[np.uint8], at: int, kind: str) -> NDArray[np.generic]:
    """The numbers that stand at a byte offset of each row."""
    size = np.dtype(kind).itemsize
    return np.ascontiguousarray(table[:, at : at + size].view(kind)[:, 0])


def read_fields(
    memory: Memory, layout: Layout, struct: str, addresses: NDArray[np.uint64], wanted: Wanted
) -> tuple[dict[str, NDArray[np.generic]], NDArray[np.bool_]]:
    """Columns of the structs at the addresses, and which structs were readable (the others are zeros).

    A field that this version of Go does not have is a column of zeros.
    """
    known = {name: place for name, place in wanted.items() if layout.has(struct, place[0])}
    there = {name: (layout.offset(struct, path), kind) for name, (path, kind) in known.items()}
    low = min(at for at, _ in there.values())
    size = max(at + np.dtype(kind).itemsize for at, kind in there.values()) - low
    data, _, whole = memory.read_many(addresses + np.uint64(low), size)
    table = data.reshape(len(addresses), size)
    columns = {name: cut(table, at - low, kind) for name, (at, kind) in there.items()}
    for name, (_, kind) in wanted.items():
        if name not in columns:
            columns[name] = np.zeros(len(addresses), kind)
    return columns, whole


def positions(sorted_values: NDArray[np.uint64], values: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where each value stands in the sorted ones, -1 where it does not."""
    if not len(sorted_values):
        return np.full(len(values), -1, np.int64)
    place = np.searchsorted(sorted_values, values)
    place[place == len(sorted_values)] = 0
    return np.where(sorted_values[place] == values, place, -1).astype(np.int64)
