"""A piece of work in a forked child: in another namespace, or beside ours on another CPU. Never executes anything.

The child has only what was imported before the fork, takes no locks, and gives its bytes back through a pipe.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gotriage.errors import NotPermitted
from gotriage.host import clock, privilege

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT: Final = 256 * 1024 * 1024
"""Most bytes that a child may give back."""

_libc = ctypes.CDLL(None, use_errno=True)


def join_namespace(path: str) -> None:
    """Enter the network namespace of a /proc/PID/ns/net file (setns(2)), unless we are in it: that asks for no right.

    Raises NotPermitted or OSError.
    """
    if os.readlink(path) == os.readlink("/proc/self/ns/net"):
        return
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, 0) != 0:
            code = ctypes.get_errno()
            if code in (1, 13):
                raise NotPermitted(f"{path}: {os.strerror(code)}; run gotriage as root (sudo)")
            raise OSError(code, os.strerror(code), path)
    finally:
        os.close(fd)


class Forked:
    """Work going on in a child; `result` waits for it. Raises OSError when there can be no child (PID limit)."""

    def __init__(self, work: Callable[[], bytes]) -> None:
        self._pipe, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            self._pid = os.fork()
        except OSError:
            os.close(self._pipe)
            os.close(theirs)
            raise
        if self._pid == 0:
            _be_child(work, theirs)
        os.close(theirs)

    def result(self, timeout: float) -> bytes:
        """What the work gave. Raises TimeoutError, or OSError with what went wrong in the child."""
        deadline, chunks, size = clock.monotonic() + timeout, [], 0
        try:
            while True:
                left = deadline - clock.monotonic()
                if left <= 0 or not select.select([self._pipe], [], [], left)[0]:
                    raise TimeoutError(f"no answer within {timeout:g} s")
                data = os.read(self._pipe, 1 << 20)
                if not data:
                    break
                chunks.append(data)
                size += len(data)
                if size > LIMIT:
                    raise OSError("the answer is too long")
        finally:
            self.close()
        answer = b"".join(chunks)
        if answer[:1] != b"+":
            raise OSError(answer[1:].decode("utf-8", "replace") or "the child ended early")
        return answer[1:]

    def ready(self, timeout: float) -> bool:
        """Whether it begins to answer within so many seconds; it goes on all the same."""
        return bool(select.select([self._pipe], [], [], timeout)[0])

    def abandon(self) -> None:
        """Kill the child without waiting: in a system call that no signal ends it goes when that does."""
        self._end(os.WNOHANG)

    def close(self) -> None:
        """End the child if it still works, and collect it."""
        self._end(0)

    def _end(self, wait: int) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(self._pid, wait)


def in_child(work: Callable[[], bytes], timeout: float = 5.0) -> bytes:
    """Do the work in a child and wait for what it gives. Raises TimeoutError and OSError."""
    return Forked(work).result(timeout)


def _be_child(work: Callable[[], bytes], out: int) -> None:
    """Work, answer, end; never returns."""
    try:
        gc.disable()
        privilege.die_with_parent(signal.SIGKILL)
        with suppress(ValueError):
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
        try:
            answer = b"+" + work()
        except BaseException as error:  # whatever it was, the parent hears of it
            answer = b"-" + str(error).encode("utf-8", "replace")[:1000]
        view = memoryview(answer)
        while view:
            view = view[os.write(out, view) :]
    finally:
        os._exit(0)
