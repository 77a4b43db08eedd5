"""Kernel settings of another network namespace: /proc/sys/net shows those of the reader's (network_namespaces(7))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.errors import AS_ROOT, NotPermitted
from gotriage.host import privilege
from gotriage.host.forked import in_child, join_namespace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gotriage.host import Host

LONGEST = 4096


def settings(host: Host, pid: int, names: Sequence[str]) -> dict[str, str]:
    """The files below /proc/sys/net, as "ipv4/ip_local_port_range", as they are for the process; absent ones left out.

    Read in a child that has joined its network namespace and nothing else: the files are those of our own /proc.
    Raises NotPermitted, OSError.
    """
    place = host.proc.path(pid, "ns", "net")

    def work() -> bytes:
        join_namespace(place)
        found = []
        for name in names:
            try:
                found.append(host.proc.read("sys", "net", name, limit=LONGEST).strip())
            except Exception:  # one that this kernel does not have
                found.append(b"")
        return b"\n".join(found)

    same = host.proc.link(pid, "ns", "net") == host.proc.link("self", "ns", "net")
    if not same and not privilege.is_root():
        raise NotPermitted(f"{place}: permission denied; {AS_ROOT}")
    answer = work() if same else in_child(work, 2.0)
    values = answer.decode("utf-8", "replace").split("\n")
    return {name: value for name, value in zip(names, values, strict=False) if value}
