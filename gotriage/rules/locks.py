"""Locks: goroutines that wait for each other in a ring, or all of them, and one lock that many wait for.

deadlock
    A ring: each waits for a lock that the next one likely holds; told when the same ring was there for 3 s. Who holds
    a lock is read off the stacks, for Go records no owner, so that a ring of one look proves nothing.
    All blocked: no goroutine of the program can go on by itself (none runs, sleeps, waits for I/O or is in a system
    call, no timer is set), at least one waits for a lock or to send, and that for 10 s. Go itself reports this ("all
    goroutines are asleep", runtime/proc.go, checkdead) only where no signal is caught and no C is linked in. A
    program whose goroutines only receive is idle, and well.
lock-contention
    20 goroutines and twice GOMAXPROCS wait for one lock in every look of 4 s, or in three quarters of 20 s: up to
    GOMAXPROCS of them may be between two turns on a lock that is merely busy. Or two wait for a minute: since Go 1.9 a
    mutex is handed over after 1 ms (sync/mutex.go, from Go 1.24 internal/sync/mutex.go, starvationThresholdNs), so
    whoever holds it is stuck.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final

from gotriage.records.findings import Fine, Severity, Unknown
from gotriage.records.goroutines import Goroutines
from gotriage.records.process import ProcessSample
from gotriage.records.runtime import GoBuild, GoRuntime
from gotriage.records.units import count, seconds
from gotriage.rules import golook

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.records.findings import Finding
    from gotriage.records.goroutines import Edge, GoroutineGroup, WaitObject
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

DEADLOCK: Final = "deadlock"
CONTENTION: Final = "lock-contention"
DEFAULTS: Final = {
    DEADLOCK: {"seconds": 3.0, "all_seconds": 10.0},
    CONTENTION: {
        "waiters": 20.0,
        "per_processor": 2.0,
        "seconds": 4.0,
        "stuck": 2.0,
        "stuck_seconds": 60.0,
        "share": 0.75,
    },
}
_DIPS: Final = 5
"""Times the shortest time in which a lock may be seen without its waiters now and then."""
LOCKS: Final = ("mutex", "rwmutex", "semaphore")
NEEDS_ANOTHER: Final = (
    "chan send",
    "chan send (nil chan)",
    "sync.Mutex.Lock",
    "sync.RWMutex.Lock",
    "sync.RWMutex.RLock",
)
"""Reasons (runtime2.go, waitReasonStrings) to wait that only another goroutine ends, and that idle programs lack."""
MAY_IDLE: Final = (
    "chan receive",
    "chan receive (nil chan)",
    "select",
    "select (no cases)",
    "semacquire",
    "sync.Cond.Wait",
    "sync.WaitGroup.Wait",
)
"""Reasons that end by another goroutine as well, but are how an idle program waits."""


# -- deadlock


def deadlocks(evidence: Evidence) -> Iterator[Claim]:
    """A ring, else a program in which all wait."""
    if not golook.is_go(evidence):
        return
    table = evidence.current(Goroutines)
    if table is None:
        yield evidence.unknown(DEADLOCK, golook.GOROUTINES)
        return
    ring = next((ring for ring in table.cycles if _holds(evidence, ring)), None)
    if ring is not None:
        yield _ring_finding(evidence, table, ring)
        return
    stuck = _all_blocked(evidence, table)
    if stuck:
        yield _all_finding(evidence, table, stuck)
    elif table.cycles:
        yield Unknown(DEADLOCK, "a ring of waiting goroutines was seen once, and may be by chance", golook.WATCH_ON)
    else:
        yield Fine(DEADLOCK, "no goroutines wait for each other")


def _holds(evidence: Evidence, ring: tuple[Edge, ...]) -> bool:
    """Whether the ring was in every look of the last seconds, wherever it starts; in a core file nothing moves."""
    if evidence.target is not None and evidence.target.state == "core":
        return True
    tables = golook.held(evidence, evidence.limit(DEADLOCK, "seconds"))
    return bool(tables) and all(any(set(other) == set(ring) for other in table.cycles) for table in tables)


def _ring_finding(evidence: Evidence, table: Goroutines, ring: tuple[Edge, ...]) -> Finding:
    things = {thing.address: thing for thing in table.objects}
    told = [
        f"{golook.one(table, edge.waiter)}, waits for the {_kind(things.get(edge.address))} at {edge.address:#x},"
        f" which goroutine {edge.holder} likely holds"
        for edge in ring[:6]
    ]
    others = sum(things[edge.address].waiters for edge in ring if edge.address in things) - len(ring)
    if others > 0:
        told.append(f"{count(others)} more goroutines wait for the same locks")
    first = min(ring, key=lambda edge: edge.waiter)
    places = list(dict.fromkeys(_where(table, edge.waiter) for edge in ring))
    names = [f"goroutine {edge.waiter}" for edge in ring[:3]]
    title = f"deadlock: {' and '.join(names)} wait for each other's locks"
    if len(ring) == 1:
        title = f"deadlock: goroutine {first.waiter} waits for a lock that it holds itself"
    elif len(ring) > 3:
        title = f"deadlock: {len(ring)} goroutines wait for each other's locks in a ring"
    group = golook.group_of(table, first.waiter)
    return evidence.finding(
        DEADLOCK,
        "critical",
        f"{title}, at {places[0]}",
        evidence=tuple(told),
        fix=f"restart it to go on; then take these locks in one order everywhere: see {' and '.join(places[:3])}",
        view="goroutines",
        since=group.since if group is not None else None,
    )


def _where(table: Goroutines, goid: int) -> str:
    group = golook.group_of(table, goid)
    return f"goroutine {goid}" if group is None else golook.where(group)


def _kind(thing: WaitObject | None) -> str:
    return {"rwmutex": "RWMutex", "semaphore": "semaphore"}.get(thing.type, "mutex") if thing else "lock"


def _all_blocked(evidence: Evidence, table: Goroutines) -> list[GoroutineGroup]:
    """The groups that wait for a lock or to send, if nothing in the program can go on; else none."""
    long = evidence.limit(DEADLOCK, "all_seconds")
    runtime, build = evidence.current(GoRuntime), evidence.current(GoBuild)
    if runtime is None or runtime.timers != 0 or table.omitted_groups:
        return []
    still = evidence.target is not None and evidence.target.state == "core"
    if not still and not golook.held(evidence, long):
        return []
    if (build is None or build.cgo is not False) and not _threads_are_gos(evidence, runtime):
        return []
    own = [group for group in table.rows if not group.system and not _signals(group)]
    stuck = [group for group in own if group.wait_reason in NEEDS_ANOTHER]
    if not stuck or any(group.wait_reason not in (*NEEDS_ANOTHER, *MAY_IDLE) for group in own):
        return []
    if any(group.moved for group in own):
        return []
    if not still and any(golook.waited(evidence, group.since) < long for group in own):
        return []
    return sorted(stuck, key=lambda group: -group.count)


def _threads_are_gos(evidence: Evidence, runtime: GoRuntime) -> bool:
    """C may have threads that call back into Go: only where all threads are Go's own is it known that none does."""
    process = evidence.current(ProcessSample)
    if process is None or process.threads is None or runtime.threads is None:
        return False
    return process.processes == 1 and process.threads <= runtime.threads


def _signals(group: GoroutineGroup) -> bool:
    """The goroutine of os/signal: it waits in a system call for signals to hand on."""
    return group.state == "syscall" and group.where.startswith("os/signal.")


def _all_finding(evidence: Evidence, table: Goroutines, stuck: list[GoroutineGroup]) -> Finding:
    number = sum(group.count for group in stuck)
    told = [golook.described(table, group) for group in stuck[:4]]
    told.append("none runs, sleeps, waits for I/O or is in a system call, and no timer is set")
    told.append(golook.oldest(evidence, stuck[0]))
    return evidence.finding(
        DEADLOCK,
        "critical",
        f"every goroutine is blocked: {count(number)} wait for others, first at {golook.where(stuck[0])}",
        evidence=tuple(filter(None, told)),
        fix=f"restart it to go on; then see who should have woken {golook.where(stuck[0])}",
        view="goroutines",
        since=min((group.since for group in stuck if group.since), default=None),
    )


# -- lock-contention


def contention(evidence: Evidence) -> Iterator[Claim]:
    """One finding for the lock with the most waiters."""
    if not golook.is_go(evidence):
        return
    table = evidence.current(Goroutines)
    if table is None:
        yield evidence.unknown(CONTENTION, golook.GOROUTINES)
        return
    locks = _locks(evidence, table)
    for seen, lock in locks:
        if (most := _contended(evidence, lock)) or (seen is table and _stuck(evidence, table, lock)):
            yield _lock_finding(evidence, seen, lock, most)
            return
    waiting = sum(lock.waiters for seen, lock in locks if seen is table)
    told = f"{count(waiting)} goroutines wait for locks" if waiting else "no goroutine waits for a lock"
    yield Fine(CONTENTION, told)


def _locks(evidence: Evidence, table: Goroutines) -> list[tuple[Goroutines, WaitObject]]:
    """Locks that somebody waited for of late, each as it was last seen, that with the most waiters first."""
    found: dict[int, tuple[Goroutines, WaitObject]] = {}
    for seen in (*evidence.series(Goroutines, _DIPS * evidence.limit(CONTENTION, "seconds")), table):
        found.update((thing.address, (seen, thing)) for thing in seen.objects if thing.type in LOCKS)
    return sorted(found.values(), key=lambda pair: -pair[1].waiters)


def _contended(evidence: Evidence, lock: WaitObject) -> int:
    """Waiters in most looks; 0 unless they were many in every look of some seconds, or nearly all of a longer time.

    A lock that is handed on is seen without waiters now and then, between two who hold it for long.
    """
    runtime = evidence.current(GoRuntime)
    processors = (runtime.gomaxprocs if runtime is not None else None) or 0
    many = max(evidence.limit(CONTENTION, "waiters"), evidence.limit(CONTENTION, "per_processor") * processors)
    shortest = evidence.limit(CONTENTION, "seconds")
    for long, least in ((shortest, 1.0), (_DIPS * shortest, evidence.limit(CONTENTION, "share"))):
        pieces = _pieces(evidence, lock.address, long)
        held = sum(spent for spent, waiters in pieces if waiters >= many)
        if pieces and held >= least * sum(spent for spent, _ in pieces):
            return int(median(waiters for _, waiters in pieces if waiters >= many))
    return 0


def _pieces(evidence: Evidence, address: int, long: float) -> list[tuple[float, int]]:
    """For the last so many seconds of looking, how long each number of waiters held; none where there was less."""
    end, tables = golook.last_look(evidence), golook.held(evidence, long)
    if not tables:
        return []
    begins = [max(0.0, long - (end - table.at).total_seconds()) for table in tables]
    ends = [*begins[1:], long + 0.001]  # the last look counts as a moment
    return [(until - since, _waiters(table, address)) for table, since, until in zip(tables, begins, ends, strict=True)]


def _waiters(table: Goroutines, address: int) -> int:
    return sum(one.waiters for one in table.objects if one.address == address)


def _stuck(evidence: Evidence, table: Goroutines, lock: WaitObject) -> bool:
    long = evidence.limit(CONTENTION, "stuck_seconds")
    return lock.waiters >= evidence.limit(CONTENTION, "stuck") and golook.stuck(evidence, table, lock.ids, long)


def _lock_finding(evidence: Evidence, table: Goroutines, lock: WaitObject, most: int) -> Finding:
    groups = golook.groups_on(table, lock)
    since = min((group.since for group in groups if group.since), default=None)
    long = golook.waited(evidence, since)
    stuck = _stuck(evidence, table, lock)
    severity: Severity = "critical" if stuck and most else "warning"
    place = golook.where(groups[0]) if groups else f"{lock.address:#x}"
    title = f"{count(lock.waiters)} goroutines wait for one {_kind(lock)}, at {place}"
    if stuck:
        title += f", for {seconds(long)}"
    seen, named = _named(evidence, table, lock)
    told = [*(golook.described(table, group) for group in groups[:3]), *_holder_words(evidence, seen, named)]
    if most:
        span = seconds(evidence.limit(CONTENTION, "seconds"))
        told.append(f"{count(most)} waited in most looks of late, for {span} or more")
    told.append(f"the {_kind(lock)} is at {lock.address:#x}" + (f": {lock.detail}" if lock.detail else ""))
    if groups:
        told.append(golook.oldest(evidence, groups[0]))
    holder = golook.group_of(seen, named.holders[0]) if named.holders else None
    at = golook.where(holder) if holder is not None else place
    return evidence.finding(
        CONTENTION,
        severity,
        title,
        evidence=tuple(filter(None, told)),
        fix=f"hold it for less: no I/O, no channel and no sleep under the lock, see {at}; or split what it guards",
        view="goroutines",
        since=since,
    )


def _named(evidence: Evidence, table: Goroutines, lock: WaitObject) -> tuple[Goroutines, WaitObject]:
    """The newest look of late that names who holds the lock, else the last one: between two turns it is nobody."""
    for earlier in reversed(evidence.series(Goroutines, 5 * evidence.limit(CONTENTION, "seconds"))):
        for thing in earlier.objects:
            if thing.address == lock.address and thing.holders:
                return earlier, thing
    return table, lock


def _holder_words(evidence: Evidence, table: Goroutines, lock: WaitObject) -> Iterator[str]:
    likely: Sequence[int] = lock.holders[:2]
    for goid in likely:
        group = golook.group_of(table, goid)
        long = golook.waited(evidence, group.since) if group is not None else 0
        yield f"likely held by {golook.one(table, goid)}" + (f", for {seconds(long)}" if long >= 1 else "")
