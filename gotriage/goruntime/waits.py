"""What goroutines wait on, as far as the runtime says it: channels, semaphores (mutexes and their like), descriptors.

    channel      g.waiting is a sudog, sudog.c the hchan (runtime/chan.go)
    semaphore    a sudog in runtime.semtable, whose elem is the semaphore's address (runtime/sema.go)
    descriptor   a pollDesc whose rg or wg is the g (runtime/netpoll.go); its address stands on the waiter's stack

All for Go 1.18 to 1.27. Sync objects are named by their own address, not their semaphore's: which object a semaphore
belongs to follows from the function that waits (sync/mutex.go, rwmutex.go, waitgroup.go).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime.fields import positions, read_fields
from gotriage.goruntime.locate import NotLocated
from gotriage.goruntime.memory import Unreadable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gotriage.goruntime.goroutines import Columns
    from gotriage.goruntime.layout import Layout
    from gotriage.goruntime.locate import Globals
    from gotriage.goruntime.memory import Memory

    U64 = NDArray[np.uint64]
    I64 = NDArray[np.int64]
    Bools = NDArray[np.bool_]

ROOTS: Final = 251
"""runtime/sema.go, semTabSize."""
STRIDE: Final = 64
"""Each root is padded to a cache line (runtime/sema.go, cpu.CacheLinePadSize on amd64 and most arm64)."""
MAX_SUDOGS: Final = 200_000
MAX_ROUNDS: Final = 4096
"""Steps along the list of one semaphore's waiters: those behind are counted as waiting, but not told on what."""
MAX_CASES: Final = 32
"""Cases of a select that are followed."""
WINDOW: Final = 512
"""Bytes of the innermost frames that are searched for a pollDesc."""
MAX_POLLED: Final = 50_000

_SUDOG: Final = {
    "g": ("g", "<u8"), "elem": ("elem", "<u8"), "c": ("c", "<u8"), "select": ("isSelect", "u1"),
    "waitlink": ("waitlink", "<u8"), "prev": ("prev", "<u8"), "next": ("next", "<u8"),
}  # fmt: skip


@dataclass(slots=True)
class Channels:
    """The channels that somebody waits on, sorted by address."""

    address: U64
    buffered: U64
    capacity: U64
    closed: Bools


@dataclass(slots=True)
class Waits:
    """Who waits on what; numbers of goroutines are those of `Columns`.

    Attributes:
        channel: for each goroutine its channel's address, 0 for none, and for a select with several.
        cases: (goroutine, channel) for every case of every select.
        semaphore: for each goroutine the semaphore's address, 0 for none or unknown.
        cond: for each goroutine the sync.Cond's address, 0 for none or unknown.
        fd: for each goroutine the descriptor that it polls, -1 for none or unknown.
        sudogs: addresses of the sudogs that were met.
        cut: some waiters were not followed.
    """

    channel: U64
    semaphore: U64
    cond: U64
    fd: I64
    cases: list[tuple[int, int]] = field(default_factory=list)
    channels: Channels | None = None
    sudogs: U64 = field(default_factory=lambda: np.zeros(0, np.uint64))
    cut: bool = False


def find_waits(memory: Memory, layout: Layout, found: Globals, columns: Columns) -> Waits:
    """Channels and semaphores of all goroutines. What cannot be read is left out. Raises TargetGone, NotPermitted."""
    count = len(columns)
    nothing = np.zeros(count, np.uint64)
    waits = Waits(nothing.copy(), nothing.copy(), nothing.copy(), np.full(count, -1, np.int64))
    order = np.argsort(columns.address)
    _channels(memory, layout, columns, waits)
    try:
        _semaphores(memory, layout, found, columns.address[order], order, waits)
    except (Unreadable, NotLocated):
        waits.cut = True
    return waits


# -- channels


def _channels(memory: Memory, layout: Layout, columns: Columns, waits: Waits) -> None:
    who = np.flatnonzero(columns.unsigned("waiting") != 0)
    link = columns.unsigned("waiting")[who]
    owners, seen = columns.address, set[int]()
    for round_number in range(MAX_CASES):
        if not len(who):
            break
        sudogs, whole = read_fields(memory, layout, "sudog", link, _SUDOG)
        waits.sudogs = np.concatenate([waits.sudogs, link])
        mine = whole & (sudogs["g"] == owners[who]) & (sudogs["c"] != 0)
        who, channel = who[mine], sudogs["c"][mine].astype(np.uint64)
        selects, following = sudogs["select"][mine] != 0, sudogs["waitlink"][mine].astype(np.uint64)
        if round_number == 0:
            waits.channel[who] = channel
        several = selects & ((following != 0) | (round_number > 0))
        waits.channel[who[several]] = 0
        waits.cases += zip(who[selects].tolist(), channel[selects].tolist(), strict=True)
        seen.update(np.unique(channel).tolist())
        who, link = who[following != 0], following[following != 0]
    waits.cut |= bool(len(who))
    _read_channels(memory, layout, np.array(sorted(seen), np.uint64), waits)


def _read_channels(memory: Memory, layout: Layout, addresses: U64, waits: Waits) -> None:
    if not len(addresses):
        return
    wanted = {"buffered": ("qcount", "<u8"), "capacity": ("dataqsiz", "<u8"), "closed": ("closed", "<u4")}
    values, whole = read_fields(memory, layout, "hchan", addresses, wanted)
    waits.channels = Channels(
        addresses[whole],
        values["buffered"][whole].astype(np.uint64),
        values["capacity"][whole].astype(np.uint64),
        values["closed"][whole] != 0,
    )


# -- semaphores


def _semaphores(
    memory: Memory, layout: Layout, found: Globals, owners: U64, order: NDArray[np.intp], waits: Waits
) -> None:
    """Walk the treaps of all roots at once: children by prev and next, waiters of one address by waitlink."""
    table = np.frombuffer(memory.read(found.address("semtable"), ROOTS * STRIDE), np.uint64).reshape(ROOTS, STRIDE // 8)
    frontier = table[:, layout.offset("semaRoot", "treap") // 8]
    seen = np.zeros(0, np.uint64)
    for _ in range(MAX_ROUNDS):
        frontier = np.unique(frontier[frontier != 0])
        frontier = frontier[positions(seen, frontier) < 0]
        if not len(frontier) or len(seen) > MAX_SUDOGS:
            break
        seen = np.union1d(seen, frontier)
        sudogs, whole = read_fields(memory, layout, "sudog", frontier, _SUDOG)
        place = positions(owners, sudogs["g"][whole].astype(np.uint64))
        known = place >= 0
        waits.semaphore[order[place[known]]] = sudogs["elem"][whole][known].astype(np.uint64)
        links = [sudogs[name][whole].astype(np.uint64) for name in ("prev", "next", "waitlink")]
        frontier = np.concatenate(links)
    else:
        waits.cut = True
    waits.sudogs = np.concatenate([waits.sudogs, seen])
    waits.cut |= len(seen) > MAX_SUDOGS


# -- descriptors


def find_polled(memory: Memory, layout: Layout, columns: Columns, who: I64, waits: Waits) -> None:
    """The descriptor that each of the goroutines (all in "IO wait") waits for.

    A word of its innermost frames that leads to a pollDesc whose rg or wg is this very g is no accident.
    """
    who = who[:MAX_POLLED]
    if not len(who) or not layout.has("pollDesc", "fd"):
        return
    owner, words = likely_pointers(memory, columns, who)
    candidates, places = np.unique(words, return_inverse=True)
    wanted = {"fd": ("fd", "<u8"), "rg": ("rg", "<u8"), "wg": ("wg", "<u8")}
    descs, whole = read_fields(memory, layout, "pollDesc", candidates, wanted)
    mine = columns.address[who][owner]
    match = whole[places] & ((descs["rg"][places] == mine) | (descs["wg"][places] == mine))
    waits.fd[who[owner[match]]] = descs["fd"][places[match]].astype(np.int64)


def likely_pointers(memory: Memory, columns: Columns, who: I64) -> tuple[I64, U64]:
    """Words of the goroutines' innermost frames that may be pointers to elsewhere, each with its place in `who`."""
    room = np.minimum(columns.unsigned("hi")[who] - columns.sp[who], WINDOW).astype(np.int64) & ~7
    data, offsets, _ = memory.read_many(columns.sp[who], room)
    words = data.view(np.uint64)
    owner = np.repeat(np.arange(len(who)), np.diff(offsets) // 8).astype(np.int64)
    low, high = columns.unsigned("lo")[who][owner], columns.unsigned("hi")[who][owner]
    likely = (words > 1 << 16) & (words % 8 == 0) & (words < 1 << 48) & ((words < low) | (words >= high))
    return owner[likely], words[likely]
