"""Threads in uninterruptible sleep: state D at one look and at the next, without having run in between."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError, MissingFacility, TargetGone
from gotriage.host import clock, threads
from gotriage.host.callnames import call_name
from gotriage.host.callstate import call_state
from gotriage.records.paths import Sleeper, Sleepers
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gotriage.host import Host
    from gotriage.host.callstate import CallState
    from gotriage.records import Record
    from gotriage.target.model import Target

MOST_THREADS: Final = 4096
MOST_PIDS: Final = 64
MOST: Final = 20
_ON_A_FILE: Final = "read write pread64 pwrite64 readv writev preadv pwritev fsync fdatasync fstat getdents64 ftruncate"
FIRST_IS_FD: Final = frozenset([*_ON_A_FILE.split(), "fallocate", "ioctl", "flock", "newfstatat", "openat", "close"])
"""System calls whose first argument is a descriptor (or the folder that a path is relative to)."""
_STACK: Final = re.compile(r"^\[<[^>]*>\] (\S+?)(?:\+0x\S*)?$", re.MULTILINE)
"""A line of /proc/PID/task/TID/stack (proc_pid_stack(5))."""


def parse_stack(text: str) -> tuple[str, ...]:
    """The kernel functions, the innermost first."""
    return tuple(clean(name, 100) for name in _STACK.findall(text)[:8])


class SleeperCollector:
    """Remembers who slept at the last look, and how often each had been switched by then."""

    backend = "/proc/PID/task"

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._asleep: dict[tuple[int, int], tuple[int, datetime]] = {}

    def collect(self) -> Iterator[Record]:
        """Look once. Raises NotPermitted."""
        now, seen, left = clock.now(), 0, MOST_THREADS
        asleep: dict[tuple[int, int], tuple[int, datetime]] = {}
        found: list[Sleeper] = []
        for pid in self._target.pids[:MOST_PIDS]:
            try:
                every = threads.read(self._host, pid, left)
            except (TargetGone, OSError):
                continue
            seen, left = seen + len(every), left - len(every)
            for one in every:
                if one.state != "D":
                    continue
                before = self._asleep.get((pid, one.tid))
                since = before[1] if before is not None and before[0] == one.switches else now
                asleep[pid, one.tid] = (one.switches, since)
                if since is not now and len(found) < MOST:
                    found.append(self._describe(pid, one.tid, since))
        self._asleep = asleep
        found.sort(key=lambda one: one.since)
        yield Sleepers(at=now, sleepers=tuple(found), threads=seen)

    def _describe(self, pid: int, tid: int, since: datetime) -> Sleeper:
        state = call_state(self._host, pid, tid)
        call = ""
        if state is not None:
            try:
                call = call_name(state.number)
            except MissingFacility:
                call = f"call {state.number}"
        return Sleeper(
            pid=pid,
            tid=tid,
            since=since,
            name=clean(self._text(pid, tid, "comm").strip(), 64),
            wait=clean(self._text(pid, tid, "wchan").strip("0\n"), 100),
            call=call,
            path=self._path(pid, call, state),
            stack=parse_stack(self._text(pid, tid, "stack")),
        )

    def _text(self, pid: int, tid: int, name: str) -> str:
        try:
            return self._host.proc.read(pid, "task", tid, name, limit=8192).decode("utf-8", "replace")
        except (GotriageError, OSError):
            return ""

    def _path(self, pid: int, call: str, state: CallState | None) -> str:
        """What the descriptor in its first argument leads to; "" where it is none."""
        if state is None or call not in FIRST_IS_FD or state.arguments[0] > 1 << 20:
            return ""
        try:
            return clean(os.readlink(self._host.proc.path(pid, "fd", state.arguments[0])), 1024)
        except OSError:
            return ""

    def close(self) -> None:
        """Nothing is held."""
