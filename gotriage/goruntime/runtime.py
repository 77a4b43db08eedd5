"""The Go runtime of a process, live or in a core file: attach once, look as often as you like.

    with attach(4242) as runtime:
        for group in runtime.dump().groups:
            print(group.count, group.wait_reason)

Nothing is stopped, signalled, traced or written to. What is read is checked before it is used; what does not make sense
is refused with the reason, never shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Self

from gotriage.errors import UsageError
from gotriage.goruntime import image as images
from gotriage.goruntime import layout as layouts
from gotriage.goruntime.calibrate import calibrate
from gotriage.goruntime.counters import HEADROOM_PERCENT, Source, read_counters
from gotriage.goruntime.dumping import Dumper
from gotriage.goruntime.locate import Globals, NotLocated, locate
from gotriage.goruntime.microstop import on_cpu
from gotriage.goruntime.remembered import recall, remember
from gotriage.goruntime.report import Identity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gotriage.goruntime.image import Image
    from gotriage.goruntime.layout import Layout
    from gotriage.goruntime.memory import Memory
    from gotriage.goruntime.oncpu import CpuLook
    from gotriage.goruntime.probepoints import ProbePoints
    from gotriage.goruntime.report import Counters, Dump, Frame
    from gotriage.goruntime.tls import Places

Origin = Literal["table", "near", "calibrated"]
MOST_ADDRESSES: Final = 4096
"""Addresses that are named at once."""


def attach(
    pid: int | None = None, *, core: str | None = None, exe: str | None = None, memory: Memory | None = None
) -> Runtime:
    """The Go runtime of a process, of a core file (with the program that it is of), or of any other memory.

    Raises:
        TargetGone, NotPermitted: the process has ended, may not be read.
        NotGo, UnsupportedGo, DamagedTables, UnknownVersion, NotLocated: there is no Go runtime that can be read; why.
        Unreadable, BadCore: memory that should be there is not.
    """
    if memory is None:
        memory = _memory(pid, core, exe)
    try:
        return Runtime(memory)
    except BaseException:
        memory.close()
        raise


def _memory(pid: int | None, core: str | None, exe: str | None) -> Memory:
    if core is not None:
        from gotriage.goruntime.core import CoreMemory

        return CoreMemory(core, exe)
    if pid is None:
        raise UsageError("a process or a core file has to be named")
    from gotriage.goruntime.live import LiveMemory

    return LiveMemory(pid)


class Runtime:
    """One Go runtime; made by `attach`, closed after use.

    Attributes:
        image: its program and functions.
        layout: how its structs lie; `origin` says where that is known from.
        found: where its variables are.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.image: Image = images.find(memory)
        try:
            self.layout, self.origin, self.found = _understand(memory, self.image)
        except BaseException:
            self.image.close()
            raise
        minor = int(self.layout.go.partition(".")[2])
        self.source = Source(memory, self.layout, self.found, HEADROOM_PERCENT if minor >= 21 else 0)
        self._dumper = Dumper(self.source, self.image)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the process and its files."""
        self.image.close()
        self.memory.close()

    @property
    def identity(self) -> Identity:
        """Which runtime it is, and how sure that is."""
        build = self.image.build
        return Identity(
            go_version=self.image.go_version,
            layout=self.origin,
            arch=self.image.arch,
            module_path=build.main.path if build and build.main else "",
            stripped=self.image.stripped,
            located=self.found.how["allgs"],
            modules=len(self.image.modules),
            untested=not self.layout.tested,
        )

    def dump(self, rows: int = 2000, *, locks: bool = True) -> Dump:
        """All goroutines: groups, and at most `rows` one by one; `locks`: search for who holds the contended locks.

        Raises Unreadable, TargetGone, NotPermitted.
        """
        return self._dumper.dump(rows, locks=locks)

    def goroutine(self, id: int) -> Dump:  # noqa: A002  # what Go calls it
        """One goroutine with its stack. Raises UsageError when there is none of that id, Unreadable, TargetGone."""
        return self._dumper.one(id)

    def microstop(self) -> CpuLook:
        """The stacks of goroutines that are on a CPU. This stops their threads, for about 0.1 ms each.

        Raises Unreadable, TargetGone, NotPermitted, and UsageError for a core file.
        """
        if not self.memory.live:
            raise UsageError("a core file has no threads to stop: their stacks are in it")
        return on_cpu(self.source, self.image.functions)

    def probepoints(self, names: Sequence[str]) -> ProbePoints:
        """Where these functions may be probed. Raises UsageError for a core file."""
        from gotriage.goruntime import probepoints

        if not self.memory.live:
            raise UsageError("a core file does not run: there is nothing to probe")
        return probepoints.find(self.image, self.layout.offset("g", "goid"), names)

    def places(self, bases: Mapping[int, int]) -> Places:
        """Where a thread keeps its g, and g its id; `bases` is the fsbase of threads, by m.procid (amd64 only).

        Raises NoThreadLocal, Unreadable, TargetGone, NotPermitted.
        """
        from gotriage.goruntime import tls

        return tls.find(self.source, bases)

    def frames(self, pcs: Sequence[int], *, exact: bool = False) -> tuple[tuple[Frame, ...], ...]:
        """What runs at each return address, the innermost first, () outside of Go code; `exact`: at instructions."""
        return tuple(self.image.functions.frames(pc, exact) for pc in pcs[:MOST_ADDRESSES])

    def counters(self, *, spans: bool = True) -> Counters:
        """The runtime's own numbers; `spans`: the heap by size class too. Raises TargetGone, NotPermitted."""
        return read_counters(self.source, spans=spans)


def _understand(memory: Memory, image: Image) -> tuple[Layout, Origin, Globals]:
    """The layout whose variables are found and make sense: this version's table, else one worked out from the data."""
    try:
        layout, match = layouts.load(image.go_version, image.arch)
    except layouts.UnknownVersion:
        layout, found = calibrate(memory, image)
        return layout, "calibrated", found
    known = recall(memory, image, layout)
    if known is not None:
        return layout, match, known
    try:
        found = locate(memory, image, layout)
        remember(memory, image, layout, found)
        return layout, match, found
    except NotLocated:
        if match == "table":
            raise
        layout, found = calibrate(memory, image)
        return layout, "calibrated", found
