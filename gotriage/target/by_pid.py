"""A target given as a PID: the process with its descendants, and the unit and container it belongs to."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError, NoSuchTarget, TargetError, TargetGone, UsageError
from gotriage.host import cgroup_names, engines, executable, privilege
from gotriage.host.cgroup_tree import CgroupTree, group_of
from gotriage.host.pidns import PidView
from gotriage.records.text import clean
from gotriage.target import pinning
from gotriage.target.follow import event
from gotriage.target.model import ContainerRef, Sighting, Target

if TYPE_CHECKING:
    from gotriage.host import Host
    from gotriage.host.proc import Stat
    from gotriage.records.target import TargetSpec

MAX_DESCENDANTS: Final = 20_000


def attach(spec: TargetSpec, host: Host) -> Target:
    """The process of that PID (a PID of `--root-pid`'s namespace when there is one).

    Raises UsageError, NoSuchTarget, TargetError (kernel thread, zombie), NotPermitted.
    """
    pid = _ours(spec, host)
    stat = _examined(host, pid)
    target = Target(spec, host, name=clean(stat.comm, 64), follower=PidFollower())
    try:
        pinning.pin(target, pid)
    except TargetGone as error:
        raise NoSuchTarget(f"process {pid} ({clean(stat.comm, 64)}) ended while it was looked at") from error
    name_owner(target, pid)
    _say_what_is_hidden(target, pid)
    target.pids = PidFollower().members(target) or (pid,)
    return target


def name_owner(target: Target, pid: int) -> None:
    """Note the unit and the container that the process's cgroup names; none for a login session."""
    try:
        path = group_of(target.host, pid)
    except (GotriageError, OSError):
        return
    owner = cgroup_names.owner(path or "/", CgroupTree(target.host).root_of_view())
    target.unit, target.user_uid = owner.unit or None, owner.uid
    if owner.id:
        target.container = ContainerRef(owner.engine, owner.id, engines.name_of(target.host, owner.id))


def _ours(spec: TargetSpec, host: Host) -> int:
    if not (spec.value.isascii() and spec.value.isdigit()) or int(spec.value) == 0:
        raise UsageError(f"--pid {clean(spec.value, 40)}: not a process id; give a number such as --pid 4242")
    number = int(spec.value)
    try:
        most = int(host.proc.read("sys", "kernel", "pid_max"))
    except (GotriageError, OSError, ValueError):
        most = 1 << 22  # PID_MAX_LIMIT of a 64-bit kernel
    if number > most:
        raise NoSuchTarget(f"no process {number}: process ids end at {most} here")
    view = PidView(host)
    ours = view.to_ours(number)
    if ours is None:
        raise NoSuchTarget(f"no process {number} in the PID namespace of --root-pid {host.root_pid}")
    return ours


def _examined(host: Host, pid: int) -> Stat:
    """The process's stat, when it is one that can be looked at."""
    try:
        stat = host.proc.stat(pid)
        group = host.proc.status(pid).get("Tgid", str(pid))
    except (TargetGone, ValueError) as error:
        if executable.hidden(pid):
            hint = "another user's process, which /proc hides here (hidepid); run gotriage as root (sudo)"
            raise TargetError(f"process {pid}: {hint}") from error
        raise NoSuchTarget(f"no process {pid}") from error
    name = clean(stat.comm, 64)
    if group != str(pid):
        raise NoSuchTarget(f"{pid} is a thread of process {group} ({name}); use --pid {group}")
    if stat.is_kernel_thread:
        raise TargetError(f"process {pid} ({name}) is a kernel thread: it has no executable, files or limits")
    if stat.state in "ZX":
        parent = _name(host, stat.ppid)
        raise TargetError(f"process {pid} ({name}) is a zombie: it has ended, and its parent {parent} has not noticed")
    return stat


def _name(host: Host, pid: int) -> str:
    try:
        return f"{pid} ({clean(host.proc.stat(pid).comm, 64)})"
    except (GotriageError, OSError, ValueError):
        return str(pid)


def _say_what_is_hidden(target: Target, pid: int) -> None:
    """Without root, another user's process keeps most of itself to itself."""
    if privilege.is_root():
        return
    try:
        uid = int(target.host.proc.status(pid).get("Uid", "0").split()[0])
    except (GotriageError, OSError, ValueError, IndexError):
        return
    if uid != os.geteuid():
        text = f"process {pid} belongs to {_user(uid)}: without root its files, environment and memory stay unseen"
        target.pending.append(event("note", f"{text}; run gotriage with sudo", pid))


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


class PidFollower:
    """The process and its descendants; when it ends, it is gone."""

    returns = False
    group = ""

    def __init__(self) -> None:
        self._threads = 1

    def members(self, target: Target) -> tuple[int, ...]:
        """The process, its children, theirs and so on."""
        if target.main is None:
            return ()
        proc, main = target.host.proc, target.main.pid
        try:
            if self._children_are_cheap(target.host, main):
                return tuple(self._by_children(target.host, main))
            self._threads = proc.stat(main).threads
            return (main, *_below(_parents(target.host), main))
        except (GotriageError, OSError, ValueError):
            return (main,)

    def _children_are_cheap(self, host: Host, main: int) -> bool:
        """Each thread has a list of children of its own: for thousands of threads the whole of /proc is cheaper."""
        if not os.path.exists(host.proc.path(main, "task", main, "children")):
            return False  # CONFIG_PROC_CHILDREN is off
        return self._threads <= 100 or self._threads <= len(host.proc.names())

    def _by_children(self, host: Host, main: int) -> list[int]:
        found, seen, at, threads = [main], {main}, 0, 0
        while at < len(found) < MAX_DESCENDANTS:
            pid, at = found[at], at + 1
            try:
                threads += host.proc.stat(pid).threads
                children = host.proc.children(pid)
            except (GotriageError, OSError, ValueError):
                continue
            found += [child for child in children if child not in seen]
            seen.update(children)
        self._threads = threads
        return found

    def main(self, _target: Target, /) -> Sighting | None:
        """Nobody knows of another one."""
        return None

    def close(self) -> None:
        """Nothing is held."""


def _parents(host: Host) -> dict[int, list[int]]:
    """Children by parent, from every /proc/PID/stat."""
    children: dict[int, list[int]] = {}
    for pid in host.proc.pids():
        try:
            children.setdefault(host.proc.stat(pid).ppid, []).append(pid)
        except (GotriageError, OSError, ValueError):
            continue
    return children


def _below(children: dict[int, list[int]], main: int) -> list[int]:
    found: list[int] = []
    waiting = list(children.get(main, []))
    while waiting and len(found) < MAX_DESCENDANTS:
        pid = waiting.pop(0)
        found.append(pid)
        waiting += children.get(pid, [])
    return found
