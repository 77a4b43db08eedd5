"""The network namespace of a process, from within: work in a child that has joined it, its settings, helpers in it.

Nothing else is joined, so every file is one of our own: /proc/sys/net shows the namespace of who reads it
(network_namespaces(7), fs/proc/proc_sysctl.c).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from gotriage.errors import AS_ROOT, NotPermitted
from gotriage.host import privilege
from gotriage.host.forked import in_child, join_namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from gotriage.host import Host

SECONDS: Final = 2.0
LONGEST: Final = 65536
"""Bytes of a setting."""


def in_network(host: Host, pid: int | str, work: Callable[[], bytes], timeout: float) -> bytes:
    """Do the work in the process's network namespace: here where that is ours, else in a child that may be killed.

    Raises TargetGone, NotPermitted, TimeoutError, OSError with what went wrong in the child.
    """
    if host.proc.shares(pid, "net"):
        return work()
    path = host.proc.path(pid, "ns", "net")
    if not privilege.is_root():
        raise NotPermitted(f"{path}: permission denied; {AS_ROOT}")

    def inside() -> bytes:
        join_namespace(path)
        return work()

    return in_child(inside, timeout)


def entering(host: Host, pid: int | str) -> list[str]:
    """What stands before a helper of this machine that is to run there. Raises TargetGone, NotPermitted."""
    return [] if host.proc.shares(pid, "net") else ["nsenter", f"--net={host.proc.path(pid, 'ns', 'net')}", "--"]


def settings(host: Host, pid: int, names: Iterable[str]) -> dict[str, str]:
    """The files below /proc/sys/net, as "ipv4/ip_local_port_range", as they are for the process; absent ones left out.

    Raises TargetGone, NotPermitted, TimeoutError, OSError.
    """
    wanted = list(names)
    answer = in_network(host, pid, lambda: b"\0".join(setting(host.proc.root, name) for name in wanted), SECONDS)
    values = answer.decode("ascii", "replace").split("\0")
    return {name: value for name, value in zip(wanted, values, strict=True) if value}


def setting(proc: Path, name: str) -> bytes:
    """One of them in the namespace that we are in; empty when this kernel does not have it."""
    try:
        fd = os.open(proc / "sys/net" / name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, LONGEST).strip()
    except OSError:
        return b""
    finally:
        os.close(fd)
