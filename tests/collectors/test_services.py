"""The picker's list: a /proc of the test's own with a real Go binary, and real processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gotriage.collectors.services import ServiceCollector
from gotriage.goruntime import buildinfo
from gotriage.host import Host, users
from gotriage.records.target import TargetSpec
from gotriage.target.model import Target

from tests.collectors.fakes import fake_host, stat_line, write
from tests.lab.toolchain import build

LIMITS = (
    "Limit  Soft Limit  Hard Limit  Units\nMax open files            100                  200                  files\n"
)


@pytest.fixture(scope="module")
def binary():
    return build("svc")


@pytest.fixture
def go_process(tmp_path, binary):
    """`go_process(7, fds=3, ...)`: a fake process that runs the real binary."""
    host = fake_host(tmp_path)
    write(host.view if host.view != Path("/") else tmp_path, {})

    def add(pid, *, fds=3, group="/system.slice/web.service", tracer=0, exe=None, **more):
        folder = tmp_path / "proc" / str(pid)
        write(
            folder,
            {
                "stat": stat_line(pid, **({"comm": "svc", "rss_pages": 100, "start_ticks": 50} | more)),
                "status": f"Name:\tsvc\nUid:\t0\t0\t0\t0\nTracerPid:\t{tracer}\nNSpid:\t{pid}\n",
                "cgroup": f"0::{group}\n",
                "limits": LIMITS,
            },
        )
        (folder / "fd").mkdir()
        for number in range(fds):
            (folder / "fd" / str(number)).write_text("")
        (folder / "exe").symlink_to(exe or binary)
        return host

    return add


def rows_of(host, collector=None):
    collector = collector or ServiceCollector(host, Target(TargetSpec(), host))
    (record,) = collector.collect()
    return record.rows, record.skipped


def test_a_service_with_everything_the_picker_shows(go_process):
    ((row,), skipped) = rows_of(go_process(7))
    assert (row.pid, row.name, row.unit, row.user) == (7, "web", "web.service", "root")
    assert row.go_version.startswith("go1.")
    assert row.module
    assert (row.fds, row.fd_limit, row.mark, row.cpu) == (3, 100, "", None)
    assert row.memory_bytes == 100 * os.sysconf("SC_PAGE_SIZE")
    assert row.age > 0
    assert skipped == 0


def test_marks(go_process, tmp_path, binary):
    deleted = tmp_path / "svc (deleted)"  # what the kernel's link says of a replaced binary
    deleted.symlink_to(binary)
    go_process(1, fds=90)
    go_process(2, tracer=4)
    go_process(3, exe=deleted)
    host = go_process(4, fds=89)
    rows, _ = rows_of(host)
    assert {row.pid: row.mark for row in rows} == {
        1: "fd-exhaustion",
        2: "already-traced",
        3: "binary-replaced",
        4: "",
    }
    assert rows[-1].pid == 4


def test_the_first_process_of_a_unit_has_its_name_and_containers_theirs(go_process):
    go_process(5, start_ticks=10)
    go_process(6, start_ticks=99, comm="worker")
    host = go_process(7, group=f"/system.slice/docker-{'ab' * 32}.scope")
    rows, _ = rows_of(host)
    assert {row.pid: row.name for row in rows} == {5: "web", 6: "worker", 7: "abababababab"}
    assert {row.pid: row.container for row in rows}[7] == "abababababab"


def test_cpu_is_known_from_the_second_look(go_process):
    host = go_process(7, utime=100, stime=0)
    collector = ServiceCollector(host, Target(TargetSpec(), host))
    assert rows_of(host, collector)[0][0].cpu is None
    write(Path(host.proc.root), {"7/stat": stat_line(7, utime=150, stime=0, start_ticks=50)})
    assert rows_of(host, collector)[0][0].cpu > 0
    write(Path(host.proc.root), {"7/stat": stat_line(7, utime=3, stime=0, start_ticks=60)})
    assert rows_of(host, collector)[0][0].cpu is None  # another process of that PID


def test_rows_keep_their_places(go_process):
    go_process(5, utime=0)
    host = go_process(7, utime=0)
    collector = ServiceCollector(host, Target(TargetSpec(), host))
    before = [row.pid for row in rows_of(host, collector)[0]]
    write(Path(host.proc.root), {"7/stat": stat_line(7, utime=900, stime=0, start_ticks=50)})  # it becomes busy
    go_process(3, fds=99)  # and a marked one comes
    rows, _ = rows_of(host, collector)
    assert [row.pid for row in rows] == [*before, 3]
    assert rows[-1].mark == "fd-exhaustion"


def test_what_is_no_go_program_and_what_vanishes(go_process, tmp_path):
    write(tmp_path, {"script": "#!/bin/sh\n", "cut": b"\x7fELF\x02\x01"})
    go_process(1, exe="/bin/sh")
    go_process(2, exe=tmp_path / "script")
    go_process(3, exe=tmp_path / "cut")
    go_process(4, exe=tmp_path / "gone")
    host = go_process(5)
    (tmp_path / "proc/5/stat").unlink()
    assert rows_of(host) == ((), 0)


def test_processes_that_may_not_be_read_are_counted(go_process, monkeypatch):
    go_process(1)
    host = go_process(2, flags=0x00200000)
    real = os.stat

    def forbidden(path, *args, **more):
        if str(path).endswith("/exe"):
            raise PermissionError(13, "no", path)
        return real(path, *args, **more)

    monkeypatch.setattr("gotriage.host.executable.os.stat", forbidden)
    assert rows_of(host) == ((), 1)  # a kernel thread has nothing to miss


def test_each_executable_is_read_once(go_process, monkeypatch):
    reads = []
    monkeypatch.setattr(
        "gotriage.collectors.services.buildinfo.read", lambda path: reads.append(path) or buildinfo.BuildInfo("go1.0")
    )
    go_process(1)
    host = go_process(2)
    collector = ServiceCollector(host, Target(TargetSpec(), host))
    for _ in range(3):
        assert len(rows_of(host, collector)[0]) == 2
    assert len(reads) == 1


@pytest.mark.real
def test_a_real_service_is_found(service):
    running = service("svc", "-leak-fds=20")
    before = len(os.listdir(f"/proc/{running.pid}/fd"))
    rows, _ = rows_of(Host())
    (row,) = [row for row in rows if row.pid == running.pid]
    assert before <= row.fds <= len(os.listdir(f"/proc/{running.pid}/fd"))  # it leaks meanwhile
    assert row.user == "root"
    assert row.mark == ""


def test_users_of_a_passwd_file():
    assert users.parse_passwd("root:x:0:0::/:/bin/sh\ntoor:x:0:0\nbad\nx:y:z\nn\x1b:x:5:5\n") == {0: "root", 5: "n␛"}
