"""After a tracer: whether every thread of the target runs again, and what to do where one does not."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError
from gotriage.host import clock, threads
from gotriage.host.deadline import Deadline
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gotriage.host import Host

MOST_THREADS: Final = 20_000
SETTLES: Final = 2.0
"""Seconds that the kernel may take to let go of threads whose tracer has ended."""
STOPPED: Final = "Tt"
"""States of a thread that stands: by a signal, by a tracer (proc_pid_stat(5))."""


def stopped(host: Host, pids: Iterable[int]) -> frozenset[int]:
    """Processes that a signal has stopped, and no tracer: whoever did that may want it so."""
    return frozenset(pid for pid in pids if any(t.state in STOPPED and not t.tracer for t in _threads(host, pid)))


def tracer_of(host: Host, pids: Iterable[int]) -> tuple[int, str] | None:
    """Who traces any thread of these processes: PID and name; None for nobody."""
    for pid in pids:
        tracer = next((t.tracer for t in _threads(host, pid) if t.tracer), 0)
        if tracer:
            with suppress(GotriageError, OSError, ValueError):
                return tracer, clean(host.proc.stat(tracer).comm, 64)
            return tracer, "?"
    return None


def let_go(host: Host, pids: Iterable[int], tracer: int, before: frozenset[int]) -> str:
    """Wait until no thread is traced by `tracer`, which has ended, or stands; what is not so, in words, "" for nothing.

    A process that stands by a signal now and did not before (`before`) has been left so by the tracer: it is told to
    go on.
    """
    pids = tuple(pids)
    limit = Deadline(SETTLES)
    while (found := _held(host, pids, tracer, before)) and not limit.over:
        clock.sleep(0.02)
    if not found:
        return ""
    left = {pid for pid, state in found if state == "T"}
    for pid in left:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGCONT)
    limit = Deadline(SETTLES)
    while (still := _held(host, pids, tracer, before)) and not limit.over:
        clock.sleep(0.02)
    if not still:
        return "the tracer had left the target stopped; it was told to go on, and runs"
    pid, state = still[0]
    kind = "traced" if state == "t" else "stopped"
    return f"{len(still)} threads of the target are still {kind} (process {pid})"


def _held(host: Host, pids: tuple[int, ...], tracer: int, before: frozenset[int]) -> list[tuple[int, str]]:
    """Process and state of each thread that our tracer holds, or has left standing."""
    found: list[tuple[int, str]] = []
    for pid in pids:
        for thread in _threads(host, pid):
            if thread.tracer:
                found += [(pid, "t")] if thread.tracer == tracer else []
            elif thread.state in STOPPED and pid not in before:
                found.append((pid, "T"))
    return found


def _threads(host: Host, pid: int) -> list[threads.Thread]:
    try:
        return threads.read(host, pid, MOST_THREADS)
    except (GotriageError, OSError):
        return []
