"""How many system calls processes make a second, from a short look that costs them next to nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.errors import GotriageError
from gotriage.host import clock
from gotriage.host.perfcount import Counter
from gotriage.host.proc import parse_fields
from gotriage.host.tracefs import Tracefs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gotriage.host import Host

SECONDS: Final = 0.25
"""Length of the look."""
MOST_THREADS: Final = 256
"""Threads that are counted; of more, so many evenly chosen ones stand for all."""
MOST_PIDS: Final = 64


class CallRate(NamedTuple):
    """System calls a second. `least`: only reads and writes were counted, there are more."""

    value: float
    least: bool = False


def call_rate(host: Host, pids: Sequence[int]) -> CallRate | None:
    """Look for SECONDS; None when it cannot be told."""
    pids = pids[:MOST_PIDS]
    rate = None
    with suppress(GotriageError, OSError):
        rate = _counted(host, pids)
    return rate if rate is not None else _transferred(host, pids)


def _counted(host: Host, pids: Sequence[int]) -> CallRate | None:
    """By a counter at the trace event of each thread."""
    tids = [tid for pid in pids for tid in _threads(host, pid)]
    chosen = tids[:: max(1, -(-len(tids) // MOST_THREADS))]
    if not chosen:
        return None
    with Tracefs() as tracefs:
        event = tracefs.format("raw_syscalls/sys_enter").number
    counter = Counter(event, chosen)
    try:
        counter.switch(on=True)
        begun = clock.monotonic()
        clock.sleep(SECONDS)
        return CallRate(counter.read() * len(tids) / len(chosen) / (clock.monotonic() - begun))
    finally:
        counter.close()


def _threads(host: Host, pid: int) -> list[int]:
    with suppress(GotriageError, OSError):
        return sorted(int(name) for name in host.proc.names(pid, "task") if name.isdigit())
    return []


def _transferred(host: Host, pids: Sequence[int]) -> CallRate | None:
    """By what the processes' own counters of reads and writes gain."""
    before, begun = _transfers(host, pids), clock.monotonic()
    if before is None:
        return None
    clock.sleep(SECONDS)
    after = _transfers(host, pids)
    if after is None:
        return None
    return CallRate(max(after - before, 0) / (clock.monotonic() - begun), least=True)


def _transfers(host: Host, pids: Sequence[int]) -> int | None:
    """Reads and writes since the processes began (proc_pid_io(5)); None when that may not be read."""
    total = 0
    try:
        for pid in pids:
            fields = parse_fields(host.proc.read(pid, "io", limit=4096))
            total += int(fields["syscr"]) + int(fields["syscw"])
    except (GotriageError, OSError, KeyError, ValueError):
        return None
    return total
