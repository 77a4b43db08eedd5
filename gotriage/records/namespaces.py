"""The target's namespaces, who else is in them, and what the kernel lets it do: capabilities, seccomp, id maps."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from gotriage.records.base import Record, Row


class IdRange(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of /proc/PID/uid_map: `count` ids from `inside` are those from `outside` on for gotriage."""

    inside: int
    outside: int
    count: int


class Namespace(Row, frozen=True, kw_only=True):
    """A namespace (namespaces(7)) that some of the target is in.

    Attributes:
        type: cgroup, ipc, mnt, net, pid, time, user, uts.
        of: whose it is: "main process", "children" (other processes of the target are in this one), "threads" (threads
            of the main process are, which it changed for themselves alone), "new children" (those that it starts).
        inode: the number in /proc/PID/ns.
        host: it is that of the machine's PID 1, as gotriage sees it.
        gotriage: it is that of gotriage.
        members: processes of the target in it, or threads where `of` says threads.
        others: other processes in it, those with `unseen` namespaces not counted.
        shared_with: names and PIDs of a few of them; none where it is the host's.
        owner: the user namespace that owns it: rights count here as far as they are held there (user_namespaces(7)).
    """

    type: str
    of: str = "main process"
    inode: int | None = None
    host: bool | None = None
    gotriage: bool | None = None
    members: int = 1
    others: int | None = None
    shared_with: tuple[str, ...] = ()
    owner: int | None = None


class Namespaces(Record, frozen=True, kw_only=True, tag="namespaces"):
    """The namespaces of the target, and what its main process may do.

    Attributes:
        inner_pid: the main process's PID in its own PID namespace.
        host_initial: the PID 1 that gotriage sees is in the first PID namespace: it is the machine's, no container's.
        unseen: processes of the machine whose namespaces could not be read.
        owner_uid: who made its user namespace.
        setgroups: "allow" or "deny" (user_namespaces(7)).
        effective, permitted, inheritable, bounding, ambient: capabilities by name (capabilities(7)).
        seccomp: 0 off, 1 strict, 2 filter; `seccomp_filters`: how many filters.
        port_start: first port that needs no capability in its network namespace (ip_unprivileged_port_start, ip(7)).
        ping_groups: groups that may open ICMP sockets without one (ping_group_range, icmp(7)); (1, 0) is nobody.
    """

    keep: ClassVar[int] = 20

    rows: tuple[Namespace, ...] = ()
    pid: int | None = None
    inner_pid: int | None = None
    uid: int | None = None
    """Effective."""
    host_initial: bool | None = None
    unseen: int = 0
    cgroup: str = ""
    uid_map: tuple[IdRange, ...] = ()
    gid_map: tuple[IdRange, ...] = ()
    setgroups: str = ""
    owner_uid: int | None = None
    no_new_privs: bool | None = None
    seccomp: int | None = None
    seccomp_filters: int | None = None
    port_start: int | None = None
    ping_groups: tuple[int, ...] = ()
    effective: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    bounding: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()
