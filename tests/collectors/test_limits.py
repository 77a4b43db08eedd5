"""Limits of real processes against use, growth and the line that raises them."""

from __future__ import annotations

import os
import resource
import shlex
import subprocess
import sys

import pytest
from gotriage.collectors import limits
from gotriage.collectors.limits import LimitCollector, by_sysctl, full_in, fullness, growth_of, roomier
from gotriage.host import Host, clock
from gotriage.records.limits import Limit, LimitTable
from gotriage.records.target import TargetSpec
from gotriage.session.stream import Decoder, encode
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
    assert table(pid, unit="session-3.scope")["RLIMIT_NOFILE", "rlimit"].fix.startswith("prlimit --pid ")
    docker = table(pid, container=ContainerRef("docker", "a" * 64))["RLIMIT_NOFILE", "rlimit"]
    assert docker.fix == "docker: --ulimit nofile=65536:65536"


def raised(name, soft, hard, used=None, nr_open="1048576", **more):
    """The line for a limit of a process, with its soft and hard value."""
    host = Host()
    target = Target(spec=TargetSpec("pid", "7"), host=host, pids=(7,), **more)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits.resources, "sysctl", lambda *_: int(nr_open))
        return LimitCollector(host, target)._raise_rlimit(limits.RLIMITS[name], used, (soft, hard), 7)


@pytest.mark.parametrize(
    ("soft", "hard", "bare", "unit", "docker"),
    [
        (8 << 20, None, "16777216:", "16777216:infinity", "16777216:-1"),
        (8 << 20, 1 << 40, "16777216:", "16777216:1099511627776", "16777216:1099511627776"),
        (8 << 20, 8 << 20, "16777216:16777216", "16777216", "16777216:16777216"),
    ],
)
def test_no_line_lowers_a_hard_limit(soft, hard, bare, unit, docker):
    name = "Max stack size"
    assert raised(name, soft, hard) == f"prlimit --pid 7 --stack={bare}"
    assert raised(name, soft, hard, unit="x.service") == f"systemctl edit x.service: [Service] LimitSTACK={unit}"
    engine = ContainerRef("docker", "a" * 64)
    assert raised(name, soft, hard, container=engine) == f"docker: --ulimit stack={docker}"


def test_descriptors_are_not_raised_above_what_the_kernel_takes():
    name = "Max open files"
    assert raised(name, 1024, 524288) == "prlimit --pid 7 --nofile=65536:"
    assert raised(name, 900_000, 1_048_576, 800_000) == "prlimit --pid 7 --nofile=1048576:"
    assert (
        raised(name, 1_048_576, 1_048_576, 1_000_000)
        == "sysctl -w fs.nr_open=4194304; prlimit --pid 7 --nofile=4194304:4194304"
    )
    assert raised(name, 1 << 30, 1 << 30, 1 << 29, nr_open=1 << 30).startswith("nothing: ")


def test_no_sysctl_above_what_the_kernel_takes():
    assert by_sysctl("kernel.pid_max", 3_000_000, 3_500_000) == "sysctl -w kernel.pid_max=4194304"
    assert by_sysctl("kernel.pid_max", 3_000_000, 4_194_304) == "nothing: the kernel takes no higher value"
    assert by_sysctl("kernel.pid_max", 1000, 32768) == "sysctl -w kernel.pid_max=65536"
    assert by_sysctl("vm.max_map_count", 10, 0x7FFF_FFFF) == "nothing: the kernel takes no higher value"


@pytest.mark.real
def test_the_line_does_what_it_says_and_lowers_nothing(holder, monkeypatch):
    monkeypatch.setattr(limits, "roomier", lambda *_: 700)
    pid = holder(1, 256)
    fix = table(pid)["RLIMIT_NOFILE", "rlimit"].fix
    assert fix == f"prlimit --pid {pid} --nofile=700:"
    subprocess.run(shlex.split(fix), check=True)
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (700, 1000)


def test_what_a_unit_is_configured_to_has_a_line_too(monkeypatch):
    settings = {
        "LimitNOFILE": 524288,
        "LimitNOFILESoft": 1024,
        "TasksMax": 100,
        "MemoryMax": 1 << 30,
        "MemoryHigh": None,
    }
    monkeypatch.setattr(limits, "configured", lambda *_: settings)
    rows = {row.name: row for row in table(os.getpid(), unit="x.service").values() if row.scope == "systemd"}
    assert {name: row.fix for name, row in rows.items()} == {
        "LimitNOFILE": "systemctl edit x.service: [Service] LimitNOFILE=65536:524288",
        "TasksMax": "systemctl set-property x.service TasksMax=200",
        "MemoryMax": f"systemctl set-property x.service MemoryMax={2 << 30}",
    }


@pytest.mark.real
def test_counts_and_bytes_are_integers(holder):
    rows = table(holder(3, 256))
    for row in rows.values():
        if row.unit in ("count", "bytes"):
            assert not any(isinstance(value, float) for value in (row.soft, row.hard, row.used)), row
    assert b'"soft":256,' in encode(LimitTable(at=clock.now(), rows=(rows["RLIMIT_NOFILE", "rlimit"],)))


def test_a_recording_from_when_they_had_fractions_opens_with_integers():
    line = (
        b'{"kind":"limits","at":"2026-01-01T00:00:00Z","rows":[{"name":"x","scope":"rlimit","unit":"bytes",'
        b'"soft":8388608.0,"hard":9223372036854775807.0,"used":0.0},'
        b'{"name":"RLIMIT_CPU","scope":"rlimit","unit":"seconds","soft":10.0,"used":1.5}]}\n'
    )
    one, other = Decoder().decode(line).rows
    assert [repr(value) for value in (one.soft, one.hard, one.used)] == ["8388608", "9223372036854775808", "0"]
    assert other.used == 1.5


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
    space = rows["space", "filesystem"].fix
    assert space.startswith(f"df -h {shlex.quote(hostile)}; du -x --max-depth=2 ")
    assert "$(reboot)" not in space.replace(shlex.quote(hostile), "")
    assert shlex.split(rows["inodes", "filesystem"].fix) == ["df", "-i", hostile]


@pytest.mark.real
def test_the_folders_of_the_file_system_that_is_full_are_measured(tmp_path):
    script = f"mount -t tmpfs none {tmp_path} && mkdir {tmp_path}/log && cd {tmp_path}/log && echo up && exec sleep 60"
    child = subprocess.Popen(["unshare", "-m", "/bin/sh", "-c", script], stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"up\n"
        host = Host()
        target = Target(spec=TargetSpec("pid", "1"), host=host, main=Process(host, child.pid), pids=(child.pid,))
        (record,) = (record for record in LimitCollector(host, target).collect() if isinstance(record, LimitTable))
        row = next(row for row in record.rows if row.name == "space" and row.subject == f"{tmp_path}/log")
        root = f"/proc/{child.pid}/root"
        assert row.fix == f"df -h {root}{tmp_path}/log; du -x --max-depth=2 {root}{tmp_path} | sort -n | tail"
        done = subprocess.run(["/bin/sh", "-c", row.fix], capture_output=True, text=True, check=True)
        assert f"{root}{tmp_path}/log" in done.stdout
    finally:
        child.kill()
        child.communicate()
