"""The runtime's Ms: their list, and the kernel thread of each (runtime/runtime2.go, m)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime.fields import read_fields
from gotriage.goruntime.memory import Unreadable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gotriage.goruntime.layout import Layout
    from gotriage.goruntime.memory import Memory

    U64 = NDArray[np.uint64]

MAX_THREADS: Final = 20_000
"""Go ends the program at 10,000 threads unless told otherwise (runtime/proc.go, sched.maxmcount)."""
SLICE: Final = 24
"""Bytes of a slice."""


def thread_ids(memory: Memory, layout: Layout, machines: U64) -> dict[int, int]:
    """Address of an m to its kernel thread (m.procid); nil pointers, and what cannot be read, are left out."""
    distinct = np.unique(machines[machines != 0])
    if not len(distinct):
        return {}
    columns, whole = read_fields(memory, layout, "m", distinct, {"tid": ("procid", "<u8")})
    there = whole & (columns["tid"] != 0)
    return dict(zip(distinct[there].tolist(), columns["tid"][there].tolist(), strict=True))


def every(memory: Memory, layout: Layout, first: int) -> U64:
    """The address of every m, by the list that begins at `first` (runtime.allm) and goes on at m.alllink.

    Patch releases move that field (1.24.6 and later, by a slice): the longest list is the right one, in which each m is
    the one that its own g0 belongs to. Raises Unreadable when there is no such list.
    """
    usual = layout.offset("m", "alllink")
    found = max((_chain(memory, layout, first, link) for link in (usual, usual + SLICE, usual - SLICE)), key=len)
    if not len(found):
        raise Unreadable("the list of threads (runtime.allm) makes no sense")
    return found


def _chain(memory: Memory, layout: Layout, first: int, link: int) -> U64:
    """The list by the field at that offset; empty when something in it is no m."""
    found: dict[int, None] = {}
    here = first
    while here and here not in found and len(found) < MAX_THREADS:
        found[here] = None
        try:
            here = int.from_bytes(memory.read(here + link, 8), "little")
        except Unreadable:
            return np.zeros(0, np.uint64)
    listed = np.array(list(found), np.uint64)
    own, whole = read_fields(memory, layout, "m", listed, {"g0": ("g0", "<u8")})
    back, also = read_fields(memory, layout, "g", own["g0"].astype(np.uint64), {"m": ("m", "<u8")})
    return listed if whole.all() and also.all() and (back["m"] == listed).all() else np.zeros(0, np.uint64)
