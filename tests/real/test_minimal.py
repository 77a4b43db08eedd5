"""What real programs take for granted: a chroot without devices, a wrong zone, an old kernel by personality."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from gotriage.collectors.minimal.collector import MinimalCollector
from gotriage.goruntime import surroundings
from gotriage.goruntime.elf import Elf
from gotriage.host import timekeeping

from tests.lab.process import Start, started, wait_until
from tests.real.checks import first
from tests.real.targets import findings, target_of

pytestmark = pytest.mark.real


def look(pid):
    target = target_of(pid)
    (record,) = MinimalCollector(target.host, target).collect()
    return record


def rows(record):
    return {row.name: row for row in record.rows}


@contextmanager
def in_root(root, build, *, fill, env=None):
    """The healthy service with `root` as its root directory; `fill` makes what is in it."""
    fill(root)
    shutil.copy(build("healthy"), root / "healthy")
    root.chmod(0o755)
    words = ("/usr/sbin/chroot", str(root))
    with started(Start(Path("/healthy"), ("-rate=0",), wrapper=words, ready=False, env=env)) as running:
        wait_until(lambda: os.readlink(f"/proc/{running.pid}/exe") == str(root / "healthy"), alive=running.alive)
        yield running


def empty_null(root):
    """Someone has moved a file over /dev/null."""
    (root / "dev").mkdir()
    (root / "dev/null").write_text("")


def good_devices(root):
    (root / "dev").mkdir()
    for name, number in (("null", 3), ("zero", 5), ("random", 8), ("urandom", 9)):
        os.mknod(root / "dev" / name, 0o020666, os.makedev(1, number))
        (root / "dev" / name).chmod(0o666)


def test_a_healthy_service_has_no_fault(service):
    record = look(service("healthy", "-rate=0").pid)
    assert [row for row in record.rows if row.state in ("fault", "unknown")] == []
    assert record.go_version.startswith("go1.")
    assert record.kernel_least == "3.2"
    assert rows(record)["/dev/null"].value == "device"
    assert rows(record)["stdin"].value == "nowhere (/dev/null)"


def test_a_file_stands_in_place_of_dev_null(tmp_path, build):
    with in_root(tmp_path, build, fill=empty_null) as running:
        record = look(running.pid)
        found = first("--pid", running.pid)
    assert rows(record)["/dev/null"].value == "a regular file stands in its place"
    assert rows(record)["/proc"].state == "note"
    assert rows(record)["local time"].value == "UTC (no TZ, no /etc/localtime)"
    assert (found["id"], found["severity"], found["subject"]) == ("entropy-or-device-missing", "warning", "/dev/null")


@pytest.mark.parametrize(
    ("made", "value"),
    [
        (lambda path: path.mkdir(), "a directory stands in its place"),
        (lambda path: os.mkfifo(path), "a FIFO stands in its place"),
        (lambda path: path.symlink_to("/dev/null"), "Too many levels of symbolic links"),
        (lambda path: path.symlink_to("../../../../dev/zero"), "device 1:5, another one"),
        (lambda path: os.mknod(path, 0o020600, os.makedev(1, 3)), "device"),
        (lambda path: None, "missing"),
    ],
    ids=["directory", "fifo", "loop", "wrong", "right", "none"],
)
def test_what_may_stand_at_dev_null(tmp_path, build, made, value):
    def fill(root):
        good_devices(root)
        (root / "dev/null").unlink()
        made(root / "dev/null")

    with in_root(tmp_path, build, fill=fill) as running:
        row = rows(look(running.pid))["/dev/null"]
    assert (row.value, row.state) == (value, "ok" if value == "device" else "fault")


def test_a_zone_that_go_does_not_find(tmp_path, build):
    with in_root(tmp_path, build, fill=good_devices, env={"TZ": "Europe/Berlin", "PATH": "/usr/bin"}) as running:
        record = look(running.pid)
        found = findings(running.pid, record)["zoneinfo-missing"]
        assert record.zone == "UTC"
        (tmp_path / "usr/share/zoneinfo/Europe").mkdir(parents=True)
        (tmp_path / "usr/share/zoneinfo/Europe/Berlin").symlink_to("/etc/zone")
        assert look(running.pid).zone == "UTC"  # the link leads out of its root, to nothing inside
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/zone").write_bytes(b"TZif2 and so on")
        assert look(running.pid).zone == "Europe/Berlin"
    assert found.severity == "warning"
    assert any("TZ=Europe/Berlin is not found" in sentence for sentence in found.evidence)


def test_a_localtime_that_leads_nowhere(tmp_path, build):
    def fill(root):
        good_devices(root)
        (root / "etc").mkdir()
        (root / "etc/localtime").symlink_to("/usr/share/zoneinfo/Europe/Berlin")

    with in_root(tmp_path, build, fill=fill) as running:
        row = rows(look(running.pid))["local time"]
    assert (row.state, row.value) == ("note", "UTC: /etc/localtime leads to no time zone")


@pytest.mark.parametrize("given", ["CET-1CEST,M3.5.0,M10.5.0/3", "/nowhere", "../../etc/passwd", "Mars/\x1b[31mBase"])
def test_zones_that_are_none(service, given):
    env = {**os.environ, "TZ": given}
    row = rows(look(service("healthy", "-rate=0", env=env).pid))["local time"]
    assert row.state == "fault"
    assert row.value.isprintable()
    assert ("POSIX" in row.detail) == given.startswith("CET")


@pytest.mark.parametrize(("given", "zone"), [("", "UTC"), ("UTC", "UTC"), (":UTC", "UTC"), ("/etc/localtime", None)])
def test_zones_that_need_no_database(service, given, zone):
    record = look(service("healthy", "-rate=0", env={**os.environ, "TZ": given}).pid)
    assert (record.zone, rows(record)["local time"].state) == (zone or given, "ok")


def test_the_time_zones_inside_a_program(service, build):
    record = look(service("healthy", "-rate=0", flags=["-tags=timetzdata"], env={**os.environ, "TZ": "Asia/Tokyo"}).pid)
    assert record.zones_embedded is True
    assert record.zone == "Asia/Tokyo"
    with Elf(build("healthy")) as elf:
        zones = surroundings.zones(elf)
    assert zones is not None
    assert zones.embedded is False
    assert zones.goroot == ""  # built with -trimpath


def test_a_kernel_that_is_too_old_by_personality(service):
    pid = service("healthy", "-rate=0", wrapper=("setarch", "--uname-2.6")).pid
    found = findings(pid, look(pid))
    assert set(found) == {"kernel-too-old"}
    assert found["kernel-too-old"].severity == "warning"
    assert "UNAME26" in found["kernel-too-old"].evidence[1]


def test_what_the_c_library_asks_of_the_kernel(tmp_path):
    code, binary = tmp_path / "code.c", tmp_path / "waits"
    code.write_text(
        "#include <unistd.h>\n"
        '__attribute__((section(".note.abi-new"), aligned(4)))\n'
        "const unsigned note[] = {4, 16, 1, 0x554e47, 0, 99, 1, 0};\n"
        "int main(void) { for (;;) pause(); }\n"
    )
    subprocess.run(["cc", "-nostartfiles", "-Wl,-e,main", "-o", binary, code], check=True)
    with started(Start(binary, (), ready=False)) as running:
        wait_until(lambda: os.readlink(f"/proc/{running.pid}/exe") == str(binary))
        record = look(running.pid)
    assert record.kernel_least == "99.1.0"
    assert rows(record)["kernel"].state == "fault"
    assert "C library" in rows(record)["kernel"].detail


def test_the_kernel_answers_about_clock_and_random_numbers():
    assert timekeeping.random_ready() is True
    state = timekeeping.clock_state()
    assert state is not None
    assert state.most_error >= 0


def test_traps_in_the_root_are_stepped_over(tmp_path, build):
    """FIFOs, folders, links to the host, a hosts file of 10 GB: each is a value, nothing hangs or is read for long."""

    def fill(root):
        good_devices(root)
        for name in ("etc", "usr/share/zoneinfo/Europe", "proc", "lib64"):
            (root / name).mkdir(parents=True)
        (root / "etc/hosts").touch()
        os.truncate(root / "etc/hosts", 10 << 30)
        (root / "usr/share/zoneinfo/Europe/Berlin").mkdir()
        (root / "proc/meminfo").symlink_to("meminfo")
        (root / "tmp").symlink_to("/proc/1/root/tmp")
        (root / "dev/shm").symlink_to("shm")

    env = {"TZ": ":Europe/Berlin", "PATH": "/usr/bin", "HOME": "/dev/zero"}
    with in_root(tmp_path, build, fill=fill, env=env) as running:
        target = target_of(running.pid)
        collector = MinimalCollector(target.host, target)
        (record,) = collector.collect()
        (tmp_path / "usr/share/zoneinfo/Europe/Berlin").rmdir()
        os.mkfifo(tmp_path / "usr/share/zoneinfo/Europe/Berlin")
        held = len(os.listdir("/proc/self/fd"))
        (again,) = collector.collect()
        assert len(os.listdir("/proc/self/fd")) == held
    assert again.rows == record.rows
    found = rows(record)
    assert found["local time"].state == "fault"
    assert found["host name"].state == "note"
    assert found["/proc"].state == "note"
    assert found["/dev/shm"].state == "note"
    assert found["HOME"].value == "/dev/zero: a file of another type"
    assert found["TMPDIR (/tmp)"].value == "/tmp: missing"
