"""Descriptors as rows: links and facts joined with socket tables and pipe partners."""

from __future__ import annotations

import heapq
import stat
from collections import Counter
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError
from gotriage.host import socktables
from gotriage.host.fdread import NO_INFO, NO_STAT
from gotriage.host.partners import Holder, far_end
from gotriage.records.files import OpenFile
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gotriage.host import Host
    from gotriage.host.fdread import Info, Stat
    from gotriage.host.fds import Listing
    from gotriage.host.partners import Partners
    from gotriage.host.sockdiag import Socket, Table

MAX_NAMESPACES: Final = 8
"""Network namespaces of one target whose sockets are looked for."""
MAX_PIPES: Final = 512
"""Pipes whose partners are looked for."""
DELETED: Final = " (deleted)"
MAX_NAME: Final = 4096

_TYPES: Final = {
    stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFCHR: "char", stat.S_IFBLK: "block", stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket", stat.S_IFLNK: "file",
}  # fmt: skip


@dataclass(slots=True)
class Pipes:
    """Pipe partners: by inode those outside of the target and the target's own ends."""

    others: dict[int, tuple[Holder, ...]] = field(default_factory=dict)
    own: dict[int, tuple[Holder, ...]] = field(default_factory=dict)
    complete: bool = False
    """Every process of the machine was looked at: a pipe without partner has none."""


@dataclass(slots=True)
class Joined:
    """What rows are joined with."""

    sockets: Table = field(default_factory=dict)
    pipes: Pipes = field(default_factory=Pipes)


def kind_of(link: str) -> str:
    """The type of a descriptor as far as its link tells (proc_pid_fd(5)); a path counts as a file, /dev as char."""
    if link.startswith("socket:["):
        return "socket"
    if link.startswith("pipe:["):
        return "pipe"
    if link.startswith("/memfd:"):
        return "memfd"
    if link.startswith("/dev/") and not link.startswith(("/dev/shm/", "/dev/mqueue/", "/dev/hugepages/")):
        return "char"
    return "file" if link.startswith("/") else "anon"


def inode_of(link: str) -> int | None:
    """The number in "socket:[123]" and its like."""
    number = link[link.rfind("[") + 1 : -1]
    return int(number) if link.endswith("]") and number.isdigit() and number.isascii() else None


def sockets_in(listings: Iterable[Listing]) -> set[int]:
    """The inodes of all sockets that are no rows yet."""
    found: set[int] = set()
    for listing in listings:
        for entry in listing.entries:
            if isinstance(entry, int):
                found.add(entry)
            elif len(entry) == 2 and not isinstance(entry, str):
                found.add(entry[0])
    return found


def namespace(host: Host, pid: int) -> str:
    """The process's network namespace, "" when it cannot be read."""
    try:
        return host.proc.link(pid, "ns", "net")
    except (GotriageError, OSError):
        return ""


def rows(host: Host, listing: Listing, joined: Joined) -> list[OpenFile]:
    """One row a descriptor, in ascending order."""
    found: list[OpenFile] = []
    names: dict[str, str] = {}
    pid, sockets, asked = listing.pid, joined.sockets, 0
    for fd, entry in zip(listing.numbers, listing.entries, strict=True):
        if isinstance(entry, int):
            inode, mode = entry, ""
        elif isinstance(entry, tuple) and len(entry) == 2:
            inode, mode = entry
        elif entry:
            found.append(_plain_file(pid, fd, entry, names) or _row(pid, fd, entry, joined.pipes))
            continue
        else:
            continue
        known = sockets.get(inode)
        if known is None:
            asked += 1
            known = _stray(host, pid, fd, ask=asked <= socktables.NAMED)
        protocol, state, local, peer, recv, send = known
        row = OpenFile(
            pid=pid, fd=fd, type="socket", name=local or f"socket:[{inode}]", inode=inode, mode=mode, protocol=protocol,
            state=state, local=local, peer=peer, recv_queue=recv, send_queue=send,
        )  # fmt: skip
        found.append(row)
    return sorted([*listing.rows, *found], key=attrgetter("fd")) if listing.rows else found


def _stray(host: Host, pid: int, fd: int, *, ask: bool) -> Socket:
    """A socket that no table has: never bound nor connected, or of a namespace that we did not look into."""
    protocol = socktables.protocol_name(host.proc.path(pid, "fd", fd)) if ask else ""
    return clean(protocol, 64), "", "", "", None, None


def _row(pid: int, fd: int, entry: str | tuple[str, Info, Stat], pipes: Pipes) -> OpenFile:
    """Anything but a socket."""
    link, info, facts = (entry, NO_INFO, NO_STAT) if isinstance(entry, str) else entry
    if link[0] == "/" and not link.startswith("/memfd:"):
        return _path(pid, fd, link, info, facts)
    mode, _, of_pid = info
    if link.startswith("pipe:["):
        inode = inode_of(link)
        peer = _partner(pid, inode, mode, pipes)
        return OpenFile(pid=pid, fd=fd, type="pipe", name=clean(link, MAX_NAME), inode=inode, mode=mode, peer=peer)
    if link[0] == "/":
        name = clean(link[1:].removesuffix(DELETED), MAX_NAME)
        return OpenFile(
            pid=pid, fd=fd, type="memfd", name=name, inode=facts[2], mode=mode, offset=info[1], size=facts[1]
        )
    name = link.removeprefix("anon_inode:").strip("[]") if link.startswith("anon_inode:") else link
    peer = "" if of_pid is None else f"pid {of_pid}" if of_pid > 0 else "ended"
    return OpenFile(pid=pid, fd=fd, type="anon", name=clean(name, MAX_NAME), mode=mode, peer=peer)


def _plain_file(pid: int, fd: int, entry: str | tuple[str, Info, Stat], names: dict[str, str]) -> OpenFile | None:
    """The most frequent row but sockets, without detours; None for all others. `names` are those already cleaned."""
    if isinstance(entry, str):
        return None
    link, (mode, offset, _), (st_mode, size, inode, _) = entry
    if st_mode is None or st_mode & 0o170000 != stat.S_IFREG or link[0] != "/" or link[-1] == ")":
        return None
    name = names.get(link)
    if name is None:
        name = names[link] = clean(link, MAX_NAME)
    return OpenFile(pid=pid, fd=fd, type="file", name=name, inode=inode, mode=mode, offset=offset, size=size)


def _path(pid: int, fd: int, link: str, info: Info, facts: Stat) -> OpenFile:
    """What has, or had, a name in a file system."""
    mode, offset, _ = info
    st_mode, size, inode, hard_links = facts
    kind = _TYPES.get(stat.S_IFMT(st_mode), "file") if st_mode is not None else kind_of(link)
    deleted = link.endswith(DELETED) and not hard_links
    name = clean(link.removesuffix(DELETED) if deleted else link, MAX_NAME)
    if kind == "file":
        return OpenFile(
            pid=pid, fd=fd, type=kind, name=name, inode=inode, mode=mode, offset=offset, size=size, deleted=deleted
        )
    offset = offset if kind in ("dir", "block") else None
    return OpenFile(pid=pid, fd=fd, type=kind, name=name, inode=inode, mode=mode, offset=offset, deleted=deleted)


# -- pipes


def pipes(host: Host, listings: list[Listing], partners: Partners) -> Pipes:
    """Who holds the other ends of the target's pipes; other processes are searched only where the target has no one."""
    own: dict[int, list[Holder]] = {}
    for listing in listings:
        comm = ""
        for entry in listing.entries:
            if not isinstance(entry, tuple) or len(entry) == 2 or not entry[0].startswith("pipe:["):
                continue
            inode = inode_of(entry[0])
            if inode is None or (len(own) >= MAX_PIPES and inode not in own):
                continue
            comm = comm or _comm(host, listing.pid)
            mode = entry[1][0]
            holder = Holder(listing.pid, comm, "r" in mode, "w" in mode)
            if holder not in (known := own.setdefault(inode, [])):
                known.append(holder)
    lonely = [
        inode
        for inode, holders in own.items()
        if not (any(h.reads for h in holders) and any(h.writes for h in holders))
    ]
    others = partners.holders(sorted(lonely), [listing.pid for listing in listings])
    return Pipes(others, {inode: tuple(holders) for inode, holders in own.items()}, partners.complete)


def _comm(host: Host, pid: int) -> str:
    try:
        return host.proc.read(pid, "comm", limit=64).rstrip(b"\n").decode("utf-8", "surrogateescape")
    except (GotriageError, OSError):
        return "?"


def _partner(pid: int, inode: int | None, mode: str, known: Pipes) -> str:
    """The other end in words: "pid 7 (tee)", "itself", or "nobody" when that is certain."""
    if inode is None or not mode:
        return ""
    we_read, we_write = "r" in mode, "w" in mode
    own = far_end(known.own.get(inode, ()), we_read=we_read, we_write=we_write)
    others = far_end(known.others.get(inode, ()), we_read=we_read, we_write=we_write)
    ends = [holder for holder in own if holder.pid != pid] + others
    if ends:
        names = [f"{holder.pid} ({clean(holder.comm, 64)})" for holder in ends[:3]]
        return "pid " + ", ".join(names) + (f" and {len(ends) - 3} more" if len(ends) > 3 else "")
    if own:
        return "itself"
    return "nobody" if known.complete and inode in known.others else ""


# -- counts


def tally(sockets: Iterable[Socket], top: int) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Sockets by "protocol state", and of each state those by remote address, the `top` largest, largest first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for protocol, state, _, peer, _, _ in sockets:
        try:
            groups[protocol, state].append(peer)
        except KeyError:
            groups[protocol, state] = [peer]
    by_state = sorted(groups, key=lambda key: (-len(groups[key]), key))
    peers: dict[str, Counter[str]] = {}
    for (protocol, state), far in groups.items():
        if protocol != "unix":
            peers.setdefault(state, Counter()).update(filter(None, far))
    return (
        {f"{protocol} {state}".rstrip(): len(groups[protocol, state]) for protocol, state in by_state},
        {state: dict(_largest(found, top)) for state, found in peers.items() if found},
    )


def _largest(counts: Counter[str], top: int) -> list[tuple[str, int]]:
    """The largest counts, equal ones in the order of their keys."""
    least = heapq.nlargest(top, counts.values())[-1] if counts else 0
    larger = [(key, number) for key, number in counts.items() if number > least]
    larger.sort(key=lambda item: (-item[1], item[0]))
    equal = heapq.nsmallest(top - len(larger), [key for key, number in counts.items() if number == least])
    return larger + [(key, least) for key in equal]
