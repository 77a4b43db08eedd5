"""gotriage on a host that is ill itself: the first screen comes, and what cannot work says so.

Each illness lives in mounts, cgroups and limits of the test's own.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from gotriage.session.recording import Reader

from tests.real.family import below
from tests.real.terminal import Terminal

pytestmark = pytest.mark.real

GOTRIAGE = (sys.executable, "-m", "gotriage")
_number = itertools.count(1)


@pytest.fixture(scope="module")
def target(module_service):
    """A healthy Go service."""
    return module_service("svc", "-tick=1s", "-listen=127.0.0.1:0")


def run(*words: object, before: str = "", timeout: float = 60, wrapper: tuple[str, ...] = ()):
    """Run gotriage in mounts of its own, after the shell commands `before`."""
    shell = f'{before}\nexec "$@"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", shell, "sh", *wrapper]
    return subprocess.run(
        [*command, *GOTRIAGE, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd="/",
        env={"PATH": os.environ["PATH"], "HOME": "/root", "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def assert_first_screen(done) -> None:
    """`check` has looked and judged."""
    assert done.returncode in (0, 1, 2), (done.stdout, done.stderr)
    assert "fds" in done.stdout
    assert "Traceback" not in done.stderr


def assert_one_line(done, status: int) -> str:
    """A failure in one clear line."""
    lines = done.stderr.strip().splitlines()
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("gotriage: ")
    return lines[0]


# -- disks


FILL = "head -c 1M /dev/zero >/mnt/full 2>/dev/null || :"
FULL = f"mount -t tmpfs -o size=64k tmpfs /mnt; {FILL}; export TMPDIR=/mnt HOME=/mnt"
ROOT = Path(__file__).parents[2]
# The checkout may itself lie in /tmp: it is put aside, and back when the others are covered.
READ_ONLY = f"""mount --bind {ROOT} /mnt
mount -t tmpfs tmpfs /tmp; mount -t tmpfs tmpfs /var/tmp; mkdir -p {ROOT}
mount --move /mnt {ROOT}
mount -o remount,bind,ro {ROOT}; mount -o remount,ro /tmp; mount -o remount,ro /var/tmp; mount -o remount,bind,ro /"""
NO_INODES = "mount -t tmpfs -o nr_inodes=2 tmpfs /mnt; : >/mnt/one; export TMPDIR=/mnt HOME=/mnt"


@pytest.mark.parametrize("before", [FULL, READ_ONLY, NO_INODES], ids=["full", "read-only", "no inodes"])
def test_the_first_screen_comes_whatever_the_disks(target, before):
    assert_first_screen(run("check", "--pid", target.pid, before=before))


@pytest.mark.parametrize("before", [FULL, READ_ONLY, NO_INODES], ids=["full", "read-only", "no inodes"])
def test_the_screens_come_whatever_the_disks(target, before):
    shell = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", f'{before}\nexec "$@"', "sh"]
    with Terminal([*shell, *GOTRIAGE, "--pid", str(target.pid)]) as terminal:
        terminal.wait_for("Findings")
        terminal.wait_for("Fine")
        terminal.press("q")
        assert terminal.end() == 0
        assert terminal.restored


def test_a_snapshot_on_a_full_disk_is_one_clear_line_and_leaves_nothing_torn(target):
    done = run("snapshot", "--pid", target.pid, "-o", "/mnt/no", "--for", "1", before=FULL)
    assert "No space left on device" in assert_one_line(done, 3)


def test_a_recording_that_fills_the_disk_stays_readable(target, tmp_path):
    before = (
        f"mount -t tmpfs -o size=16k tmpfs /mnt; mkdir -p {tmp_path}/out; "
        f'"$@"; status=$?; cp /mnt/r {tmp_path}/out/r; exit $status'
    )
    done = run("record", "--pid", target.pid, "-o", "/mnt/r", "--for", "30", before=f"set +e; {before}")
    line = assert_one_line(done, 3)
    assert "No space left on device" in line
    assert "stay readable" in line
    reader = Reader(tmp_path / "out" / "r")
    assert len(list(reader)) > 10
    assert reader.report.damage == ""
    assert reader.report.cut


def test_a_snapshot_on_a_read_only_disk_is_one_clear_line(target):
    done = run("snapshot", "--pid", target.pid, "-o", "/tmp/no", before=READ_ONLY)
    assert "Read-only file system" in assert_one_line(done, 3)


# -- processes and descriptors


class Group:
    """A cgroup of one controller, v1 or v2, removed with all that is in it."""

    def __init__(self, controller: str, beside: Path | None = None) -> None:
        base = Path("/sys/fs/cgroup", controller)
        if not base.exists():
            base = Path("/sys/fs/cgroup")
            (base / "cgroup.subtree_control").write_text(f"+{controller}")
        self.folder = (beside or base) / f"gotriage-test-{os.getpid()}-{next(_number)}"
        self.folder.mkdir()

    def set(self, value: int, *names: str) -> None:
        """Write the first of these files that exists."""
        next(self.folder / name for name in names if (self.folder / name).exists()).write_text(str(value))

    @property
    def join(self) -> str:
        """A shell command that enters it."""
        return f"echo $$ >{self.folder}/cgroup.procs"

    def remove(self) -> None:
        """End what is in it, and remove it."""
        until = time.monotonic() + 10
        while time.monotonic() < until:
            for pid in (self.folder / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            with contextlib.suppress(OSError):
                self.folder.rmdir()
                return
            time.sleep(0.02)


@pytest.fixture
def group():
    made: list[Group] = []

    def make(controller: str, beside: Path | None = None) -> Group:
        made.append(Group(controller, beside))
        return made[-1]

    yield make
    for one in reversed(made):
        one.remove()


@pytest.mark.parametrize("most", [1, 2])
def test_at_the_limit_of_processes_it_is_one_clear_line(target, group, most):
    pids = group("pids")
    pids.set(most, "pids.max")
    line = assert_one_line(run("check", "--pid", target.pid, before=pids.join), 69)
    assert "limit of processes" in line


def test_without_room_for_threads_the_header_comes_and_the_sources_say_why(target, group):
    pids = group("pids")
    pids.set(3, "pids.max")
    done = run("check", "--pid", target.pid, "--for", "2", before=pids.join)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1, 2), (done.stdout, done.stderr)
    assert f"pid {target.pid}" in done.stdout
    assert "no thread can be started" in done.stdout


@pytest.mark.parametrize("most", [24, 32])
def test_with_few_descriptors_the_first_screen_comes(target, most):
    done = run("check", "--pid", target.pid, wrapper=("prlimit", f"--nofile={most}:{most}"))
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1, 2), (done.stdout, done.stderr)
    assert f"pid {target.pid}" in done.stdout


@pytest.mark.parametrize("most", [5, 6, 8, 10, 12, 14, 16, 20])
def test_with_hardly_any_descriptor_it_is_never_a_traceback(target, most):
    done = run("check", "--pid", target.pid, "--for", "1", wrapper=("prlimit", f"--nofile={most}:{most}"))
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stdout or len(done.stderr.strip().splitlines()) == 1


# -- memory and CPU


def test_64_mb_of_memory_are_enough_for_the_first_screen(target, group):
    memory = group("memory")
    memory.set(64 << 20, "memory.max", "memory.limit_in_bytes")
    done = run("check", "--pid", target.pid, before=memory.join)
    assert_first_screen(done)


def test_64_mb_of_memory_are_enough_for_the_screens(target, group):
    memory = group("memory")
    memory.set(64 << 20, "memory.max", "memory.limit_in_bytes")
    command = ["sh", "-ec", f'{memory.join}; exec "$@"', "sh", *GOTRIAGE, "--pid", str(target.pid)]
    with Terminal(command) as terminal:
        terminal.wait_for("Findings")
        terminal.wait_for("Fine")
        terminal.press("q")
        assert terminal.end() == 0
        assert terminal.restored


def test_with_64_mb_of_memory_the_go_runtime_is_not_read_and_that_is_said(target, group):
    memory = group("memory")
    memory.set(64 << 20, "memory.max", "memory.limit_in_bytes")
    done = run("check", "--pid", target.pid, before=memory.join)
    assert "reading the Go runtime takes up to 128 MB of memory" in done.stdout


def test_the_first_screen_comes_when_every_cpu_is_taken(target):
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        begun = time.monotonic()
        done = run("check", "--pid", target.pid)
        assert_first_screen(done)
        assert time.monotonic() - begun < 30
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def test_inside_the_targets_short_memory_it_moves_to_a_group_of_its_own(service, group):
    memory = group("memory")
    memory.set(160 << 20, "memory.max", "memory.limit_in_bytes")
    service_in = service("svc", "-hog-mb=90", wrapper=("sh", "-ec", f'{memory.join}; exec "$@"', "sh"))
    child = subprocess.Popen(
        [
            "sh",
            "-ec",
            f'{memory.join}; exec "$@"',
            "sh",
            *GOTRIAGE,
            "check",
            "--pid",
            str(service_in.pid),
            "--for",
            "4",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    beside = memory.folder.parent
    seen: dict[Path, list[int]] = {}
    until = time.monotonic() + 15
    while not any(len(pids) == 2 for pids in seen.values()) and time.monotonic() < until:
        for own in beside.glob("gotriage-[0-9]*"):
            with contextlib.suppress(OSError):
                pids = [int(word) for word in (own / "cgroup.procs").read_text().split()]
                if set(pids) & {child.pid, *below(child.pid)}:
                    seen[own] = pids
        time.sleep(0.05)
    out, _ = child.communicate(timeout=30)
    assert any(len(pids) == 2 for pids in seen.values()), seen
    assert f"pid {service_in.pid}" in out
    assert not any(own.exists() for own in seen)


def test_where_it_cannot_move_it_says_so(service, group):
    memory = group("memory")
    memory.set(160 << 20, "memory.max", "memory.limit_in_bytes")
    service_in = service("svc", "-hog-mb=90", wrapper=("sh", "-ec", f'{memory.join}; exec "$@"', "sh"))
    top = memory.folder.parent
    before = f"{memory.join}; mount --bind {top} {top}; mount -o remount,bind,ro {top}"
    done = run("check", "--pid", service_in.pid, before=before)
    assert "inside the target's memory limit" in done.stdout, (done.stdout, done.stderr)


def test_the_kernel_takes_gotriage_first(target):
    child = subprocess.Popen([*GOTRIAGE, "check", "--pid", str(target.pid), "--for", "3"], stdout=subprocess.DEVNULL)
    try:
        scores: list[int] = []
        until = time.monotonic() + 10
        while len(scores) < 2 and time.monotonic() < until:
            time.sleep(0.05)
            with contextlib.suppress(OSError):
                pids = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
                scores = [
                    score for pid in pids if (score := int(Path(f"/proc/{pid}/oom_score_adj").read_text())) >= 900
                ]
        assert sorted(scores) == [900, 1000]
    finally:
        child.wait()


# -- services that hang


class Hanging:
    """A socket that takes connections and never answers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        path.chmod(0o666)
        self._socket.listen(64)
        self._kept: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._kept.append(self._socket.accept()[0])

    def close(self) -> None:
        """No more."""
        for one in (*self._kept, self._socket):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture
def hanging(tmp_path):
    one = Hanging(tmp_path / "socket")
    yield one
    one.close()


def over_run(hanging: Hanging, *names: str) -> str:
    """Shell commands after which these sockets of /run lead to the one that hangs."""
    lines = ["mount -t tmpfs tmpfs /run"]
    for name in names:
        lines += [f"mkdir -p {Path(name).parent}", f": >{name}", f"mount --bind {hanging.path} {name}"]
    return "; ".join(lines)


BUS = ("/run/dbus/system_bus_socket", "/run/systemd/private")
ENGINES = ("/run/docker.sock", "/run/podman/podman.sock", "/run/containerd/containerd.sock")


@pytest.mark.parametrize("names", [BUS, ENGINES], ids=["D-Bus", "engines"])
def test_a_pid_is_looked_at_while_services_hang(target, hanging, names):
    begun = time.monotonic()
    done = run("check", "--pid", target.pid, before=over_run(hanging, *names))
    assert_first_screen(done)
    assert time.monotonic() - begun < 20


def test_a_unit_while_dbus_hangs_is_one_clear_line(hanging):
    before = over_run(hanging, *BUS) + "; mkdir -p /run/systemd/system"
    begun = time.monotonic()
    done = run("check", "--unit", "web", before=before)
    assert done.returncode in (3, 69)
    line = assert_one_line(done, done.returncode)
    assert "D-Bus" in line or "systemd" in line
    assert time.monotonic() - begun < 20


def test_a_container_while_the_engine_hangs_is_one_clear_line(hanging):
    begun = time.monotonic()
    done = run("check", "--container", "web-1", before=over_run(hanging, *ENGINES))
    assert done.returncode in (3, 69)
    assert_one_line(done, done.returncode)
    assert time.monotonic() - begun < 20


def test_the_agents_stream_is_the_same_on_a_sick_host(target):
    done = run("agent", "--pid", target.pid, before=f'{READ_ONLY}; exec timeout 3 "$@"')
    kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines()]
    assert kinds[:2] == ["header", "target"]
    assert "heartbeat" in kinds
