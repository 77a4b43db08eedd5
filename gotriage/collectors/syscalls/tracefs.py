"""System calls counted from raw trace events of an instance of our own: where BPF may not be used, but tracefs may.

Every call writes an event, which is read and counted here: dearer than counting in the kernel, and where the buffers
overflow, calls are missed (the kernel says how many).
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gotriage.collectors import Meter, Unavailable
from gotriage.collectors.syscalls import counted, kinds
from gotriage.collectors.syscalls.options import check_target, level_of
from gotriage.collectors.syscalls.record import Look, Recorder
from gotriage.errors import GotriageError
from gotriage.host import clock, kerneltasks
from gotriage.host.tracefs import Instance, Tracefs
from gotriage.records.tracing import Price

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from gotriage.host import Host
    from gotriage.host.tracefs import Format
    from gotriage.records import Record
    from gotriage.target.model import Target

EVENT: Final = "raw_syscalls/sys_exit"
SECONDS_PER_HIT: Final = 0.4e-6
"""CPU time that a call costs more, seconds: writing the event, measured by ./dev bench tracing."""
BUFFERS: Final = 64 * 1024
"""Kilobytes of all buffers together; each CPU gets its part, at most MOST_BUFFER."""
MOST_BUFFER: Final = 4096
MOST_PAGES: Final = 2048
"""Pages that one look reads: about 300,000 calls, which takes half a second."""
MAX_ERRNO: Final = 4095
HEADER: Final = 16
"""Bytes of a page before its events: a time and how many bytes follow (events/header_page)."""
LENGTH: Final = 0xFFFFF
"""The upper bits of that are flags (kernel/trace/ring_buffer.c, RB_MISSED_EVENTS)."""
PADDING, EXTEND = 29, 30
"""Kinds of entries besides events (events/header_event)."""


def offsets(page: bytes, size: int) -> list[int]:
    """Where the events lie in a page of the ring buffer that have so many bytes (events/header_event)."""
    end = min(int.from_bytes(page[8:16], "little") & LENGTH, len(page) - HEADER)
    words = memoryview(page[HEADER : HEADER + end // 4 * 4]).cast("I")
    found: list[int] = []
    at, stop, wanted = 0, len(words), size // 4
    while at < stop:
        header = words[at]
        kind = header & 31
        if kind == wanted:
            found.append(HEADER + at * 4 + 4)
            at += 1 + kind
        elif 0 < kind < PADDING:
            at += 1 + kind
        elif kind >= EXTEND:
            at += 2
        elif (kind == PADDING and not header >> 5) or at + 1 >= stop:
            break
        else:
            at += 1 + max(words[at + 1] // 4, 1)
    return found


def events(pages: Iterable[bytes], layout: Format) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Thread, number and result of each call in the pages."""
    size = max(at + length for at, length in layout.fields.values())
    kind = np.dtype(
        {
            "names": ["type", "tid", "id", "ret"],
            "formats": ["<u2", "<i4", "<i8", "<i8"],
            "offsets": [layout.fields[name][0] for name in ("common_type", "common_pid", "id", "ret")],
            "itemsize": size,
        }
    )
    pieces = [page[at : at + size] for page in pages for at in offsets(page, size)]
    rows = np.frombuffer(b"".join(piece for piece in pieces if len(piece) == size), kind)
    rows = rows[rows["type"] == layout.number]
    return rows["tid"].astype(np.int64), rows["id"].astype(np.int64), rows["ret"].astype(np.int64)


class Tally:
    """Calls counted from events, in the form in which the kernel's programs count them."""

    def __init__(self) -> None:
        self.totals = np.zeros(kinds.CALLS, counted.CALL)
        self._failed: Counter[tuple[int, int]] = Counter()
        self._threads: dict[int, Counter[int]] = {}
        self._bytes = np.frombuffer(kinds.table(), np.uint8) & kinds.BYTES != 0

    def add(self, tids: NDArray[np.int64], numbers: NDArray[np.int64], results: NDArray[np.int64]) -> None:
        """More events; a number of -1 is rt_sigreturn, whose result means nothing."""
        known = numbers >= 0
        numbers = np.clip(numbers[known], 0, kinds.BEYOND)
        tids, results = tids[known], results[known]
        bad = (results < 0) & (results >= -MAX_ERRNO)
        self.totals["count"] += np.bincount(numbers, minlength=kinds.CALLS).astype(np.uint64)
        self.totals["errors"] += np.bincount(numbers[bad], minlength=kinds.CALLS).astype(np.uint64)
        moved = ~bad & self._bytes[numbers]
        np.add.at(self.totals["bytes"], numbers[moved], results[moved].astype(np.uint64))
        keys, counts = np.unique(numbers[bad] << 16 | -results[bad], return_counts=True)
        for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
            self._failed[key >> 16, key & 0xFFFF] += count
        keys, counts = np.unique(tids << 16 | numbers, return_counts=True)
        for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
            self._threads.setdefault(key >> 16, Counter())[key & 0xFFFF] += count

    def failed(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """How calls failed."""
        return np.array(list(self._failed), counted.FAILED), np.array(list(self._failed.values()), np.uint64)

    def threads(self) -> NDArray[Any]:
        """Who made the calls."""
        rows = np.zeros(len(self._threads), counted.THREAD)
        for at, (tid, calls) in enumerate(self._threads.items()):
            rows[at]["tid"] = rows[at]["own_tid"] = rows[at]["kernel_tid"] = tid
            for place, (number, count) in enumerate(calls.most_common(counted.OWNS)):
                rows[at]["own"][place]["call"], rows[at]["own"][place]["count"] = number + 1, count
        return rows


class TracefsTracer:
    """Counts alone."""

    backend = "tracefs"

    def __init__(self, host: Host, target: Target) -> None:
        check_target(host, target)
        if not kerneltasks.outermost():
            raise Unavailable("trace events name threads by numbers that this PID namespace does not know", lost=True)
        self._host, self._target = host, target
        self._tracefs: Tracefs | None = None
        self._instance: Instance | None = None
        self._layout: Format | None = None
        self._recorder, self._tally = Recorder(host), Tally()
        self._problem = ""
        self._pids: tuple[int, ...] = ()
        self._attached_at: float | None = None
        self._attached_before = 0.0

    def price(self, options: Mapping[str, str]) -> Price:
        """Every call writes an event."""
        level_of(options)
        words = "every call writes an event that is read here: closed-loop throughput was 0.80 of untraced"
        return Price(seconds_per_hit=SECONDS_PER_HIT, words=(words,))

    def start(self, options: Mapping[str, str]) -> None:
        """Make the instance, and let it run. Raises UsageError, MissingFacility, NotPermitted, OSError."""
        if level_of(options) != "counts":
            self._problem = "from trace events calls are only counted: how long they take, and for whom, needs libbpf"
        self._tracefs = Tracefs()
        self._layout = self._tracefs.format(EVENT)
        room = min(BUFFERS // (os.cpu_count() or 1), MOST_BUFFER)
        self._instance = Instance(self._tracefs, kilobytes=room, label="-syscalls")
        self._follow()
        self.attach()

    def attach(self) -> None:
        """Let events be written."""
        if self._instance is None or self._attached_at is not None:
            return
        self._instance.write("tracing_on", "1")
        self._instance.write(f"events/{EVENT}/enable", "1")
        self._attached_at = clock.monotonic()

    def detach(self) -> None:
        """No more events."""
        if self._instance is None or self._attached_at is None:
            return
        self._instance.write(f"events/{EVENT}/enable", "0")
        self._attached_before += clock.monotonic() - self._attached_at
        self._attached_at = None

    def meter(self) -> Meter:
        """Calls, and events that had no room."""
        lost = self._instance.lost() if self._instance is not None else None
        return Meter(int(self._tally.totals["count"].sum()), lost)

    def collect(self) -> Iterator[Record]:
        """One record."""
        instance, layout, pid = self._instance, self._layout, self._target.pid
        if instance is None or layout is None or pid is None:
            return
        self._follow()
        self._tally.add(*events(instance.pages(MOST_PAGES), layout))
        failed, failures = self._tally.failed()
        attached = self._attached_before
        if self._attached_at is not None:
            attached += clock.monotonic() - self._attached_at
        look = Look(
            level="counts",
            attached=attached,
            attached_at=None,
            totals=self._tally.totals.copy(),
            failed=failed,
            failures=failures,
            threads=self._tally.threads(),
            problems=(self._problem,) if self._problem else (),
        )
        yield self._recorder.record(pid, self._pids, look)

    def _follow(self) -> None:
        """Processes that have come since; threads that the known ones start are followed by the kernel."""
        pids = self._target.pids
        if self._instance is None or not pids or pids == self._pids:
            return
        self._instance.only([tid for pid in pids for tid in self._threads(pid)])
        self._pids = pids

    def _threads(self, pid: int) -> list[int]:
        try:
            return [int(name) for name in self._host.proc.names(pid, "task") if name.isdigit()]
        except (GotriageError, OSError):
            return []

    def stop(self) -> None:
        """Take the instance away."""
        instance, self._instance = self._instance, None
        if instance is not None:
            instance.close()
        tracefs, self._tracefs = self._tracefs, None
        if tracefs is not None:
            tracefs.close()

    close = stop
