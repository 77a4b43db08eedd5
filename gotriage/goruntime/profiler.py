"""The process that gives profiles their names: it reads the target's files and memory, and may be killed any time.

Started by `gotriage.goruntime.profiling` as `python -I -m gotriage.goruntime.profiler PARENT MEMORY`. It also serves
programs that are not Go: their functions come from ELF symbols. Several processes may be asked about, as of a unit.
"""

from __future__ import annotations

import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gotriage.errors import GotriageError, MissingFacility, TargetGone, UsageError
from gotriage.goruntime import goroutines
from gotriage.goruntime.naming import is_system
from gotriage.goruntime.places import Places
from gotriage.goruntime.profileparts import GoOffsets, KnownG, NamedStacks, Origin, WallLook
from gotriage.goruntime.refusals import NotGo
from gotriage.goruntime.report import Identity
from gotriage.goruntime.walls import FIRST, Walls
from gotriage.goruntime.wire import answered
from gotriage.host import child

if TYPE_CHECKING:
    from collections.abc import Callable

    from gotriage.goruntime.image import Image
    from gotriage.goruntime.memory import Memory
    from gotriage.goruntime.runtime import Runtime

MOST_PROCESSES: Final = 64
_WORD: Final = 8


@dataclass(slots=True)
class Process:
    """One process that is asked about; `runtime` is None where there is no Go, or none that is understood: `why`."""

    memory: Memory
    places: Places
    image: Image | None
    runtime: Runtime | None
    why: str
    walls: Walls | None = None

    def close(self) -> None:
        """Let go of it."""
        self.places.close()
        if self.runtime is not None:
            self.runtime.close()
        else:
            if self.image is not None:
                self.image.close()
            self.memory.close()


def opened(pid: int, rate: float | None) -> Process:
    """Attach to a process, Go or not. Raises TargetGone, NotPermitted, OSError, Unreadable."""
    from gotriage.goruntime import image as images
    from gotriage.goruntime.live import LiveMemory
    from gotriage.goruntime.runtime import Runtime

    memory = LiveMemory(pid, rate=rate)
    image: Image | None = None
    try:
        try:
            runtime = Runtime(memory)
        except NotGo as error:
            return Process(memory, Places(memory), None, None, str(error))
        except TargetGone:
            raise
        except GotriageError as error:
            with suppress(GotriageError, OSError):
                image = images.find(memory)
            return Process(memory, _places(memory, image), image, None, str(error))
        return Process(memory, _places(memory, runtime.image), runtime.image, runtime, "")
    except BaseException:
        if image is not None:
            image.close()
        memory.close()
        raise


def _places(memory: Memory, image: Image | None) -> Places:
    if image is None:
        return Places(memory)
    build = image.build
    module = build.main.path if build and build.main else build.path if build else ""
    return Places(memory, image.functions, module)


class Profiler:
    """Requests, one after the other."""

    def __init__(self) -> None:
        self._main = 0
        self._rate: float | None = None
        self._processes: dict[int, Process | None] = {}
        self._operations: dict[str, Callable[..., Any]] = {
            "attach": self._attach,
            "identity": self._identity,
            "offsets": self._offsets,
            "frame_sizes": self._frame_sizes,
            "stacks_named": self._stacks,
            "origins": self._origins,
            "labels": self._labels,
            "known": self._known,
            "wall": self._wall,
        }

    def answer(self, message: bytes) -> bytes:
        """One request, one reply; no error leaves this."""
        return answered(message, self._operations, "profiler")

    def _attach(self, pid: int | None = None, rate: float | None = None, **_: object) -> Identity:
        if pid is None:
            raise UsageError("a process has to be named")
        self._main, self._rate = pid, rate
        self._processes[pid] = opened(pid, rate)
        return self._identity()

    def _process(self, pid: int | None = None) -> Process:
        """Raises TargetGone for one that is not there (any more), or one too many."""
        pid = pid if pid is not None else self._main
        if pid not in self._processes:
            if len(self._processes) >= MOST_PROCESSES:
                raise TargetGone(f"more than {MOST_PROCESSES} processes")
            self._processes[pid] = None
            with suppress(GotriageError, OSError):
                self._processes[pid] = opened(pid, self._rate)
        found = self._processes[pid]
        if found is None:
            raise TargetGone(f"process {pid} cannot be read")
        return found

    def _identity(self) -> Identity:
        process = self._process()
        if process.runtime is not None:
            return process.runtime.identity
        version = process.image.go_version if process.image is not None else ""
        return Identity(go_version=version, layout="none", arch=process.memory.arch)

    def _offsets(self, bases: dict[int, int] | None = None) -> GoOffsets:
        process = self._process()
        if process.runtime is None:
            return GoOffsets(why=process.why)
        layout = process.runtime.layout
        try:
            goid, m, gopc, startpc, labels = (
                layout.offset("g", name) for name in ("goid", "m", "gopc", "startpc", "labels")
            )
            thread_local: int | None = None
            with suppress(GotriageError):  # then a register tells while Go code runs
                thread_local = process.runtime.places(bases).tls if bases else None
            names = ("syscallsp", "syscallpc", "syscallbp")
            left = [layout.offset("g", name) if layout.has("g", name) else 0 for name in names]
            return GoOffsets(goid, m, layout.offset("m", "curg"), gopc, startpc, labels, "", thread_local, *left)
        except KeyError as error:
            return GoOffsets(why=f"not known of this version of Go: {error.args[0]}")

    def _frame_sizes(self, pid: int, pcs: bytes) -> list[int]:
        return self._process(pid).places.frame_sizes(_words(pcs))

    def _stacks(self, pid: int, stacks: bytes) -> NamedStacks:
        """`stacks`: of each how many addresses and outer ones, the likely caller of the first, then all of them."""
        words, at, found = _words(stacks), 0, []
        while at + 3 <= len(words):
            count, outer, caller = words[at : at + 3]
            middle, end = at + 3 + count, at + 3 + count + outer
            found.append((caller, words[at + 3 : middle], words[middle:end]))
            at = end
        return self._process(pid).places.name(found)

    def _origins(self, pid: int, pairs: bytes) -> list[Origin]:
        """`pairs`: gopc and startpc of each goroutine."""
        words, places = _words(pairs), self._process(pid).places
        return [_origin(places, gopc, startpc) for gopc, startpc in zip(words[::2], words[1::2], strict=False)]

    def _labels(self, pid: int, pointers: bytes) -> list[dict[str, str] | None]:
        """Read between two looks at whose they are: what no goroutine has, before or after, may be other data."""
        from gotriage.goruntime.labels import read_labels

        runtime, words = self._process(pid).runtime, _words(pointers)
        if runtime is None:
            return [None] * len(words)
        before = self._labels_in_use(runtime)
        read = {word: read_labels(runtime.memory, runtime.layout, word) for word in set(words) & before}
        after = self._labels_in_use(runtime)
        return [read.get(word) if word in after else None for word in words]

    @staticmethod
    def _labels_in_use(runtime: Runtime) -> set[int]:
        columns = goroutines.read(runtime.memory, runtime.layout, runtime.found)
        return set(np.unique(columns.unsigned("labels")).tolist())

    def _known(self, pid: int, addresses: bytes) -> list[KnownG]:
        runtime = self._process(pid).runtime
        if runtime is None:
            return []
        columns = goroutines.read(runtime.memory, runtime.layout, runtime.found)
        columns = columns.only(np.flatnonzero(np.isin(columns.address, np.array(_words(addresses), np.uint64))))
        names = ("goid", "gopc", "startpc", "labels")
        rows = zip(columns.address.tolist(), *(columns.unsigned(name).tolist() for name in names), strict=True)
        return [KnownG(*row) for row in rows]

    def _wall(self, seconds: float, hz: float, begin: bool = False) -> WallLook:
        process = self._process()
        if process.runtime is None:
            raise NotGo(process.why) if process.image is None else MissingFacility(process.why)
        if process.walls is None:
            process.walls = Walls(process.runtime.source, process.runtime.image.functions, process.places)
        if begin:
            process.walls.begin()
        process.walls.run(seconds, hz)
        return process.walls.look()


def _origin(places: Places, gopc: int, startpc: int) -> Origin:
    start = places.start(startpc)
    first = start is not None and start.function == FIRST
    return Origin(None if first else places.site(gopc), start, start is not None and is_system(start.function))


def _words(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // _WORD}Q", data[: len(data) // _WORD * _WORD])


def main() -> None:
    """The process."""
    served = child.Served(*sys.argv[-2:])
    from gotriage.goruntime import image, live, runtime  # noqa: F401  # before there is a limit

    served.limit()
    profiler = Profiler()
    while (message := served.next()) is not None:
        served.answer(profiler.answer(message))


if __name__ == "__main__":
    main()
