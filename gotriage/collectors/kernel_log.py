"""OOM kills of the target's processes, from the kernel's own log."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gotriage.collectors import Unavailable
from gotriage.errors import AS_ROOT, NotPermitted, reason_of
from gotriage.host.kmsg import KernelLine, KernelLog
from gotriage.records.logs import OomKill
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.target.model import Target

REMEMBERED = 64
"""Announcements ("oom-kill:") that wait for their "Killed process" line; the kernel prints both within moments."""

# mm/oom_kill.c, dump_oom_summary(): since Linux 5.0.
_SUMMARY = re.compile(r"^oom-kill:constraint=(?P<constraint>\w+),(?P<rest>.*)$")
_TASK = re.compile(r"(?:^|,)task_memcg=(?P<cgroup>.*?),task=(?P<comm>.*),pid=(?P<pid>\d+),uid=\d+$")
# mm/oom_kill.c, __oom_kill_process(): "Out of memory" or "Memory cgroup out of memory" before it, wording since 4.x.
_KILLED = re.compile(r"(?P<prefix>.*?):? ?Killed process (?P<pid>\d+) \((?P<comm>.*?)\),? (?P<rest>.*)$")
_RSS = re.compile(r"(?:anon|file|shmem)-rss:(\d+)kB")


@dataclass(frozen=True, slots=True)
class Kill:
    """One OOM kill put together from its kernel lines; sizes in bytes."""

    line: KernelLine
    pid: int
    comm: str
    cgroup: str = ""
    constraint: str = ""
    rss_bytes: int | None = None


def parse_kills(lines: Iterator[KernelLine], waiting: OrderedDict[int, Kill]) -> Iterator[Kill]:
    """OOM kills in the order of their "Killed process" lines; `waiting` carries announcements over between calls."""
    for line in lines:
        if announced := _announcement(line):
            waiting[announced.pid] = announced
            while len(waiting) > REMEMBERED:
                waiting.popitem(last=False)
        elif "Killed process" in line.text and (match := _KILLED.match(line.text)):
            yield _killed(line, match, waiting.pop(int(match["pid"]), None))


def _announcement(line: KernelLine) -> Kill | None:
    summary = _SUMMARY.match(line.text)
    task = _TASK.search(summary["rest"]) if summary else None
    if summary is None or task is None:
        return None
    return Kill(line, int(task["pid"]), task["comm"], task["cgroup"], summary["constraint"])


def _killed(line: KernelLine, match: re.Match[str], announced: Kill | None) -> Kill:
    sizes = _RSS.findall(match["rest"])
    rss = sum(map(int, sizes)) * 1024 if sizes else None
    if announced is not None:
        return replace(announced, line=line, rss_bytes=rss)
    by_cgroup = "memory cgroup" in match["prefix"].lower()
    constraint = "CONSTRAINT_MEMCG" if by_cgroup else "CONSTRAINT_NONE"
    return Kill(line, int(match["pid"]), match["comm"], constraint=constraint, rss_bytes=rss)


def own_groups(target: Target) -> set[str]:
    """The memory cgroups that hold this target and nothing else.

    A unit or container has a cgroup of its own; that of a bare process is shared with who knows whom. On v1 the memory
    controller may know only a group above: a unit without MemoryAccounting= is accounted in its slice, or in whatever
    its systemd was started in. Only a group that bears the name of the unit or container is its own.
    """
    if not (target.unit or target.container):
        return set()
    found = {target.cgroup} if target.cgroup else set()
    memory = target.cgroup_v1.get("memory") or "/"
    last = memory.rsplit("/", 1)[-1]
    names = {target.unit, (target.cgroup or "").rsplit("/", 1)[-1]}
    if last in names or (target.container_id and target.container_id in last):
        found.add(memory)
    return found - {"/"}


class KernelLogCollector:
    """One `OomKill` for each process of the target that the kernel killed since the machine started.

    A kill concerns the target when the kernel names the target's cgroup or one below it, or a PID that the target
    has, or had while gotriage watched. Of the lines from before that, the PID proves nothing: it lives, so the one that
    was killed was another process.
    """

    backend = "/dev/kmsg"

    def __init__(self, host: Host, target: Target) -> None:
        self._target = target
        self._known: set[int] = set()
        self._first = True
        self._waiting: OrderedDict[int, Kill] = OrderedDict()
        try:
            self._log = KernelLog()
        except NotPermitted as error:
            raise Unavailable(reason_of(error), remedy=f"{AS_ROOT}, or sysctl -w kernel.dmesg_restrict=0") from error
        except OSError as error:
            raise Unavailable(f"/dev/kmsg: {error.strerror}") from error

    def collect(self) -> Iterator[Record]:
        """Read what came since the last look; the first look reads all that the kernel still has."""
        watched = frozenset[int]() if self._first else frozenset(self._known)
        self._known.update(self._target.pids)
        self._first = False
        for kill in parse_kills(self._log.read(), self._waiting):
            if kill.pid in watched or self._in_cgroup(kill.cgroup):
                yield OomKill(
                    at=kill.line.at,
                    pid=kill.pid,
                    comm=clean(kill.comm),
                    cgroup=clean(kill.cgroup),
                    constraint=clean(kill.constraint),
                    rss_bytes=kill.rss_bytes,
                    message=clean(kill.line.text),
                )

    def _in_cgroup(self, path: str) -> bool:
        """Whether the path is the target's own memory cgroup or below."""
        return any(path == group or path.startswith(f"{group}/") for group in own_groups(self._target))

    def close(self) -> None:
        """Let go of the device."""
        self._log.close()
