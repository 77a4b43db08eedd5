"""The Go side of the made session: a leak that grows, two goroutines that wait for each other, eight on a CPU."""

from __future__ import annotations

from datetime import timedelta

from gotriage.collectors.goroutines import Times, counts_of, record_of
from gotriage.collectors.runtime import detail_of, numbers_of
from gotriage.goruntime.report import (
    Counters,
    Dump,
    Edge,
    Frame,
    Goroutine,
    Group,
    Processor,
    SizeClass,
    Stack,
    Thread,
    WaitObject,
)
from gotriage.records.cpustacks import CpuStack, CpuStacks
from gotriage.records.goroutines import Frame as RecordFrame
from gotriage.records.runtime import Dependency, GoBuild

GO = "/usr/local/go/src/"
APP = "/build/orders/"
PARK = Frame("runtime.gopark", GO + "runtime/proc.go", 424)
GET = (
    PARK,
    Frame("runtime.netpollblock", GO + "runtime/netpoll.go", 575),
    Frame("internal/poll.runtime_pollWait", GO + "runtime/netpoll.go", 351),
    Frame("internal/poll.(*pollDesc).wait", GO + "internal/poll/fd_poll_runtime.go", 84),
    Frame("internal/poll.(*pollDesc).waitRead", GO + "internal/poll/fd_poll_runtime.go", 89, inlined=True),
    Frame("internal/poll.(*FD).Read", GO + "internal/poll/fd_unix.go", 165),
    Frame("net.(*netFD).Read", GO + "net/fd_posix.go", 55),
    Frame("net.(*conn).Read", GO + "net/net.go", 194),
    Frame("example.com/orders/internal/inventory.(*Client).Get", APP + "internal/inventory/client.go", 71),
    Frame("example.com/orders/internal/inventory.(*Client).refresh", APP + "internal/inventory/client.go", 52),
)
GET_TLS = (*GET[:8], Frame("crypto/tls.(*Conn).Read", GO + "crypto/tls/conn.go", 1385), *GET[8:])
LOOP = (
    PARK,
    Frame("runtime.chanrecv", GO + "runtime/chan.go", 664),
    Frame("runtime.chanrecv1", GO + "runtime/chan.go", 506),
    Frame("example.com/orders/queue.(*Worker).loop", APP + "queue/worker.go", 44),
)
POST = (
    PARK,
    Frame("runtime.semacquire1", GO + "runtime/sema.go", 178),
    Frame("sync.runtime_SemacquireMutex", GO + "runtime/sema.go", 95),
    Frame("sync.(*Mutex).lockSlow", GO + "sync/mutex.go", 173),
    Frame("sync.(*Mutex).Lock", GO + "sync/mutex.go", 92, inlined=True),
    Frame("example.com/orders/billing.(*Ledger).Post", APP + "billing/ledger.go", 54),
)
MAIN = (
    PARK,
    Frame("net/http.(*Server).Serve", GO + "net/http/server.go", 3330),
    Frame("main.main", APP + "main.go", 61),
)
SWEEP = (PARK, Frame("runtime.bgsweep", GO + "runtime/mgcsweep.go", 277))
STACKS = tuple(map(Stack, (GET, GET_TLS, LOOP, POST, MAIN, SWEEP)))
SITES = (
    Frame("example.com/orders/internal/inventory.(*Client).Start", APP + "internal/inventory/client.go", 88),
    Frame("example.com/orders/queue.Start", APP + "queue/worker.go", 31),
    Frame("example.com/orders/billing.(*Ledger).Transfer", APP + "billing/ledger.go", 40),
    Frame("runtime.gcenable", GO + "runtime/mgc.go", 214),
    Frame("example.com/orders/hash.spin", APP + "hash/spin.go", 12),
)
CHANNEL, FIRST_LOCK, SECOND_LOCK = 0xC00012A060, 0xC0004F1230, 0xC0004F1260


def dump(number: int, epoch: float) -> Dump:
    """The look `number` seconds after the start."""
    leaked = 900 + number
    shape = (
        # key, state, reason, stack, user, site, start, first id, count, first, waits, since, system
        ("get", "waiting", "IO wait", 0, 8, 0, 0, 5000, leaked - 40, 860, 182.0 + number, "observed", False),
        ("get-tls", "waiting", "IO wait", 1, 9, 0, 0, 90000, 40, 40, 60.0 + number, "observed", False),
        ("loop", "waiting", "chan receive", 2, 3, 1, 1, 1000, 640, 640, 12.0 + number, "observed", False),
        ("post", "waiting", "sync.Mutex.Lock", 3, 5, 2, 2, 700, 2, 2, 178.0 + number, "runtime", False),
        ("main", "waiting", "IO wait", 4, 2, -1, -1, 1, 1, 1, 600.0 + number, "runtime", False),
        ("spin", "running", "", -1, -1, 4, 4, 60, 8, 8, None, "", False),
        ("sweep", "waiting", "GC sweep wait", 5, -1, 3, 3, 3, 1, 1, 1000.0 + number, "runtime", True),
    )
    groups, ones = [], []
    for key, state, reason, stack, user, site, start, first_id, count, first, waits, since, system in shape:
        ids = tuple(range(first_id, first_id + count))
        labels = {"handler": "/orders"} if key == "get" else {}
        on = CHANNEL if key == "loop" else None
        groups.append(
            Group(
                key, state, reason, count, ids[:20], stack, user, site, start, system,
                waits, ids[0] if waits is not None else None, since, count - (2 if key == "get" else 0), first,
                3 if key == "get" else 0, on, labels,
            )
        )  # fmt: skip
        for place, goid in enumerate(ids[:100]):
            lock = (FIRST_LOCK, SECOND_LOCK)[place % 2] if key == "post" else on
            ones.append(
                Goroutine(
                    goid, state, reason, stack, site, 1 if goid > 1 else None, start,
                    None if waits is None else max(waits - place, 0.0), since, lock, labels,
                    41210 + place if state == "running" else None, False, system, key == "get" and place == 2,
                    None, 30 + place if key.startswith("get") else None,
                )
            )  # fmt: skip
    total = sum(group.count for group in groups)
    return Dump(
        at=epoch,
        took=0.011,
        count=total,
        system=1,
        dead=31,
        moved=3,
        states={"waiting": total - 8, "running": 8},
        reasons={"IO wait": leaked + 1, "chan receive": 640},
        stacks=STACKS,
        sites=SITES,
        groups=tuple(groups),
        goroutines=tuple(ones),
        omitted=total - len(ones),
        objects=(
            WaitObject(CHANNEL, "channel", 640, tuple(range(1000, 1020)), 640, 0, 0, 16, False),
            WaitObject(FIRST_LOCK, "mutex", 1, (700,), holders=(701,), detail="locked"),
            WaitObject(SECOND_LOCK, "mutex", 1, (701,), holders=(700,), detail="locked"),
        ),
        cycles=((Edge(700, FIRST_LOCK, 701), Edge(701, SECOND_LOCK, 700)),),
        first_at=epoch - number,
        before_at=epoch - 2 if number else None,
    )


def counters(number: int, epoch: float) -> Counters:
    """The runtime's numbers: a heap that saws between its goal and half of it."""
    live = (70 << 20) + (number * 7 % 30) * (2 << 20)
    return Counters(
        at=epoch,
        took=0.0021,
        gomaxprocs=8,
        ncpu=8,
        goroutines=1600 + number,
        threads=14,
        heap_live=live,
        heap_marked=68 << 20,
        heap_goal=136 << 20,
        heap_in_use=live + (9 << 20),
        heap_free=12 << 20,
        heap_released=30 << 20,
        stacks_in_use=6 << 20,
        mapped_ready=live + (20 << 20),
        gc_percent=100,
        memory_limit=(1 << 63) - 1,
        gc_cycles=400 + number // 4,
        gc_forced=2,
        gc_running=number % 4 == 0,
        last_gc_at=epoch - number % 4,
        gc_pause_total=0.045,
        gc_pauses=tuple((epoch - number % 4 - 4 * place, 0.00008 + place % 5 * 0.00003) for place in range(60)),
        gc_cpu_fraction=0.013,
        queue=1,
        runnable=5,
        timers=12,
        idle_processors=3,
        idle_threads=5,
        spinning_threads=1,
        processors=tuple(
            Processor(place, "running" if place < 5 else "idle", place % 3, 2, 41210 + place if place < 5 else None)
            for place in range(8)
        ),
        thread_list=tuple(
            Thread(place, 41207 + place, 60 + place if place < 5 else None, place if place < 5 else None, place == 6)
            for place in range(14)
        ),
        size_classes=tuple(
            SizeClass(size, noscan, spans, spans * 8192, spans * 8192 // (size or 65536) * 3 // 4)
            for size, noscan, spans in (
                (0, True, 1200), (16, True, 40), (32, False, 300), (64, False, 900), (128, False, 2500),
                (256, True, 800), (512, False, 120), (1024, True, 260), (2048, False, 60), (4096, True, 500),
                (8192, False, 90), (16384, True, 30), (32768, True, 12),
            )
        ),
        godebug="",
    )  # fmt: skip


def second(number: int, at):
    """What is read in this second."""
    if number % 2 == 0:
        look = dump(number, at.timestamp())
        yield counts_of(look)
        yield record_of(look, TIMES)
    yield numbers_of(counters(number, at.timestamp()))
    if number % 4 == 0:
        yield detail_of(counters(number, at.timestamp()))


TIMES = Times()


def once(at):
    """What is read once, and the answer to a request."""
    yield GoBuild(
        at=at,
        go_version="go1.24.3",
        module="example.com/orders",
        module_version="(devel)",
        package="example.com/orders",
        dependencies=(Dependency("golang.org/x/net", "v0.31.0"),),
        settings={"CGO_ENABLED": "1", "-buildmode": "pie"},
        cgo=True,
        stripped=True,
        pie=True,
        race=False,
        arch="amd64",
        layout="table",
        located="both",
    )
    frames = (
        RecordFrame("crypto/sha256.block", GO + "crypto/sha256/sha256block_amd64.s", 120),
        RecordFrame("example.com/orders/hash.spin", APP + "hash/spin.go", 19),
    )
    yield CpuStacks(
        at=at + timedelta(seconds=1),
        took=0.0009,
        rows=(
            CpuStack(thread=41210, id=60, stopped_seconds=0.000071, frames=frames),
            CpuStack(thread=41211, id=61, error="it was no longer on a CPU"),
        ),
    )
