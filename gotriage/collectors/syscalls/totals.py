"""Only how many system calls there are, and how many fail: perf events on one tracepoint, which cost next to nothing.

This is what `perf stat -e raw_syscalls:sys_exit -p PID` counts.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from gotriage.collectors import Meter
from gotriage.collectors.syscalls.blocked import Watch
from gotriage.collectors.syscalls.options import check_target, level_of
from gotriage.collectors.syscalls.subjects import Subjects
from gotriage.errors import GotriageError
from gotriage.host import clock
from gotriage.host.perfcount import MOST, Counter
from gotriage.host.tracefs import Tracefs
from gotriage.records.syscalls import Syscalls
from gotriage.records.tracing import Price

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.target.model import Target

EVENT: Final = "raw_syscalls/sys_exit"
SECONDS_PER_HIT: Final = 0.05e-6
ONLY_TOTALS: Final = "by perf events only totals are known: which calls, how long and for whom needs libbpf or tracefs"
LEAST: Final = 0.5
"""Seconds that a rate is over, at least."""
TOO_MANY: Final = f"only {MOST:,} threads are counted"


class TotalsTracer:
    """Totals alone."""

    backend = "perf events"

    def __init__(self, host: Host, target: Target) -> None:
        check_target(host, target)
        self._host, self._target = host, target
        self._all: Counter | None = None
        self._failed: Counter | None = None
        self._watch = Watch(host, Subjects(host))
        self._problems: tuple[str, ...] = (ONLY_TOTALS,)
        self._attached_at: float | None = None
        self._attached_before = 0.0
        self._before = deque([(0.0, 0)])

    def price(self, options: Mapping[str, str]) -> Price:
        """Next to nothing."""
        level_of(options)
        return Price(seconds_per_hit=SECONDS_PER_HIT)

    def start(self, options: Mapping[str, str]) -> None:
        """Open the events. Raises UsageError, MissingFacility, NotPermitted, OSError."""
        level_of(options)
        with Tracefs() as tracefs:
            event = tracefs.format(EVENT).number
        tids = [tid for pid in self._target.pids for tid in self._threads(pid)]
        if len(tids) > MOST:
            self._problems = (*self._problems, TOO_MANY)
        self._all = Counter(event, tids)
        self._failed = Counter(event, tids, "ret < 0 && ret > -4096")
        self.attach()

    def attach(self) -> None:
        """Count."""
        self._switch(on=True)
        self._attached_at = self._attached_at or clock.monotonic()

    def detach(self) -> None:
        """Pause."""
        self._switch(on=False)
        if self._attached_at is not None:
            self._attached_before += clock.monotonic() - self._attached_at
            self._attached_at = None

    def _switch(self, *, on: bool) -> None:
        for counter in (self._all, self._failed):
            if counter is not None:
                counter.switch(on=on)

    def meter(self) -> Meter:
        """Calls; a counter loses none."""
        return Meter(self._all.read() if self._all is not None else None, 0)

    def collect(self) -> Iterator[Record]:
        """One record, without rows."""
        if self._all is None or self._failed is None:
            return
        attached = self._attached_before
        if self._attached_at is not None:
            attached += clock.monotonic() - self._attached_at
        count = self._all.read()
        while len(self._before) > 1 and self._before[1][0] <= attached - LEAST:
            self._before.popleft()
        before = self._before[0]
        self._before.append((attached, count))
        passed = attached - before[0]
        blocked, omitted = self._watch.look(self._target.pids, {})
        yield Syscalls(
            at=clock.now(),
            attached=round(attached, 3),
            count=count,
            errors=self._failed.read(),
            rate=round((count - before[1]) / passed, 1) if passed > 0 else None,
            blocked=tuple(blocked),
            blocked_omitted=omitted,
            problems=self._problems,
        )

    def _threads(self, pid: int) -> list[int]:
        try:
            return [int(name) for name in self._host.proc.names(pid, "task") if name.isdigit()]
        except (GotriageError, OSError):
            return []

    def stop(self) -> None:
        """Let go of the events."""
        for counter in (self._all, self._failed):
            if counter is not None:
                counter.close()
        self._all = self._failed = None

    close = stop
