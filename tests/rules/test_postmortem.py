"""Core files: who ended the process, and what one look at a memory in which nothing moves is enough for."""

from __future__ import annotations

import pytest
from gotriage.records.goroutines import Frame, Goroutine, GoroutineCounts, Goroutines, Stack
from gotriage.records.target import NOT_IN_CORE, CoreBrief

from tests.rules.golang import Program


@pytest.fixture
def core(story):
    story.target(state="core", pid=None, pids=(), started_at=None, core=CoreBrief(made=story.time(0), signal="SIGABRT"))
    return story


def look(story, *functions, state="running"):
    frames = tuple(Frame(name, "/src/orders.go", 40 + at) for at, name in enumerate(functions))
    story.add(Goroutines, goroutines=(Goroutine(id=7, state=state, stack=0),), stacks=(Stack(frames),), total=1)
    story.add(GoroutineCounts, total=1)
    return story


@pytest.mark.parametrize(
    ("functions", "title"),
    [
        (
            ("runtime.raise", "runtime.fatalpanic", "panic", "runtime.panicmem", "runtime.sigpanic", "main.total"),
            "goroutine 7 panicked at main.total (orders.go:45)",
        ),
        (
            ("runtime.systemstack_switch", "runtime.fatalthrow", "internal/runtime/maps.fatal", "main.put"),
            "goroutine 7 met a fatal error at main.put (orders.go:43)",
        ),
    ],
)
def test_the_goroutine_that_ended_the_process(core, functions, title):
    (finding,) = look(core, *functions).verdict().findings
    assert (finding.id, finding.severity, finding.title) == ("panic", "critical", title)
    assert finding.evidence[0] == "the process ended with SIGABRT"


@pytest.mark.parametrize(
    ("functions", "state"),
    [
        (("main.spin",), "running"),
        (("panic", "main.recovers"), "running"),
        (("runtime.gopark", "runtime.fatalpanic"), "waiting"),
    ],
)
def test_others_did_not(core, functions, state):
    verdict = look(core, *functions, state=state).verdict()
    assert verdict.findings == ()
    assert [(claim.id, claim.reason) for claim in verdict.unknown] == [("everything else", NOT_IN_CORE)]


def test_one_look_shows_that_all_wait(core):
    from gotriage.records.runtime import GoBuild, GoRuntime

    program = Program(core)
    program.group("chan send", "main.feed", 3)
    program.group("sync.WaitGroup.Wait", "main.main", 1)
    core.add(GoRuntime, timers=0, goroutines=4)
    core.add(GoBuild, go_version="go1.27.3", cgo=False)
    program.look()
    assert [finding.id for finding in core.verdict().findings] == ["deadlock"]
