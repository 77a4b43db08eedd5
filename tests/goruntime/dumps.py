"""Dumps made by hand: a service whose requests leak, with two goroutines that wait for each other."""

from __future__ import annotations

from gotriage.goruntime.report import Dump, Edge, Frame, Goroutine, Group, Stack, WaitObject

PARK = Frame("runtime.gopark", "/usr/lib/go/src/runtime/proc.go", 424)
RECV = (
    PARK,
    Frame("runtime.chanrecv", "/usr/lib/go/src/runtime/chan.go", 664),
    Frame("runtime.chanrecv1", "/usr/lib/go/src/runtime/chan.go", 506),
    Frame("main.wait", "/src/app/main.go", 12, inlined=True),
    Frame("main.(*Server).handle", "/src/app/main.go", 31),
)
POST = (
    PARK,
    Frame("sync.(*Mutex).Lock", "/usr/lib/go/src/sync/mutex.go", 45, inlined=True),
    Frame("main.(*Ledger).Post", "/src/app/ledger.go", 54),
)
MAIN = (PARK, Frame("main.main", "/src/app/main.go", 70))
SWEEP = (PARK, Frame("runtime.bgsweep", "/usr/lib/go/src/runtime/mgcsweep.go", 279))
STACKS = (Stack(MAIN), Stack(RECV), Stack(POST), Stack(SWEEP))
SITES = (
    Frame("main.(*Server).serve", "/src/app/main.go", 88),
    Frame("runtime.gcenable", "/usr/lib/go/src/runtime/mgc.go", 214),
    Frame("main.spin", "/src/app/spin.go", 5),
    Frame("main.main", "/src/app/main.go", 61),
)


def dump(leaked: int = 30, at: float = 1000.0, *, spinning: bool = True, mutex: bool = True) -> Dump:
    """One look."""
    ones = [
        Goroutine(1, "waiting", "sleep", 0, waits=125.0, since="runtime", locked=True),
        Goroutine(2, "waiting", "GC sweep wait", 3, 1, 1, system=True),
    ]
    groups = [
        Group("main", "waiting", "sleep", 1, (1,), 0, 1, oldest=125.0, oldest_id=1, since="runtime", first=1),
        Group("sweep", "waiting", "GC sweep wait", 1, (2,), 3, -1, 1, system=True, first=1),
    ]
    objects = []
    if leaked:
        ids = range(100, 100 + leaked)
        ones += [
            Goroutine(i, "waiting", "chan receive", 1, 0, 1, waits=61.0, since="observed", waiting_on=0xC000 + i)
            for i in ids
        ]
        groups.insert(
            0,
            Group(
                "leak",
                "waiting",
                "chan receive",
                leaked,
                tuple(ids)[:20],
                1,
                3,
                0,
                oldest=61.0,
                oldest_id=100,
                since="observed",
                before=leaked - 5,
                first=2,
            ),
        )
        objects.append(
            WaitObject(0xC064, "channel", 1, (100,), receivers=1, buffered=0, capacity=0, closed=False, alone=True)
        )
    if mutex:
        ones += [
            Goroutine(i, "waiting", "sync.Mutex.Lock", 2, 3, 1, waits=9.0, since="observed", waiting_on=0xD000 + i)
            for i in (50, 51)
        ]
        groups.append(
            Group("post", "waiting", "sync.Mutex.Lock", 2, (50, 51), 2, 2, 3, oldest=9.0, oldest_id=50, first=2)
        )
        objects += [
            WaitObject(0xD032, "mutex", 1, (50,), holders=(51,), detail="locked, 1 waiter"),
            WaitObject(0xD033, "mutex", 1, (51,), holders=(50,)),
        ]
    if spinning:
        ones.append(Goroutine(60, "running", "", -1, 3, 1, 2, thread=4242))
        groups.append(Group("spin", "running", "", 1, (60,), -1, -1, 3, 2, first=1))
    return Dump(
        at=at,
        took=0.011,
        count=len(ones),
        system=1,
        stacks=STACKS,
        sites=SITES,
        groups=tuple(groups),
        goroutines=tuple(ones),
        objects=tuple(objects),
        cycles=((Edge(50, 0xD032, 51), Edge(51, 0xD033, 50)),) if mutex else (),
        first_at=900.0,
        before_at=at - 5,
    )
