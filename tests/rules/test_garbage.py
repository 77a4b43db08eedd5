"""The garbage collector: thrashing, a heap that only grows, limits that do not fit; and healthy heaps."""

from __future__ import annotations

from datetime import timedelta

import pytest
from gotriage.records.process import CgroupSample, ProcessSample
from gotriage.records.runtime import NO_MEMORY_LIMIT, GoRuntime

from tests.rules.conftest import START

MIB = 1 << 20
AGE = 7200.0


def collections(story, seconds, *, every=1.0, share=0.1, before=0.05, alive=lambda _: 100 * MIB, **more):
    """A look a second at a program that collects so often; `share` of the CPUs of late, `before` until then."""
    for second in range(int(seconds) + 1):
        number = int(second / every)
        at = number * every
        used = (before * AGE + share * at) / (AGE + at)
        marked = int(alive(number))
        fields = {
            "gomaxprocs": 4, "gc_cycles": 1000 + number, "last_gc_at": START + timedelta(seconds=at),
            "gc_cpu_fraction": used, "heap_marked_bytes": marked, "heap_live_bytes": int(marked * 1.3),
            "heap_goal_bytes": 2 * marked, "heap_in_use_bytes": int(marked * 1.4), "gc_percent": 100,
            "memory_limit_bytes": NO_MEMORY_LIMIT, "mapped_ready_bytes": 2 * marked,
        }  # fmt: skip
        story.add(GoRuntime, second, **{**fields, **more})
    return story


# -- gc-thrash


@pytest.mark.parametrize(("share", "severity"), [(0.1, None), (0.24, None), (0.26, "warning"), (0.45, "critical")])
def test_the_share_of_the_collector(running, share, severity):
    collections(running, 20, every=0.25, share=share, heap_goal_bytes=105 * MIB)
    assert [claim.severity for claim in running.verdict().findings] == ([severity] if severity else [])


def test_a_limit_below_what_is_alive(running):
    collections(
        running,
        20,
        every=0.25,
        share=0.42,
        heap_goal_bytes=101 * MIB,
        memory_limit_bytes=200 * MIB,
        mapped_ready_bytes=199 * MIB,
    )
    found = running.finding("gc-thrash")
    assert found.title == "the garbage collector uses 42 % of the CPUs: GOMEMLIMIT is too low for what is alive"
    assert "40 collections in 10s, 4.0 a second" in found.evidence
    assert "GOMEMLIMIT is 200M, 199M in use" in found.evidence
    assert found.fix.startswith("GOMEMLIMIT=400MiB")
    assert found.view == "runtime"


def test_a_small_gogc(running):
    collections(running, 20, every=0.1, share=0.3, gc_percent=5, heap_goal_bytes=105 * MIB)
    assert running.finding("gc-thrash").title.endswith(": GOGC=5 is low")


def test_a_high_share_in_the_past_is_past(running):
    collections(running, 20, share=0.02, before=0.45)
    assert running.ids() == []
    assert running.fine("gc-thrash").text == "GC uses 2.0 % of the CPUs"


def test_on_a_busy_machine_what_the_target_uses_counts(running):
    """It gets half a CPU of its four, and collects for most of it."""
    collections(running, 20, every=0.25, share=0.1, heap_goal_bytes=101 * MIB)
    running.each_second(0, ProcessSample, lambda _: {"processes": 1, "cpu": 0.6})
    assert running.ids() == ["gc-thrash"]
    assert running.finding("gc-thrash").severity == "warning"
    assert running.finding("gc-thrash").title.startswith(
        "the garbage collector uses 67 % of the CPU time that the target gets"
    )


@pytest.mark.parametrize(("share", "severity"), [(0.2, None), (0.35, None), (0.45, "warning")])
def test_a_small_heap_and_many_allocations(running, share, severity):
    collections(running, 20, every=0.01, share=share, alive=lambda _: 500_000, heap_goal_bytes=4 * MIB)
    running.add(ProcessSample, processes=1, cpu=2.0)
    assert [claim.severity for claim in running.verdict().findings] == ([severity] if severity else [])


def test_one_long_collection_is_no_thrashing(running):
    collections(running, 60, every=20, share=0.3)
    assert "gc-thrash" not in running.ids()


def test_a_program_that_never_collects(running):
    running.each_second(30, GoRuntime, lambda _: {"gc_cycles": 0, "gc_cpu_fraction": 0.0, "gomaxprocs": 2})
    assert running.ids() == []


# -- memory-leak


def test_a_heap_that_grows_with_every_collection(running):
    running.add(ProcessSample, processes=1, rss_bytes=900 * MIB)
    collections(running, 200, every=5, alive=lambda n: (100 + 5 * n) * MIB)
    found = running.finding("memory-leak")
    assert found.severity == "warning"
    assert found.title.startswith("the live heap grows by ")
    assert "survive a collection" in found.title
    assert "RSS 900M" in found.evidence
    assert running.ids() == ["memory-leak"]


def test_when_the_limit_is_reached(running):
    running.add(CgroupSample, memory_limit_bytes=1024 * MIB, memory_limit_used_bytes=400 * MIB)
    collections(running, 200, every=5, alive=lambda n: (100 + 5 * n) * MIB)
    assert "; the limit of 1.0G is full in " in running.finding("memory-leak").title


def test_a_pure_leak_doubles(running):
    collections(running, 110, every=15, alive=lambda n: 20 * MIB * 2**n)
    assert running.ids() == ["memory-leak"]


def test_nearly_all_that_is_allocated_survives(running):
    """Two collections suffice, where a program that is well would have thrown most of it away."""
    collections(running, 50, every=20, alive=lambda n: 80 * MIB * 2**n, heap_live_bytes=None)
    assert running.ids() == []
    running.now = 0
    for second in range(100, 160):
        number, within = divmod(second - 100, 20)
        marked = 80 * MIB * 2**number
        live = {"heap_marked_bytes": marked, "heap_live_bytes": int(marked * (1 + within / 20))}
        running.add(GoRuntime, second, gc_cycles=2000 + number, **live)
    assert running.ids() == ["memory-leak"]


def test_growth_that_has_ended_is_no_news(running):
    collections(running, 110, every=15, alive=lambda n: 20 * MIB * 2**n)
    for second in range(111, 190):
        running.beat(second)
    assert running.ids() == []


def test_growth_takes_time_to_show(running):
    collections(running, 30, every=1, alive=lambda n: (100 + 5 * n) * MIB)
    assert running.ids() == []
    assert "growth of the heap shows after 1m00s" in running.unknown("memory-leak").reason


def test_the_first_seconds_of_a_process_do_not_count(story):
    collections(story.target(age=0), 29, every=5, alive=lambda n: 20 * MIB * 2**n)
    assert story.ids() == []


@pytest.mark.parametrize(
    "alive",
    [
        pytest.param(lambda n: 300 * MIB, id="level"),
        pytest.param(lambda n: (300 + 40 * (n % 7)) * MIB, id="load comes and goes"),
        pytest.param(lambda n: min(600, 100 + 20 * n) * MIB, id="a cache that is filled"),
        pytest.param(lambda n: (100 if n < 40 else 350) * MIB, id="load that came"),
        pytest.param(lambda n: (500 - n) * MIB, id="falling"),
        pytest.param(lambda n: (300 + n / 20) * MIB, id="hardly rising"),
        pytest.param(lambda n: (300 + 2 * (n % 60)) * MIB, id="thrown away every five minutes"),
    ],
)
def test_healthy_heaps(running, alive):
    collections(running, 600, every=5, alive=alive)
    assert running.ids() == []


# -- gomemlimit-mismatch


def memory(story, limit, used, **runtime):
    story.add(CgroupSample, memory_limit_bytes=limit, memory_limit_used_bytes=used, memory_limit_path="/web")
    fields = {
        "heap_live_bytes": 60 * MIB,
        "heap_goal_bytes": 100 * MIB,
        "heap_in_use_bytes": 70 * MIB,
        "gc_percent": 100,
    }
    return story.add(GoRuntime, **{"memory_limit_bytes": NO_MEMORY_LIMIT, **fields, **runtime})


def test_a_limit_above_the_cgroups(running):
    memory(running, 256 * MIB, 90 * MIB, memory_limit_bytes=512 * MIB)
    found = running.finding("gomemlimit-mismatch")
    assert found.severity == "warning"
    assert found.title == "GOMEMLIMIT is 512M, the cgroup allows 256M: it is killed before it collects"
    assert "GOMEMLIMIT=230MiB" in found.fix


def test_no_limit_and_a_collection_that_comes_too_late(running):
    live = {"heap_live_bytes": 200 * MIB, "heap_goal_bytes": 390 * MIB, "heap_in_use_bytes": 205 * MIB}
    memory(running, 256 * MIB, 220 * MIB, **live)
    found = running.finding("gomemlimit-mismatch")
    assert found.title == "no GOMEMLIMIT, and the next collection is due at 405M of the 256M that are allowed"


@pytest.mark.parametrize(
    ("limit", "own", "text"),
    [
        (None, NO_MEMORY_LIMIT, "no GOMEMLIMIT, no limit of the cgroup"),
        (512 * MIB, NO_MEMORY_LIMIT, "no GOMEMLIMIT of 512M allowed"),
        (512 * MIB, 460 * MIB, "GOMEMLIMIT 460M of 512M allowed"),
    ],
)
def test_limits_that_fit(running, limit, own, text):
    memory(running, limit, 90 * MIB, memory_limit_bytes=own)
    assert running.ids() == []
    assert running.fine("gomemlimit-mismatch").text == text


def test_a_peak_that_has_been_given_back_inside_the_heap_is_room(running):
    """The heap has free spans: the goal is reached without any more memory."""
    live = {"heap_live_bytes": 100 * MIB, "heap_goal_bytes": 200 * MIB, "heap_in_use_bytes": 110 * MIB}
    memory(running, 256 * MIB, 230 * MIB, heap_free_bytes=100 * MIB, **live)
    assert running.ids() == []


def test_no_look_yet_is_unknown(running):
    assert running.unknown("gc-thrash").reason == "not looked at yet"
