"""Every namespace of the target and who else is in it, from /proc/PID/ns; what the kernel lets the process do."""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gotriage.errors import AS_ROOT, GotriageError, NotPermitted, TargetGone, reason_of
from gotriage.host import capabilities, clock, inside, privilege, users
from gotriage.host.deadline import Deadline
from gotriage.host.proc import NAMESPACES
from gotriage.records.base import Why
from gotriage.records.namespaces import IdRange, Namespace, Namespaces
from gotriage.records.stream import Gap
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.target.model import Target

NS_GET_USERNS: Final = 0xB701
NS_GET_OWNER_UID: Final = 0xB704
"""include/uapi/linux/nsfs.h, ioctl_ns(2)."""
FIRST_PID_NAMESPACE: Final = 0xEFFFFFFC
"""PROC_PID_INIT_INO of include/linux/proc_ns.h."""
MOST_PROCESSES: Final = 20_000
MOST_MEMBERS: Final = 200
MOST_THREADS: Final = 500
SECONDS: Final = 3.0
"""For the look at all other processes."""
FEW: Final = 4
PER_THREAD: Final = ("net", "mnt")
"""What Go programs change for one locked thread: netns libraries, bind mounts."""
PORT_START, PING_GROUPS = "ipv4/ip_unprivileged_port_start", "ipv4/ping_group_range"

Key = tuple[str, int]
"""Type and inode of a namespace."""


def parse_link(text: str) -> Key | None:
    """ "net:[4026531840]" as type and inode; "pid_for_children" links name the type alone, too."""
    name, colon, rest = text.partition(":[")
    number = rest.removesuffix("]")
    return (name, int(number)) if colon and number.isascii() and number.isdigit() else None


def parse_map(text: str) -> tuple[IdRange, ...]:
    """/proc/PID/uid_map: first id inside, first id outside, how many (user_namespaces(7))."""
    return tuple(IdRange(*extent) for extent in users.extents(text))


def parse_rights(status: dict[str, str]) -> dict[str, Any]:
    """Capabilities, seccomp and the like from /proc/PID/status (proc_pid_status(5))."""
    sets = {"effective": "CapEff", "permitted": "CapPrm", "inheritable": "CapInh", "bounding": "CapBnd"}
    found: dict[str, Any] = {
        name: capabilities.names(status.get(line, "0")) for name, line in (sets | {"ambient": "CapAmb"}).items()
    }
    for name, line in (("seccomp", "Seccomp"), ("seccomp_filters", "Seccomp_filters")):
        found[name] = int(status[line]) if status.get(line, "").isdigit() else None
    uids, inner = status.get("Uid", "").split(), status.get("NSpid", "").split()
    return found | {
        "no_new_privs": {"0": False, "1": True}.get(status.get("NoNewPrivs", "")),
        "uid": int(uids[1]) if len(uids) > 1 else None,
        "inner_pid": int(inner[-1]) if inner else None,
    }


@dataclass(slots=True)
class Others:
    """Processes outside the target, by namespace: how many, and the first few."""

    count: Counter[Key] = field(default_factory=Counter)
    first: dict[Key, list[int]] = field(default_factory=dict)
    unseen: int = 0
    late: bool = False

    def add(self, key: Key, pid: int) -> None:
        """One more."""
        self.count[key] += 1
        if self.count[key] <= FEW:
            self.first.setdefault(key, []).append(pid)


class NamespaceCollector:
    """One `Namespaces` a look."""

    backend = "/proc/PID/ns"

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._proc, self._target = host, host.proc, target

    def collect(self) -> Iterator[Record]:
        """Look once."""
        pid = self._target.pid
        if pid is None:
            return
        own = self._links(pid)
        if not own:
            raise NotPermitted(f"the namespaces of pid {pid}: permission denied; {AS_ROOT}")
        unknown: dict[str, Why] = {}
        rows = [Namespace(type=kind, inode=inode) for kind, inode in own]
        rows += [*self._elsewhere(pid, own), *self._threads(pid, own)]
        found = self._others({(row.type, row.inode) for row in rows if row.inode is not None})
        first = self._of_host()
        yield Namespaces(
            at=clock.now(),
            unknown=unknown,
            rows=tuple(self._with_company(pid, rows, first, found)),
            pid=pid,
            unseen=found.unseen,
            host_initial=("pid", FIRST_PID_NAMESPACE) in first if first and self._host.root_pid is None else None,
            cgroup=clean(self._target.cgroup or ""),
            **parse_rights(self._proc.status(pid)),
            **self._maps(pid),
            **self._network(pid, unknown),
        )
        yield from _gaps(found)

    # -- the target's own

    def _links(self, *place: str | int) -> list[Key]:
        """All namespaces of a process or thread; empty when they may not be read. Raises TargetGone."""
        found = []
        for kind in NAMESPACES:
            try:
                key = parse_link(self._proc.link(*place, "ns", kind))
            except NotPermitted:
                return []
            except TargetGone:
                if kind == "mnt":  # every kernel has this one
                    raise
                continue
            if key is not None:
                found.append(key)
        return found

    def _elsewhere(self, pid: int, own: list[Key]) -> Iterator[Namespace]:
        """Those that other processes of the target are in, and that it has ready for those to come."""
        members: Counter[Key] = Counter()
        for other in self._target.pids[:MOST_MEMBERS]:
            if other != pid:
                try:
                    members.update(key for key in self._links(other) if key not in own)
                except TargetGone:
                    continue
        for (kind, inode), count in sorted(members.items()):
            yield Namespace(type=kind, of="children", inode=inode, members=count)
        for kind in ("pid", "time"):
            try:
                key = parse_link(self._proc.link(pid, "ns", f"{kind}_for_children"))
            except (GotriageError, OSError):
                continue
            if key is not None and key not in own and key not in members:
                yield Namespace(type=kind, of="new children", inode=key[1], members=0)

    def _threads(self, pid: int, own: list[Key]) -> Iterator[Namespace]:
        """Threads that left the namespaces of their process."""
        members: Counter[Key] = Counter()
        try:
            tids = self._proc.names(pid, "task")[:MOST_THREADS]
        except (GotriageError, OSError):
            return
        for tid in tids:
            for kind in PER_THREAD:
                try:
                    key = parse_link(self._proc.link(pid, "task", tid, "ns", kind))
                except (GotriageError, OSError):
                    continue
                if key is not None and key not in own:
                    members[key] += 1
        for (kind, inode), count in sorted(members.items()):
            yield Namespace(type=kind, of="threads", inode=inode, members=count)

    # -- who else

    def _others(self, wanted: set[Key]) -> Others:
        """Everybody outside the target, as far as time and rights allow."""
        found, deadline = Others(), Deadline(SECONDS)
        target = set(self._target.pids)
        kinds = sorted({kind for kind, _ in wanted})
        for number, pid in enumerate(self._proc.pids()):
            if number >= MOST_PROCESSES or deadline.over:
                found.late = True
                break
            if pid not in target:
                self._count(pid, kinds, wanted, found)
        return found

    def _count(self, pid: int, kinds: list[str], wanted: set[Key], found: Others) -> None:
        for kind in kinds:
            try:
                key = parse_link(os.readlink(self._proc.path(pid, "ns", kind)))
            except PermissionError:
                found.unseen += 1
                return
            except OSError:
                return
            if key in wanted and key is not None:
                found.add(key, pid)

    def _with_company(
        self, pid: int, rows: list[Namespace], first: Sequence[Key], found: Others
    ) -> Iterator[Namespace]:
        mine = set(self._safely("self"))
        owners = self._owners(pid)
        for row in rows:
            key = (row.type, row.inode or 0)
            host = key in first if first else None
            names = () if host else tuple(self._named(other) for other in found.first.get(key, ()))
            yield Namespace(
                type=row.type,
                of=row.of,
                inode=row.inode,
                members=row.members if row.of != "main process" else self._members(key),
                host=host,
                gotriage=key in mine if mine else None,
                others=found.count[key],
                shared_with=names,
                owner=owners.get(row.type) if row.of == "main process" else None,
            )

    def _members(self, key: Key) -> int:
        """Processes of the target in the namespace."""
        count = 0
        for pid in self._target.pids[:MOST_MEMBERS]:
            try:
                count += parse_link(self._proc.link(pid, "ns", key[0])) == key
            except (GotriageError, OSError):
                continue
        return count

    def _safely(self, who: str | int) -> list[Key]:
        """The namespaces of a process; empty when they may not be read."""
        try:
            return self._links(who)
        except (GotriageError, OSError):
            return []

    def _of_host(self) -> list[Key]:
        """Those of PID 1 (of `--root-pid`'s process); else of kthreadd, which is in the first of each."""
        found = self._safely(1 if self._host.root_pid is None else self._host.root_pid)
        if found:
            return found
        try:
            return self._safely(2) if self._proc.stat(2).is_kernel_thread else []
        except (GotriageError, OSError, ValueError):
            return []

    def _named(self, pid: int) -> str:
        try:
            return clean(f"{self._proc.stat(pid).comm} ({pid})", 64)
        except (GotriageError, OSError, ValueError):
            return f"({pid})"

    def _owners(self, pid: int) -> dict[str, int]:
        """Type to the inode of the user namespace that owns it."""
        found = {}
        for kind in NAMESPACES:
            try:
                fd = os.open(self._proc.path(pid, "ns", kind), os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                owner = fcntl.ioctl(fd, NS_GET_USERNS)
                found[kind] = os.fstat(owner).st_ino
                os.close(owner)
            except OSError:  # EPERM: outside of what we may see
                pass
            finally:
                os.close(fd)
        return found

    # -- maps and settings

    def _maps(self, pid: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in ("uid_map", "gid_map"):
            try:
                found[name] = parse_map(self._proc.text(pid, name))
            except (GotriageError, OSError):
                continue
        try:
            found["setgroups"] = clean(self._proc.text(pid, "setgroups").strip(), 16)
            found["owner_uid"] = _owner_uid(self._proc.path(pid, "ns", "user"))
        except (GotriageError, OSError):
            pass
        return found

    def _network(self, pid: int, unknown: dict[str, Why]) -> dict[str, Any]:
        try:
            values = inside.settings(self._host, pid, (PORT_START, PING_GROUPS))
        except TargetGone:
            raise
        except (GotriageError, OSError) as error:
            permission = isinstance(error, NotPermitted)
            unknown["port_start"] = Why(clean(reason_of(error), 300), AS_ROOT if permission else "", permission)
            return {}
        start, groups = values.get(PORT_START, ""), values.get(PING_GROUPS, "").split()
        return {
            "port_start": int(start) if start.isdigit() else None,
            "ping_groups": tuple(map(int, groups)) if all(map(str.isdigit, groups)) else (),
        }

    def close(self) -> None:
        """Nothing is held."""


def _owner_uid(path: str) -> int | None:
    """Who made a user namespace, as we number users; None when the kernel does not tell."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        answer = bytearray(4)
        fcntl.ioctl(fd, NS_GET_OWNER_UID, answer)
        return int.from_bytes(answer, "little")
    except OSError:
        return None
    finally:
        os.close(fd)


def _gaps(found: Others) -> Iterator[Gap]:
    at, lost = clock.now(), "who else is in the target's namespaces"
    if found.unseen and not privilege.is_root():
        reason = "namespaces of other users' processes may not be read"
        yield Gap(at=at, source="namespaces.others", reason=reason, lost=lost, remedy=AS_ROOT, permission=True)
    if found.late:
        yield Gap(at=at, source="namespaces.others", reason="too many processes to look at all of them", lost=lost)
