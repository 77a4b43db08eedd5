"""Threads, memory, CPU quota, deleted files and tracers: thresholds and what stays quiet."""

from __future__ import annotations

import pytest
from gotriage.records.base import Why
from gotriage.records.files import FileTable, OpenFile
from gotriage.records.limits import Limit, LimitTable
from gotriage.records.process import CgroupSample, HostSample, ProcessSample
from gotriage.records.profile import CpuProfile
from gotriage.records.service import UnitState
from gotriage.records.target import GoBrief

MIB = 1 << 20


# -- threads


@pytest.mark.parametrize(("threads", "severity"), [(60, None), (399, None), (400, "warning"), (8000, "critical")])
def test_the_number_of_threads_of_a_go_program(running, threads, severity):
    running.add(ProcessSample, processes=1, threads=threads, states={"S": threads})
    assert [claim.severity for claim in running.verdict().findings] == ([severity] if severity else [])


def test_many_cpus_allow_many_threads(running):
    running.add(HostSample, cpus=128).add(ProcessSample, processes=1, threads=900, states={"S": 900})
    assert running.ids() == []


def test_worker_processes_are_counted_each(running):
    running.add(ProcessSample, processes=8, threads=800, states={"S": 800})
    assert running.fine("thread-explosion").text == "800 threads"


def test_a_program_that_is_not_go_may_have_many(story):
    story.target(go=False).add(ProcessSample, processes=1, threads=3000, states={"S": 3000})
    assert story.ids() == []


def test_threads_that_grow_are_told_before_they_are_many(running):
    running.each_second(40, ProcessSample, lambda s: {"processes": 1, "threads": 90 + 2 * s, "states": {"S": 90}})
    found = running.finding("thread-explosion")
    assert "+120/min; Go ends the program at 10,000, in" in found.title


def test_threads_that_have_grown_and_stay_are_fine(running):
    running.each_second(20, ProcessSample, lambda s: {"processes": 1, "threads": 50 + 4 * s, "states": {"S": 90}})
    for second in range(21, 60):
        running.beat(second)
    assert running.ids() == []


@pytest.mark.parametrize(("pids", "severity"), [(79, None), (80, "warning"), (95, "critical")])
def test_the_limit_of_tasks(story, pids, severity):
    story.target(go=False).add(UnitState, name="web.service", active_state="active", main_pid=4242)
    story.add(ProcessSample, processes=1, threads=pids, states={"S": pids})
    story.add(CgroupSample, pids=pids, pids_limit=100, pids_limit_used=pids, pids_limit_path="/web.service")
    found = story.verdict().findings
    assert [claim.severity for claim in found] == ([severity] if severity else [])
    for claim in found:
        assert "set-property --runtime web.service TasksMax=512" in claim.fix
        assert "under [Service] TasksMax=512 (now 100)" in claim.fix


# -- memory


def memory(story, share, limit=512 * MIB, **more):
    used = int(limit * share)
    fields = {"path": "/web", "memory_limit_path": "/web", "memory_limit_bytes": limit, "memory_limit_used_bytes": used}
    fields |= {"memory_bytes": used + 20 * MIB, "memory_working_set_bytes": used}
    return story.each_second(5, CgroupSample, lambda _: {**fields, **more})


@pytest.mark.parametrize(("share", "severity"), [(0.4, None), (0.91, None), (0.93, "warning"), (0.98, "critical")])
def test_the_working_set_against_the_limit(running, share, severity):
    memory(running, share)
    assert [claim.severity for claim in running.verdict().findings] == ([severity] if severity else [])


def test_memory_in_numbers(running):
    assert memory(running, 0.414).fine("memory-limit-near").text == "memory 212M of 512M"


def test_no_limit_at_all(running):
    running.add(CgroupSample, memory_bytes=212 * MIB, memory_working_set_bytes=212 * MIB)
    assert running.fine("memory-limit-near").text == "memory 212M, no limit"


def test_file_cache_does_not_count(running):
    memory(running, 0.4, memory_bytes=511 * MIB)
    assert running.ids() == []


def test_active_file_cache_does_not_count_either(running):
    memory(running, 0.99, memory_active_file_bytes=300 * MIB)
    assert running.ids() == []


def test_a_peak_of_a_moment_is_no_finding(running):
    memory(running, 0.98)
    running.now += 1
    memory(running, 0.7)
    assert running.ids() == []


def test_memory_evidence_and_fix(running):
    running.add(UnitState, name="web.service", active_state="active", main_pid=4242)
    memory(running, 0.95, limit_hits=12)
    found = running.finding("memory-limit-near")
    assert found.title == "486M of 512M in use (95 %)"
    assert "the limit was hit 12 times so far" in found.evidence
    assert "506M with file cache, of which 20.0M can be dropped and is left out" in found.evidence
    assert found.fix.startswith("systemctl set-property web.service MemoryMax=1G")
    assert "GOMEMLIMIT=460MiB" in found.fix


def test_memory_that_grows_says_when_it_is_full(running):
    limit = 512 * MIB
    running.each_second(
        40,
        CgroupSample,
        lambda s: {"memory_limit_bytes": limit, "memory_limit_used_bytes": 460 * MIB + int(s) * MIB, "path": "/web"},
    )
    assert "+60.0M/min; full in" in running.finding("memory-limit-near").title


def test_memory_high_is_a_limit_too(running):
    memory(running, 0.5, memory_high_bytes=260 * MIB)
    assert any("memory.high" in sentence for sentence in running.finding("memory-limit-near").evidence)


def test_memory_that_may_not_be_seen(running):
    running.add(CgroupSample, unknown={"memory_bytes": Why("no mount shows the memory controller")})
    assert running.unknown("memory-limit-near").reason == "no mount shows the memory controller"


# -- CPU quota


def throttled(story, share, stopped=0.05, seconds=10, quota=2.0):
    return story.each_second(
        seconds,
        CgroupSample,
        lambda s: {
            "cpu_quota": quota,
            "cpu_quota_path": "/web",
            "path": "/web",
            "periods": int(1000 + 10 * s),
            "throttled_periods": int(10 * s * share),
            "throttled_seconds": s * stopped,
            "throttled_share": share,
        },
    )


@pytest.mark.parametrize(("share", "found"), [(0.0, False), (0.2, False), (0.31, True), (1.0, True)])
def test_the_share_of_throttled_periods(running, share, found):
    throttled(running, share)
    assert running.ids() == (["cpu-throttled"] if found else [])


def test_throttling_in_numbers(running):
    running.add(HostSample, cpus=8).add(UnitState, name="web.service", active_state="active", main_pid=4242)
    found = throttled(running, 0.31).finding("cpu-throttled")
    assert found.title == "throttled in 31 % of periods: quota of 2.00 CPUs"
    assert "31 of 100 periods in 10s" in found.evidence
    assert found.fix == (
        "systemctl set-property web.service CPUQuota=400%\n"
        "or GOMAXPROCS=2: before Go 1.25 the runtime does not see the quota"
    )
    assert found.since == running.time(0)


def test_what_throttling_cost(running):
    running.add(ProcessSample, processes=1, cpu=2.0, run_delay_rate=1.5)
    running.add(CpuProfile, samples=90, seconds=5.0, running=2.0, waiting=3.5, throttled_seconds=3.0)
    told = throttled(running, 0.31).finding("cpu-throttled").evidence
    assert "a period that was throttled cost 16ms, added up over its threads" in told
    assert "the target uses 2.00 CPUs, and its threads wait 1.50 CPUs' worth of time for one" in told
    assert any("threads ran 2s, waited 3.5s for a CPU, were stopped by the quota for 3s" in one for one in told)


def test_rare_bursts_that_cost_no_time_are_fine(running):
    throttled(running, 0.4, stopped=0.002)
    assert "for 20ms only" in running.fine("cpu-throttled").text


def test_one_look_does_not_tell(running):
    throttled(running, 0.9, seconds=0)
    assert running.ids() == []


def test_no_quota_is_fine(running):
    running.add(CgroupSample, periods=0, throttled_periods=0)
    assert running.fine("cpu-throttled").text == "no CPU quota"


# -- deleted files


def held(story, size, name="/var/log/web/access.log", **more):
    row = OpenFile(pid=4242, fd=7, type="file", name=name, inode=9, deleted=True, size=size, **more)
    return story.add(FileTable, rows=(row, row))


@pytest.mark.parametrize(
    ("size", "name", "mode", "found"),
    [
        (99_000_000, "/var/log/web/access.log", "rw", False),
        (100_000_000, "/var/log/web/access.log (deleted)", "rw", True),
        (500_000_000, "/tmp/sort-1234", "rw", False),
        (500_000_000, "/var/lib/nginx/body/0000000001", "rw", False),
        (500_000_000, "/tmp/web.log", "rw", True),
        (500_000_000, "/tmp/out", "wa", True),
        (1_100_000_000, "/tmp/sort-1234", "rw", True),
    ],
)
def test_the_size_that_is_held(running, size, name, mode, found):
    assert held(running, size, name, mode=mode).ids() == (["deleted-file-held"] if found else [])


def test_a_file_with_two_descriptors_is_held_once(running):
    found = held(running, 200_000_000).finding("deleted-file-held")
    assert found.title == "191M in a deleted file held open"
    assert "truncate -s 0 /proc/4242/fd/7" in found.fix


def test_a_full_disk_makes_it_critical(running):
    disk = Limit(name="space", scope="filesystem", unit="bytes", soft=1e9, used=0.99e9, subject="/var")
    running.add(
        LimitTable, rows=(disk, Limit(name="space", scope="filesystem", unit="bytes", soft=1e9, used=1.0, subject="/"))
    )
    found = held(running, 200_000_000).finding("deleted-file-held")
    assert found.severity == "critical"
    assert found.title.endswith("; /var is 99 % full")


def test_memfds_and_files_that_are_there_do_not_count(running):
    rows = (
        OpenFile(pid=1, fd=1, type="memfd", name="/memfd:x (deleted)", deleted=True, size=1 << 30),
        OpenFile(pid=1, fd=2, type="file", name="/var/lib/big", size=1 << 30),
    )
    assert running.add(FileTable, rows=rows).fine("deleted-file-held").text == "no deleted files held"


# -- tracers


def test_a_tracer_is_named(running):
    running.add(ProcessSample, threads=9, states={"S": 9})
    assert running.fine("already-traced").text == "no tracer"
    running.add(ProcessSample, 5, threads=9, states={"S": 8, "t": 1}, tracer_pid=77, tracer_name="strace")
    found = running.finding("already-traced")
    assert found.title == "traced by strace (pid 77): every traced call stops a thread"
    assert "1 of its 9 threads are stopped by the tracer right now" in found.evidence
    assert found.since == running.time(5)
    assert found.fix.endswith("kill 77")


def test_nothing_is_said_of_what_does_not_run(story):
    story.down(go=GoBrief("go1.24.3"))
    story.add(ProcessSample, processes=1, threads=4000, states={"S": 4000}, tracer_pid=7)
    assert story.ids() == []
