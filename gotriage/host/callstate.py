"""The system call that a thread is in, without any tracing: /proc/PID/task/TID/syscall (proc_pid_syscall(5))."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gotriage.errors import GotriageError

if TYPE_CHECKING:
    from gotriage.host import Host


@dataclass(frozen=True, slots=True)
class CallState:
    """A thread that sleeps in a system call: its number, its six arguments, stack pointer and program counter."""

    number: int
    arguments: tuple[int, ...]
    sp: int
    pc: int


def parse_call_state(text: str) -> CallState | None:
    """None for a thread that runs, or sleeps elsewhere (a page fault). Raises ValueError."""
    words = text.split()
    if not words or words[0] in ("running", "-1"):
        return None
    numbers = [int(word, 16) for word in words[1:]]
    if len(numbers) < 8:
        raise ValueError(f"not a line of /proc/PID/syscall: {text[:80]!r}")
    return CallState(int(words[0]), tuple(numbers[:6]), numbers[6], numbers[7])


def call_state(host: Host, pid: int, tid: int) -> CallState | None:
    """The call that the thread sleeps in; None when it is in none, is gone, or may not be looked at."""
    try:
        return parse_call_state(host.proc.read(pid, "task", tid, "syscall", limit=512).decode("ascii"))
    except (GotriageError, OSError, ValueError):
        return None
