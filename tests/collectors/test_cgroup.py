"""Cgroup samples from trees of the test's own: v1, v2, hybrid, and limits set by ancestors."""

from __future__ import annotations

import pytest
from gotriage.collectors.cgroup import CgroupCollector
from gotriage.records.stream import Gap

from tests.collectors.fakes import fake_host, stat_line, target_of, write

PSI = "some avg10=2.50 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=500000\n"


def v2(tmp_path):
    """A service below a slice that sets the limits."""
    host = fake_host(tmp_path)
    cg = tmp_path / "cg"
    write(
        tmp_path / "proc",
        {
            "self/mountinfo": f"41 31 0:38 / {cg} rw - cgroup2 cgroup2 rw\n",
            "7/stat": stat_line(7),
            "7/cgroup": "0::/app.slice/x.service\n",
        },
    )
    write(
        cg,
        {
            "cgroup.procs": "",
            "app.slice/cgroup.procs": "",
            "app.slice/cgroup.events": "populated 1\n",
            "app.slice/memory.max": "1000000\n",
            "app.slice/memory.current": "900000\n",
            "app.slice/memory.stat": "anon 1\ninactive_file 100000\n",
            "app.slice/memory.events": "low 0\nhigh 0\nmax 42\noom 3\noom_kill 2\n",
            "app.slice/cpu.max": "50000 100000\n",
            "app.slice/cpu.stat": "usage_usec 9\nnr_periods 100\nnr_throttled 10\nthrottled_usec 2000000\n",
            "app.slice/pids.max": "100\n",
            "app.slice/pids.current": "77\n",
            "app.slice/x.service/cgroup.procs": "7\n",
            "app.slice/x.service/cgroup.events": "populated 1\n",
            "app.slice/x.service/memory.max": "max\n",
            "app.slice/x.service/memory.high": "800000\n",
            "app.slice/x.service/memory.current": "500000\n",
            "app.slice/x.service/memory.swap.current": "4096\n",
            "app.slice/x.service/memory.stat": "inactive_file 200000\n",
            "app.slice/x.service/memory.events": "max 0\noom 1\noom_kill 1\n",
            "app.slice/x.service/cpu.max": "max 100000\n",
            "app.slice/x.service/cpu.stat": "usage_usec 2500000\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
            "app.slice/x.service/pids.current": "12\n",
            "app.slice/x.service/pids.max": "max\n",
            "app.slice/x.service/cpu.pressure": PSI,
        },
    )
    return host, cg


def test_limits_of_the_ancestor_and_what_counts_against_them(tmp_path):
    host, cg = v2(tmp_path)
    collector = CgroupCollector(host, target_of(host, 7, cgroup="/app.slice/x.service"))
    (first,) = collector.collect()
    assert (first.version, first.path) == (2, "/app.slice/x.service")
    assert (first.memory_limit_bytes, first.memory_limit_path) == (1000000, "/app.slice")
    assert (first.memory_bytes, first.memory_working_set_bytes, first.memory_limit_used_bytes) == (
        500000,
        300000,
        800000,
    )
    assert (first.memory_high_bytes, first.swap_bytes, first.limit_hits) == (800000, 4096, 42)
    assert (first.oom_events, first.oom_kills) == (1, 1)
    assert (first.cpu_quota, first.cpu_quota_path, first.cpu_usage_seconds) == (0.5, "/app.slice", 2.5)
    assert (first.periods, first.throttled_periods, first.throttled_seconds) == (100, 10, 2.0)
    assert (first.pids, first.pids_limit, first.pids_limit_path, first.pids_limit_used) == (12, 100, "/app.slice", 77)
    assert first.cpu_pressure.some_avg10 == 2.5
    assert first.memory_pressure is None
    assert first.throttled_share is None
    write(cg, {"app.slice/cpu.stat": "nr_periods 120\nnr_throttled 15\nthrottled_usec 2500000\n"})
    (second,) = collector.collect()
    assert second.throttled_share == pytest.approx(0.25)


def test_v1_with_joined_controllers(tmp_path):
    host = fake_host(tmp_path)
    mount = "3 2 0:3 / {} rw - cgroup cgroup rw,{}\n"
    text = mount.format(tmp_path / "cpu", "cpu,cpuacct") + mount.format(tmp_path / "mem", "memory")
    text += mount.format(tmp_path / "pids", "pids")
    write(
        tmp_path / "proc",
        {"self/mountinfo": text, "7/stat": stat_line(7), "7/cgroup": "3:cpu,cpuacct:/a\n2:memory:/a\n"},
    )
    unlimited = "9223372036854771712\n"
    write(
        tmp_path,
        {
            "cpu/a/cgroup.procs": "",
            "cpu/a/cpu.cfs_quota_us": "150000\n",
            "cpu/a/cpu.cfs_period_us": "100000\n",
            "cpu/a/cpu.stat": "nr_periods 4\nnr_throttled 1\nthrottled_time 500000000\n",
            "cpu/a/cpuacct.usage": "3000000000\n",
            "cpu/cpu.cfs_quota_us": "-1\n",
            "cpu/release_agent": "",
            "mem/a/cgroup.procs": "",
            "mem/a/memory.limit_in_bytes": "4096000\n",
            "mem/a/memory.usage_in_bytes": "4000000\n",
            "mem/a/memory.failcnt": "9\n",
            "mem/a/memory.stat": "inactive_file 5\ntotal_inactive_file 1000000\ntotal_swap 0\n",
            "mem/a/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
            "mem/memory.limit_in_bytes": unlimited,
            "pids/cgroup.procs": "",
            "pids/release_agent": "",
        },
    )
    target = target_of(host, 7, cgroup="/a", cgroup_v1={"cpu": "/a", "cpuacct": "/a", "memory": "/a", "pids": "/"})
    (sample,) = CgroupCollector(host, target).collect()
    assert (sample.version, sample.path, sample.cpu_quota) == (1, "/a", 1.5)
    assert (sample.throttled_seconds, sample.cpu_usage_seconds) == (0.5, 3.0)
    assert (sample.memory_limit_bytes, sample.memory_working_set_bytes, sample.oom_kills) == (4096000, 3000000, 3)
    assert (sample.swap_bytes, sample.limit_hits) == (0, 9)
    assert sample.oom_events is None
    assert "v1" in sample.unknown["oom_events"].reason
    assert sample.pids is None
    assert "root cgroup" in sample.unknown["pids"].reason


def test_unlimited_is_not_unknown(tmp_path):
    host, cg = v2(tmp_path)
    for name in ("memory.max", "cpu.max", "pids.max"):
        (cg / "app.slice" / name).unlink()
    (sample,) = CgroupCollector(host, target_of(host, 7, cgroup="/app.slice/x.service")).collect()
    assert (sample.memory_limit_bytes, sample.cpu_quota, sample.pids_limit) == (None, None, None)
    assert not {"memory_limit_bytes", "cpu_quota", "pids_limit"} & set(sample.unknown)


def test_a_controller_that_is_not_enabled_is_unknown(tmp_path):
    host, cg = v2(tmp_path)
    for name in ("memory.current", "pids.current"):
        (cg / "app.slice/x.service" / name).unlink()
    (sample,) = CgroupCollector(host, target_of(host, 7, cgroup="/app.slice/x.service")).collect()
    assert sample.memory_bytes is None
    assert "not enabled" in sample.unknown["memory_bytes"].reason
    assert sample.memory_limit_used_bytes == 800000


def test_no_mount_is_a_gap_with_a_remedy(tmp_path):
    host = fake_host(tmp_path)
    write(tmp_path / "proc", {"self/mountinfo": "", "7/stat": stat_line(7), "7/cgroup": "0::/x\x1b[31m\n"})
    (gap,) = CgroupCollector(host, target_of(host, 7, cgroup="/x\x1b[31m")).collect()
    assert isinstance(gap, Gap)
    assert gap.remedy
    assert "\x1b" not in gap.reason


def test_an_idle_target(tmp_path):
    host, _ = v2(tmp_path)
    assert list(CgroupCollector(host, target_of(host)).collect()) == []
    (sample,) = CgroupCollector(host, target_of(host, cgroup="/app.slice")).collect()
    assert sample.pids == 77
    assert list(CgroupCollector(host, target_of(host, cgroup="/gone")).collect()) == []


def test_v1_says_why_it_has_no_pressure_and_no_quota(tmp_path):
    host = fake_host(tmp_path)
    mount = "3 2 0:3 / {} rw - cgroup cgroup rw,{}\n"
    text = mount.format(tmp_path / "cpu", "cpu") + mount.format(tmp_path / "mem", "memory")
    write(tmp_path / "proc", {"self/mountinfo": text, "7/stat": stat_line(7), "7/cgroup": "3:cpu:/\n2:memory:/a\n"})
    write(
        tmp_path,
        {"cpu/cgroup.procs": "", "cpu/release_agent": "", "mem/a/cgroup.procs": "", "mem/a/memory.usage_in_bytes": "9"},
    )
    target = target_of(host, 7, cgroup=None, cgroup_v1={"cpu": "/", "memory": "/a"})
    (sample,) = CgroupCollector(host, target).collect()
    for name in ("cpu_pressure", "memory_pressure", "io_pressure"):
        assert getattr(sample, name) is None
        assert "v1" in sample.unknown[name].reason
        assert sample.unknown[name].remedy
    for name in ("periods", "throttled_periods", "throttled_seconds"):
        assert getattr(sample, name) is None
        assert "root cgroup" in sample.unknown[name].reason


def test_no_quota_and_the_first_look_are_told_apart(tmp_path):
    host, cg = v2(tmp_path)
    collector = CgroupCollector(host, target_of(host, 7, cgroup="/app.slice/x.service"))
    (first,) = collector.collect()
    assert first.unknown["throttled_share"].reason == "counted from one look to the next"
    (cg / "app.slice/cpu.max").write_text("max 100000\n")
    (second,) = collector.collect()
    assert second.unknown["throttled_share"].reason == "no CPU quota applies"
    assert second.unknown["memory_pressure"].reason == "the kernel keeps no pressure (PSI) of this cgroup"


def test_others_in_the_cgroup_are_counted(tmp_path):
    host, cg = v2(tmp_path)
    target = target_of(host, 7, cgroup="/app.slice/x.service")
    (alone,) = CgroupCollector(host, target).collect()
    assert alone.memory_others == 0
    many = "".join(f"{pid}\n" for pid in range(2, 3002))  # more than the kernel gives in one read
    (cg / "app.slice/x.service/cgroup.procs").write_text(many + "0\n")
    (shared,) = CgroupCollector(host, target).collect()
    assert shared.memory_others == 3000
