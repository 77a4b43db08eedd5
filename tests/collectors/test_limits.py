"""Limits of real processes against use, growth and the line that raises them."""

from __future__ import annotations

import os
import resource
import shlex
import subprocess
import sys

import pytest
from gotriage.collectors import limits
from gotriage.collectors.limits import LimitCollector, full_in, fullness, growth_of, roomier
from gotriage.host import Host
from gotriage.records.limits import Limit, LimitTable
from gotriage.records.target import TargetSpec
from gotriage.target.model import ContainerRef, Process, Target

OPEN = "import os, sys; held = [os.open('/dev/null', 0) for _ in range({count})]"
HOLD = OPEN + "; print('up', flush=True); sys.stdin.read()"


def line(start, slope, count, step=1.0):
    return [(n * step, start + slope * n * step) for n in range(count)]


def test_growth_is_the_slope_of_the_last_minute():
    assert growth_of(line(100, 2.5, 20)) == pytest.approx(2.5)
    assert growth_of(line(100, 0, 20)) == pytest.approx(0)
    assert growth_of(line(100, -1, 20)) == pytest.approx(-1)


@pytest.mark.parametrize(
    "samples", [[], line(1, 1, 1), line(1, 1, 4, step=10), line(1, 1, 20, step=0.1), [(5.0, 1.0)] * 30]
)
def test_growth_is_not_told_from_too_little(samples):
    assert growth_of(samples) is None


def test_what_goes_up_and_down_has_no_end():
    """Tasks of a whole machine: the line through a minute of them rises by chance."""
    jitter = [3, 9, 1, 8, 2, 7, 4, 9, 3, 8, 5, 9, 2, 8, 6, 9, 4, 9, 5, 9, 7, 8, 6, 9, 8, 9, 5, 9, 7, 9]
    samples = [(n * 2.0, 700.0 + value) for n, value in enumerate(jitter)]
    growth = growth_of(samples)
    assert growth is not None
    assert growth > 0
    assert full_in(samples, growth, 4_194_304) is None


def test_a_growth_that_lasts_has_an_end_unless_it_is_far_away():
    samples = line(100, 0.5, 31, step=2.0)
    assert full_in(samples, 0.5, 190) == pytest.approx((190 - 130) / 0.5)
    assert full_in(samples, 0.5, 1_000_000) is None
    assert full_in(samples, 0.5, None) is None
    assert full_in(line(100, -1, 31, step=2.0), -1.0, 190) is None


def test_the_nearest_to_exhaustion_comes_first():
    rows = [
        Limit(name="none", scope="rlimit", unlimited=True, used=5),
        Limit(name="half", scope="rlimit", soft=10, used=5),
        Limit(name="full", scope="rlimit", soft=10, used=10),
        Limit(name="soon", scope="rlimit", soft=10, used=5, full_in=3),
        Limit(name="unknown", scope="rlimit", soft=10),
        Limit(name="zero", scope="rlimit", soft=0, used=0),
    ]
    assert [row.name for row in sorted(rows, key=fullness)][:3] == ["full", "soon", "half"]


def test_a_suggested_limit_leaves_room():
    assert roomier(10, 256) == 65536
    assert roomier(100_000, 131072) == 524288
    assert roomier(None, None) == 65536


@pytest.fixture
def holder():
    started = []

    def start(count, soft):
        child = subprocess.Popen(
            [sys.executable, "-c", HOLD.format(count=count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, 1000)),
        )
        started.append(child)
        assert child.stdout.readline() == b"up\n"
        return child.pid

    yield start
    for child in started:
        child.kill()
        child.wait()


def table(pid, **more):
    host = Host()
    target = Target(spec=TargetSpec("pid", str(pid)), host=host, main=Process(host, pid), pids=(pid,), **more)
    (record,) = (record for record in LimitCollector(host, target).collect() if isinstance(record, LimitTable))
    return {(row.name, row.scope): row for row in record.rows}


@pytest.mark.real
def test_open_files_of_a_real_process(holder):
    pid = holder(200, 256)
    row = table(pid)["RLIMIT_NOFILE", "rlimit"]
    assert (row.soft, row.hard, row.used) == (256, 1000, 203)
    assert row.fix == f"prlimit --pid {pid} --nofile=65536:65536"


@pytest.mark.real
def test_the_line_that_raises_it_fits_the_target(holder):
    pid = holder(1, 256)
    assert (
        table(pid, unit="api.service")["RLIMIT_NOFILE", "rlimit"].fix
        == "systemctl edit api.service: [Service] LimitNOFILE=65536"
    )
    docker = table(pid, container=ContainerRef("docker", "a" * 64))["RLIMIT_NOFILE", "rlimit"]
    assert docker.fix == "docker: --ulimit nofile=65536:65536"


@pytest.mark.real
def test_every_rlimit_of_the_kernel_has_a_name_and_a_unit(holder):
    rows = table(holder(1, 256))
    assert len([key for key in rows if key[1] == "rlimit"]) == 16
    for row in rows.values():
        assert (row.used is not None) != (row.unknown is not None) or row.scope != "rlimit"
    assert rows["RLIMIT_AS", "rlimit"].unit == "bytes"
    assert rows["RLIMIT_RTTIME", "rlimit"].unit == "microseconds"
    assert {"kernel.pid_max", "vm.max_map_count", "space"} <= {key[0] for key in rows}


def test_growth_gives_the_time_to_exhaustion(monkeypatch):
    moments = iter(range(1000))
    monkeypatch.setattr(limits.clock, "monotonic", lambda: float(next(moments)))
    host = Host()
    collector = LimitCollector(host, Target(spec=TargetSpec(), host=host))
    for used in range(100, 130, 2):
        row = collector._grown(Limit(name="x", scope="rlimit", soft=200, used=used), limits.clock.monotonic())
    assert row.growth == pytest.approx(2)
    assert row.full_in == pytest.approx((200 - 128) / 2)


def test_a_folder_with_a_hostile_name_is_one_word_of_the_command(monkeypatch):
    hostile = "/srv/$(reboot);`id` x"
    row = limits.resources.FileSystem(hostile, used_bytes=5, room_bytes=5, inodes=(1, 2), read_only=False)
    monkeypatch.setattr(limits.resources, "file_systems", lambda *_: [row])
    rows = {(row.name, row.scope): row for row in table(os.getpid()).values()}
    assert rows["space", "filesystem"].fix.startswith(f"df -h {shlex.quote(hostile)}; ")
    assert shlex.split(rows["inodes", "filesystem"].fix) == ["df", "-i", hostile]
