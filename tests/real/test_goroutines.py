"""Our goroutines are Go's own: every attribute of every goroutine, against the program's own dump, on real builds."""

from __future__ import annotations

import json
import re
import time
import urllib.request

import pytest
from gotriage.goruntime.runtime import attach

from tests.lab import gotrace, toolchain
from tests.lab.process import wait_until

pytestmark = pytest.mark.real

STRIPPED = ("-ldflags=-s -w",)
BUILDS = {
    "plain": {},
    "stripped": {"flags": STRIPPED},
    "pie": {"flags": ("-buildmode=pie", *STRIPPED)},
    "cgo-pie": {"flags": ("-buildmode=pie", *STRIPPED), "cgo": True},
    "no-inlining": {"flags": ("-gcflags=all=-N -l",)},
    "race": {"flags": ("-race",), "cgo": True},
}
QUICK = [(go, "stripped") for go in toolchain.QUICK] + [(toolchain.NEWEST, "cgo-pie")]
ALL = [(go, build) for go in toolchain.VERSIONS for build in BUILDS if (go, build) not in QUICK]


@pytest.mark.parametrize(
    ("go", "build"), [*QUICK, *(pytest.param(*each, marks=pytest.mark.slow) for each in ALL)], ids=str
)
def test_every_goroutine_is_as_go_prints_it(service, go, build):
    running = service("parked", go=go, **BUILDS[build])
    for _ in range(3):  # the two looks are at two moments: what a busy machine moved in between stands still at another
        with attach(running.pid) as runtime:
            dump = runtime.dump(rows=5000)
            identity = runtime.identity
        told = gotrace.fetch(running.address)
        if not (different := gotrace.differences(dump, told)):
            break
    assert different == []
    both = {one.id for one in dump.goroutines} & told.keys()
    assert len(both) > 150
    assert all(dump.stacks[one.stack].complete for one in dump.goroutines if one.stack >= 0 and not one.moved)
    assert identity.go_version.startswith(f"go{go}")
    assert (identity.layout, identity.located) == ("table", "operands")
    assert not dump.problems


@pytest.mark.parametrize("go", toolchain.QUICK)
def test_stacks_through_c_that_called_back(service, go):
    """Go called by C called by Go, up to three times deep, and called by threads that C has made."""
    running = service("cgo", "-callbacks=6", go=go, cgo=True)
    for _ in range(3):
        with attach(running.pid) as runtime:
            dump = runtime.dump(rows=5000)
        if not (different := gotrace.differences(dump, gotrace.fetch(running.address))):
            break
    assert different == []
    stacks = [dump.stacks[one.stack] for one in dump.goroutines if one.stack >= 0]
    called = [[frame.function for frame in stack.frames if frame.function.startswith("main.")] for stack in stacks]
    depths = [functions.count("main.waitInGo") for functions in called if "main.throughC" in functions]
    assert sorted(depths) == [1, 1, 2, 2, 3, 3]
    assert called.count(["main.waitInGoOnAForeignThread"]) == 6
    assert all(stack.complete for stack in stacks)


def test_who_waits_for_what(service):
    running = service("parked")
    with attach(running.pid) as runtime:
        dump = runtime.dump(rows=5000)
    first = {one.id: dump.stacks[one.stack].frames for one in dump.goroutines if one.stack >= 0}

    def waiting_in(function):
        return {goid for goid, frames in first.items() if any(frame.function == function for frame in frames)}

    by_waiter = {goid: each for each in dump.objects for goid in each.ids}
    (full,) = {by_waiter[goid].address for goid in waiting_in("main.sendToFullChannel")}
    channel = next(each for each in dump.objects if each.address == full)
    assert (channel.kind, channel.senders, channel.receivers) == ("channel", 4, 0)
    assert (channel.buffered, channel.capacity, channel.closed) == (2, 2, False)
    mutex = by_waiter[min(waiting_in("main.waitForMutex"))]
    assert (mutex.kind, mutex.waiters, mutex.detail) == ("mutex", 2, "locked")
    assert set(mutex.holders) == waiting_in("main.holdMutexAsleep")
    readers = by_waiter[min(waiting_in("main.waitForReadLock"))]
    assert readers.kind == "rwmutex"
    assert set(readers.holders) == waiting_in("main.holdWriteLockAsleep")
    assert by_waiter[min(waiting_in("main.waitForGroup"))].kind == "waitgroup"
    cond = by_waiter[min(waiting_in("main.waitForCond"))]
    assert (cond.kind, cond.waiters) == ("cond", 1)
    polled = {one.id: one.fd for one in dump.goroutines if one.fd is not None}
    assert waiting_in("main.acceptConnections") <= polled.keys()
    assert waiting_in("main.readFromSocket") <= polled.keys()
    labelled = [one.labels for one in dump.goroutines if one.id in waiting_in("main.waitLabelled")]
    assert {"path": "/orders", "user": "ann"} in labelled


@pytest.mark.parametrize("go", toolchain.QUICK)
def test_the_runtimes_numbers_are_its_own(service, go):
    running = service("parked", go=go, env={"GOGC": "150", "GOMEMLIMIT": "512MiB"})
    for _ in range(3):
        urllib.request.urlopen(f"http://{running.address}/gc", timeout=20).read()
    with attach(running.pid) as runtime:
        ours = runtime.counters()
    with urllib.request.urlopen(f"http://{running.address}/numbers", timeout=20) as answer:
        theirs = json.load(answer)
    assert (ours.gc_percent, ours.memory_limit) == (150, 512 << 20)
    assert ours.problems == ()
    for name in ("gc_cycles", "gc_forced", "gomaxprocs"):
        assert getattr(ours, name) == theirs[name], name
    assert ours.heap_goal == theirs["heap_goal_bytes"]
    assert ours.gc_pause_total == pytest.approx(theirs["gc_pause_total_seconds"])
    assert ours.last_gc_at == pytest.approx(theirs["last_gc_at"])
    assert [round(pause * 1e9) for _, pause in ours.gc_pauses[:3]] == theirs["pauses"][:3]
    assert len(ours.gc_pauses) == min(ours.gc_cycles, 256)
    assert ours.threads == len(ours.thread_list)


def test_nothing_moves_unnoticed_while_goroutines_come_and_go(service):
    """A stack of a goroutine that is not marked as moved reaches its own first function."""
    running = service("parked", "-plain", "-n=1000", "-churn=1000")
    read = wrong = 0
    with attach(running.pid) as runtime:
        for _ in range(20):
            dump = runtime.dump(rows=20_000)
            for one in dump.goroutines:
                if one.moved or one.stack < 0 or one.start < 0:
                    continue
                read += 1
                stack, start = dump.stacks[one.stack], dump.sites[one.start].function
                outermost = [frame.function for frame in stack.frames if frame.function != "runtime.goexit"][-1]
                hidden = re.search(r"\.gowrap\d+$", start)  # Go's printer leaves such wrappers out
                wrong += not stack.complete or (outermost != start and not hidden)
    assert read > 20_000
    assert wrong == 0


def test_a_version_without_a_table_is_worked_out(service, monkeypatch):
    """The table of the newest version is hidden: the layout is found from the data, and every goroutine is right."""
    from gotriage.goruntime import layout

    running = service("parked", go=toolchain.NEWEST, flags=STRIPPED)
    known = layout.known()[:-1]
    real = layout.load

    def older(version, arch):
        if not re.match(rf"go({'|'.join(map(re.escape, known))})\b", version):
            raise layout.UnknownVersion("hidden")
        return real(version, arch)

    monkeypatch.setattr(layout, "known", lambda: known)
    monkeypatch.setattr(layout, "load", older)
    with attach(running.pid) as runtime:
        dump = runtime.dump(rows=5000)
        assert runtime.identity.layout == "calibrated"
    assert gotrace.differences(dump, gotrace.fetch(running.address)) == []


def looked_twice(pid):
    """A dump in which a suspicion of the first look was looked at again."""
    with attach(pid) as runtime:
        runtime.dump()
        time.sleep(1.1)
        return runtime.dump()


def test_a_deadlock_is_a_cycle(service):
    running = service("goill", "-ill", "abba", "-count=5")
    wait_until(lambda: looked_twice(running.pid).cycles)
    dump = looked_twice(running.pid)
    (cycle,) = dump.cycles
    assert len(cycle) == 2
    assert {edge.waiter for edge in cycle} == {edge.holder for edge in cycle}
    for edge in cycle:
        lock = next(each for each in dump.objects if each.address == edge.address)
        assert lock.holders == (edge.holder,)
        assert edge.waiter in lock.ids


def test_what_nothing_can_wake_is_proven(service):
    """Go's own way of finding leaked goroutines, from outside: right about each channel, of ill and of healthy ones."""
    running = service("goill", "-ill", "leak-one", "-count=20")
    wait_until(lambda: sum(each.alone or 0 for each in looked_twice(running.pid).objects) == 20)
    lost = [each for each in looked_twice(running.pid).objects if each.alone]
    assert all((each.kind, each.senders, each.waiters) == ("channel", 1, 1) for each in lost)


@pytest.mark.parametrize("well", ["pool", "busy", "slow", "poll", "channel"])
def test_what_something_refers_to_is_not_lost(service, well):
    """`channel` is ill, but its queue is a variable that somebody might still read from."""
    running = service("goill", "-ill", well, "-count=20")
    objects = looked_twice(running.pid).objects
    assert objects
    assert not any(each.alone for each in objects)


def test_one_goroutine_alone(service):
    running = service("parked")
    with attach(running.pid) as runtime:
        every = runtime.dump(rows=5000)
        wanted = next(one for one in every.goroutines if one.wait_reason == "sync.WaitGroup.Wait")
        alone = runtime.goroutine(wanted.id)
    (one,) = alone.goroutines
    assert (one.id, one.wait_reason, one.created_by_id) == (wanted.id, wanted.wait_reason, wanted.created_by_id)
    assert alone.stacks[one.stack] == every.stacks[wanted.stack]
    assert alone.groups == ()


def test_what_is_on_a_cpu_is_read_in_a_short_stop(service):
    running = service("parked", "-plain", "-n=5", "-spin=2")
    with attach(running.pid) as runtime:
        wait_until(lambda: any(stack.frames for stack in runtime.microstop().stacks))
        look = runtime.microstop()
        dump = runtime.dump()
    on_cpu = {one.id: one for one in dump.goroutines if one.state == "running"}
    assert all(one.stack == -1 and one.thread for one in on_cpu.values())
    for stack in look.stacks:
        if stack.frames:
            assert stack.frames[-2].function == "main.spinForever"
            assert stack.complete
            assert stack.stopped > 0


def test_a_build_that_was_looked_at_is_known_again(service, monkeypatch, tmp_path):
    """Its variables are not searched for again, and what was kept is checked before it is believed."""
    from gotriage.goruntime import locate, remembered, runtime
    from gotriage.host import cache

    monkeypatch.setattr(cache, "ROOT_FOLDER", str(tmp_path / "cache"))
    running = service("parked", flags=("-buildmode=pie",))
    other = service("parked", flags=("-buildmode=pie",))
    with attach(running.pid) as first:
        dump = first.dump()
    monkeypatch.setattr(runtime, "locate", None)
    with attach(other.pid) as second:
        assert second.found.places.keys() == first.found.places.keys()
        assert second.dump().count == dump.count
    monkeypatch.setattr(runtime, "locate", locate.locate)
    known = remembered.Known({"allgs": 64}, {"allgs": "operands"})
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(json.dumps({"places": known.places, "how": known.how}).encode())
    with attach(running.pid) as third:
        assert third.found.places == first.found.places


def test_the_list_of_threads_is_found_where_a_patch_release_moved_it(service, monkeypatch):
    from gotriage.goruntime import layout

    running = service("parked", "-plain")
    real = layout.Layout.offset
    moved = {("m", "alllink"): 24}
    with attach(running.pid) as runtime:
        usual = {thread.tid for thread in runtime.counters().thread_list}
        for step in (24, -24):
            moved["m", "alllink"] = step
            monkeypatch.setattr(layout.Layout, "offset", lambda self, *words: real(self, *words) + moved.get(words, 0))
            counters = runtime.counters()
            assert not counters.problems
            assert {thread.tid for thread in counters.thread_list} >= usual
