"""The table of contents: one row a view. Tabs, `show VIEW`, JSON, help, palette, snapshot and replay follow from it.

Collectors are only named here; the agent loads them. A source lists its backends best first: when one is
`Unavailable`, the agent takes the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gotriage.records import AnyRecord, Record
from gotriage.records.calls import LibraryCalls
from gotriage.records.cpustacks import CpuStacks
from gotriage.records.environment import Access, Environment
from gotriage.records.files import FileCounts, FileTable
from gotriage.records.goroutines import GoroutineCounts, Goroutines
from gotriage.records.http import Http
from gotriage.records.libraries import Libraries
from gotriage.records.limits import LimitTable
from gotriage.records.logs import LogLines, LogState, OomKill
from gotriage.records.probes import ProbeEvents, Probes, ProbeTables
from gotriage.records.process import CgroupSample, HostSample, ProcessSample
from gotriage.records.profile import CpuProfile, WallProfile
from gotriage.records.runtime import GoBuild, GoRuntime, RuntimeDetail
from gotriage.records.service import ContainerState, UnitState
from gotriage.records.straced import Straced
from gotriage.records.syscalls import Syscalls
from gotriage.records.target import GoServices, TargetState
from gotriage.render.columns import Column

Price = Literal["free", "light", "heavy", "stops"]
"""free reads /proc, cgroupfs, the journal; light reads memory, netlink, in-kernel counts; heavy and stops ask first."""

_C = "gotriage.collectors."
_ALSO_CORE = ("pid", "unit", "container", "core")


@dataclass(frozen=True, slots=True)
class Source:
    """Where records come from.

    Attributes:
        name: the collector's name in heartbeats, gaps and requests.
        backends: "module:Class", best first.
        every: seconds between two looks.
        deadline: seconds that one look may take before it counts as hung.
        targets: the kinds of target it serves.
        idle: also runs while nothing of the target runs (a failed unit, a stopped container).
        needs: the attribute of the target ("unit", "container") that the source is about: where the target has none,
            a source that is `Unavailable` is no loss.
        asked: a trace: it runs only while it is asked for, and its backends are `collectors.Tracer` classes.
        duty: seconds on, of so many, that the agent runs a trace by itself, with its default options; None is never.
        lasts: seconds that a trace runs when nobody says how long; `longest`: at most.
        budget: the part of the target's CPU that a trace may cost, kept by being attached a part of the time only.
    """

    name: str
    backends: tuple[str, ...]
    records: tuple[type[Record], ...]
    every: float = 1.0
    deadline: float = 5.0
    price: Price = "free"
    targets: tuple[str, ...] = ("pid", "unit", "container")
    idle: bool = False
    needs: str = ""
    about: str = ""
    asked: bool = False
    duty: tuple[float, float] | None = None
    lasts: float = 600.0
    longest: float = 3600.0
    budget: float | None = None


SOURCES: tuple[Source, ...] = (
    Source(
        "process", (_C + "process:ProcessCollector",), (ProcessSample,), about="/proc/PID/stat, status, io, schedstat"
    ),
    Source(
        "cgroup", (_C + "cgroup:CgroupCollector",), (CgroupSample,), idle=True, about="cgroupfs, v1 and v2, and PSI"
    ),
    Source(
        "machine",
        (_C + "machine:MachineCollector",),
        (HostSample,),
        every=2.0,
        idle=True,
        about="/proc/stat, meminfo, pressure",
    ),
    Source(
        "unit",
        (_C + "unit:UnitCollector", _C + "unit_show:UnitShowCollector"),
        (UnitState,),
        every=2.0,
        idle=True,
        needs="unit",
        about="systemd over D-Bus, else systemctl show",
    ),
    Source(
        "container",
        (_C + "container:ContainerCollector",),
        (ContainerState,),
        every=3.0,
        targets=("pid", "unit", "container"),
        idle=True,
        needs="container",
        about="the engine's socket, else its state files, else the cgroup",
    ),
    Source("file_counts", (_C + "files:CountCollector",), (FileCounts,), about="/proc/PID/fd"),
    Source(
        "files",
        (_C + "files:TableCollector",),
        (FileTable,),
        every=5.0,
        deadline=20.0,
        about="/proc/PID/fd, fdinfo, sock_diag",
    ),
    Source(
        "limits",
        (_C + "limits:LimitCollector",),
        (LimitTable,),
        every=2.0,
        idle=True,
        about="/proc/PID/limits, cgroupfs, sysctl, statvfs",
    ),
    Source(
        "libraries",
        (_C + "libraries:LibraryCollector",),
        (Libraries,),
        every=30.0,
        deadline=30.0,
        idle=True,
        about="the ELF files in the target's root",
    ),
    Source(
        "environment",
        (_C + "environment:EnvironmentCollector",),
        (Environment,),
        every=20.0,
        targets=_ALSO_CORE,
        about="/proc/PID and the executable",
    ),
    Source(
        "access",
        (_C + "access:AccessCollector",),
        (Access,),
        every=20.0,
        deadline=10.0,
        about="modes and ACLs in the target's root",
    ),
    Source(
        "goroutines",
        (_C + "goroutines:GoroutineCollector",),
        (GoroutineCounts, Goroutines, CpuStacks),
        every=2.0,
        deadline=40.0,
        price="light",
        targets=_ALSO_CORE,
        about="the process's memory, read by process_vm_readv(2) in a process of its own",
    ),
    Source(
        "runtime",
        (_C + "runtime:RuntimeCollector",),
        (GoBuild, GoRuntime, RuntimeDetail),
        every=1.0,
        deadline=20.0,
        price="light",
        targets=_ALSO_CORE,
        about="the process's memory, as above, and its executable's build info",
    ),
    Source(
        "journal",
        (_C + "journal:JournalCollector", _C + "journalctl:JournalctlCollector"),
        (LogLines, LogState),
        every=0.5,
        deadline=15.0,
        idle=True,
        needs="unit",
        about="systemd's journal, as journalctl -u matches it",
    ),
    Source(
        "container_log",
        (_C + "container_log:ContainerLogCollector",),
        (LogLines, LogState),
        every=0.5,
        targets=("pid", "unit", "container"),
        idle=True,
        needs="container",
        about="the container engine's log files",
    ),
    Source(
        "file_log",
        (_C + "file_log:FileLogCollector",),
        (LogLines, LogState),
        every=0.5,
        about="files that stdout and stderr go to",
    ),
    Source(
        "kernel_log",
        (_C + "kernel_log:KernelLogCollector",),
        (OomKill,),
        every=1.0,
        idle=True,
        about="/dev/kmsg or the kernel's journal lines",
    ),
    Source(
        "http",
        (_C + "http:SocketTracer", _C + "http:CallTracer"),
        (Http,),
        deadline=10.0,
        price="light",
        asked=True,
        duty=(1.0, 10.0),
        about="the first bytes of reads and writes at sockets, counted by a BPF program",
    ),
    Source(
        "http_uprobes",
        (_C + "http_uprobes:HttpUprobes",),
        (Http,),
        every=1.0,
        deadline=10.0,
        price="heavy",
        asked=True,
        budget=0.02,
        about="probes at functions of net/http, database/sql, crypto/tls and gRPC, counted in the kernel",
    ),
    Source(
        "profile",
        (_C + "profile.cpu:BpfTracer", _C + "profile.cpu:PerfTracer"),
        (CpuProfile,),
        every=1.0,
        deadline=30.0,
        price="heavy",
        asked=True,
        lasts=5.0,
        about="each CPU's clock, 99 times a second: a BPF program, else perf events; names from the files' own tables",
    ),
    Source(
        "wall",
        (_C + "profile.wall:WallTracer",),
        (WallProfile,),
        every=0.1,
        deadline=30.0,
        price="light",
        asked=True,
        lasts=5.0,
        about="where all goroutines are, ten times a second, read from memory in a process of its own",
    ),
    Source(
        "syscalls",
        (_C + "syscalls.bpf:BpfTracer", _C + "syscalls.tracefs:TracefsTracer", _C + "syscalls.totals:TotalsTracer"),
        (Syscalls,),
        every=1.0,
        deadline=10.0,
        price="light",
        asked=True,
        duty=(1.0, 10.0),
        about="BPF programs at the begin and end of every system call, else trace events, else a perf counter",
    ),
    Source(
        "strace",
        (_C + "strace.tracer:StraceTracer",),
        (Straced,),
        every=0.5,
        deadline=10.0,
        price="stops",
        asked=True,
        lasts=3.0,
        longest=30.0,
        about="strace(1): each system call with arguments, result and reason",
    ),
    Source(
        "calls",
        (_C + "calls.probed:ProbedCalls",),
        (LibraryCalls,),
        every=1.0,
        deadline=10.0,
        price="heavy",
        asked=True,
        lasts=60.0,
        budget=0.05,
        about="user probes where the functions of mapped C libraries begin that the program calls",
    ),
    Source(
        "ltrace",
        (_C + "calls.ltraced:LtraceCalls",),
        (LibraryCalls,),
        every=0.5,
        deadline=30.0,
        price="stops",
        asked=True,
        lasts=3.0,
        longest=30.0,
        about="ltrace(1), for programs with one thread",
    ),
    Source(
        "probes",
        (_C + "probes:ProbeTracer",),
        (Probes, ProbeEvents, ProbeTables),
        every=0.5,
        deadline=10.0,
        price="light",
        asked=True,
        budget=0.05,
        about="prebuilt BPF programs for each probe, else bpftrace, BCC or plain trace events",
    ),
)

PICKER_SOURCES: tuple[Source, ...] = (
    Source(
        "services",
        (_C + "services:ServiceCollector",),
        (GoServices,),
        every=2.0,
        targets=("none",),
        about="/proc and the executables",
    ),
)


@dataclass(frozen=True, slots=True)
class View:
    """One view: a tab of the TUI, an argument of `show`, a part of every snapshot.

    Attributes:
        key: the number key of its tab.
        table: the record type whose `rows` are the view's table, or None when the view is a page of its own.
        record: for a page: the record types that `show` prints, one object each.
        price: the dearest source that runs by itself.
        command: the shell command that would show about the same; {pid}, {unit}, {container} are filled in.
        facts: `show --json` gives the table record's own facts, as an object before the rows.
        short: the title where there is no room for it.
    """

    id: str
    title: str
    key: str
    about: str
    records: tuple[type[Record], ...]
    sources: tuple[str, ...]
    table: type[Record] | None = None
    columns: tuple[Column, ...] = ()
    price: Price = "free"
    command: str = ""
    facts: bool = False
    short: str = ""


VIEWS: tuple[View, ...] = (
    View(
        "findings",
        "Findings",
        "1",
        "ranked claims with evidence and a next step; then what is fine; then what could not be checked",
        (),
        (),
        command="gotriage check {target}",
    ),
    View(
        "overview",
        "Overview",
        "2",
        "unit, cgroup, PID and build in one place; CPU, memory, threads, descriptors and I/O over time",
        (TargetState, UnitState, ContainerState, ProcessSample, CgroupSample, HostSample, OomKill),
        ("process", "cgroup", "machine", "unit", "container", "kernel_log"),
        command="systemctl {scope}status {unit}; cat /proc/{pid}/status",
    ),
    View(
        "logs",
        "Logs",
        "3",
        "the target's log from every place where it goes: journal, container engine, files",
        (LogLines, LogState),
        ("journal", "container_log", "file_log"),
        table=LogLines,
        columns=(
            Column("at", "TIME", "time", 8),
            Column("level", "LEVEL", "text", 5),
            Column("source", "SOURCE", "text", 8, wide=True),
            Column("identifier", "FROM", "text", 12, wide=True),
            Column("message", "MESSAGE", "log"),
        ),
        command="journalctl {scope}-u {unit} -f",
    ),
    View(
        "limits",
        "Limits",
        "4",
        "every rlimit and the limits of systemd, cgroup, kernel and file systems against use",
        (LimitTable,),
        ("limits",),
        table=LimitTable,
        columns=(
            Column("name", "LIMIT", "text", 20),
            Column("used", "USED", "value", 8),
            Column("soft", "SOFT", "value", 9),
            Column("hard", "HARD", "value", 9),
            Column("growth", "GROWTH", "value", 9),
            Column("full_in", "FULL IN", "seconds", 7),
            Column("scope", "SET BY", "text", 10),
            Column("subject", "FOR", "text", 0),
            Column("fix", "RAISE WITH", "text", 0, wide=True, weight=3),
        ),
        command="cat /proc/{pid}/limits",
    ),
    View(
        "goroutines",
        "Goroutines",
        "5",
        "every goroutine, read from memory without a stop: groups, the one that grows first; who waits for what",
        (Goroutines, GoroutineCounts, CpuStacks),
        ("goroutines",),
        table=Goroutines,
        price="light",
        command="curl -s localhost:6060/debug/pprof/goroutine?debug=1",
        short="Gorout.",
    ),
    View(
        "runtime",
        "Runtime",
        "6",
        "the Go runtime's own numbers: heap and collector against GOGC, GOMEMLIMIT and the cgroup; scheduler, threads",
        (GoRuntime, GoBuild, RuntimeDetail),
        ("runtime",),
        price="light",
        command="curl -s localhost:6060/debug/pprof/heap?debug=1",
    ),
    View(
        "files",
        "Files",
        "7",
        "every open descriptor by kind, with socket state and peer, pipe partner, deleted files",
        (FileCounts, FileTable),
        ("file_counts", "files"),
        table=FileTable,
        columns=(
            Column("pid", "PID", "text", 7),
            Column("fd", "FD", "count", 7),
            Column("type", "TYPE", "text", 6),
            Column("mode", "MODE", "text", 4),
            Column("state", "STATE", "text", 11),
            Column("name", "NAME"),
            Column("peer", "PEER", "text", 24),
            Column("size", "SIZE", "bytes", 6, wide=True),
            Column("offset", "OFFSET", "bytes", 7, wide=True),
            Column("recv_queue", "RECVQ", "bytes", 6, wide=True),
            Column("send_queue", "SENDQ", "bytes", 6, wide=True),
        ),
        command="lsof -nP -p {pid}",
    ),
    View(
        "libraries",
        "Libraries",
        "8",
        "the dependency tree by the loader's rules in the target's root; missing ones first; nothing is run",
        (Libraries,),
        ("libraries",),
        table=Libraries,
        columns=(
            Column("name", "LIBRARY", "text", 24),
            Column("rule", "FOUND BY", "text", 15),
            Column("path", "PATH"),
            Column("package", "PACKAGE", "text", 16),
            Column("needed_by", "NEEDED BY", "text", 24, wide=True),
            Column("loaded", "LOADED", "text", 32, wide=True),
        ),
        command="readelf -d /proc/{pid}/exe",
        facts=True,
        short="Libs",
    ),
    View(
        "environment",
        "Environment",
        "9",
        "build info, arguments, environment (secrets masked), identity, capabilities, directories, streams",
        (Environment, Access),
        ("environment", "access"),
        command="go version -m /proc/{pid}/exe; tr '\\0' '\\n' </proc/{pid}/environ",
        short="Env",
    ),
    View(
        "profile",
        "Profile",
        "P",
        "where the time goes: CPU samples as a flame graph, by goroutine creator or label; all goroutines by the clock",
        (CpuProfile, WallProfile),
        ("profile", "wall"),
        table=CpuProfile,
        columns=(
            Column("flat_share", "FLAT", "share", 7),
            Column("cum_share", "CUM", "share", 7),
            Column("own_share", "OWN", "share", 7),
            Column("frame_kind", "CODE", "text", 7),
            Column("function", "FUNCTION"),
            Column("caller", "CALLED BY", "text", 24),
            Column("creator", "CREATED BY", "text", 28, wide=True),
        ),
        command="perf record -e cpu-clock -F 99 -g -p {pid} -- sleep 5; perf report",
        facts=True,
        short="Prof.",
    ),
    View(
        "syscalls",
        "Syscalls",
        "Y",
        "every system call, counted and timed in the kernel: rate, latency, errors; by thread, goroutine, file, peer",
        (Syscalls, Straced),
        ("syscalls", "strace"),
        table=Syscalls,
        columns=(
            Column("call", "CALL", "text", 13),
            Column("rate", "RATE", "rate", 8),
            Column("share", "SHARE", "share", 5),
            Column("p50", "P50", "latency", 6),
            Column("p99", "P99", "latency", 6),
            Column("longest", "LONGEST", "latency", 7),
            Column("byte_rate", "BYTES", "byterate", 8),
            Column("errors", "FAILED", "count", 8, wide=True),
            Column("errnos", "ERRORS"),
        ),
        price="light",
        command="strace -c -f -p {pid}   (which stops every call; perf trace -s -p {pid} too)",
        facts=True,
    ),
    View(
        "http",
        "HTTP",
        "H",
        "requests in and out: routes, statuses, how long they take, what is in flight; without instrumentation",
        (Http,),
        ("http", "http_uprobes"),
        table=Http,
        columns=(
            Column("direction", "DIR", "text", 3),
            Column("method", "METHOD", "text", 7),
            Column("route", "ROUTE"),
            Column("peer", "PEER", "text", 20, wide=True),
            Column("rate", "RATE", "rate", 8),
            Column("recent_errors", "5XX", "count", 5),
            Column("recent_client_errors", "4XX", "count", 5),
            Column("p50", "P50", "seconds", 6),
            Column("p99", "P99", "seconds", 6),
            Column("longest", "MAX", "seconds", 6),
            Column("in_flight", "FLIGHT", "count", 6),
            Column("count", "COUNT", "count", 10, wide=True),
            Column("statuses", "STATUSES", "text", 28, wide=True),
        ),
        price="light",
        command="tcpdump -i any -A -s 200 tcp | grep -aE '(GET|POST|PUT|PATCH|DELETE|HEAD) /|HTTP/1'",
        facts=True,
    ),
    View(
        "calls",
        "Calls",
        "C",
        "functions of C libraries that a cgo or other dynamically linked program calls, counted; by ltrace also timed",
        (LibraryCalls,),
        ("calls", "ltrace"),
        table=LibraryCalls,
        columns=(
            Column("function", "FUNCTION"),
            Column("rate", "RATE", "rate", 9),
            Column("share", "SHARE", "share", 6),
            Column("count", "CALLS", "count", 11),
            Column("each", "EACH", "latency", 7),
            Column("seconds", "TIME", "latency", 7, wide=True),
            Column("library", "LIBRARY", "text", 18),
        ),
        price="heavy",
        command="ltrace -c -p {pid}   (which crashes programs with several threads)",
    ),
    View(
        "probes",
        "Probes",
        "B",
        "a library of small kernel probes: program starts, opens, connects, DNS, slow files, signals, waits, Go itself",
        (Probes, ProbeEvents, ProbeTables),
        ("probes",),
        table=Probes,
        columns=(
            Column("title", "PROBE", "text", 21),
            Column("group", "OF", "text", 9),
            Column("price", "PRICE", "text", 5),
            Column("state", "STATE", "text", 11),
            Column("backend", "BACKEND", "text", 8),
            Column("events", "SEEN", "count", 7),
            Column("id", "ID", "text", 0),
            Column("about", "SHOWS", "text", 0, wide=True, weight=5),
        ),
        price="light",
        command="bpftrace -e 'tracepoint:sched:sched_process_exec {{ printf(\"%d %s\\n\", pid, comm); }}'",
    ),
)


PARTS: tuple[View, ...] = (
    View(
        "strace",
        "strace",
        "",
        "system calls one by one, with arguments and results",
        (Straced,),
        ("strace",),
        table=Straced,
        columns=(
            Column("began_at", "BEGAN", "time", 8),
            Column("tid", "THREAD", "text", 7),
            Column("seconds", "TOOK", "latency", 6),
            Column("call", "CALL", "text", 12),
            Column("error", "ERROR", "text", 7),
            Column("result", "RESULT", "text", 12),
            Column("arguments", "ARGUMENTS"),
        ),
        price="stops",
    ),
)
"""What `show VIEW --trace SOURCE` prints where the source is another one than the view's first: no tabs."""


def part(name: str) -> View | None:
    """What is printed of a source that is not its view's first, or None."""
    return next((row for row in PARTS if row.id == name), None)


def view(name: str) -> View | None:
    """The view of that id, or None."""
    return next((row for row in VIEWS if row.id == name), None)


def source(name: str) -> Source | None:
    """The source of that name, or None."""
    return next((row for row in SOURCES + PICKER_SOURCES if row.name == name), None)


__all__ = [
    "PARTS", "PICKER_SOURCES", "SOURCES", "VIEWS", "AnyRecord", "Column", "Price", "Source", "View", "part", "source",
    "view",
]  # fmt: skip
