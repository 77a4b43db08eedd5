"""gotriage changes nothing: not the service, not its files, not the machine. Counted from the outside, by strace(1)."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.process import wait_until
from tests.real.family import children, score
from tests.real.patients import Load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.process import Running

pytestmark = pytest.mark.real
GOTRIAGE = [sys.executable, "-m", "gotriage"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CHANGES_A_PROCESS = _words(
    "ptrace process_vm_writev process_madvise process_mrelease kcmp pidfd_getfd move_pages migrate_pages "
    "sched_setaffinity sched_setscheduler sched_setattr setpgid"
)
"""System calls that stop, change or slow another process."""
_SCHEDULES = re.compile(r"sched_set\w+\((\d+)\b")
SENDS_A_SIGNAL = _words("kill tkill tgkill pidfd_send_signal rt_sigqueueinfo rt_tgsigqueueinfo")
CHANGES_A_FILE = _words(
    "mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat truncate ftruncate "
    "fallocate chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat setxattr lsetxattr fsetxattr removexattr "
    "utime utimes utimensat futimesat mknod mknodat mount umount2 move_mount pivot_root chroot creat copy_file_range "
    "sendfile splice setns unshare"
)
"""System calls that change files, mounts, or our own place among them."""
_CALL = re.compile(r"^(\d+) +(\w+)\((.*)$")
_WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND")
_NAMED = re.compile(r'"([^"]*)"')


@dataclass
class Calls:
    """What strace wrote down: how often each call was made, and those that matter, as text."""

    counts: Counter[str] = field(default_factory=Counter)
    lines: list[tuple[str, str]] = field(default_factory=list)
    own: set[int] = field(default_factory=lambda: {0})
    """gotriage's own threads and processes, and 0, which is the caller."""

    @staticmethod
    def read(path: Path) -> Calls:
        calls = Calls()
        for line in path.read_text(errors="replace").splitlines():
            if match := _CALL.match(line):
                calls.counts[match[2]] += 1
                calls.lines.append((match[2], match[3]))
                calls.own.add(int(match[1]))
        return calls

    def made(self, names: frozenset[str]) -> list[str]:
        return [f"{name}({rest}" for name, rest in self.lines if name in names]

    def schedules_own(self, call: str) -> bool:
        """One of gotriage's own processes gets another place in the queue for the CPU: the reader gives way."""
        match = _SCHEDULES.match(call)
        return match is not None and int(match[1]) in self.own

    def opened_for_writing(self) -> set[str]:
        """The files that were opened with any right but reading."""
        found = set()
        for name, rest in self.lines:
            flags = rest.rpartition('"')[2]
            if name in ("open", "openat", "openat2") and _WRITES.search(flags) and (named := _NAMED.search(rest)):
                found.add(named[1])
        return found


def tree(folder: Path) -> dict[str, tuple[object, ...]]:
    """Every file below: kind, mode, owner, size, times but that of reading, and a sum of what is in it."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
        where = os.readlink(path) if path.is_symlink() else ""
        found[str(path.relative_to(folder))] = (
            facts.st_mode, facts.st_uid, facts.st_gid, facts.st_size, facts.st_ino, facts.st_mtime_ns,
            facts.st_ctime_ns, content, where,
        )  # fmt: skip
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder that the service has for its own, with what a service has in it, and traps."""
    home = tmp_path / "srv"
    (home / "etc").mkdir(parents=True)
    (home / "data").mkdir()
    (home / "etc/app.conf").write_text("listen = 127.0.0.1\n")
    (home / "data/store.db").write_bytes(bytes(range(256)) * 64)
    (home / "old.log").write_text("yesterday\n")
    (home / "link").symlink_to("etc/app.conf")
    os.mkfifo(home / "data/queue")
    return home


@pytest.fixture
def healthy(service: Callable[..., Running], home: Path) -> Running:
    """A Go service that works in that folder."""
    running: Running = service("healthy", "-rate=0", cwd=home)
    return running


def traced(log: Path, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run gotriage under strace: the tracer stops gotriage, never the service, which is no child of either."""
    command = ["strace", "-f", "-qq", "-s", "300", "-o", str(log), *GOTRIAGE, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def no_harm(calls: Calls, healthy: Running, own: Path) -> None:
    """Nothing was done to anybody but gotriage itself; `own` is the file that it was asked to write."""
    assert calls.counts["openat"] > 100, "strace saw nothing"
    assert [call for call in calls.made(CHANGES_A_PROCESS) if not calls.schedules_own(call)] == []
    at_others = [call for call in calls.made(SENDS_A_SIGNAL) if re.search(rf"\({healthy.pid}\b", call)]
    assert at_others == []
    touched = [call for call in calls.made(CHANGES_A_FILE) if not re.search(r"^ftruncate\(\d+, 0\)", call)]
    assert touched == []
    allowed = {str(own), "/dev/null", "/proc/self/oom_score_adj"}
    assert calls.opened_for_writing() <= allowed
    stopped = Path(f"/proc/{healthy.pid}/status").read_text()
    assert "TracerPid:\t0\n" in stopped


def test_what_harms_would_be_counted(tmp_path: Path) -> None:
    log, file = tmp_path / "strace", tmp_path / "touched"
    harm = f"import os; os.kill({os.getpid()}, 0); os.mkdir({str(file)!r}); open({str(file / 'x')!r}, 'w')"
    subprocess.run(["strace", "-f", "-qq", "-o", str(log), sys.executable, "-c", harm], timeout=30, check=True)
    calls = Calls.read(log)
    assert any(call.startswith(f"kill({os.getpid()}, 0)") for call in calls.made(SENDS_A_SIGNAL))
    assert any(str(file) in call for call in calls.made(CHANGES_A_FILE))
    assert str(file / "x") in calls.opened_for_writing()


@pytest.mark.parametrize("words", [("snapshot",), ("record", "--for", "4s")], ids=["snapshot", "record"])
def test_the_service_is_neither_stopped_nor_changed(
    words: tuple[str, ...], healthy: Running, home: Path, tmp_path: Path
) -> None:
    before, log, own = tree(home), tmp_path / "strace", tmp_path / "own.gts.jsonl.zst"
    # What a first look at a build leaves in gotriage's own folder (host.cache) is there by now.
    subprocess.run([*GOTRIAGE, "show", "runtime", "--pid", str(healthy.pid)], timeout=60, check=True)
    mappings = Path(f"/proc/{healthy.pid}/limits").read_text()
    with Load(healthy.address) as load:
        done = traced(log, words[0], "--pid", str(healthy.pid), "-o", str(own), *words[1:])
    assert done.returncode == 0, done.stderr
    assert own.stat().st_size > 1000
    no_harm(Calls.read(log), healthy, own)
    assert tree(home) == before
    assert Path(f"/proc/{healthy.pid}/limits").read_text() == mappings
    assert load.lost == 0
    assert load.served > 100
    assert healthy.process.poll() is None


# -- what is left


@dataclass(frozen=True)
class Left:
    """What a program may leave on a machine."""

    processes: frozenset[int]
    mounts: str
    groups: frozenset[str]
    files: frozenset[str]


def ours() -> frozenset[int]:
    """Processes with gotriage in their command line, less those of other tests."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            environment = (folder / "environ").read_bytes()
            if b"gotriage" in words and MARK.encode() in environment:
                found.add(int(folder.name))
    return frozenset(found)


MARK = f"GOTRIAGE_NO_HARM={os.getpid()}"


def left(user: str) -> Left:
    """As it is now; files and groups are those whose name begins as ours do."""
    return Left(
        processes=ours(),
        mounts="".join(sorted(line.partition(" ")[2] for line in Path("/proc/self/mountinfo").open())),
        groups=frozenset(str(path) for path in Path("/sys/fs/cgroup").glob(f"**/gotriage-{user}")),
        files=frozenset(
            str(path)
            for folder in ("/tmp", "/run", "/var/tmp", "/dev/shm")
            for path in Path(folder).glob("gotriage*")
            if not path.name.startswith(("gotriage-svc-", "gotriage-lab"))
        ),
    )


@contextlib.contextmanager
def recording(pid: int, own: Path) -> Iterator[tuple[int, int, int]]:
    """Record a service for a minute: the PIDs of launcher, agent and front, once records arrive in the file."""
    name, _, value = MARK.partition("=")
    with subprocess.Popen(
        [*GOTRIAGE, "record", "--pid", str(pid), "-o", str(own), "--for", "60s"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, name: value},
        start_new_session=True,
    ) as launcher:
        try:
            wait_until(lambda: own.exists() and own.stat().st_size > 500)
            scores = {child: score(child) for child in children(launcher.pid)}
            (agent,) = [child for child, points in scores.items() if points == 1000]
            (front,) = [child for child, points in scores.items() if points == 900]
            yield launcher.pid, agent, front
        finally:
            with contextlib.suppress(ProcessLookupError):
                launcher.send_signal(signal.SIGTERM)
            launcher.wait(10)


@pytest.mark.parametrize("which", ["", "launcher", "agent", "front"])
def test_nothing_is_left_whichever_of_the_three_is_killed(
    which: str, healthy: Running, home: Path, tmp_path: Path
) -> None:
    before, files, own = left("*"), tree(home), tmp_path / "own.gts.jsonl.zst"
    with recording(healthy.pid, own) as pids:
        if which:
            os.kill(pids[("launcher", "agent", "front").index(which)], signal.SIGKILL)
        if which == "agent":  # another one is started; the recording goes on, and ends when it is told to
            wait_until(lambda: any(pid not in pids and score(pid) == 1000 for pid in children(pids[0])))
        elif which:
            wait_until(lambda: not ours())
    wait_until(lambda: left("*").processes == before.processes)
    after = left("*")
    assert after.processes == frozenset()
    assert after.mounts == before.mounts
    assert after.groups <= before.groups
    assert after.files <= before.files
    assert tree(home) == files
    assert healthy.process.poll() is None
    assert "TracerPid:\t0\n" in Path(f"/proc/{healthy.pid}/status").read_text()
    assert "State:\tS" in Path(f"/proc/{healthy.pid}/status").read_text()
