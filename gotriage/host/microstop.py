"""Stop one thread of another process for some microseconds, to see its registers and its stack as they are now.

Done by ptrace(2): PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_GETREGSET, PTRACE_DETACH. Each thread is looked at by a thread
of ours that ends right after it, because the kernel lets go of what a thread traces when that thread ends, whatever
state it is in (kernel/ptrace.c, exit_ptrace): nothing stays stopped, also if we are killed, or if it does not stop in
time since it waits for a disk. No signal is sent; one that arrives meanwhile is delivered as if nobody had looked.

A system call that the thread waits in begins anew; some end with EINTR as they do when a process is stopped and goes on
(signal(7)), which Go's runtime expects of them. It is meant for threads that are on a CPU.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import signal
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError, NotPermitted
from gotriage.host import clock, vm
from gotriage.host.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gotriage.host import Host

EACH: Final = 0.010
"""Seconds that a thread may take to stop before it is let go."""
BUDGET: Final = 0.5
"""Seconds for all threads together."""
MOST_STACK: Final = 1024 * 1024
"""Bytes of a stack that are copied at most: a copy takes about 0.1 ms a megabyte, in which the thread stands."""

_DETACH, _GETREGSET, _SEIZE, _INTERRUPT = 17, 0x4204, 0x4206, 0x4207
_EVENT_STOP: Final = 128
"""PTRACE_EVENT_STOP; requests and event are of include/uapi/linux/ptrace.h."""
_NT_PRSTATUS: Final = 1
_WALL: Final = 0x40000000
"""__WALL of waitpid(2): threads too."""
_SLICE: Final = 0.0002
"""Seconds between two looks whether it has stopped, unless the kernel wakes us before."""

_PLACES: Final = {"x86_64": (27, 19, 16, 4), "aarch64": (34, 31, 32, 29)}
"""Words of the general registers, and which of them are sp, pc and the frame pointer: struct user_regs_struct of
arch/x86/include/asm/user_64.h, struct user_pt_regs of arch/arm64/include/uapi/asm/ptrace.h."""


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


_ptrace = ctypes.CDLL(None, use_errno=True).ptrace
_ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_ptrace.restype = ctypes.c_long


@dataclass(frozen=True, slots=True)
class Look:
    """What one thread was at.

    Attributes:
        sp, pc, bp: stack pointer, program counter, frame pointer; registers: all general ones, as in NT_PRSTATUS.
        stack: the bytes from sp upwards, as many as were asked for and are there.
        stopped: seconds from when it was last seen to run to after it was told to go on: it stood no longer than that.
        error: why there is nothing, "" when there is.
    """

    tid: int
    sp: int = 0
    pc: int = 0
    bp: int = 0
    registers: bytes = b""
    stack: bytes = b""
    stopped: float = 0.0
    error: str = ""


def look(
    host: Host, pid: int, tids: Iterable[int], *, stack: int = 0, each: float = EACH, budget: float = BUDGET
) -> list[Look]:
    """Look at threads of process `pid`, one after the other; `stack`: bytes of each one's stack.

    Raises NotPermitted when the kernel refuses. What else goes wrong with a thread is its `error`.
    """
    if os.uname().machine not in _PLACES:
        return [Look(tid, error=f"not known how to read registers on {os.uname().machine}") for tid in tids]
    deadline, looks = Deadline(budget), []
    for tid in tids:
        if deadline.over:
            looks.append(Look(tid, error=f"not looked at: the {budget:g} s for it were used up"))
            continue
        one = _Stop(host, pid, tid, min(stack, MOST_STACK), each)
        worker = threading.Thread(target=one.run, name="microstop", daemon=True)
        worker.start()
        worker.join()
        if isinstance(one.problem, GotriageError):
            raise one.problem
        looks.append(one.result or Look(tid, error=f"could not be looked at: {one.problem}"))
    return looks


class _Stop:
    """One thread, looked at by one thread of ours, in `run`."""

    def __init__(self, host: Host, pid: int, tid: int, stack: int, each: float) -> None:
        self._host, self._pid, self._tid, self._stack, self._each = host, pid, tid, stack, each
        self.result: Look | None = None
        self.problem: BaseException | None = None
        self._words, *self._places = _PLACES[os.uname().machine]
        self._buffer = ctypes.create_string_buffer(self._words * 8)
        self._iovec = _Iovec(ctypes.addressof(self._buffer), self._words * 8)

    def run(self) -> None:
        """Look; the end of this thread lets go of the other, if it is not let go of already."""
        _be_quick()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # so that it can be waited for with a time limit
        collecting = gc.isenabled()
        gc.disable()
        try:
            self.result = self._look()
        except BaseException as error:  # carried over to the calling thread
            self.problem = error
        finally:
            if collecting:
                gc.enable()

    def _look(self) -> Look:
        if _ptrace(_SEIZE, self._tid, None, None) != 0:
            return self._refused(ctypes.get_errno())
        if not os.path.exists(self._host.proc.path(self._pid, "task", self._tid)):
            return Look(self._tid, error="is no thread of the process (any more)")
        begun = clock.monotonic()
        if _ptrace(_INTERRUPT, self._tid, None, None) != 0:
            return Look(self._tid, error="has ended")
        status, begun = self._wait(begun, Deadline(self._each))
        if status is None:
            return Look(self._tid, error=f"did not stop within {self._each * 1000:g} ms")
        if not os.WIFSTOPPED(status):
            return Look(self._tid, error="has ended")
        got = _ptrace(_GETREGSET, self._tid, _NT_PRSTATUS, ctypes.byref(self._iovec))
        words = struct.unpack_from(f"<{self._words}Q", self._buffer)
        sp, pc, bp = (words[place] for place in self._places)
        stack = vm.read(self._pid, sp, self._stack) if self._stack and got == 0 else b""
        # A stop for a signal, not for us: it is handed on. (In a group stop, which is none, 0 leaves it stopped.)
        pending = os.WSTOPSIG(status) if status >> 16 != _EVENT_STOP else 0
        _ptrace(_DETACH, self._tid, None, pending)
        stopped = clock.monotonic() - begun
        if got != 0 or self._iovec.size != self._words * 8:
            return Look(self._tid, stopped=stopped, error="its registers cannot be read: a 32-bit program?")
        return Look(self._tid, sp, pc, bp, self._buffer.raw, stack, stopped)

    def _wait(self, running: float, deadline: Deadline) -> tuple[int | None, float]:
        """The status of the stop (waitpid(2)), None when there is none in time; and when it was last seen to run."""
        while True:
            asked = clock.monotonic()
            pid, status = os.waitpid(self._tid, os.WNOHANG | _WALL)
            if pid:
                return status, running
            running = asked
            if deadline.over:
                return None, running
            signal.sigtimedwait((signal.SIGCHLD,), deadline.left(_SLICE))  # another thread of ours may get it: slices

    def _refused(self, code: int) -> Look:
        if code == errno.ESRCH:
            return Look(self._tid, error="has ended")
        if code in (errno.EPERM, errno.EACCES):
            tracer = self._tracer()
            if tracer:
                return Look(self._tid, error=f"is traced already, by {tracer}")
            if self._ended():  # ptrace_attach() in kernel/ptrace.c has EPERM for one that is about to go, too
                return Look(self._tid, error="has ended")
            raise NotPermitted(vm.refusal(self._pid, "the threads of process {} may not be stopped"))
        return Look(self._tid, error=os.strerror(code))

    def _ended(self) -> bool:
        """It is gone, or a zombie (proc_pid_stat(5))."""
        try:
            status = self._host.proc.read(self._pid, "task", self._tid, "stat")
        except (GotriageError, OSError):
            return True
        return status.rpartition(b")")[2].split()[:1] in ([b"Z"], [b"X"], [])

    def _tracer(self) -> str:
        """Name and PID of who traces it already, "" when nobody does."""
        with suppress(GotriageError, OSError, ValueError):
            status = self._host.proc.read(self._pid, "task", self._tid, "status")
            (line,) = (line for line in status.split(b"\n") if line.startswith(b"TracerPid:"))
            pid = int(line.split()[1])
            if pid:
                return f"{self._host.proc.stat(pid).comm} (PID {pid})"
        return ""


def _be_quick() -> None:
    """Between stop and end of the look this thread of ours must not wait for a CPU: the other one stands meanwhile.

    It sleeps while it waits for the stop, so that it keeps nobody from stopping.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
