"""Many goroutines' stacks walked at once, level by level, by the frame sizes of Go's own tables.

This is what the Go runtime does itself (runtime/traceback.go, unwinder.next, Go 1.21): the frame pointer is the stack
pointer plus the frame's size at the pc (funcspdelta); on amd64 the return address lies there, on arm64 at the bottom
of the frame. A walk ends at a function flagged TOPFRAME (runtime/symtab.go, abi.FuncFlagTopFrame).

Thousands of goroutines share a few dozen stacks: a hash of the pcs, made while walking, tells them apart, and only one
of each is written down.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gotriage.goruntime.symbols import Functions

    U64 = NDArray[np.uint64]
    I64 = NDArray[np.int64]
    Bools = NDArray[np.bool_]

MAX_DEPTH: Final = 2048
"""Frames of a stack that are followed; Go itself prints 100 (runtime/traceback.go, tracebackInnerFrames)."""
MAX_STACK: Final = 256 * 1024
"""Bytes of a stack that are read; deeper ones are walked as far as these reach."""
BATCH_BYTES: Final = 8 * 1024 * 1024
"""Bytes of stacks that are held at once; so few that they stay in the processor's cache."""
TOPFRAME: Final = 1
FEW: Final = 4
"""So few that are left are walked one by one: a level of arrays costs as much as some thirty single steps."""
SLOTS: Final = 1 << 16
_SHIFT: Final = np.uint64(64 - 16)
_PRIME: Final = np.uint64(0x9E3779B97F4A7C15)
_MASK: Final = (1 << 64) - 1


class Reads(Protocol):
    """What is needed of a Memory."""

    arch: str

    def read_many(self, addresses: U64, sizes: I64 | int) -> tuple[NDArray[np.uint8], I64, Bools]:
        """See gotriage.goruntime.memory.Memory."""
        ...


@dataclass(slots=True)
class Walked:
    """Stacks of n goroutines, in the order asked for.

    Attributes:
        key: hash of each one's pcs; 0 where nothing could be read.
        complete: the walk reached the goroutine's first function.
        pcs: hash to the pcs, innermost first.
        mentions: pairs of (number of a goroutine, number of a needle) whose stack holds the needle's value.
    """

    key: U64
    complete: Bools
    pcs: dict[int, tuple[int, ...]] = field(default_factory=dict)
    mentions: set[tuple[int, int]] = field(default_factory=set)


def batches(sizes: I64, most: int = BATCH_BYTES) -> list[slice]:
    """Runs of neighbours that together stay under a number of bytes; a single larger one is a run of its own."""
    found: list[slice] = []
    sums = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        base = int(sums[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(sums, base + most, side="right")))
        found.append(slice(start, end))
        start = end
    return found


def walk(memory: Reads, functions: Functions, sp: U64, pc: U64, top: U64, needles: U64 | None = None) -> Walked:
    """Walk the stacks that begin at `sp` in `pc` and end at `top`.

    `needles`: sorted values to look for in the stacks (likely holders of a lock). Raises TargetGone, NotPermitted.
    """
    count = len(sp)
    walked = Walked(np.zeros(count, np.uint64), np.zeros(count, bool))
    room = np.minimum(np.where(top > sp, top - sp, 0), MAX_STACK).astype(np.int64) & ~7
    steps = Steps(functions)
    for piece in batches(room):
        data, offsets, whole = memory.read_many(sp[piece], room[piece])
        words = np.zeros(0, np.uint64) if not len(data) else data[: len(data) & ~7].view(np.uint64)
        if needles is not None and len(needles):
            _search(words, offsets, needles, piece.start, walked)
        _walk_batch(words, offsets, whole, pc[piece], memory.arch, steps, piece.start, walked)
    return walked


def _search(words: U64, offsets: I64, needles: U64, start: int, walked: Walked) -> None:
    place = np.searchsorted(needles, words)
    place[place == len(needles)] = 0
    hits = np.flatnonzero(needles[place] == words)
    owner = np.searchsorted(offsets, hits * 8, side="right") - 1 + start
    walked.mentions.update(zip(owner.tolist(), place[hits].tolist(), strict=True))


def _walk_batch(
    words: U64, offsets: I64, whole: Bools, pc: U64, arch: str, steps: Steps, start: int, walked: Walked
) -> None:
    """One batch, whose stacks lie in `words` one after the other."""
    link_register = 1 if arch == "arm64" else 0
    alive = np.flatnonzero(whole & (np.diff(offsets) > 0))
    at, here = offsets[alive] >> 3, pc[alive]
    end, key = offsets[alive + 1] >> 3, np.zeros(len(alive), np.uint64)
    keys = np.zeros(len(pc), np.uint64)
    levels: list[tuple[I64, U64]] = []
    complete = np.zeros(len(pc), bool)
    for _ in range(MAX_DEPTH):
        if len(alive) <= FEW:
            break
        levels.append((alive, here))
        key = (key ^ here) * _PRIME + np.uint64(1)
        frame, top = steps.of(here)
        complete[alive[top]] = True
        back = at if link_register else at + frame
        step = at + frame + (1 - link_register)
        ok = ~top & (frame >= 0) & (back < end) & (step > at)
        following = words[np.where(ok, back, 0)]
        ok &= following != 0
        if ok.all():
            at, here = step, following
            continue
        keys[alive[~ok]] = key[~ok]
        alive, at, end, here, key = alive[ok], step[ok], end[ok], following[ok], key[ok]
    keys[alive] = key
    tails: dict[int, list[int]] = {}
    left = zip(alive.tolist(), at.tolist(), end.tolist(), here.tolist(), key.tolist(), strict=True)
    for who, place, limit, first, before in left if len(levels) < MAX_DEPTH else ():
        most = MAX_DEPTH - len(levels)
        tails[who], complete[who] = _walk_one(words[place:limit], first, link_register, steps, most)
        keys[who] = _hash(before, tails[who])
    walked.key[start : start + len(pc)] = keys
    walked.complete[start : start + len(pc)] = complete
    _write_down(keys, levels, tails, walked)


def _walk_one(words: U64, here: int, link_register: int, steps: Steps, most: int) -> tuple[list[int], bool]:
    """The pcs of one stack from `here` on, and whether they lead to the outermost function."""
    at, pcs = 0, [here]
    while True:
        frame, top = steps.one(here)
        back = at if link_register else at + frame
        step = at + frame + (1 - link_register)
        if top or frame < 0 or back >= len(words) or step <= at or len(pcs) >= most:
            return pcs, top
        at, here = step, int(words[back])
        if not here:
            return pcs, False
        pcs.append(here)


def _hash(key: int, pcs: list[int]) -> int:
    for pc in pcs:
        key = ((key ^ pc) * int(_PRIME) + 1) & _MASK
    return key


class Steps:
    """What a walk has to know of a pc. A million goroutines have a few dozen of them: each is looked up once and has a
    slot by its hash, where another one with the same hash takes its place."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._pc = np.zeros(SLOTS, np.uint64)  # 0 is in no function
        self._frame = np.full(SLOTS, -1, np.int64)
        self._top = np.zeros(SLOTS, bool)
        self._single: dict[int, tuple[int, bool]] = {}

    def one(self, pc: int) -> tuple[int, bool]:
        """The same for one pc."""
        found = self._single.get(pc)
        if found is None:
            if len(self._single) >= SLOTS:
                self._single.clear()
            frame, top = self.of(np.array([pc], np.uint64))
            found = self._single[pc] = int(frame[0]), bool(top[0])
        return found

    def of(self, pcs: U64) -> tuple[I64, Bools]:
        """Words from the stack pointer to the frame's top at each pc, -1 for unknown, and whether a walk ends there."""
        slot = (pcs * _PRIME) >> _SHIFT
        missing = np.flatnonzero(self._pc[slot] != pcs)
        if not len(missing):
            return self._frame[slot], self._top[slot]
        new, place = np.unique(pcs[missing], return_inverse=True)
        found = self._functions.index(new)
        frame = np.where(found >= 0, self._functions.frame_sizes(new) >> 3, -1)
        top = np.array([number >= 0 and bool(self._functions.flags(number) & TOPFRAME) for number in found.tolist()])
        frames, tops = self._frame[slot], self._top[slot]
        frames[missing], tops[missing] = frame[place], top[place]
        its = (new * _PRIME) >> _SHIFT
        self._pc[its], self._frame[its], self._top[its] = new, frame, top
        return frames, tops


def _write_down(keys: U64, levels: list[tuple[I64, U64]], tails: dict[int, list[int]], walked: Walked) -> None:
    """The pcs of one goroutine for each key that is new."""
    begins = np.flatnonzero(keys[1:] != keys[:-1]) + 1  # neighbours are often the same
    begins = np.concatenate([[0], begins])[: len(keys)]
    distinct, first = np.unique(keys[begins], return_index=True)
    pairs = zip(distinct.tolist(), begins[first].tolist(), strict=True)
    wanted = {who: key for key, who in pairs if key and key not in walked.pcs}
    if not wanted:
        return
    pcs: dict[int, list[int]] = {who: [] for who in wanted}
    chosen = np.array(sorted(wanted), np.int64)
    for who, here in levels:
        place = np.searchsorted(who, chosen)
        place[place == len(who)] = 0
        hit = who[place] == chosen
        for one, value in zip(chosen[hit].tolist(), here[place[hit]].tolist(), strict=True):
            pcs[one].append(value)
        chosen = chosen[hit]
        if not len(chosen):
            break
    for who, key in wanted.items():
        walked.pcs[key] = (*pcs[who], *tails.get(who, ()))
