"""Names for samples, asked of a process of its own that may be killed: see `gotriage.goruntime.profiler`."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, cast

from gotriage.goruntime.client import Reader
from gotriage.goruntime.profileparts import RESULTS, GoOffsets, KnownG, NamedStacks, Origin, Place, WallLook

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gotriage.goruntime.report import Identity

WORDS: Final = ("-m", "gotriage.goruntime.profiler")
MOST_WORDS: Final = 6000
"""Numbers of 8 bytes in one request: with what goes around them less than a pipe holds (host.child.Child.ask)."""
DEADLINE: Final = 20.0
"""Seconds that one answer may take."""
MOST_DEPTH: Final = 512

T = TypeVar("T")
Chain = tuple[int, tuple[int, ...], tuple[int, ...]]
"""A likely caller of the first address, 0 for none; the addresses, innermost first; Go code further out, where a
goroutine has left it for C."""


class _Process(Reader):
    results: ClassVar[Mapping[str, Any]] = RESULTS


class _Eager(_Process):
    patient: ClassVar[float] = 0.1  # somebody waits for the picture, on a machine whose CPUs are busy by definition


class Profiling:
    """Names for the samples of one target, whose main process is `pid`. The process starts with the first call.

    Raises from each call what the process raises (TargetGone, NotPermitted ...), ReaderLate, ReaderFailed.
    """

    def __init__(self, pid: int, rate: float | None = 1 << 30, *, eager: bool = False) -> None:
        """`eager`: it takes its share of a busy machine soon, rather than what nobody else wants for a second."""
        self._reader = (_Eager if eager else _Process)(pid, rate=rate, words=WORDS)

    @property
    def cpu(self) -> float:
        """CPU time that the process has used, seconds, as of the last answer."""
        return self._reader.cpu

    def close(self) -> None:
        """End it."""
        self._reader.close()

    def _ask(self, op: str, _kind: type[T], deadline: float = DEADLINE, **arguments: object) -> T:
        return cast("T", self._reader.call(op, deadline, **arguments))

    def identity(self) -> Identity:
        """Which Go it is; `layout` is "none" where its runtime is not understood, or there is none."""
        return cast("Identity", self._reader.call("attach", DEADLINE))

    def offsets(self, bases: Mapping[int, int] | None = None) -> GoOffsets:
        """Where a goroutine's facts lie; `bases`: the fsbase of threads by their numbers in their own namespace."""
        return self._ask("offsets", GoOffsets, bases=dict(bases or {}))

    def frame_sizes(self, pid: int, pcs: Sequence[int]) -> list[int]:
        """Bytes from the stack pointer to the return address at each instruction; -1 outside of Go code."""
        found: list[int] = []
        for part in _parts(pcs):
            found += self._ask("frame_sizes", list, pid=pid, pcs=_packed(part))
        return found

    def name(self, pid: int, stacks: Sequence[Chain]) -> tuple[list[tuple[Place, ...]], set[int]]:
        """The frames of each stack, innermost first; numbers of those whose walk went astray."""
        named: list[tuple[Place, ...]] = []
        cut: set[int] = set()
        for part in _chunks(stacks):
            words: list[int] = []
            for caller, pcs, outer in part:
                kept, further = pcs[:MOST_DEPTH], outer[:MOST_DEPTH]
                words += (len(kept), len(further), caller, *kept, *further)
            found = self._ask("stacks_named", NamedStacks, pid=pid, stacks=_packed(words))
            cut.update(len(named) + number for number in found.cut)
            named += [tuple(found.places[place] for place in stack) for stack in found.stacks]
        return named, cut

    def origins(self, pid: int, pairs: Sequence[tuple[int, int]]) -> list[Origin]:
        """Of goroutines by their gopc and startpc."""
        found: list[Origin] = []
        for part in _parts([word for pair in pairs for word in pair]):
            found += self._ask("origins", list, pid=pid, pairs=_packed(part))
        return found

    def labels(self, pid: int, pointers: Sequence[int]) -> list[dict[str, str] | None]:
        """The pprof labels at g.labels; None where no goroutine has them any more: other data may be there by now."""
        found: list[dict[str, str] | None] = []
        for part in _parts(pointers):
            found += self._ask("labels", list, pid=pid, pointers=_packed(part))
        return found

    def known(self, pid: int, addresses: Sequence[int]) -> list[KnownG]:
        """Those of these addresses that are the g of a goroutine now."""
        found: list[KnownG] = []
        for part in _parts(addresses):
            found += self._ask("known", list, pid=pid, addresses=_packed(part))
        return found

    def wall(self, seconds: float, hz: float, *, begin: bool) -> WallLook:
        """Sample all goroutines for so long; what is known since `begin`."""
        return self._ask("wall", WallLook, deadline=seconds + DEADLINE, seconds=seconds, hz=hz, begin=begin)


def _packed(words: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(words)}Q", *words)


def _parts(words: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(words), MOST_WORDS):
        yield words[start : start + MOST_WORDS]


def _chunks(stacks: Sequence[Chain]) -> Iterator[list[Chain]]:
    part: list[Chain] = []
    size = 0
    for chain in stacks:
        need = 3 + min(len(chain[1]), MOST_DEPTH) + min(len(chain[2]), MOST_DEPTH)
        if part and size + need > MOST_WORDS:
            yield part
            part, size = [], 0
        part.append(chain)
        size += need
    if part:
        yield part
