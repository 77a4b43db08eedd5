"""GOMAXPROCS against what is allowed, and goroutines that never leave a CPU."""

from __future__ import annotations

import pytest
from gotriage.records.cpustacks import CpuStack, CpuStacks
from gotriage.records.goroutines import Frame
from gotriage.records.process import CgroupSample, HostSample, ProcessSample
from gotriage.records.profile import CpuProfile, TopFunction
from gotriage.records.runtime import GoRuntime
from gotriage.records.target import GoBrief

from tests.rules.golang import Program

# -- gomaxprocs-mismatch


def allowed(story, now, quota, cpus, version="go1.24.3", throttled=0):
    story.target(go=GoBrief(version))
    story.add(HostSample, cpus=cpus).add(GoRuntime, gomaxprocs=now)
    for second in range(31):
        number = {"periods": 10 * second, "throttled_periods": int(10 * second * throttled)}
        story.add(CgroupSample, second, cpu_quota=quota, cpu_quota_path="/web", path="/web", **number)
    return story


@pytest.mark.parametrize(
    ("now", "quota", "cpus", "severity"),
    [
        (64, 2.0, 64, "warning"),
        (8, 2.0, 64, "warning"),
        (4, 2.0, 4, "info"),
        (3, 2.0, 4, None),
        (2, 1.0, 4, None),
        (2, 0.2, 2, None),
        (4, 0.5, 4, "warning"),
        (64, None, 2, "warning"),
        (2, None, 2, None),
        (1, 4.0, 8, None),
        (64, None, 64, None),
    ],
)
def test_gomaxprocs(story, now, quota, cpus, severity):
    found = allowed(story, now, quota, cpus).verdict().findings
    assert [claim.severity for claim in found] == ([severity] if severity else [])


def test_in_words(story):
    found = allowed(story, 64, 2.0, 64).finding("gomaxprocs-mismatch")
    assert found.title == "GOMAXPROCS is 64, the quota is 2.00 CPUs"
    assert "go1.24.3 takes the machine's CPUs and does not see the quota; Go 1.25 does" in found.evidence
    assert "GOMAXPROCS=2" in found.fix


def test_a_go_that_sees_the_quota(story):
    found = allowed(story, 64, 2.0, 64, "go1.25.1").finding("gomaxprocs-mismatch")
    assert any("GOMAXPROCS is set by hand" in sentence for sentence in found.evidence)


def test_a_throttled_one_is_a_warning_and_explains_it(story):
    story = allowed(story, 4, 2.0, 4, throttled=0.5)
    story.session.cursor = None
    found = {claim.id: claim for claim in story.verdict().findings}
    assert found["gomaxprocs-mismatch"].severity == "warning"
    assert found["cpu-throttled"].because == "gomaxprocs-mismatch"


def test_too_few_are_told_only_when_all_are_in_use(running):
    running.add(HostSample, cpus=16).add(GoRuntime, gomaxprocs=1, runnable=40)
    running.each_second(30, ProcessSample, lambda _: {"processes": 1, "cpu": 0.99})
    running.add(CgroupSample)
    found = running.finding("gomaxprocs-mismatch")
    assert (found.severity, found.title) == ("info", "GOMAXPROCS is 1 and all of it is in use, 16 CPUs are allowed")
    assert "40 goroutines are ready to run and wait for a turn" in found.evidence


# -- cpu-hot-loop


def loaded(story, seconds, cpu, make, cpus=4):
    story.add(HostSample, cpus=cpus)
    program = Program(story)
    for second in range(0, seconds + 1, 2):
        story.add(ProcessSample, second, processes=1, cpu=cpu)
        make(program.idle(), second)
        program.look(second)
    return story


def test_a_goroutine_that_never_leaves_the_cpu(running):
    loaded(running, 40, 1.0, lambda p, _: p.group("", "main.poll", 1, first=50, state="running", by="main.start"))
    found = running.finding("cpu-hot-loop")
    assert found.severity == "warning"
    assert found.title == "goroutine 50 never left the CPU for 30s: main.poll"
    assert "goroutine 50 was on a CPU in 16 of 16 looks; it began as main.poll" in found.evidence
    assert "goroutine 50 was created by main.start (main.go:7)" in found.evidence


def test_a_loop_on_a_busy_machine(running):
    """It gets a quarter of a CPU, and waits for one the rest of the time."""
    loaded(running, 40, 0.25, lambda p, _: p.group("", "main.poll", 1, first=50, state="running"))
    assert running.ids() == []
    running.each_second(0, ProcessSample, lambda _: {"processes": 1, "cpu": 0.25, "run_delay_rate": 20.0})
    assert running.ids() == ["cpu-hot-loop"]


def test_where_a_short_stop_found_it(running):
    frames = (Frame("main.step", "/src/main.go", 9), Frame("main.poll", "/src/main.go", 5))
    running.add(CpuStacks, rows=(CpuStack(thread=77, id=50, frames=frames),))
    loaded(running, 40, 1.0, lambda p, _: p.group("", "main.poll", 1, first=50, state="running"))
    told = running.finding("cpu-hot-loop").evidence
    assert "goroutine 50 was at main.step (main.go:9) < main.poll (main.go:5)" in told


def test_a_profile_names_the_function_and_its_caller(running):
    row = TopFunction(
        function="main.step", frame_kind="user", own=470, own_share=0.98, caller="main.poll", file="/src/a.go", line=9
    )
    running.add(CpuProfile, samples=480, seconds=5.0, rows=(row,))
    loaded(running, 40, 1.0, lambda p, _: p.group("", "main.poll", 1, first=50, state="running"))
    found = running.finding("cpu-hot-loop")
    assert any("98 % of 480 samples in main.step (a.go:9), called by main.poll" in one for one in found.evidence)
    assert found.fix.startswith("look at the loop in main.step (a.go:9);")


def test_without_a_profile_it_says_how_to_make_one(running):
    loaded(running, 40, 1.0, lambda p, _: p.group("", "main.poll", 1, first=50, state="running"))
    assert "gotriage show profile" in running.finding("cpu-hot-loop").fix


def test_looks_that_are_rare(running):
    """On a machine that leaves us little time: then it takes longer."""
    running.add(HostSample, cpus=4)
    program = Program(running)
    for second in range(0, 151, 10):
        running.add(ProcessSample, second, processes=1, cpu=1.0)
        program.idle().group("", "main.poll", 1, first=50, state="running").look(second)
        assert running.ids() == (["cpu-hot-loop"] if second >= 90 else [])


def test_two_of_them(running):
    loaded(running, 40, 1.98, lambda p, _: p.group("", "main.poll", 2, first=50, state="running"))
    assert running.finding("cpu-hot-loop").title == "2 goroutines never left the CPU for 30s: main.poll"


def test_it_takes_time_to_show(running):
    loaded(running, 10, 1.0, lambda p, _: p.group("", "main.poll", 1, first=50, state="running"))
    assert running.ids() == []
    assert "shows after 30s" in running.unknown("cpu-hot-loop").reason


def test_a_throttled_loop_uses_less_than_a_cpu(running):
    running.add(CgroupSample, cpu_quota=0.2)
    loaded(running, 40, 0.2, lambda p, _: p.group("", "main.poll", 1, first=50, state="running"))
    assert "cpu-hot-loop" in running.ids()


def test_a_busy_server(running):
    """All CPUs in use, by requests that come and go."""
    loaded(running, 60, 3.9, lambda p, s: p.group("", "main.handle", 4, first=50 + 40 * s, state="running"))
    assert running.ids() == []
    assert running.fine("cpu-hot-loop").text == "3.90 CPUs in use, by goroutines that come and go"


def test_a_worker_that_is_often_seen_on_a_cpu(running):
    def make(program, second):
        if second % 10 < 7:
            program.group("", "main.consume", 1, first=50, state="running")

    loaded(running, 60, 0.85, make)
    assert running.ids() == []


def test_one_that_is_seen_by_chance_in_an_idle_program(running):
    loaded(running, 60, 0.05, lambda p, _: p.group("", "main.tick", 1, first=50, state="running"))
    assert running.ids() == []
