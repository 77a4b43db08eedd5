"""The process that reads: it attaches to one Go runtime and answers requests until its pipe closes.

Started by gotriage.goruntime.client as `python -I -m gotriage.goruntime.reader PARENT MEMORY`. Whatever goes wrong in
here, from a page that never comes to memory that runs out, ends at most this process.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, Protocol

from gotriage.errors import GotriageError, UsageError
from gotriage.goruntime.wire import answered
from gotriage.host import child

if TYPE_CHECKING:
    from collections.abc import Callable

    from gotriage.goruntime.corefacts import CoreFacts
    from gotriage.goruntime.memory import Memory
    from gotriage.goruntime.oncpu import CpuLook
    from gotriage.goruntime.probepoints import ProbePoints
    from gotriage.goruntime.report import Counters, Dump, Frame, Identity
    from gotriage.goruntime.tls import Places

    Attach = Callable[[Memory], "Runtime"]

ROWS: Final = 2000
"""Goroutines one by one, unless asked for more."""
ALL: Final = 1_000_000
"""... and for a text."""


class Runtime(Protocol):
    """What is asked of a `gotriage.goruntime.runtime.Runtime`."""

    @property
    def identity(self) -> Identity:
        """Which runtime it is."""
        ...

    def dump(self, rows: int, *, locks: bool) -> Dump:
        """All goroutines, at most `rows` one by one."""
        ...

    def counters(self, *, spans: bool) -> Counters:
        """The runtime's own numbers."""
        ...

    def goroutine(self, id: int) -> Dump:  # noqa: A002  # what Go calls it
        """One goroutine."""
        ...

    def microstop(self) -> CpuLook:
        """The stacks of those that are on a CPU."""
        ...

    def probepoints(self, names: list[str]) -> ProbePoints:
        """Where these functions may be probed."""
        ...

    def frames(self, pcs: list[int], *, exact: bool) -> tuple[tuple[Frame, ...], ...]:
        """What runs at addresses."""
        ...

    def places(self, bases: dict[int, int]) -> Places:
        """Where a thread keeps its g."""
        ...


class Reader:
    """Requests, one after the other, about one runtime."""

    def __init__(self, attach: Attach) -> None:
        self._attach = attach
        self._runtime: Runtime | None = None
        self._memory: Memory | None = None
        self._operations: dict[str, Callable[..., Any]] = {
            "attach": self._attached,
            "identity": lambda: self._known().identity,
            "dump": lambda rows=ROWS, locks=True: self._known().dump(rows, locks=locks),
            "goroutines": lambda limit=ROWS, locks=True: self._known().dump(limit, locks=locks),
            "goroutine": lambda id: self._known().goroutine(id),  # noqa: A006
            "counters": lambda spans=True: self._known().counters(spans=spans),
            "stacks": lambda: self._known().microstop(),
            "probepoints": lambda names: self._known().probepoints(names),
            "frames": lambda pcs, exact=False: self._known().frames(pcs, exact=exact),
            "places": lambda bases: self._known().places(bases),
            "text": self._text,
            "core": self._core_facts,
        }

    def answer(self, message: bytes) -> bytes:
        """One request, one reply; no error leaves this."""
        return answered(message, self._operations, "reader")

    def _known(self) -> Runtime:
        if self._runtime is None:
            raise UsageError("nothing is attached")
        return self._runtime

    def _attached(
        self,
        pid: int | None = None,
        core: str | int | None = None,
        exe: str | int | None = None,
        rate: float | None = None,
        name: str = "",
    ) -> object:
        self._memory = open_memory(pid, core, exe, rate, name)
        lacks = self._lacks()
        try:
            self._runtime = self._attach(self._memory)
        except GotriageError as error:
            if not lacks:
                raise
            raise type(error)(lacks) from error
        return self._runtime.identity

    def _lacks(self) -> str:
        """What is not there of a core file or its program, and so may be the reason; "" for nothing."""
        from gotriage.goruntime.core import CoreMemory

        return self._memory.lacks() if isinstance(self._memory, CoreMemory) else ""

    def _core_facts(self) -> CoreFacts:
        from gotriage.goruntime.core import CoreMemory

        identity = self._known().identity
        if not isinstance(self._memory, CoreMemory):
            raise UsageError("it is no core file that is read")
        return self._memory.facts(identity)

    def _text(self, kind: str, rows: int = ALL, system: bool = False) -> bytes:
        from gotriage.goruntime import exports

        dump = self._known().dump(rows, locks=False)
        if kind == "pprof":
            return exports.pprof(dump, system=system)
        writer = {"debug2": exports.debug2, "folded": exports.folded}.get(kind)
        if writer is None:
            raise UsageError(f"no such form: {kind!r}; there are debug2, pprof and folded")
        return "".join(f"{line}\n" for line in writer(dump, system=system)).encode("utf-8", "replace")


def open_memory(
    pid: int | None, core: str | int | None, exe: str | int | None, rate: float | None, name: str = ""
) -> Memory:
    """The memory that is meant. Raises UsageError, TargetGone, NotPermitted, BadCore."""
    if core is not None:
        from gotriage.goruntime.core import CoreMemory

        return CoreMemory(core, exe, name=name)
    if pid is None:
        raise UsageError("a process or a core file has to be named")
    from gotriage.goruntime.live import LiveMemory

    return LiveMemory(pid, rate=rate)


def serve(served: child.Served, attach: Attach) -> None:
    """Answer until there are no more requests."""
    reader = Reader(attach)
    while (message := served.next()) is not None:
        served.answer(reader.answer(message))


def main() -> None:
    """The process."""
    served = child.Served(*sys.argv[-2:])
    from gotriage.goruntime import core, live, runtime  # noqa: F401  # before there is a limit

    served.limit()
    serve(served, lambda memory: runtime.attach(memory=memory))


if __name__ == "__main__":
    main()
