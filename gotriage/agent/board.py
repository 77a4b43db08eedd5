"""What all traces of one agent share: the record that tells of them, the target's CPU, and who may stop the target."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError
from gotriage.host import clock, threads
from gotriage.host.tracelock import TraceLock
from gotriage.records.text import clean
from gotriage.records.tracing import Trace, Traces

if TYPE_CHECKING:
    from gotriage.agent.output import Output
    from gotriage.host import Host
    from gotriage.target.model import Target

MOST_THREADS: Final = 20_000
"""Threads whose tracer is looked at before one of ours begins."""
KEPT: Final = 12
"""CPU samples that are kept, one a heartbeat."""


class Board:
    """Every trace's newest state; `put` may be called from any thread."""

    def __init__(self, host: Host, target: Target, output: Output) -> None:
        self._host, self._target, self._output = host, target, output
        self._rows: dict[str, Trace] = {}
        self._lock = threading.Lock()
        self._samples: deque[tuple[float, int]] = deque(maxlen=KEPT)
        self._stopping: TraceLock | None = None

    def put(self, row: Trace) -> None:
        """Write the record when the trace has changed."""
        with self._lock:
            if self._rows.get(row.source) == row:
                return
            self._rows[row.source] = row
            record = Traces(at=clock.now(), rows=tuple(self._rows.values()))
        self._output.write(record)

    # -- the target's CPU

    def sample(self) -> None:
        """Note the CPU time that the target's processes have used; asked at each heartbeat."""
        total = 0
        for pid in self._target.pids[:256]:
            try:
                stat = self._host.proc.stat(pid)
            except (GotriageError, OSError, ValueError):
                continue
            total += stat.utime + stat.stime
        self._samples.append((clock.monotonic(), total))

    def cpu(self, since: float | None = None) -> float | None:
        """Cores used since that moment (clock.monotonic), or in the samples that are kept; None when not known."""
        kept = [sample for sample in list(self._samples) if since is None or sample[0] >= since]
        if len(kept) < 2 or kept[-1][0] - kept[0][0] < 0.5:  # clock ticks are 10 ms
            return None
        used = (kept[-1][1] - kept[0][1]) / clock.TICKS_PER_SECOND
        return round(max(used, 0.0) / (kept[-1][0] - kept[0][0]), 4)

    # -- who may stop it

    def take_stop(self) -> str:
        """Become the one tracer that stops the target; why not, or ""."""
        main = self._target.main
        if main is None:
            return "nothing of the target runs"
        with self._lock:
            if self._stopping is not None:
                return "another trace that stops the target runs; end it first"
            found = self._foreign()
            if found:
                return found
            lock = TraceLock(main.pid, main.start_ticks)
            if not lock.take():
                return "another gotriage runs a trace that stops this process"
            self._stopping = lock
        return ""

    def _foreign(self) -> str:
        """A tracer that is attached to any thread of the target, in words; "" for none."""
        for pid in self._target.pids[:64]:
            try:
                tracer = next((t.tracer for t in threads.read(self._host, pid, MOST_THREADS) if t.tracer), 0)
                if tracer:
                    name = clean(self._host.proc.stat(tracer).comm, 64)
                    return f"it is traced already by {name} (pid {tracer}), and only one tracer may be attached"
            except (GotriageError, OSError, ValueError):
                continue
        return ""

    def leave_stop(self) -> None:
        """Others may stop it again."""
        with self._lock:
            if self._stopping is not None:
                self._stopping.leave()
                self._stopping = None
