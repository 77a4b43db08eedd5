"""A process of our own that does work on request, and may be killed at any time: messages go in and out by pipes.

It runs only what we are: the same Python, isolated. It begins with a bare environment and no descriptor but the pipes,
yields to everybody, and ends with the thread that started it (PR_SET_PDEATHSIG). One that cannot be killed now, because
it waits in the kernel for a file system that hangs, is left behind and collected later.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gotriage.errors import MissingFacility
from gotriage.host import citizen, privilege
from gotriage.host.deadline import Deadline
from gotriage.host.tools import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST: Final = 1 << 30
"""Longest message, bytes."""
PIPE: Final = 1 << 20
"""Bytes that a pipe holds (F_SETPIPE_SZ of fcntl(2)); what an unprivileged process may ask for."""
PATIENCE: Final = 0.5
"""Seconds that a killed child may take to end before it is left behind."""
PATIENT: Final = 1.0
"""Seconds that an answer may take while the child uses no CPU that anybody else wants; then it takes its share."""
_LENGTH: Final = struct.Struct("<Q")

_left_behind: list[subprocess.Popen[bytes]] = []


class Late(Exception):
    """No whole answer came in time."""


class Ended(Exception):
    """The child ended; `status` is its exit status, -N for signal N."""

    def __init__(self, status: int | None) -> None:
        super().__init__(status)
        self.status = status


class Child:
    """A running child. Raises MissingFacility when there can be none.

    Attributes:
        busy: it owes an answer, and is of no use to who does not wait for that.
    """

    def __init__(
        self, words: Sequence[str], memory: int, keep: Sequence[int] = (), *, patient: float = PATIENT
    ) -> None:
        """`words`: arguments for Python, as ("-m", MODULE); `memory`: bytes that it may take, beyond its start;
        `keep`: descriptors that it has too, by the same numbers; `patient`: seconds as of PATIENT.
        """
        collect()
        if not sys.executable:
            raise MissingFacility("no Python to start: sys.executable is not set")
        options = ["-I", *(["-B"] if sys.dont_write_bytecode else [])]
        try:
            self._process = subprocess.Popen(
                [sys.executable, *options, *words, str(os.getpid()), str(memory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=ENVIRONMENT | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                cwd="/",
                close_fds=True,
                pass_fds=keep,
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            raise MissingFacility(f"no process can be started: {error.strerror}") from error
        assert self._process.stdin
        assert self._process.stdout
        self.pid = self._process.pid
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        with suppress(OSError):
            fcntl.fcntl(self._out, fcntl.F_SETPIPE_SZ, PIPE)
        os.set_blocking(self._in, False)
        self.busy, self._patient = False, patient
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)

    def ask(self, message: bytes, seconds: float) -> bytes:
        """Send a message (less than a pipe holds, 64 KB) and wait for the answer. Raises Late, Ended."""
        deadline = Deadline(seconds)
        self.busy = True
        try:
            sent = os.write(self._in, _LENGTH.pack(len(message)) + message)
        except BlockingIOError:
            raise Late from None
        except OSError:
            raise Ended(self._status()) from None
        if sent != _LENGTH.size + len(message):
            raise Late
        hurry = Deadline(self._patient)
        (size,) = _LENGTH.unpack(self._gather(_LENGTH.size, deadline, hurry))
        if size > MOST:
            raise Ended(None)
        answer = self._gather(size, deadline, hurry)
        self.busy = False
        if hurry.over:
            be_idle(self.pid)
        return answer

    def _gather(self, size: int, deadline: Deadline, hurry: Deadline) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            patient = not hurry.over
            left = hurry.left(deadline.left()) if patient else deadline.left()
            if not self._poll.poll(left * 1000):
                if deadline.over:
                    raise Late
                if hurry.over and patient:
                    be_like_us(self.pid)
                continue
            data = os.read(self._out, min(PIPE, size - len(parts)))
            if not data:
                raise Ended(self._status())
            parts += data
        return bytes(parts)

    def _status(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(PATIENCE)
        return None

    def close(self) -> None:
        """Kill it. Waits PATIENCE seconds at most."""
        process = self._process
        if process.poll() is None:
            process.kill()
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()
        if process.returncode is None:
            _left_behind.append(process)


def collect() -> list[int]:
    """Collect the children that were left behind and have ended since; the PIDs of the others."""
    _left_behind[:] = [process for process in _left_behind if process.poll() is None]
    return [process.pid for process in _left_behind]


def _address_space() -> int:
    """Bytes of address space of this process (proc_pid_statm(5))."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def be_idle(pid: int = 0) -> None:
    """Take only CPU time that nobody else wants (SCHED_IDLE of sched(7))."""
    with suppress(OSError):
        os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))


def be_like_us(pid: int) -> None:
    """Take the share of its nice value again, which is ours: on a machine that is never idle it would wait for ever."""
    with suppress(OSError):
        os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))


# -- in the child


class Served:
    """The child's side of the pipes; to be made first of all, from the two last arguments of the command line."""

    def __init__(self, parent: str, memory: str) -> None:
        privilege.die_with_parent(signal.SIGKILL)
        if os.getppid() != int(parent):
            os._exit(0)
        citizen.yield_cpu(citizen.AGENT_NICE)
        citizen.yield_disk()
        citizen.die_first(citizen.AGENT_SCORE)
        be_idle()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self.memory = citizen.room(int(memory))
        self._in, self._out = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDWR)  # nothing that is printed may become an answer
        for fd in (0, 1):
            os.dup2(nothing, fd)
        os.close(nothing)

    def limit(self) -> None:
        """From now on no more than so much memory beyond what is in use; called when all is imported."""
        with suppress(OSError, ValueError):
            used = _address_space() + self.memory
            resource.setrlimit(resource.RLIMIT_AS, (used, used))

    def next(self) -> bytes | None:
        """The next message; None when there will be no more."""
        head = self._take(_LENGTH.size)
        return None if head is None else self._take(min(_LENGTH.unpack(head)[0], MOST))

    def _take(self, size: int) -> bytes | None:
        parts = b""
        while len(parts) < size:
            data = os.read(self._in, size - len(parts))
            if not data:
                return None
            parts += data
        return parts

    def answer(self, message: bytes) -> None:
        """Send one answer for each message."""
        os.write(self._out, _LENGTH.pack(len(message)))
        view = memoryview(message)
        while view:
            view = view[os.write(self._out, view) :]
