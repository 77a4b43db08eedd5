"""Rings of locks, programs in which all wait, locks that many wait for, and programs that only look so."""

from __future__ import annotations

import pytest
from gotriage.records.goroutines import Edge
from gotriage.records.process import ProcessSample
from gotriage.records.runtime import GoBuild, GoRuntime

from tests.rules.golang import Program

A, B = 0xC000010000, 0xC000010008


@pytest.fixture
def program(running):
    return Program(running)


def abba(program, bystanders=3):
    program.idle()
    program.group("sync.Mutex.Lock", "main.debit", 1, first=101, on=B)
    program.group("sync.Mutex.Lock", "main.credit", 1, first=102, on=A)
    program.group("sync.Mutex.Lock", "main.report", bystanders, first=200, on=A)
    program.lock(A, 1 + bystanders, (101,)).lock(B, 1, (102,))
    program.cycles = ((Edge(101, B, 102), Edge(102, A, 101)),)
    return program


# -- deadlock


def test_two_that_wait_for_each_other(program, running):
    for second in range(0, 8, 2):
        abba(program).look(second)
    found = running.finding("deadlock")
    assert found.severity == "critical"
    assert found.title == (
        "deadlock: goroutine 101 and goroutine 102 wait for each other's locks, at main.debit (main.go:20)"
    )
    assert found.evidence[0] == (
        "goroutine 101, in sync.Mutex.Lock at main.debit (main.go:20), waits for the mutex at 0xc000010008,"
        " which goroutine 102 likely holds"
    )
    assert "3 more goroutines wait for the same locks" in found.evidence
    assert "in one order everywhere: see main.debit (main.go:20) and main.credit (main.go:21)" in found.fix
    assert running.ids() == ["deadlock"]


def test_a_ring_that_starts_elsewhere_is_the_same(program, running):
    for second in range(0, 8, 2):
        abba(program)
        if second % 4:
            program.cycles = ((Edge(102, A, 101), Edge(101, B, 102)),)
        program.look(second)
    assert running.ids() == ["deadlock"]


def test_a_ring_of_one_look_proves_nothing(program, running):
    for second in range(0, 8, 2):
        abba(program)
        if second < 6:
            program.cycles = ()
        program.look(second)
    assert running.ids() == []
    assert "seen once" in running.unknown("deadlock").reason


def test_many_bystanders_fold_under_the_ring(program, running):
    for second in range(0, 8, 2):
        abba(program, 50).look(second)
    findings = running.verdict().findings
    assert [(found.id, found.because) for found in findings] == [("deadlock", ""), ("lock-contention", "deadlock")]


def blocked(program, *, timers=0, cgo=False):
    """No server, no timer: a worker sends, the main goroutine waits for all of them."""
    program.story.add(GoBuild, cgo=cgo).add(GoRuntime, timers=timers, threads=6, gomaxprocs=2)
    program.group("sync.WaitGroup.Wait", "main.main", 1, by="")
    program.group("chan send", "main.work", 4, on=0xC0).channel(0xC0, 4)
    program.group("syscall", "os/signal.loop", 1, state="syscall", by="os/signal.watchSignalLoop")
    return program.group(
        "GC worker (idle)", "runtime.gcBgMarkWorker", 2, system=True, by="runtime.gcBgMarkStartWorkers"
    )


def test_all_of_them_wait(program, running):
    for second in range(0, 14, 2):
        blocked(program).look(second)
    found = running.finding("deadlock")
    assert found.severity == "critical"
    assert found.title == "every goroutine is blocked: 4 wait for others, first at main.work (main.go:19)"
    assert any("no timer is set" in sentence for sentence in found.evidence)


def test_a_timer_may_wake_one(program, running):
    for second in range(0, 14, 2):
        blocked(program, timers=1).look(second)
    assert running.ids() == []


def test_a_server_may_be_called(program, running):
    for second in range(0, 14, 2):
        blocked(program).group("IO wait", "main.serve", 1).look(second)
    assert running.ids() == []


def test_threads_of_c_may_call_back(program, running):
    running.add(ProcessSample, processes=1, threads=9)
    for second in range(0, 14, 2):
        blocked(program, cgo=True).look(second)
    assert running.ids() == []


def test_all_threads_are_gos_own_despite_cgo(program, running):
    running.add(ProcessSample, processes=1, threads=6)
    for second in range(0, 14, 2):
        blocked(program, cgo=True).look(second)
    assert running.ids() == ["deadlock"]


def test_an_idle_program_that_only_receives(program, running):
    """It waits for a signal, its workers for work, for hours."""
    for second in range(0, 7200, 600):
        running.add(GoBuild, cgo=False).add(GoRuntime, timers=0, threads=6)
        program.group("chan receive", "main.main", 1, by="").group("chan receive", "main.worker", 3000)
        program.group("sync.Cond.Wait", "main.pool", 8).group("sync.WaitGroup.Wait", "main.supervise", 1)
        program.group("syscall", "os/signal.loop", 1, state="syscall").look(second)
    assert running.ids() == []
    assert running.fine("deadlock").text == "no goroutines wait for each other"


# -- lock-contention


def hot(program, waiters, since=None, holder=True):
    program.idle().group("sleep", "main.refresh", 1, first=50)
    program.group("sync.Mutex.Lock", "main.(*Cache).Get", waiters, first=100, on=A, since=since)
    return program.lock(A, waiters, (50,) if holder else ())


def test_a_lock_that_many_wait_for(program, running):
    for second in range(0, 8, 2):
        hot(program, 200 + second, since=second - 1).look(second)
    found = running.finding("lock-contention")
    assert found.severity == "warning"
    assert found.title == "206 goroutines wait for one mutex, at main.(*Cache).Get (main.(*Cache).go:27)"
    assert found.evidence[1] == "likely held by goroutine 50, in sleep at main.refresh (main.go:22), for 6s"
    assert "204 waited in most looks of late, for 4s or more" in found.evidence
    assert "see main.refresh (main.go:22)" in found.fix


def test_one_look_says_nothing_about_how_long(program, running):
    hot(program, 200, since=-1).look(2)
    assert running.ids() == []


@pytest.mark.parametrize("waiters", [[150, 160, 0, 170, 150, 160, 150, 170, 150, 160, 0], [90, 90, 90, 90, 5, 90, 90]])
def test_a_lock_that_is_handed_on_now_and_then(program, running, waiters):
    for number, many in enumerate(waiters):
        hot(program, many, since=4 * number) if many else program.idle()
        program.look(4 * number)
    assert running.ids() == ["lock-contention"]


def test_two_that_wait_for_a_minute(program, running):
    for second in range(0, 70, 2):
        hot(program, 2).look(second)
    assert "2 goroutines wait for one mutex" in running.finding("lock-contention").title
    assert running.finding("lock-contention").title.endswith(", for 1m08s")


def test_many_and_for_a_minute_is_critical(program, running):
    for second in range(0, 70, 2):
        hot(program, 60).look(second)
    assert running.finding("lock-contention").severity == "critical"


def test_many_processors_allow_many_waiters(program, running):
    running.add(GoRuntime, gomaxprocs=64)
    for second in range(0, 8, 2):
        hot(program, 100, since=second).look(second)
    assert running.ids() == []


@pytest.mark.parametrize("waiters", [[40, 0, 60, 5], [19, 19, 19, 19], [0, 0, 500, 0]])
def test_a_lock_that_is_merely_busy(program, running, waiters):
    for number, many in enumerate(waiters):
        hot(program, many, since=2 * number).look(2 * number) if many else program.idle().look(2 * number)
    assert running.ids() == []


def test_one_that_waits_for_a_long_job_is_fine(program, running):
    for second in range(0, 600, 10):
        hot(program, 1).look(second)
    assert running.ids() == []
