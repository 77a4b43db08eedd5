"""Runs a tracer that stops the target so that it cannot outlive anybody: under a keeper, a process of ours.

The keeper ends the tracer when it is told to, when the time is over, and when whoever asked has ended (a pipe that
closes, PR_SET_PDEATHSIG). It ends a tracer that somebody has stopped by SIGSTOP: that one would hold its target still.
If the keeper itself is killed, the kernel signals the tracer; if it is stopped, whoever asked ends both. What the
tracer writes goes to memory, never to a pipe: one that waits for a reader holds its target still too.

A tracer that leaves nothing in the target (strace) may be killed at any moment: the kernel lets go of its threads. One
that puts breakpoints into it (ltrace) must end by itself: a breakpoint that is left kills the target.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError, MissingFacility
from gotriage.host import clock, privilege
from gotriage.host.deadline import Deadline
from gotriage.host.proc import Proc
from gotriage.host.tools import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

OUT: Final = "{out}"
"""Stands in the tracer's words for the file that it writes to."""
MOST_ERRORS: Final = 64 * 1024
LATE: Final = 2
"""Seconds of CPU time that the tracer may take beyond its time: the kernel ends it when nobody else does."""
PATIENCE: Final = 6.0
"""Seconds that a tracer may take to let go: strace waits for each of the target's threads."""
LONG_PATIENCE: Final = 20.0
"""... and one that must not be killed."""
STARTS: Final = 10.0
"""Seconds until the tracer runs."""
TICK: Final = 0.05
"""Seconds between two looks at the tracer."""


class Kept:
    """A tracer, running. `end` once; `ended` says why it has."""

    def __init__(self, words: Sequence[str], *, seconds: float, most: int, killable: bool = True) -> None:
        """Run `words[0]`, an absolute path, for so many seconds; it may write `most` bytes.

        Raises MissingFacility when there can be no process, OSError when there can be no memory for what it writes.
        """
        self._killable = killable
        self.pid = 0
        self._said = b""
        self._out = os.memfd_create("gotriage-trace", os.MFD_CLOEXEC)
        self._errors = os.memfd_create("gotriage-errors", os.MFD_CLOEXEC)
        numbers = (os.getpid(), seconds, most, int(killable), self._errors)
        words = [word.replace(OUT, f"/proc/self/fd/{self._out}") for word in words]
        options = ["-I", *(["-B"] if sys.dont_write_bytecode else [])]
        try:
            self._process = subprocess.Popen(
                [sys.executable, *options, "-m", __name__, *map(str, numbers), *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=ENVIRONMENT,
                cwd="/",
                close_fds=True,
                pass_fds=(self._out, self._errors),
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            os.close(self._out)
            os.close(self._errors)
            raise MissingFacility(f"no process can be started: {error.strerror}") from error
        limit = Deadline(STARTS)
        while not self.pid and not self.ended and not limit.over:
            self._listen(limit.left())
        if not self.pid and not self.ended:
            self.end()
            raise MissingFacility("the tracer did not start")

    # -- what it says

    def _listen(self, seconds: float) -> None:
        """Take what the keeper says: "tracer PID", then one line when it has ended."""
        stdout = self._process.stdout
        if stdout is None or stdout.closed or not select.select([stdout], [], [], seconds)[0]:
            return
        said = os.read(stdout.fileno(), 4096)
        if not said:
            stdout.close()
            return
        self._said += said
        for line in self._said.splitlines():
            word, _, rest = line.partition(b" ")
            if word == b"tracer" and rest.isdigit():
                self.pid = int(rest)

    @property
    def ended(self) -> str:
        """Why it ended, in words; "" while it runs."""
        self._listen(0)
        for line in self._said.splitlines():
            word, _, rest = line.partition(b" ")
            if word == b"ended":
                return rest.decode("ascii", "replace")
        stdout = self._process.stdout
        return "its keeper was killed" if stdout is None or stdout.closed else ""

    def read(self, offset: int, size: int) -> bytes:
        """What it has written from that byte on."""
        return os.pread(self._out, size, offset)

    @property
    def errors(self) -> str:
        """What it has said on standard error."""
        return os.pread(self._errors, MOST_ERRORS, 0).decode("utf-8", "replace")

    # -- its end

    def end(self) -> str:
        """End it and wait until it has; why it ended. May be called twice. What it has written stays readable."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        limit = Deadline((PATIENCE if self._killable else LONG_PATIENCE) + 2.0)
        while not self.ended and not limit.over and _state(self._process.pid) != "T":
            self._listen(limit.left(0.2))
        if not self.ended:
            self._force()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2.0)
        return self.ended

    def _force(self) -> None:
        """The keeper does not answer: somebody has stopped it."""
        with suppress(OSError, GotriageError, ValueError):
            if self.pid and Proc().stat(self.pid).ppid == self._process.pid:
                os.kill(self.pid, signal.SIGKILL if self._killable else signal.SIGTERM)
        self._process.kill()
        limit = Deadline(2.0)
        while not self.ended and not limit.over:
            self._listen(limit.left(0.2))

    def close(self) -> None:
        """End it, and forget what it has written; may be called twice."""
        if self._out < 0:
            return
        self.end()
        if self._process.stdout is not None:
            self._process.stdout.close()
        for fd in (self._out, self._errors):
            os.close(fd)
        self._out = self._errors = -1


def _state(pid: int) -> str:
    """R, S, T ... of proc_pid_stat(5); "" when there is none."""
    with suppress(OSError, GotriageError, ValueError):
        return Proc().stat(pid).state
    return ""


# -- the keeper

_TOLD: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(arguments: Sequence[str]) -> None:
    """Start the tracer, watch it, end it, say why."""
    parent, seconds, most, killable = int(arguments[0]), float(arguments[1]), int(arguments[2]), arguments[3] == "1"
    signal.pthread_sigmask(signal.SIG_BLOCK, _TOLD)
    privilege.die_with_parent(signal.SIGTERM)
    if os.getppid() != parent:
        return
    _be_prompt()
    watched, until = _Watched(arguments[5:], most, seconds if killable else 0.0, int(arguments[4])), Deadline(seconds)
    _say(f"tracer {watched.pid}")
    why = watched.watch(until)
    _say(f"ended {why or watched.words}" if watched.end(why) else "ended not: it does not let go of the target")


def _say(line: str) -> None:
    with suppress(OSError):
        os.write(1, f"{line}\n".encode("ascii", "replace"))


def _be_prompt() -> None:
    """Whoever holds a service still is not slower than that service."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, 0)


class _Watched:
    """The tracer, our child: one with a time of its own (`seconds`) may be killed, one without must not."""

    def __init__(self, words: Sequence[str], most: int, seconds: float, errors: int) -> None:
        self._killable = seconds > 0
        self._status: int | None = None
        keeper = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _become(words, most, seconds, errors, keeper)

    @property
    def gone(self) -> bool:
        """Whether it has ended."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status is not None

    @property
    def words(self) -> str:
        """How it ended by itself."""
        status = self._status or 0
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            if number == signal.SIGXFSZ:
                return "there is no room for more"
            return f"it was killed by signal {number}"
        return f"by itself, with status {os.WEXITSTATUS(status)}"

    def watch(self, until: Deadline) -> str:
        """Until it has to end; why, "" when it ended by itself."""
        while not until.over:
            if self.gone:
                return ""
            if select.select([0], [], [], TICK)[0] and not os.read(0, 64):
                return "on request"
            if signal.sigpending() & set(_TOLD):
                return "on request"
            if _state(self.pid) == "T":
                if self._killable:
                    self._signal(signal.SIGKILL)
                    return "it was stopped by somebody, and with it the target"
                self._signal(signal.SIGCONT)
        return "its time is over"

    def end(self, why: str) -> bool:
        """End it, gently first; whether it has ended."""
        limit = Deadline(0.0 if not why else PATIENCE if self._killable else LONG_PATIENCE)
        asked = -3.0
        while not self.gone:
            if limit.over:
                if not self._killable:
                    return False
                self._signal(signal.SIGKILL)
                limit = Deadline(PATIENCE)
            elif clock.monotonic() - asked > 3.0:
                asked = clock.monotonic()
                self._signal(signal.SIGTERM)
                self._signal(signal.SIGCONT)
            clock.sleep(0.005)
        return True

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, number)


def _become(words: Sequence[str], most: int, seconds: float, errors: int, keeper: int) -> NoReturn:
    """In the child: be the tracer."""
    try:
        os.setpgid(0, 0)
        privilege.die_with_parent(signal.SIGKILL if seconds else signal.SIGTERM)
        if os.getppid() != keeper:
            os._exit(1)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        if seconds:  # an alarm would do, had strace not blocked its signal
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + LATE, int(seconds) + LATE))
        else:
            _live_long()
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd, to in ((nothing, 0), (nothing, 1), (errors, 2)):
            os.dup2(fd, to)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _TOLD)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these, which execve(2) would hand on
            signal.signal(number, signal.SIG_DFL)
        os.execve(words[0], list(words), ENVIRONMENT)
    finally:
        os._exit(127)


def _live_long() -> None:
    """One that must not be killed is not among the first to go when memory is short; as far as we may decide that."""
    for score in ("-900", "0"):
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(score)
            return


if __name__ == "__main__":
    main(sys.argv[1:])
