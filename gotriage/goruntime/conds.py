"""Which sync.Cond each goroutine in "sync.Cond.Wait" waits on.

The runtime links the waiters from the Cond's notifyList and not back (runtime/sema.go, notifyListWait, Go 1.18 on),
but the list's address stands on the waiter's stack: a word that leads to a list in which this very goroutine waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime.fields import read_fields
from gotriage.goruntime.waits import likely_pointers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gotriage.goruntime.goroutines import Columns
    from gotriage.goruntime.layout import Layout
    from gotriage.goruntime.memory import Memory
    from gotriage.goruntime.waits import Waits

    U64 = NDArray[np.uint64]
    I64 = NDArray[np.int64]

MAX_LISTS: Final = 10_000
MAX_STEPS: Final = 4096
"""Waiters of one Cond that are followed."""


def find_conds(memory: Memory, layout: Layout, columns: Columns, who: I64, waits: Waits) -> None:
    """Fill in `Waits.cond` of the goroutines (all in "sync.Cond.Wait"). Raises TargetGone, NotPermitted."""
    if not len(who) or not layout.has("sync.Cond", "notify"):
        return
    owner, words = likely_pointers(memory, columns, who)
    waiting = columns.address[who]
    lists, places = np.unique(words, return_inverse=True)
    heads, whole = read_fields(memory, layout, "notifyList", lists, {"head": ("head", "<u8"), "tail": ("tail", "<u8")})
    real = whole & (heads["head"] != 0) & (heads["tail"] != 0)
    members = {
        int(place): _members(memory, layout, int(heads["head"][place]), waiting)
        for place in np.flatnonzero(real)[:MAX_LISTS].tolist()
    }
    inside = layout.offset("sync.Cond", "notify")
    for one, place in zip(owner.tolist(), places.tolist(), strict=True):
        if int(waiting[one]) in members.get(place, ()):
            waits.cond[who[one]] = int(lists[place]) - inside


def _members(memory: Memory, layout: Layout, head: int, waiting: U64) -> frozenset[int]:
    """The g's in a list of sudogs; empty when one of them is not among those that wait for some Cond."""
    found: set[int] = set()
    known = set(waiting.tolist())
    here = head
    while here and len(found) < MAX_STEPS:
        sudog, whole = read_fields(
            memory, layout, "sudog", np.array([here], np.uint64), {"g": ("g", "<u8"), "next": ("next", "<u8")}
        )
        owner = int(sudog["g"][0])
        if not whole[0] or owner not in known or owner in found:
            return frozenset()
        found.add(owner)
        here = int(sudog["next"][0])
    return frozenset(found)
