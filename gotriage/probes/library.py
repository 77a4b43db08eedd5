"""The probe library in data: what each probe shows, what it costs, and what it is made of for each backend.

Programs of `objects` lie in NAME.bpf.c, `script` is NAME.bt for bpftrace, `bcc` NAME.bcc.c for BCC, `tracefs` says that
collectors/probes can do it with plain tracepoints. The numbers of events and totals are those of events.h.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

Group = Literal["process", "files", "network", "storage", "memory", "scheduler", "Go", "own"]
GROUPS: Final[tuple[Group, ...]] = ("process", "files", "network", "storage", "memory", "scheduler", "Go", "own")
Shows = Literal["stream", "counts", "histogram"]
Unit = Literal["text", "count", "bytes", "seconds", "time", "rate"]

EXECED, EXITED, EXEC_FAILED, SIGNALLED, OOM_KILLED = 1, 2, 3, 4, 5
OPENED, ACCEPTED, ASKED, ANSWERED, SLOW_FILE, SYNCED, MAPPED, WAITED = 10, 11, 12, 13, 14, 15, 16, 17
CONNECTED, RETRANSMITTED, RESET_SENT, RESET_CAME = 20, 21, 22, 23
QUEUED, THROTTLED, BLOCK_IO, FAULTED = 30, 31, 32, 33
GC_BEGUN, GC_MARKED, GO_BEGUN, PANICKED = 40, 41, 42, 43
"""enum kind of events.h."""


class Shown(NamedTuple):
    """A column of a probe's page: a field of records.probes.ProbeEvent or ProbeCount; 0 cells take what is left."""

    field: str
    title: str
    unit: Unit = "text"
    width: int = 0


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe.

    Attributes:
        id: its name in options and records.
        shows: what its page begins with: events one by one, a table of counts, or a histogram of times.
        price: "heavy" where a hit costs microseconds, not a fraction of one.
        cost: seconds of the target's CPU that one hit is expected to cost.
        kinds: of the events and totals that are its.
        objects: object file to programs, for libbpf.
        tracepoints: what has to be in the kernel for them, as "group:name".
        functions: of the Go program, that are probed where they begin.
        calls: system calls that it looks at, for the object "calls".
        limits: what it does not see.
    """

    id: str
    title: str
    group: Group
    about: str
    shows: Shows
    kinds: tuple[int, ...]
    columns: tuple[Shown, ...]
    price: Literal["light", "heavy"] = "light"
    cost: float = 0.5e-6
    objects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tracepoints: tuple[str, ...] = ()
    functions: Mapping[str, int] = field(default_factory=dict)
    calls: tuple[str, ...] = ()
    script: str = ""
    bcc: str = ""
    tracefs: bool = False
    limits: str = ""


_AT: Final = Shown("at", "TIME", "time", 8)
_GOROUTINE: Final = Shown("goroutine", "GOROUT.", "count", 8)
_PID: Final = Shown("pid", "PID", "text", 7)
_TOOK: Final = Shown("took", "TOOK", "seconds", 7)
_RESULT: Final = Shown("result", "RESULT", "text", 12)
_BY: Final = Shown("by", "CALLED BY", "text", 26)
_COUNTS: Final = (
    Shown("count", "COUNT", "count", 8),
    Shown("rate", "/S", "rate", 8),
)
_SIZE: Final = Shown("size", "BYTES", "bytes", 8)
_TIMES: Final = (Shown("mean", "MEAN", "seconds", 7), Shown("most", "MOST", "seconds", 7))
_SYSCALLS: Final = ("raw_syscalls:sys_enter", "raw_syscalls:sys_exit")
_CALLS: Final = {"calls": ("enter", "leave")}
OPEN_CALLS: Final = ("open", "openat", "openat2", "creat")
DNS_CALLS: Final = (
    "connect", "close", "write", "read", "sendto", "recvfrom", "sendmsg", "recvmsg", "sendmmsg",
)  # fmt: skip
FILE_CALLS: Final = (
    "read", "write", "pread64", "pwrite64", "readv", "writev", "preadv", "pwritev", "preadv2", "pwritev2", "fsync",
    "fdatasync", "sync_file_range", "syncfs", "fallocate", "ftruncate", "getdents64", "sendfile", "copy_file_range",
    "flock",
)  # fmt: skip

PROBES: Final = (
    Probe(
        "execs",
        "Program starts",
        "process",
        "every program that the target and its children start: arguments, exit, duration, the goroutine that asked",
        "stream",
        (EXECED, EXITED, EXEC_FAILED),
        (_AT, _PID, Shown("what", "COMMAND"), _RESULT, _TOOK, _GOROUTINE, _BY),
        objects={"processes": ("forked", "execed", "exited", "refused")},
        tracepoints=(
            "sched:sched_process_fork", "sched:sched_process_exec", "sched:sched_process_exit", "raw_syscalls:sys_exit",
        ),
        cost=3e-6,
        script="execs",
        bcc="execs",
        tracefs=True,
    ),
    Probe(
        "signals",
        "Signals",
        "process",
        "signals sent to the target: which, by whom, and what became of them",
        "stream",
        (SIGNALLED,),
        (_AT, _PID, Shown("what", "SIGNAL", "text", 14), Shown("by", "BY"), _RESULT),
        objects={"processes": ("signalled",)},
        tracepoints=("signal:signal_generate",),
        script="signals",
        limits="SIGURG from itself is left out: the Go scheduler preempts goroutines with it",
    ),
    Probe(
        "oom-kills",
        "OOM kills",
        "process",
        "processes that the kernel kills for want of memory, on the whole machine, and who asked for the memory",
        "stream",
        (OOM_KILLED,),
        (_AT, _PID, Shown("what", "KILLED"), Shown("result", "WHOSE", "text", 12), Shown("by", "ASKED FOR MEMORY")),
        objects={"processes": ("oom_killed",)},
        tracepoints=("oom:mark_victim",),
        script="oom-kills",
    ),
    Probe(
        "opens",
        "Opens",
        "files",
        "every file that is opened, with its result and flags",
        "stream",
        (OPENED,),
        (_AT, Shown("what", "PATH"), _RESULT, Shown("detail", "FLAGS", "text", 22), _TOOK, _GOROUTINE),
        objects=_CALLS,
        tracepoints=_SYSCALLS,
        calls=OPEN_CALLS,
        cost=1.5e-6,
        script="opens",
    ),
    Probe(
        "open-errors",
        "Opens that fail",
        "files",
        "files that could not be opened, and why",
        "stream",
        (OPENED,),
        (_AT, Shown("what", "PATH"), _RESULT, Shown("detail", "FLAGS", "text", 22), _GOROUTINE),
        objects=_CALLS,
        tracepoints=_SYSCALLS,
        calls=OPEN_CALLS,
        script="open-errors",
    ),
    Probe(
        "slow-files",
        "Slow file I/O",
        "files",
        "reads, writes and syncs of files that took 10 ms or more (option slow=MS)",
        "stream",
        (SLOW_FILE,),
        (_AT, Shown("detail", "CALL", "text", 12), Shown("what", "FILE"), _RESULT, _TOOK, _GOROUTINE),
        objects=_CALLS,
        tracepoints=_SYSCALLS,
        calls=FILE_CALLS,
        script="slow-files",
    ),
    Probe(
        "syncs",
        "Sync times",
        "storage",
        "how long fsync, fdatasync and their like take",
        "histogram",
        (SYNCED,),
        (Shown("name", "CALL"), *_COUNTS, *_TIMES, Shown("errors", "FAILED", "count", 7)),
        objects=_CALLS,
        tracepoints=_SYSCALLS,
        calls=("fsync", "fdatasync", "sync_file_range", "syncfs", "msync"),
        script="syncs",
    ),
    Probe(
        "connects",
        "TCP connects",
        "network",
        "connections that the target opens: to whom, how long until they stand, why they fail",
        "stream",
        (CONNECTED,),
        (_AT, Shown("what", "TO"), _RESULT, _TOOK, _GOROUTINE),
        objects={"network": ("state_changed",)},
        tracepoints=("sock:inet_sock_set_state",),
        cost=2e-6,
        script="connects",
    ),
    Probe(
        "accepts",
        "Accepts",
        "network",
        "connections that the target accepts, and accepts that fail",
        "stream",
        (ACCEPTED,),
        (_AT, Shown("what", "FROM"), Shown("detail", "AT", "text", 22), _RESULT, _GOROUTINE),
        objects=_CALLS,
        tracepoints=_SYSCALLS,
        calls=("accept", "accept4"),
        cost=2e-6,
    ),
    Probe(
        "resets",
        "Resets, retransmits",
        "network",
        "TCP segments of the target sent again, and connections reset by either side",
        "stream",
        (RETRANSMITTED, RESET_SENT, RESET_CAME),
        (_AT, Shown("result", "WHAT", "text", 14), Shown("what", "PEER"), Shown("detail", "", "text", 24)),
        objects={"network": ("state_changed", "retransmitted", "reset_sent", "reset_came")},
        tracepoints=(
            "sock:inet_sock_set_state", "tcp:tcp_retransmit_skb", "tcp:tcp_send_reset", "tcp:tcp_receive_reset",
        ),
        cost=2e-6,
        limits="of sockets that the target has opened in the last second, only those that it connected itself",
    ),
    Probe(
        "dns",
        "DNS look-ups",
        "network",
        "questions to a DNS server (port 53), the answers and how long they took",
        "stream",
        (ASKED, ANSWERED),
        (_AT, Shown("what", "NAME"), _RESULT, _TOOK, Shown("detail", "ANSWER", "text", 26), _GOROUTINE),
        objects=_CALLS,
        tracepoints=_SYSCALLS,
        calls=DNS_CALLS,
        limits="names that cgo asks systemd-resolved or nscd for over their own sockets; encrypted DNS",
    ),
    Probe(
        "block-io",
        "Disk I/O times",
        "storage",
        "how long disks take for what the target waits for, and for all others",
        "histogram",
        (BLOCK_IO,),
        (Shown("name", "DISK", "text", 10), Shown("detail", "WHAT"), *_COUNTS, _SIZE, *_TIMES),
        objects={"scheduler": ("issued", "completed")},
        tracepoints=("block:block_rq_issue", "block:block_rq_complete"),
        cost=1e-6,
        script="block-io",
        limits="writes that the kernel defers count as those of others",
    ),
    Probe(
        "page-faults",
        "Page faults",
        "memory",
        "memory that is touched for the first time, by where it lies",
        "counts",
        (FAULTED,),
        (Shown("name", "WHERE"), Shown("detail", "WHAT", "text", 20), *_COUNTS),
        objects={"scheduler": ("faulted",)},
        tracepoints=("exceptions:page_fault_user",),
        script="page-faults",
        limits="x86 only",
    ),
    Probe(
        "mappings",
        "Memory mappings",
        "memory",
        "calls that map, unmap, protect and advise memory: how many, how much, how long",
        "counts",
        (MAPPED,),
        (Shown("name", "CALL"), *_COUNTS, _SIZE, *_TIMES, Shown("errors", "FAILED", "count", 7)),
        objects=_CALLS,
        tracepoints=_SYSCALLS,
        calls=("mmap", "munmap", "mprotect", "madvise", "mremap", "brk"),
        script="mappings",
    ),
    Probe(
        "futex-waits",
        "Futex waits",
        "scheduler",
        "threads that wait for a lock or for work: at which address, how often and how long",
        "counts",
        (WAITED,),
        (Shown("name", "WHERE"), *_COUNTS, Shown("total", "TOTAL", "seconds", 8), *_TIMES),
        objects=_CALLS,
        tracepoints=_SYSCALLS,
        calls=("futex",),
        script="futex-waits",
        limits="threads, not goroutines: a Go thread that finds no work waits here too",
    ),
    Probe(
        "run-queue",
        "Run queue",
        "scheduler",
        "how long threads wait for a CPU once they could run; waits of 10 ms or more one by one",
        "histogram",
        (QUEUED,),
        (_AT, Shown("tid", "THREAD", "text", 8), Shown("process", "NAME", "text", 16), _TOOK, Shown("by", "BEHIND")),
        objects={"scheduler": ("wakeup", "wakeup_new", "switched")},
        tracepoints=("sched:sched_wakeup", "sched:sched_wakeup_new", "sched:sched_switch"),
        cost=0.4e-6,
        script="run-queue",
    ),
    Probe(
        "throttling",
        "CPU quota stalls",
        "scheduler",
        "threads that stand still because the CPU quota of their cgroup is used up, and for how long",
        "histogram",
        (THROTTLED,),
        (_AT, Shown("tid", "THREAD", "text", 8), Shown("process", "NAME", "text", 16), _TOOK),
        objects={"scheduler": ("wakeup", "wakeup_new", "switched")},
        tracepoints=("sched:sched_wakeup", "sched:sched_wakeup_new", "sched:sched_switch"),
        cost=0.4e-6,
    ),
    Probe(
        "gc",
        "Garbage collections",
        "Go",
        "each cycle of the collector: when it began, who triggered it, how long it marked",
        "stream",
        (GC_BEGUN, GC_MARKED),
        (_AT, Shown("what", "CYCLE"), _TOOK, _GOROUTINE),
        objects={"gofunctions": ("go_function",)},
        functions={"runtime.gcStart": GC_BEGUN, "runtime.gcMarkTermination": GC_MARKED},
        cost=2e-6,
    ),
    Probe(
        "new-goroutines",
        "New goroutines",
        "Go",
        "goroutines that are started, by the go statement",
        "counts",
        (GO_BEGUN,),
        (Shown("name", "GO STATEMENT"), Shown("detail", "STARTS"), *_COUNTS),
        price="heavy",
        objects={"gofunctions": ("go_function",)},
        functions={"runtime.newproc1": GO_BEGUN},
        cost=3e-6,
    ),
    Probe(
        "panics",
        "Panics",
        "Go",
        "every panic, also those that are recovered from: its text and where",
        "stream",
        (PANICKED,),
        (_AT, Shown("what", "PANIC"), Shown("by", "IN", "text", 34), _GOROUTINE),
        objects={"gofunctions": ("go_function",)},
        functions={"runtime.gopanic": PANICKED},
        cost=4e-6,
    ),
    Probe(
        "script",
        "Your bpftrace script",
        "own",
        "a script of your own, in bpftrace's safe mode; $1 is the target's PID",
        "stream",
        (),
        (_AT, Shown("what", "OUTPUT")),
        cost=0.0,
        limits="no uretprobe, usdt or watchpoint: they write to the target or stop it",
    ),
    Probe(
        "bcc",
        "Your BCC program",
        "own",
        "a C program of your own for BCC, with TRACEPOINT_PROBE functions; TARGET_PID is the target's PID",
        "stream",
        (),
        (_AT, Shown("what", "OUTPUT")),
        cost=0.0,
        limits="its tables and perf outputs are shown; Python is not run, for it would run as root",
    ),
)  # fmt: skip

BY_ID: Final = {probe.id: probe for probe in PROBES}
OWN: Final = ("script", "bcc")
"""Probes that the user writes."""
COUNT_COLUMNS: Final = (Shown("name", "KEY"), Shown("detail", "", "text", 18), *_COUNTS)
"""Columns of a table of a user's own program."""


def of_event(kind: int) -> tuple[str, ...]:
    """The probes that events of this kind may be for."""
    return tuple(probe.id for probe in PROBES if kind in probe.kinds)
