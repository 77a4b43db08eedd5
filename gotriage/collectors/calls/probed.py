"""C library functions that the target calls, counted by user probes at their first instructions: nothing stops.

Which functions: those that the main program's relocations name (goruntime.imports). Only their begins are probed: a
probe at the return would rewrite return addresses on stacks. Options:

    functions   names of functions, with * and ?, separated by commas: of the program's, only these
    of          "all": also functions that libraries call of each other
"""

from __future__ import annotations

import errno
import fnmatch
from collections import deque
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage import probes
from gotriage.collectors import Meter, Unavailable, check_options
from gotriage.errors import GotriageError, TargetGone, UsageError
from gotriage.goruntime.imports import Import, Imports, imports
from gotriage.goruntime.live import LiveMemory
from gotriage.host import clock
from gotriage.host.libbpf_api import library
from gotriage.host.uprobes import CARRIED_OUT, ProbedFile, Uprobes
from gotriage.records.calls import LibraryCall, LibraryCalls
from gotriage.records.text import clean
from gotriage.records.tracing import Price

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.target.model import Target

MOST_PIDS: Final = 8
"""Processes of the target that are probed, the main one first."""
MOST_PLACES: Final = 4000
"""Entries of the kernel's table are 4096."""
ROWS: Final = 500
WINDOW: Final = 2.0
"""Seconds that rates are over."""
TRIED: Final = 64
"""Places that are tried one by one where the kernel refuses some of a file."""
REFUSED: Final = (errno.EINVAL, 524)
"""What the kernel says about an instruction that it cannot step (ENOTSUPP of include/linux/errno.h)."""
CROWDED: Final = frozenset({"malloc", "free", "calloc", "realloc", "memcpy", "memmove", "memset", "strlen", "memcmp"})


class ProbedCalls:
    """See `gotriage.records.calls`."""

    backend = "C library probes"

    def __init__(self, host: Host, target: Target) -> None:
        pid = target.pid
        if pid is None:
            raise Unavailable("nothing of the target runs", lost=False)
        library()
        self._host, self._target, self._pid = host, target, pid
        self._functions: list[Import] = []
        self._places: dict[int, dict[str, list[tuple[int, int]]]] = {}
        self._files: dict[tuple[int, str], ProbedFile] = {}
        self._uprobes: Uprobes | None = None
        self._refused: dict[str, str] = {}
        self._stepped = 0.0
        self._attached, self._since = 0.0, 0.0
        self._counts = np.zeros(0, np.uint64)
        self._looks: deque[tuple[float, NDArray[np.uint64]]] = deque()

    # -- before a start

    def price(self, options: Mapping[str, str]) -> Price:
        """How many functions; how often they are called is not known beforehand."""
        functions = self._functions_of(options)
        self._load()
        stepped = sum(one.stepped for one in functions)
        count, libraries = len(functions), len({one.path for one in functions})
        where = f" of {libraries} libraries" if libraries > 1 else " of a library"
        several = f", in {len(self._places)} processes" if len(self._places) > 1 else ""
        words = [
            f"{count} functions{where}, counted where they begin{several}",
            f"a call of {count - stepped} of them costs about {CARRIED_OUT * 1e6:.0f} us on this machine, of the other"
            f" {stepped} {self._stepped * 1e6:.0f} us",
        ]
        if crowd := sorted({one.name for one in functions} & CROWDED):
            words.append(f"among them are some that programs call all the time: {', '.join(crowd[:6])}")
        if self._refused:
            words.append(f"{len(self._refused)} functions cannot be counted")
        mean = CARRIED_OUT + (self._stepped - CARRIED_OUT) * stepped / max(count, 1)
        return Price(None, mean, words=tuple(words))

    def _functions_of(self, options: Mapping[str, str]) -> list[Import]:
        """The functions. Raises Unavailable when there are none, UsageError when none of these is among them."""
        check_options(options, "calls", functions="NAMES", of="all")
        if options.get("of", "all") != "all":
            raise UsageError("of=all counts calls of libraries too; without it those of the program")
        if not self._functions:
            wanted = [part for part in options.get("functions", "").replace(" ", "").split(",") if part][:100]
            self._look(wanted, of_libraries=options.get("of") == "all")
            if not self._functions:
                raise UsageError(f"the program calls no function {clean(wanted[0] if wanted else '', 60)!r}")
        return self._functions

    def _look(self, wanted: Sequence[str], *, of_libraries: bool) -> None:
        """Functions of each process; the same place of a library's file is one function."""
        numbers: dict[tuple[str, int], int] = {}
        problem: GotriageError | None = None
        for pid in (self._pid, *[pid for pid in self._target.pids if pid != self._pid])[:MOST_PIDS]:
            try:
                found = self._imports(pid, of_libraries=of_libraries)
            except GotriageError as error:
                problem = problem or error
                continue
            self._refused.update(found.refused)
            for one in found.functions:
                if wanted and not any(fnmatch.fnmatchcase(one.name, part) for part in wanted):
                    continue
                number = numbers.setdefault((one.path, one.offset), len(self._functions))
                if number == len(self._functions):
                    if number >= MOST_PLACES:
                        break
                    self._functions.append(one)
                self._places.setdefault(pid, {}).setdefault(one.region, []).append((one.offset, number))
        if not numbers and problem is not None:
            raise problem

    def _imports(self, pid: int, *, of_libraries: bool) -> Imports:
        """Raises Unavailable when the process calls none, TargetGone, NotPermitted."""
        memory = LiveMemory(pid, self._host)
        try:
            found = imports(memory, of_libraries=of_libraries)
        except OSError as error:
            raise Unavailable(f"the program's file cannot be read: {error.strerror}", lost=True) from error
        finally:
            memory.close()
        if found.reason:
            raise Unavailable(f"no call of a C library can be seen: {found.reason}", lost=True)
        return found

    def _load(self) -> None:
        if self._uprobes is None:
            self._uprobes = Uprobes(probes.object_bytes("librarycalls"), "librarycalls", "called", {})
            self._stepped = self._uprobes.stepped_seconds()
            self._uprobes.loaded.map("counts").update(bytes(4), bytes(8))  # the trial was counted too

    # -- on and off

    def start(self, options: Mapping[str, str]) -> None:
        """Load and attach. Raises UsageError, Unavailable, TargetGone, NotPermitted, OSError."""
        self._counts = np.zeros(len(self._functions_of(options)), np.uint64)
        self._load()
        self.attach()

    def attach(self) -> None:
        """All places of all libraries."""
        uprobes = self._uprobes
        if uprobes is None or self._since:
            return
        self._alive()
        try:
            for pid, regions in self._places.items():
                for region, places in regions.items():
                    with suppress(TargetGone) if pid != self._pid else nullcontext():
                        self._add(uprobes, pid, self._file(pid, region, places), places)
        except BaseException:
            uprobes.detach()
            raise
        if not uprobes.attached:
            raise Unavailable("the kernel refuses a probe at each of the functions", lost=True)
        self._since = clock.monotonic()

    def _file(self, pid: int, region: str, places: Sequence[tuple[int, int]]) -> str:
        """The path of the library's file, which is the one that was looked at. Raises TargetGone, NotPermitted."""
        file = self._files.get((pid, region))
        if file is None:
            file = self._files[pid, region] = ProbedFile(self._host, pid, region)
            file.check({offset: self._functions[number].code for offset, number in places})
        return file.path

    def _add(self, uprobes: Uprobes, pid: int, path: str, places: Sequence[tuple[int, int]]) -> None:
        """Attach, and leave out the places that the kernel refuses."""
        waiting, tries = [[place for place in places if self._functions[place[1]].name not in self._refused]], 0
        while waiting:
            part = waiting.pop()
            try:
                if part:
                    uprobes.add(pid, path, part)
            except OSError as error:
                tries += 1
                if error.errno not in REFUSED or tries > TRIED:
                    raise
                if len(part) == 1:
                    name = self._functions[part[0][1]].name
                    self._refused[name] = "the kernel refuses a probe at its first instruction"
                else:
                    waiting += [part[: len(part) // 2], part[len(part) // 2 :]]

    def _alive(self) -> None:
        main = self._target.main
        if main is None or main.pid != self._pid or not main.alive():
            raise TargetGone(f"process {self._pid} has ended")

    def detach(self) -> None:
        """Take all breakpoints away; what was counted stays."""
        if self._uprobes is None or not self._since:
            return
        self._uprobes.detach()
        self._attached, self._since = self._seconds(), 0.0

    def stop(self) -> None:
        """Undo everything."""
        uprobes, self._uprobes, self._since = self._uprobes, None, 0.0
        if uprobes is not None:
            uprobes.close()
        while self._files:
            self._files.popitem()[1].close()

    close = stop

    def _seconds(self) -> float:
        return self._attached + (clock.monotonic() - self._since if self._since else 0.0)

    # -- while it runs

    def _read(self) -> NDArray[np.uint64]:
        if self._uprobes is not None:
            table = self._uprobes.loaded.map("counts")
            _, values = table.items("<u4", "<u8")
            self._counts = values.sum(axis=1, dtype=np.uint64)[: len(self._counts)]
        return self._counts

    def meter(self) -> Meter:
        """Calls, and what their breakpoints have cost."""
        counts = self._read()
        if not len(counts):
            return Meter(0, 0)
        stepped = np.array([one.stepped for one in self._functions], bool)
        slow, all_ = int(counts[stepped].sum()), int(counts.sum())
        return Meter(all_, 0, (all_ - slow) * CARRIED_OUT + slow * self._stepped)

    def collect(self) -> Iterator[Record]:
        """All functions that were called."""
        if not len(self._counts):
            return
        counts, seconds = self._read(), self._seconds()
        self._looks.append((seconds, counts))
        while len(self._looks) > 2 and seconds - self._looks[1][0] >= WINDOW:
            self._looks.popleft()
        before, old = self._looks[0] if len(self._looks) > 1 else (0.0, np.zeros_like(counts))
        span = seconds - before
        recent = counts - old
        rates = recent / span if span > 0 else np.zeros(len(counts))
        order = np.argsort(counts)[::-1][:ROWS]
        total, moved = int(counts.sum()), int(recent.sum())
        yield LibraryCalls(
            at=clock.now(),
            rows=tuple(
                LibraryCall(
                    function=clean(self._functions[at].name, 200),
                    library=clean(self._functions[at].path, 300),
                    count=int(counts[at]),
                    rate=round(float(rates[at]), 1),
                    share=round(int(recent[at]) / moved, 4) if moved else None,
                )
                for at in order.tolist()
                if counts[at]
            ),
            way="probes",
            count=total,
            rate=round(moved / span, 1) if span > 0 else None,
            functions=len(self._functions),
            libraries=tuple(sorted({clean(one.path, 300) for one in self._functions})),
            refused={clean(name, 200): why for name, why in sorted(self._refused.items())[:200]},
            attached=round(seconds, 3),
        )
