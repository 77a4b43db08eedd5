"""A helper that runs for a while beside us: a tracer. Started in a process group of its own, and never outlives us.

The helper begins as our own Python, which asks the kernel to kill it with us (PR_SET_PDEATHSIG), gives it a mount
namespace with tracefs where there is none, and becomes the helper by execve(2). As with `tools.run`: an absolute path,
a bare environment, no shell. Its output is read here without waiting, bounded; what it writes beyond that waits in the
pipe, and it with it.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gotriage.errors import MissingFacility
from gotriage.host import citizen, clock, privilege, tools
from gotriage.host.ownmounts import own_tracefs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PIPE: Final = 1 << 20
READ: Final = 1 << 20
"""Bytes that are taken at once."""
MOST_ERRORS: Final = 64 * 1024
ENDS: Final = 2.0
"""Seconds that it may take to end by itself, with its last words."""
PATIENCE: Final = 0.5


class Held:
    """A running helper. Raises MissingFacility when it is not installed or cannot be started."""

    def __init__(
        self, words: Sequence[str], *, given: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> None:
        """Start helper `words[0]`; `given` is what it reads as its standard input, a file."""
        path = tools.find(words[0])
        if path is None:
            raise MissingFacility(f"{words[0]} is not installed")
        self.name = words[0]
        self._errors = b""
        stdin = os.memfd_create(f"gotriage-{self.name}")
        try:
            os.write(stdin, given)
            os.lseek(stdin, 0, os.SEEK_SET)
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-m", "gotriage.host.held", str(os.getpid()), path, *words[1:]],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=tools.ENVIRONMENT | dict(environment or {}),
                cwd="/",
                close_fds=True,
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            raise MissingFacility(f"{self.name} cannot be started: {error.strerror}") from error
        finally:
            os.close(stdin)
        assert self._process.stdout and self._process.stderr
        self._out, self._err = self._process.stdout.fileno(), self._process.stderr.fileno()
        for fd in (self._out, self._err):
            os.set_blocking(fd, False)
        with suppress(OSError):
            fcntl.fcntl(self._out, fcntl.F_SETPIPE_SZ, PIPE)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status, -N for signal N; None while it runs."""
        return self._process.poll()

    def read(self, wait: float = 0.0) -> bytes:
        """What it has written, at most READ bytes; b"" when there is nothing within `wait` seconds, or no more."""
        if wait > 0:
            select.select([self._out, self._err], [], [], wait)
        self._read_errors()
        try:
            return os.read(self._out, READ)
        except BlockingIOError:
            return b""
        except ValueError:
            return b""

    def _read_errors(self) -> None:
        for _ in range(16):
            try:
                data = os.read(self._err, 1 << 16)
            except OSError:
                return
            if not data:
                return
            self._errors = (self._errors + data)[:MOST_ERRORS]

    @property
    def errors(self) -> str:
        """The beginning of what it has said on standard error."""
        self._read_errors()
        return self._errors.decode("utf-8", "replace")

    def interrupt(self) -> bytes:
        """Ask it to end as Ctrl-C does, and give what it says then; it is killed when it does not."""
        parts: list[bytes] = []
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGINT)
        until = clock.monotonic() + ENDS
        while clock.monotonic() < until:
            data = self.read(0.05)
            parts.append(data)
            if not data and self.status is not None:
                break
            if sum(map(len, parts)) > 4 * READ:
                break
        self.close()
        return b"".join(parts)

    def close(self) -> None:
        """Kill it, with all that it has started."""
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


def main(parent: str, path: str, *words: str) -> None:
    """In the child: become the helper."""
    privilege.die_with_parent(signal.SIGKILL)
    if os.getppid() != int(parent):
        os._exit(0)
    citizen.yield_cpu(citizen.AGENT_NICE)
    citizen.die_first(citizen.AGENT_SCORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    own_tracefs()
    os.execve(path, [os.path.basename(path), *words], dict(os.environ))


if __name__ == "__main__":
    main(*sys.argv[1:])
