"""A loaded service, gotriage's processes, the kernel: who is hit at which moment, and what must be so afterwards."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import os
import platform
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.lab import toolchain
from tests.lab.process import Start, started, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.process import Running

GOTRIAGE: Final = [sys.executable, "-m", "gotriage"]
SETTLES: Final = 30.0
"""Seconds that the kernel and our own clearing up may take on a busy machine."""
STANDS: Final = 10.0
"""Seconds after which a request without an answer counts as a service that hangs."""
STOPPED_FOR: Final = 1.5
"""Seconds that whoever was stopped stays so."""


class Load:
    """Asks the service all the time; `served` counts answers, `lost` the others, `slowest` is in seconds."""

    def __init__(self, address: str, patience: float = 5.0) -> None:
        self.served, self.lost, self.slowest = 0, 0, 0.0
        self._address, self._patience, self._over = address, patience, threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._over.wait(0.01):
            begun = time.monotonic()
            connection = http.client.HTTPConnection(self._address, timeout=self._patience)
            try:
                connection.request("GET", "/")
                self.served += connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                self.lost += 1
            finally:
                connection.close()
            self.slowest = max(self.slowest, time.monotonic() - begun)


# -- the service


@dataclass(frozen=True)
class Patient:
    """The service that must not notice."""

    running: Running
    load: Load

    @property
    def pid(self) -> int:
        return self.running.pid

    def harmed(self) -> list[str]:
        """What is not as it should be: ended, stopped, traced, changed."""
        if self.running.process.poll() is not None:
            return [f"it ended with {self.running.process.returncode}: {self.running.log[-1500:]}"]
        return [*self._threads(), *changed_code(self.pid)]

    def _threads(self) -> Iterator[str]:
        for folder in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                facts = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines())
                if facts["State"][0] in "tT":
                    yield f"thread {folder.name} is {facts['State']}"
                if facts["TracerPid"] != "0":
                    yield f"thread {folder.name} is traced by {facts['TracerPid']}"

    def served_more(self, times: int = 3) -> None:
        """Wait until it has answered so many more requests; TimeoutError when it hangs."""
        before = self.load.served
        wait_until(lambda: self.load.served >= before + times, STANDS, self.running.alive)


@contextmanager
def patient(folder: Path, name: str = "healthy", *arguments: str, cgo: bool = False) -> Iterator[Patient]:
    """A loaded Go service, from a file of its own: others' probes at the same build do not count as ours."""
    binary = folder / name
    shutil.copy2(toolchain.build(name, cgo=cgo), binary)
    with started(Start(binary, arguments)) as running, Load(running.address.split()[0], STANDS) as load:
        yield Patient(running, load)


NGINX: Final = """
daemon off; master_process off; error_log {folder}/error.log; pid {folder}/nginx.pid;
events {{ worker_connections 64; }}
http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen {address}; location / {{ return 200 "well"; }} }} }}
"""


@contextmanager
def single_threaded(folder: Path) -> Iterator[Patient]:
    """A loaded service of one thread that is linked dynamically."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, address=address))
    binary = folder / "nginx"
    shutil.copy2("/usr/sbin/nginx", binary)
    how = Start(binary, ("-c", f"{folder}/nginx.conf", "-p", str(folder)), ready=False)
    with started(how) as running, Load(address, STANDS) as load:
        running.wait_for(lambda: load.served)
        load.lost = 0
        yield Patient(running, load)


def changed_code(pid: int) -> list[str]:
    """Executable mappings of files that differ from their file: breakpoints, that is."""
    found = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            bounds, rights, offset, _, inode, *path = line.split(None, 5)
            if "x" not in rights or inode == "0":
                continue
            start, end = (int(word, 16) for word in bounds.split("-"))
            with open(f"/proc/{pid}/map_files/{start:x}-{end:x}", "rb") as file:
                file.seek(int(offset, 16))
                should = file.read(end - start).ljust(end - start, b"\0")
            memory.seek(start)
            now = memory.read(end - start)
            if now != should:
                places = [at for at in range(len(should)) if now[at : at + 1] != should[at : at + 1]]
                bytes_ = ", ".join(f"{start + at:#x} {should[at]:02x}→{now[at]:02x}" for at in places[:4])
                found.append(f"{len(places)} bytes of {path[0]} are changed: {bytes_}")
    return found


# -- the kernel


_SYS_BPF: Final = {"x86_64": 321, "aarch64": 280}
_NEXT: Final = {"program": 11, "map": 12, "link": 31}
_PROG_FD, _INFO = 13, 15
_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    number = ctypes.c_long(_SYS_BPF[platform.machine()])
    return _libc.syscall(number, ctypes.c_int(command), buffer, ctypes.c_uint(len(attributes))), buffer.raw


def bpf_ids() -> frozenset[tuple[str, int]]:
    """Kind and id of every BPF program, map and link that there is."""
    found = set()
    for kind, command in _NEXT.items():
        at = 0
        while True:
            result, raw = _bpf(command, struct.pack("=IIII", at, 0, 0, 0))
            if result < 0:
                break
            (at,) = struct.unpack_from("=I", raw, 4)
            found.add((kind, at))
    return frozenset(found)


def _maps_of(program: int) -> list[int]:
    """The maps that a program uses, which it keeps alive."""
    fd, _ = _bpf(_PROG_FD, struct.pack("=IIII", program, 0, 0, 0))
    if fd < 0:
        return []
    try:
        maps = (ctypes.c_uint32 * 64)()
        info = ctypes.create_string_buffer(80)
        struct.pack_into("=IQ", info, 52, len(maps), ctypes.addressof(maps))
        result, _ = _bpf(_INFO, struct.pack("=IIQ", fd, len(info), ctypes.addressof(info)))
        return list(maps[: struct.unpack_from("=I", info, 52)[0]]) if result == 0 else []
    finally:
        os.close(fd)


def held_bpf() -> frozenset[tuple[str, int]]:
    """Those that a descriptor of some process holds."""
    words = {"prog_id": "program", "map_id": "map", "link_id": "link"}
    found = set()
    for folder in Path("/proc").glob("[0-9]*/fdinfo"):
        with contextlib.suppress(OSError):
            for entry in os.scandir(folder):
                with contextlib.suppress(OSError):
                    for line in Path(entry.path).read_text().splitlines():
                        word, _, number = line.partition(":")
                        if word in words:
                            found.add((words[word], int(number)))
    used = {("map", number) for kind, program in found if kind == "program" for number in _maps_of(program)}
    return frozenset(found | used)


_TRACEFS: Final = (
    'mount -t tracefs none "$0" && cd "$0" && for i in instances/*; do echo "instance ${i#instances/}"; done;'
    "for f in uprobe_events kprobe_events; do [ -e $f ] && cat $f; done; true"
)


def tracefs(folder: Path) -> list[str]:
    """Instances and probe events of tracefs, as lines; none where the kernel has no tracefs."""
    command = ["unshare", "-m", "sh", "-c", _TRACEFS, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return [line for line in done.stdout.splitlines() if line != "instance *"]


def pinned() -> frozenset[str]:
    """Everything below /sys/fs/bpf."""
    return frozenset(str(path) for path in Path("/sys/fs/bpf").glob("**/*"))


# -- processes


@dataclass(frozen=True)
class Process:
    """One of a machine's processes; the start time tells it from a later one with its number."""

    pid: int
    start: str

    @staticmethod
    def of(pid: int) -> Process | None:
        fields = _stat(pid)
        return Process(pid, fields[19]) if fields else None

    @property
    def alive(self) -> bool:
        fields = _stat(self.pid)
        return bool(fields) and fields[19] == self.start and fields[0] not in "ZX"


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def children(pid: int) -> list[int]:
    """Of all its threads."""
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in file.read_text().split()]
    return found


def below(pid: int) -> list[int]:
    """All descendants, the nearest first."""
    found = children(pid)
    for child in found:
        found += children(child)
    return found


def score(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())
    return 0


def comm(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "?"


@dataclass
class Tree:
    """One run of gotriage: launcher, agent, front, and what these have started."""

    launcher: subprocess.Popen[bytes]
    seen: set[Process] = field(default_factory=set)

    def look(self) -> dict[str, list[int]]:
        """Role to processes as they are now; each is remembered."""
        pids = children(self.launcher.pid)
        agents = [pid for pid in pids if score(pid) == 1000][:1]
        roles = {
            "launcher": [self.launcher.pid],
            "agent": agents,
            "front": [pid for pid in pids if score(pid) == 900][:1],
            "helper": [pid for agent in agents for pid in below(agent)],
        }
        self.seen |= {found for pid in [self.launcher.pid, *below(self.launcher.pid)] if (found := Process.of(pid))}
        return roles

    def holds(self, pattern: str) -> bool:
        """Whether a descriptor of one of its processes is of that kind."""
        for folder in (Path(f"/proc/{one.pid}/fd") for one in self.seen):
            with contextlib.suppress(OSError):
                if any(re.search(pattern, os.readlink(entry)) for entry in os.scandir(folder)):
                    return True
        return False

    def left(self) -> list[str]:
        """Those of its processes that live, by name."""
        return [f"{comm(one.pid)} (pid {one.pid})" for one in self.seen if one.alive]


@contextmanager
def adopting() -> Iterator[None]:
    """Orphans become our children meanwhile, so that none is overlooked."""
    option = ctypes.c_int(36)  # PR_SET_CHILD_SUBREAPER
    _libc.prctl(option, 1, 0, 0, 0)
    try:
        yield
    finally:
        _libc.prctl(option, 0, 0, 0, 0)


# -- moments


VICTIMS: Final = ("launcher", "agent", "front", "helper")
SIGNALS: Final = (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGSEGV)


@dataclass(frozen=True)
class Moment:
    """Somebody gets a signal, `after` seconds from the start or from when the trace is attached.

    A stopped one goes on, or is killed as it stands.
    """

    after: float
    victim: str
    signal: signal.Signals
    then: signal.Signals = signal.SIGCONT
    attached: bool = True

    def __str__(self) -> str:
        then = f" then {self.then.name}" if self.signal == signal.SIGSTOP else ""
        since = "it was attached" if self.attached else "the start"
        return f"{self.signal.name}{then} to the {self.victim} {self.after:.2f} s after {since}"


def moments(seed: str) -> Iterator[Moment]:
    """Random ones, always the same for a seed; of sixteen in a row each pair of victim and signal once."""
    dice = random.Random(seed)
    pairs = [(victim, number) for victim in VICTIMS for number in SIGNALS]
    while True:
        dice.shuffle(pairs)
        for victim, number in pairs:
            attached = dice.random() < 0.6
            after = dice.uniform(0.0, 0.8 if attached else 2.0)
            yield Moment(after, victim, number, dice.choice((signal.SIGCONT, signal.SIGKILL)), attached)


ATTACHED: Final = {
    "strace": "traced",
    "ltrace": "traced",
    "Go uprobes": "changed",
    "C library probes": "changed",
    "process_vm_readv": "helper",
    "tracefs": "trace_pipe_raw",
    "perf events": "perf_event",
}
"""What shows that a backend has begun: the target's TracerPid, its code, a helper; else a descriptor of that kind."""
HELD: Final = r"bpf[-_](prog|link)|perf_event"


class Ward:
    """The machine around one patient: what there was before, and what has come and stayed."""

    def __init__(self, sick: Patient, folder: Path) -> None:
        self.patient = sick
        self._folder = folder
        self._bpf, self._pinned = bpf_ids(), pinned()
        self._children = self._own_children()
        self.hit: Counter[str] = Counter()

    def knows(self, pid: int) -> None:
        """Another child of ours that is none of gotriage's."""
        self._children |= {pid}

    def _own_children(self) -> frozenset[int]:
        return frozenset(children(os.getpid()))

    def _orphans(self) -> list[str]:
        found = []
        for pid in self._own_children() - self._children:
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    found.append(f"{comm(pid)} (pid {pid}) was left behind")
        return found

    def left(self, tree: Tree) -> list[str]:
        """All that is not as it was, in words."""
        pids = {one.pid for one in tree.seen}
        binary = Path(f"/proc/{self.patient.pid}/exe").readlink()
        entries = [
            line
            for line in tracefs(self._folder)
            if str(binary) in line or any(f"gotriage-{pid}" in line or f"_{pid}" in line for pid in pids)
        ]
        new = bpf_ids() - self._bpf
        unheld = sorted(new - held_bpf()) if new else []
        return [
            *self.patient.harmed(),
            *(f"{name} lives" for name in tree.left()),
            *self._orphans(),
            *(f"tracefs: {line}" for line in entries),
            *(f"BPF {kind} {number} is held by nobody" for kind, number in unheld),
            *(f"{path} is pinned" for path in sorted(pinned() - self._pinned)),
        ]

    def settle(self, tree: Tree, what: str) -> None:
        """Wait until nothing is left; AssertionError with what is."""
        self.patient.served_more()
        end = time.monotonic() + SETTLES
        while left := self.left(tree):
            assert time.monotonic() < end, f"{what}: {left}"
            time.sleep(0.1)

    def command(self, view: str, trace: str, options: dict[str, str], seconds: float) -> list[str]:
        words = [word for pair in options.items() for word in ("--option", "=".join(pair))]
        return [
            *GOTRIAGE, "show", view, "--pid", str(self.patient.pid), "--trace", trace, *words, "--for",
            f"{seconds:g}s", "--yes",
        ]  # fmt: skip

    def whole(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """A run that nobody disturbs."""
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def _attached(self, tree: Tree, backend: str) -> bool:
        """Whether the trace has begun, or will not."""
        if tree.launcher.poll() is not None:
            return True
        roles, sign = tree.look(), ATTACHED.get(backend, HELD)
        if sign == "traced":
            return "TracerPid:\t0\n" not in Path(f"/proc/{self.patient.pid}/status").read_text()
        if sign == "changed":
            return bool(changed_code(self.patient.pid))
        return bool(roles["helper"]) if sign == "helper" else tree.holds(sign)

    def strike(self, command: list[str], moment: Moment, backend: str) -> None:
        """Start the trace, hit somebody at that moment, end what is left of it, look."""
        before = self.patient.load.lost
        launcher = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        tree = Tree(launcher)
        self._children |= {launcher.pid}
        try:
            if moment.attached:
                wait_until(lambda: self._attached(tree, backend), SETTLES)
            end = time.monotonic() + moment.after
            while time.monotonic() < end:
                tree.look()
                time.sleep(0.05)
            told = self._hit(tree, moment)
        finally:
            self._end(tree)
        self.settle(tree, told)
        assert self.patient.load.lost == before, f"{told}: requests were not answered"

    def _hit(self, tree: Tree, moment: Moment) -> str:
        roles = tree.look()
        victims = roles[moment.victim] or roles["agent"] or roles["launcher"]
        if moment.signal != signal.SIGTERM:  # its breakpoints stay when it is killed; nobody can help that
            victims = [pid for pid in victims if comm(pid) != "ltrace"] or roles["launcher"]
        pid = victims[int(moment.after * 1000) % len(victims)]
        told = f"{moment}: {comm(pid)} (pid {pid})"
        print(told, flush=True)
        self.hit[moment.victim if roles[moment.victim] else "nobody"] += 1
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, moment.signal)
            if moment.signal == signal.SIGSTOP:
                time.sleep(STOPPED_FOR)
                self.patient.served_more()
                tree.look()
                os.kill(pid, moment.then)
            else:
                time.sleep(0.1)
        tree.look()
        return told

    def _end(self, tree: Tree) -> None:
        """The launcher is told to end; what of the run has begun since then is seen too."""
        launcher = tree.launcher
        end = time.monotonic() + SETTLES
        with contextlib.suppress(ProcessLookupError):
            launcher.terminate()
            launcher.send_signal(signal.SIGCONT)  # it stops with its front, as a job of a shell
        while launcher.poll() is None:
            tree.look()
            if time.monotonic() > end:
                launcher.kill()
                raise AssertionError(f"it did not end: {tree.left()}")
            time.sleep(0.05)
