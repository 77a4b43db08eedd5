"""A layout worked out from the process itself, for a Go version that there is no table of.

Nearly all that changes from one version to the next is where the fields of runtime.g lie, and these give themselves
away (each was found, and only once, on every version from 1.19 to 1.27): startpc is the column that holds only entries
of functions, goid that of small numbers, each once, behind a valid state; sched.sp that of addresses inside the
goroutine's own stack with a pc behind it. The distances between neighbours are those of the nearest known version. The
words for wait reasons are read from the program. Every other struct is taken as in the known version, and counts only
where its contents make sense.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime import layout as layouts
from gotriage.goruntime.fields import cut
from gotriage.goruntime.goroutines import STATES, plain
from gotriage.goruntime.locate import NotLocated, locate
from gotriage.goruntime.memory import Unreadable
from gotriage.goruntime.scan import Scan, all_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from gotriage.goruntime.image import Image
    from gotriage.goruntime.layout import Layout
    from gotriage.goruntime.locate import Globals
    from gotriage.goruntime.memory import Memory

    U64 = NDArray[np.uint64]

G_BYTES: Final = 512
"""More than any g so far (456 bytes in Go 1.27)."""
SAMPLE: Final = 256
"""Goroutines that are looked at."""
LEAST: Final = 4
"""Fewer say too little: a Go program has five of the runtime's own at least."""
CANDIDATES: Final = 20_000
FIRST_REASON: Final = b"GC assist marking"
"""The first word behind the empty one (runtime/runtime2.go, waitReasonStrings, Go 1.9 to 1.27)."""
MOST_REASONS: Final = 256
LONGEST_REASON: Final = 64
MOST_MINOR: Final = 99


@dataclass(frozen=True, slots=True)
class Fields:
    """Where the telling fields of g lie, bytes."""

    goid: int
    startpc: int
    sched: int


def calibrate(memory: Memory, image: Image) -> tuple[Layout, Globals]:
    """A layout for the program, and where its variables are. Raises NotLocated when the data does not tell."""
    for base in _bases(image):
        found = _goroutines(memory, image, base)
        if found is None:
            continue
        candidate = shifted(base, found, wait_reasons(memory, image) or base.wait_reasons)
        try:
            return candidate, locate(memory, image, candidate)
        except NotLocated:
            continue
    version = image.go_version or "an unknown version"
    raise NotLocated(f"there is no table of the layout of {version}, and its data does not tell it")


def _bases(image: Image) -> Iterator[Layout]:
    """Known layouts, that of the nearest older version first, then the newer ones."""
    try:
        own = layouts.parse(image.go_version).minor
    except layouts.UnknownVersion:
        own = MOST_MINOR
    minors = sorted(
        (int(go.partition(".")[2]) for go in layouts.known()), key=lambda minor: (minor > own, abs(minor - own))
    )
    for minor in minors:
        try:
            yield layouts.load(f"go1.{minor}", image.arch)[0]
        except layouts.UnknownVersion:
            continue


# -- the fields of g


def _goroutines(memory: Memory, image: Image, base: Layout) -> Fields | None:
    """The fields, from the first slice of pointers in the variables whose elements look like g's."""
    for place in Scan(memory, base, image).slices(1 << 24)[:CANDIDATES]:
        try:
            pointer, length = np.frombuffer(memory.read(place, 16), np.uint64).tolist()
            listed = np.frombuffer(memory.read(pointer, 8 * min(length, SAMPLE)), np.uint64)
        except Unreadable:
            continue
        if length >= LEAST and (found := fields_of(memory, image, listed)) is not None:
            return found
    return None


def fields_of(memory: Memory, image: Image, listed: U64) -> Fields | None:
    """The fields, if these are g's: each has to be found, and only once."""
    if (listed == 0).any() or (listed % 8 != 0).any():
        return None
    data, _, whole = memory.read_many(listed, G_BYTES)
    table = data.reshape(len(listed), G_BYTES)[whole]
    if len(table) < LEAST or len(table) < len(listed) // 2:
        return None
    low, high = cut(table, 0, "<u8").astype(np.uint64), cut(table, 8, "<u8").astype(np.uint64)
    stacks = (low != 0) & (low < high) & (high - low <= 1 << 30)
    if stacks.sum() < LEAST or not (stacks | (low == 0)).all():
        return None
    columns = {at: cut(table, at, "<u8").astype(np.uint64) for at in range(16, G_BYTES - 8, 8)}
    goid = [at for at in columns if at >= 24 and _is_goid(columns[at], cut(table, at - 8, "<u4").astype(np.uint64))]
    startpc = [at for at in columns if _is_startpc(image, columns[at], columns.get(at - 16))]
    sched = [at for at in columns if at + 8 in columns and _is_sched(image, columns[at], columns[at + 8], low, high)]
    if len(goid) != 1 or len(startpc) != 1 or not sched:
        return None
    return Fields(goid[0], startpc[0], sched[0])


def _is_goid(values: U64, before: U64) -> bool:
    """Small numbers, each once, behind a state; 0 only for what never ran."""
    if not set(plain(before).tolist()) <= STATES.keys():
        return False
    living = values[values != 0]
    return (
        len(living) >= LEAST
        and len(np.unique(living)) == len(living)
        and bool((living < 1 << 48).all())
        and 1 in living
    )


def _is_startpc(image: Image, values: U64, creators: U64 | None) -> bool:
    """Only entries of functions, and two words before them the creator's pc: inside a function, not its entry."""
    started = values != 0
    if started.sum() < LEAST or creators is None or not image.functions.is_entry(values[started]).all():
        return False
    made = creators[started & (creators != 0)]
    return len(made) >= LEAST and bool(
        (image.functions.index(made) >= 0).all() and not image.functions.is_entry(made).any()
    )


def _is_sched(image: Image, sp: U64, pc: U64, low: U64, high: U64) -> bool:
    """Addresses in the goroutine's own stack, and code behind them (gobuf begins with sp, pc)."""
    used = (low != 0) & (sp != 0)
    inside = (sp[used] > low[used]) & (sp[used] < high[used])
    if used.sum() < LEAST or not inside.all():
        return False
    return bool((image.functions.index(pc[used]) >= 0).all())


def shifted(base: Layout, fields: Fields, reasons: tuple[str, ...]) -> Layout:
    """The base with g's fields moved: those up to asyncSafePoint with goid, those from parentGoid on with startpc."""
    known = base.structs["g"]
    by_goid = fields.goid - base.offset("g", "goid")
    by_start = fields.startpc - base.offset("g", "startpc")
    by_sched = fields.sched - base.offset("g", "sched.sp")
    turn = base.offset("g", "syscallsp")
    later = base.offset("g", "lockedm") + 1
    moved = {}
    for path, field in known.fields.items():
        step = by_sched if field.offset < turn else by_goid if field.offset < later else by_start
        moved[path] = layouts.Field(field.offset + step, field.kind, field.count, field.stride)
    size = max(known.size + by_start, fields.startpc + 64)
    found = copy.copy(base)
    found.structs = base.structs | {"g": layouts.Struct(size, moved)}
    found.wait_reasons = reasons
    return found


# -- words


def wait_reasons(memory: Memory, image: Image) -> tuple[str, ...]:
    """The program's own waitReasonStrings: an array of strings that begins with an empty one; () when not found."""
    for base, words in all_words(memory, image):
        for index in np.flatnonzero(words[1:] == len(FIRST_REASON)).tolist():
            pointer = int(words[index])
            if not any(module.text <= pointer < module.enoptrbss for module in image.modules):
                continue
            try:
                if memory.read(pointer, len(FIRST_REASON)) == FIRST_REASON:
                    return ("", *_strings(memory, base + 8 * index))
            except Unreadable:
                continue
    return ()


def _strings(memory: Memory, place: int) -> Iterator[str]:
    """Strings of an array, up to the first thing that is none."""
    for number in range(MOST_REASONS):
        try:
            pointer, length = np.frombuffer(memory.read(place + 16 * number, 16), np.uint64).tolist()
            if not pointer or not 0 < length <= LONGEST_REASON:
                return
            text = memory.read(pointer, length)
        except Unreadable:
            return
        if not text.isascii() or not text.decode().isprintable():
            return
        yield text.decode()
