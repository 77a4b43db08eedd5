"""Who the target is, in the numbers that programs in the kernel know: of processes, of its runtime's structures."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from gotriage import probes
from gotriage.errors import GotriageError
from gotriage.goruntime import client
from gotriage.host import kerneltasks, pidns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gotriage.goruntime.probepoints import ProbePoints
    from gotriage.goruntime.report import Dump, Frame
    from gotriage.goruntime.tls import Places
    from gotriage.host import Host
    from gotriage.target.model import Target

DEADLINE: Final = 10.0
"""Seconds that the reader of the target's runtime may take at the start; later looks get less."""
LOOK: Final = 2.0
MOST_PIDS: Final = 64


@dataclass(slots=True)
class Scope:
    """The target as it is at a start.

    Attributes:
        tgids: number in the kernel to number here, of each process.
        namespace: device and inode of our PID namespace, (0, 0) where it is the kernel's own.
    """

    host: Host
    target: Target
    tgids: dict[int, int] = field(default_factory=dict)
    namespace: tuple[int, int] = (0, 0)
    _reader: client.Reader | None = None
    _no_go: str = ""
    _places: dict[str, int] | None = None

    def close(self) -> None:
        """End the reader."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    @property
    def pids(self) -> Sequence[int]:
        """Its processes, the main one first."""
        return self.target.pids[:MOST_PIDS]

    def resolve(self) -> None:
        """Find the kernel's numbers; the same ones where our namespace is the kernel's."""
        self.tgids = {pid: pid for pid in self.pids}
        with suppress(GotriageError, OSError):
            if kerneltasks.outermost():
                return
            self.namespace = pidns.own(self.host)
            found = {task.kernel_tgid: pid for pid in self.pids for task in self._tasks(pid)[:1]}
            self.tgids = found or self.tgids

    @staticmethod
    def _tasks(pid: int) -> list[kerneltasks.Task]:
        return kerneltasks.tasks(probes.object_bytes("tasks"), pid)

    # -- its Go runtime

    @property
    def no_go(self) -> str:
        """Why its runtime cannot be asked, "" as long as it can."""
        return self._no_go

    def _ask(self, op: str, deadline: float, **arguments: object) -> object:
        """Ask the reader; None where there is no Go runtime, or it does not answer."""
        if self._no_go or self.target.pid is None:
            return None
        if self._reader is None:
            self._reader = client.Reader(self.target.pid)
            deadline = max(deadline, DEADLINE)
        try:
            return self._reader.call(op, deadline, **arguments)
        except GotriageError as error:
            if op in ("places", "probepoints"):
                self._no_go = str(error)
            return None

    def goroutine_places(self) -> dict[str, int]:
        """Constants for goroutine.h; none where goroutines cannot be told."""
        if self._places is None:
            self._places = self._find_places()
        return self._places

    def _find_places(self) -> dict[str, int]:
        pid = self.target.pid
        if pid is None:
            return {}
        try:
            bases = {task.own_tid: task.base for task in self._tasks(pid) if task.base}
        except (GotriageError, OSError):
            return {}
        found = cast("Places | None", self._ask("places", DEADLINE, bases=bases))
        if found is None:
            return {}
        main = next((tgid for tgid, shown in self.tgids.items() if shown == pid), pid)
        places = {"go_tls": found.tls, "go_goid": found.goid, "go_m": found.m, "go_curg": found.curg}
        return places | {"go_tgid": main}

    def probe_points(self, names: list[str]) -> ProbePoints | None:
        """Where these functions may be probed."""
        return cast("ProbePoints | None", self._ask("probepoints", DEADLINE, names=names))

    def frames(self, pcs: list[int], *, exact: bool = False) -> tuple[tuple[Frame, ...], ...]:
        """Functions at addresses; () where they cannot be told."""
        if not pcs:
            return ()
        found = cast("tuple[tuple[Frame, ...], ...] | None", self._ask("frames", LOOK, pcs=pcs, exact=exact))
        return found or ()

    def goroutine(self, goid: int) -> Dump | None:
        """One goroutine, None when it is gone."""
        return cast("Dump | None", self._ask("goroutine", LOOK, id=goid))
