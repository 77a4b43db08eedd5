"""Program starts by plain trace events, where BPF is not allowed: no arguments but those that /proc still has."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.collectors import Meter
from gotriage.collectors.probes.raw import NOTHING, Raw, Taken, exec_text
from gotriage.errors import GotriageError, MissingFacility
from gotriage.host import kerneltasks
from gotriage.host.tracefs import Instance, Tracefs
from gotriage.probes import library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gotriage.collectors.probes.raw import Options
    from gotriage.collectors.probes.scope import Scope
    from gotriage.host import Host
    from gotriage.host.tracefs import Format
    from gotriage.probes.library import Probe

BACKEND: Final = "tracefs"
EVENTS: Final = (
    "sched/sched_process_fork",
    "sched/sched_process_exec",
    "sched/sched_process_exit",
    "syscalls/sys_enter_exit_group",
    "syscalls/sys_exit_execve",
)
NEEDED: Final = EVENTS[:3]
"""Without system call events there are neither exit statuses nor failures."""
MOST_PAGES: Final = 512
MOST_KNOWN: Final = 20_000
HEADER: Final = 16
COMMIT: Final = 0xFFFFF
PADDING, EXTENDED, ABSOLUTE = 29, 30, 31
"""events/header_page, header_event; kernel/trace/ring_buffer.c."""


class Seen(NamedTuple):
    """One event: nanoseconds of CLOCK_MONOTONIC, its number, its bytes."""

    at: int
    number: int
    data: bytes


def unavailable(probe: Probe, _host: Host) -> str:
    """Why this backend cannot do it here, "" when it seems to be able to."""
    if not probe.tracefs:
        return NOTHING
    if not kerneltasks.outermost():
        return "trace events name threads by numbers that this PID namespace does not know"
    try:
        with Tracefs() as tracefs:
            for event in NEEDED:
                tracefs.format(event)
    except (GotriageError, OSError) as error:
        return str(error)
    return ""


def engines(probes: Sequence[Probe], scope: Scope, _options: Options) -> list[TracefsEngine]:
    """One instance."""
    return [TracefsEngine(probe, scope) for probe in probes]


class TracefsEngine:
    """An instance of our own with the events of programs."""

    backend = BACKEND

    def __init__(self, probe: Probe, scope: Scope) -> None:
        self.probes = (probe,)
        self._scope = scope
        self._tracefs: Tracefs | None = None
        self._instance: Instance | None = None
        self._formats: dict[int, tuple[str, Format]] = {}
        self._story = Story()
        self._hits = 0

    def start(self) -> None:
        """Make the instance. Raises MissingFacility, NotPermitted, OSError."""
        self._tracefs = Tracefs()
        self._instance = Instance(self._tracefs, label="p")
        self._instance.write("trace_clock", "mono")
        for event in EVENTS:
            try:
                made = self._tracefs.format(event)
            except MissingFacility:
                if event in NEEDED:
                    raise
                continue
            self._formats[made.number] = (event.rpartition("/")[2], made)
            self._instance.write(f"events/{event}/enable", "1")
        tids: list[int] = []
        for pid in self._scope.pids:
            tids += [int(name) for name in self._scope.host.proc.names(pid, "task") if name.isdigit()]
        self._instance.only(tids)
        self.attach()

    def attach(self) -> None:
        """Record."""
        if self._instance is not None:
            self._instance.write("tracing_on", "1")

    def detach(self) -> None:
        """Record nothing."""
        if self._instance is not None:
            self._instance.write("tracing_on", "0")

    def stop(self) -> None:
        """Take the instance away."""
        instance, self._instance = self._instance, None
        tracefs, self._tracefs = self._tracefs, None
        if instance is not None:
            instance.close()
        if tracefs is not None:
            tracefs.close()

    def take(self) -> Taken:
        """What has happened since."""
        taken = Taken()
        if self._instance is None:
            return taken
        seen = [event for page in self._instance.pages(MOST_PAGES) for event in parse_page(page)]
        for event in sorted(seen, key=lambda event: event.at):
            if event.number in self._formats:
                self._hits += 1
                taken.events += self._story.feed(event, *self._formats[event.number], self._arguments)
        return taken

    def meter(self) -> Meter:
        """Events read, and those that were overwritten before."""
        return Meter(self._hits, self._instance.lost() if self._instance is not None else None)

    def _arguments(self, pid: int) -> list[bytes]:
        """Of a program that still runs; none otherwise."""
        try:
            return self._scope.host.proc.read(pid, "cmdline", limit=4096).rstrip(b"\0").split(b"\0")
        except (GotriageError, OSError):
            return []


class Story:
    """What is known of the programs: who started whom, since when each runs, with which status it means to end."""

    def __init__(self) -> None:
        self.parents: dict[int, int] = {}
        self._begun: dict[int, int] = {}
        self._statuses: dict[int, int] = {}

    def feed(self, event: Seen, name: str, made: Format, arguments: Callable[[int], list[bytes]]) -> Iterator[Raw]:
        """One event, in order of time."""
        tid = number_of(made, "common_pid", event.data)
        if name == "sched_process_fork":
            if len(self.parents) > MOST_KNOWN:
                self.parents.clear()
            self.parents[number_of(made, "child_pid", event.data)] = tid
        elif name == "sys_enter_exit_group":
            self._statuses[tid] = number_of(made, "error_code", event.data) & 0xFF
        elif name == "sys_exit_execve":
            result = number_of(made, "ret", event.data)
            if result < 0:
                yield self._raw(library.EXEC_FAILED, event, tid, result=result)
        elif name == "sched_process_exec":
            path = string_of(made, "filename", event.data)
            self._begun[tid] = event.at
            yield self._raw(library.EXECED, event, tid, text=exec_text(path, arguments(tid)))
        elif name == "sched_process_exit":
            begun, status = self._begun.pop(tid, 0), self._statuses.pop(tid, None)
            self.parents.pop(tid, None)
            if begun:  # others are threads, and children that started no program
                result = -1 if status is None else status << 8
                took = event.at - begun
                yield self._raw(library.EXITED, event, tid, took=took, result=result, numbers=(0, begun, 1, 0))

    def _raw(self, kind: int, event: Seen, tid: int, **more: object) -> Raw:
        return Raw(kind=kind, at=event.at, tgid=tid, tid=tid, other=self.parents.get(tid, 0), **more)  # type: ignore[arg-type]  # fields of Raw


def number_of(made: Format, name: str, data: bytes) -> int:
    """A field that is a number, signed; 0 where this kernel's event has none of that name."""
    at, size = made.fields.get(name, (0, 0))
    return int.from_bytes(data[at : at + size], "little", signed=True)


def string_of(made: Format, name: str, data: bytes) -> bytes:
    """A string that lies behind the fields: where, and how long it is, stands in the field (__data_loc)."""
    at, size = made.fields.get(name, (0, 0))
    place = int.from_bytes(data[at : at + size], "little")
    return data[place & 0xFFFF : (place & 0xFFFF) + (place >> 16)].split(b"\0", 1)[0]


def parse_page(page: bytes) -> Iterator[Seen]:
    """The events of a page of the kernel's ring buffer; what makes no sense ends it."""
    if len(page) < HEADER:
        return
    at, commit = struct.unpack_from("<QQ", page)
    place, end = HEADER, min(HEADER + (commit & COMMIT), len(page))
    while place + 8 <= end:
        head, more = struct.unpack_from("<II", page, place)
        kind, delta = head & 31, head >> 5
        place += 4
        if kind == PADDING:
            if not delta:
                return
            at, place = at + delta, place + max(more, 4)
        elif kind == EXTENDED:
            at, place = at + delta + (more << 27), place + 4
        elif kind == ABSOLUTE:
            at, place = at >> 59 << 59 | delta | more << 27, place + 4
        else:
            at += delta
            size = kind * 4
            if not kind:
                size, place = more - 4, place + 4
            if size < 8 or place + size > end:
                return
            data = page[place : place + size]
            yield Seen(at, int.from_bytes(data[:2], "little"), data)
            place += (size + 3) & ~3
