"""Profiles by hand: a service that hashes in a loop, before and after a change; its goroutines by the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gotriage.collectors.profile.building import Key, Sums, Table, creator_of, parts
from gotriage.goruntime.profileparts import Origin, Place
from gotriage.records.profile import CpuProfile, ThreadTime, WallProfile
from gotriage.records.stream import CollectorState, Heartbeat
from gotriage.records.target import TargetState
from gotriage.records.tracing import Trace, Traces
from gotriage.session.store import Session
from gotriage.ui.front import Front

from tests.ui import made

START = datetime(2026, 11, 23, 2, 44, 3, tzinfo=UTC)
APP = "example.com/orders/"
MAIN = Place("main.main", "main.go", 61, "user")
SERVE = Place("net/http.(*conn).serve", "net/http/server.go", 2102, "std")
HANDLE = Place(f"{APP}api.(*Handler).Post", "api/handler.go", 40, "user")
MARSHAL = Place("encoding/json.Marshal", "encoding/json/encode.go", 173, "std", inlined=True)
HASH = Place(f"{APP}audit.sum", "audit/sum.go", 12, "user")
MALLOC = Place("runtime.mallocgc", "runtime/malloc.go", 1029, "runtime")
GC = Place("runtime.gcBgMarkWorker", "runtime/mgc.go", 1412, "runtime")
DRAIN = Place("runtime.gcDrain", "runtime/mgcmark.go", 1200, "runtime")
WRITE = Place("syscall.write", "syscall/zsyscall.go", 964, "std")
KERNEL = Place("tcp_sendmsg", kind="kernel")
SINE = Place("[libm.so.6]", "/lib/libm.so.6", 0, "c", named=False)
PARK = Place("runtime.gopark", "runtime/proc.go", 424, "runtime")
TAKE = Place(f"{APP}queue.(*Worker).loop", "queue/worker.go", 31, "user")
ACCEPT = Origin(Place("net/http.(*Server).Serve", "net/http/server.go", 3330, "std"))
JOBS = Origin(Place(f"{APP}queue.Start", "queue/worker.go", 12, "user"))


def cpu(run: int, at: datetime, *, hot: int, notes: tuple[str, ...] = ()) -> CpuProfile:
    """`hot` samples of the function that is the matter."""
    table, sums = Table(), Sums()

    def add(count, *places, kernel=0, origin=ACCEPT, thread="orders-api", labels=(), system=False):
        frames = tuple(table.number(place) for place in places)
        key = Key(frames, kernel, creator_of(origin), labels, "", thread, system)
        sums.add(key, count)
        sums.user_frames += count * (len(frames) - kernel)
        sums.named_frames += count * sum(place.named for place in places[kernel:])
        sums.attributed += 0 if system else count

    route = (("route", "/orders"),)
    add(hot, HASH, HANDLE, SERVE, labels=route)
    add(120, MALLOC, MARSHAL, HANDLE, SERVE, labels=route)
    add(60, MARSHAL, HANDLE, SERVE)
    add(40, KERNEL, WRITE, SERVE, kernel=1)
    add(25, DRAIN, GC, origin=None, system=True)
    add(15, SINE, HASH, HANDLE, SERVE)
    add(2, MAIN, origin=None)
    return CpuProfile(
        at=at,
        run=run,
        began=at - timedelta(seconds=5),
        seconds=5.0,
        hz=99.0,
        lost=0,
        attributed=sums.attributed,
        threads=(
            ThreadTime(tid=41210, name="orders-api", running=2.4, waiting=0.3, slices=4120),
            ThreadTime(tid=41207, name="orders-api", running=0.4, waiting=0.02, slices=310),
        ),
        running=2.8,
        waiting=0.32,
        throttled_seconds=0.9,
        throttled_periods=14,
        periods=50,
        notes=notes,
        **parts(sums, table),
    )


def wall(run: int, at: datetime) -> WallProfile:
    """Fifty looks at 48 goroutines."""
    table, sums = Table(), Sums()

    def add(count, state, *places, origin=JOBS, system=False):
        frames = tuple(table.number(place) for place in places)
        sums.add(Key(frames, 0, creator_of(origin), (), state, "", system), count)

    add(40 * 50, "chan receive", PARK, TAKE)
    add(5 * 50, "IO wait", PARK, SERVE, origin=ACCEPT)
    add(50, "running", Place("[on a CPU]", kind="runtime"), HANDLE, origin=ACCEPT)
    add(2 * 50, "GC worker (idle)", PARK, GC, origin=None, system=True)
    return WallProfile(
        at=at,
        run=run,
        began=at - timedelta(seconds=5),
        seconds=5.0,
        hz=10.0,
        looks=50,
        took=0.4,
        attributed=sums.samples,
        **parts(sums, table, "own"),
    )


def session(*records) -> Session:
    """The beginning of the made session, then these."""
    made_session = Session()
    for record in (*made.beginning(), *records):
        made_session.feed(record)
    states = {name: CollectorState(state="off") for name in ("profile", "wall")}
    last = max(record.at for record in (*made.beginning(), *records))
    made_session.feed(Heartbeat(at=last, collectors=states))
    return made_session


def front(*records) -> Front:
    """On a session with these records; two CPU profiles and one of all goroutines when none are given."""
    some = records or (
        cpu(1, START + timedelta(seconds=6), hot=60),
        wall(1, START + timedelta(seconds=14)),
        cpu(2, START + timedelta(seconds=20), hot=260),
    )
    return Front(session(*some))


def refused(source: str, reason: str, remedy: str) -> Traces:
    """A trace that was not started."""
    row = Trace(source=source, state="refused", price_class="heavy", reason=reason, remedy=remedy)
    return Traces(at=START + timedelta(seconds=2), rows=(row,))


__all__ = ["TargetState", "cpu", "front", "refused", "session", "wall"]
