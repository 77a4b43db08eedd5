"""The runtime tab: settings against limits, plots, tables, and what it says without any of them."""

from __future__ import annotations

import pytest
from gotriage.records.environment import Environment
from gotriage.records.findings import Verdict
from gotriage.records.runtime import GoBuild, GoRuntime, RuntimeDetail, RuntimeThread, SizeClass
from gotriage.records.stream import Gap
from gotriage.session.store import Session
from gotriage.ui.runtime_page import cycles_per_minute, minor, page, procs_advice
from gotriage.ui.spans import text_of, width_of

from tests.ui import made
from tests.ui.screens import LARGE, shown


def test_settings_and_collector():
    seen = shown(made.front(made.session(40)), "6")
    for words in (
        "go1.24.3  example.com/orders",
        "8 of 8 CPUs",
        "▲ more than the quota of 2.00 cores",
        "throttled in 31 % of the periods",
        "Go before 1.25 does not look at the quota; GOMAXPROCS=2 would fit",
        "GOMEMLIMIT none",
        "cgroup limit 512M",
        "409 cycles",
        "13.8/min",
        "5 running, 3 idle",
        "heap live",
        "136M",
    ):
        assert words in seen, seen


def test_a_wide_screen_has_the_tables_too():
    seen = shown(made.front(made.session(40)), "6", size=LARGE)
    for words in ("what fills the heap", "over 32K", "without pointers", "GOROUTINE", "spinning", "processors (Ps)"):
        assert words in seen
    assert "GC CPU" in seen


def test_enter_opens_the_record():
    assert "heap goal bytes" in shown(made.front(), "6", "j", "enter")


@pytest.mark.parametrize(
    ("procs", "quota", "version", "given", "role", "words"),
    [
        (8, None, (1, 24), None, "dim", ""),
        (2, 2.0, (1, 24), None, "good", ""),
        (2, 1.5, (1, 24), None, "good", ""),
        (2, 0.5, (1, 25), None, "good", ""),
        (2, 0.5, (1, 24), None, "warning", "before 1.25"),
        (8, 2.0, (1, 24), None, "warning", "GOMAXPROCS=2"),
        (8, 2.0, (1, 25), None, "warning", "containermaxprocs"),
        (8, 2.0, (1, 27), "8", "warning", "set by GOMAXPROCS=8"),
        (8, 2.5, None, None, "warning", "GOMAXPROCS=3"),
    ],
)
def test_gomaxprocs_against_the_quota_depends_on_the_version(procs, quota, version, given, role, words):
    found = procs_advice(procs, quota, version, given)
    assert found[0] == role
    assert words in found[2]


def test_a_build_that_was_told_not_to_follow_the_quota_says_so():
    told = procs_advice(8, 2.0, (1, 27), None, told=True)
    assert "older go line" in told[2]
    build = GoBuild(at=made.START, go_version="go1.27.3", settings={"DefaultGODEBUG": "a=1,containermaxprocs=0"})
    session = made.session(4)
    session.feed(build)
    assert "older go line" in shown(made.front(session), "6")


def test_versions():
    assert minor("go1.24.3") == (1, 24)
    assert minor("go1.27rc1") == (1, 27)
    assert minor("devel go1.28-abc") is None
    assert minor("") is None


def bare(*more):
    session = Session()
    for record in (*made.beginning(), *more):
        session.feed(record)
    return made.front(session, Verdict(at=made.START))


def test_memory_limits_that_do_not_fit():
    limits = GoRuntime(at=made.START, gc_percent=-1, memory_limit_bytes=(1 << 63) - 1)
    assert "nothing ever starts the collector" in shown(bare(limits), "6")
    session = made.session(4)
    session.feed(GoRuntime(at=session.last, memory_limit_bytes=1 << 30, gc_percent=100))
    assert "GOMEMLIMIT is above it" in shown(made.front(session), "6")


def test_a_calibrated_layout_says_so():
    build = GoBuild(at=made.START, go_version="go1.28.1", layout="calibrated", untested=True, fips=True, race=True)
    seen = shown(bare(build, GoRuntime(at=made.START)), "6", size=LARGE)
    for words in ("worked out from its memory", "never tried", "FIPS 140", "race detector"):
        assert words in seen


def test_a_build_without_a_reading_shows_the_build_and_why():
    gap = Gap(at=made.START, source="runtime", reason="permission denied", permission=True, remedy="sudo gotriage")
    seen = shown(bare(GoBuild(at=made.START, go_version="go1.24.3"), gap), "6")
    for words in ("go1.24.3", "⊘ Runtime", "permission denied", "sudo gotriage"):
        assert words in seen


def test_a_target_that_is_not_go_says_so_plainly():
    seen = shown(bare(Environment(at=made.START, exe="/usr/sbin/nginx", is_go=False)), "6")
    assert "nginx is not a Go program" in seen


def test_nothing_known_is_no_made_up_number():
    front = bare(GoRuntime(at=made.START), RuntimeDetail(at=made.START))
    for width in (66, 79, 199):
        for line in page(front, width, 30):
            assert width_of(line.spans) <= width, text_of(line.spans)


def test_hostile_numbers_draw():
    big = (1 << 63) - 1
    detail = RuntimeDetail(
        at=made.START,
        rows=(
            RuntimeThread(id=-5, tid=big, goroutine=big, locked=big, processor=-1, cpu_seconds=1e30, wchan="x" * 300),
        ),
        size_classes=(SizeClass(big, True, -1, 0, big), SizeClass(0, True, 0, 0, 0), SizeClass(-8, False, 1, big, 5)),
        omitted=3,
    )
    numbers = GoRuntime(
        at=made.START, gomaxprocs=0, heap_live_bytes=big, heap_goal_bytes=0, gc_cycles=big, gc_cpu_fraction=-1e300,
        last_pause_seconds=1e300, gc_pause_total_seconds=-1.0, threads=big, runnable=big,
    )  # fmt: skip
    for width in (66, 199):
        assert len(page(bare(numbers, detail), width, 60)) > 10


def test_cycles_a_minute_need_two_looks_of_one_process():
    session = Session()
    assert cycles_per_minute(session) is None
    for record in made.records(10):
        session.feed(record)
    assert cycles_per_minute(session) == pytest.approx(2 * 60 / 9)
    session.feed(GoRuntime(at=session.last, gc_cycles=1))
    assert cycles_per_minute(session) is None
