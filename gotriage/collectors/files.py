"""Every open descriptor: how many of each type each second, and one by one every few seconds."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gotriage.errors import NotPermitted, TargetGone
from gotriage.host import clock, descriptors, fds, mounts, socktables
from gotriage.host.forked import join_namespace
from gotriage.host.partners import Partners
from gotriage.host.sockdiag import dump_all, unpacked
from gotriage.records.base import Why
from gotriage.records.files import FileCounts, FileTable
from gotriage.records.stream import Gap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gotriage.host import Host
    from gotriage.host.sockdiag import Table
    from gotriage.records import Record
    from gotriage.records.files import OpenFile
    from gotriage.target.model import Target

MAX_ROWS: Final = 100_000
MAX_PROCESSES: Final = 512
BY_TYPE_SHARE: Final = 1000
"""Types are counted so seldom that, per second, at most so many descriptors are looked at; at least every minute."""
ROOT: Final = "run gotriage as root (sudo), or with CAP_SYS_PTRACE"
TOP_PEERS: Final = 20


@dataclass(frozen=True, slots=True)
class _Fullness:
    pid: int
    count: int
    soft: int | None
    hard: int | None

    @property
    def share(self) -> float:
        return self.count / self.soft if self.soft else 0.0


class CountCollector:
    """Counts by the size of /proc/PID/fd, and by type every now and then."""

    backend = "/proc/PID/fd"

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._by_type: dict[str, int] = {}
        self._typed: tuple[float, int] | None = None
        self._typed_at: datetime | None = None

    def close(self) -> None:
        """Nothing is held."""

    def collect(self) -> Iterator[Record]:
        """One record. Raises NotPermitted when no process may be looked at."""
        at = clock.now()
        found: list[_Fullness] = []
        denied: NotPermitted | None = None
        for pid in self._target.pids[:MAX_PROCESSES]:
            try:
                number = fds.count(self._host, pid)
            except TargetGone:
                continue
            except NotPermitted as error:
                denied = error
                continue
            soft, hard = fds.soft_limit(self._host, pid) or (None, None)
            found.append(_Fullness(pid, number, soft, hard))
        if not found:
            if denied is not None:
                raise denied
            return
        yield self._record(at, found, denied)

    def _record(self, at: datetime, found: list[_Fullness], denied: NotPermitted | None) -> FileCounts:
        fullest = max(found, key=lambda one: (one.share, one.count))
        total = sum(one.count for one in found)
        unknown: dict[str, Why] = {}
        if denied is not None:
            unknown["total"] = Why(reason=str(denied), remedy=ROOT, permission=True)
        self._count_types(at, total, unknown)
        return FileCounts(
            at=at,
            total=None if denied is not None else total,
            fullest=fullest.count,
            fullest_pid=fullest.pid,
            soft_limit=fullest.soft,
            hard_limit=fullest.hard,
            by_type=self._by_type,
            by_type_at=self._typed_at if self._typed_at != at else None,
            unknown=unknown,
        )

    def _count_types(self, at: datetime, total: int, unknown: dict[str, Why]) -> None:
        """Look at the links when it is time; small processes at each look."""
        now = clock.monotonic()
        if self._typed is not None and now - self._typed[0] < min(60.0, total / BY_TYPE_SHARE - 0.5):
            return
        look = fds.links_of(self._host, self._target.pids[:MAX_PROCESSES], MAX_ROWS)
        if look is None:
            unknown["by_type"] = Why(reason="/proc/PID/fd: permission denied", remedy=ROOT, permission=True)
            self._by_type, self._typed_at = {}, None
            return
        counts: dict[str, int] = {}
        for link in look:
            kind = descriptors.kind_of(link)
            counts[kind] = counts.get(kind, 0) + 1
        self._by_type = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
        self._typed, self._typed_at = (now, total), at


class TableCollector:
    """Links, fdinfo and stat of every descriptor, joined with the kernel's socket tables."""

    backend = "/proc/PID/fd, fdinfo, sock_diag"

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._partners = Partners(host)

    def close(self) -> None:
        """Nothing is held."""

    def collect(self) -> Iterator[Record]:
        """The table, sorted by process (the main one first) and descriptor. Raises NotPermitted, TargetGone."""
        at = clock.now()
        pids = self._target.pids[:MAX_PROCESSES]
        if not pids:
            return
        with without_gc():
            yield from self._look(at, pids)

    def _look(self, at: datetime, pids: tuple[int, ...]) -> Iterator[Record]:
        remote = mounts.hanging(mounts.of(self._host, pids[0]))
        path = self._host.proc.path(pids[0], "ns", "net")
        look = fds.look(self._host, pids, MAX_ROWS, remote, lambda: _sockets_inside(path))
        if not look.listings:
            _raise(look.problems)
            return
        sockets, trouble = self._sockets(look)
        joined = descriptors.Joined(sockets, self._pipes(look))
        rows: list[OpenFile] = []
        for listing in look.listings:
            rows += descriptors.rows(self._host, listing, joined)
        yield from _gaps(at, look, trouble)
        yield self._table(at, rows, look, sockets)

    def _sockets(self, look: fds.Look) -> tuple[Table, str]:
        """All sockets of the target: what the child brought, then what every namespace of the target still has."""
        wanted = descriptors.sockets_in(look.listings)
        found = look.sockets
        if look.extra is not None:
            found |= unpacked(look.extra, wanted - found.keys())
        trouble = ""
        seen: set[str] = set()
        for listing in look.listings:
            missing = wanted - found.keys()
            namespace = descriptors.namespace(self._host, listing.pid)
            if namespace in seen or (look.extra is not None and not seen and listing.pid == look.listings[0].pid):
                seen.add(namespace)
                continue
            seen.add(namespace)
            if not missing or len(seen) > descriptors.MAX_NAMESPACES:
                break
            more, why = socktables.find(self._host, listing.pid, missing)
            found |= more
            trouble = trouble or why
        return found, trouble

    def _pipes(self, look: fds.Look) -> descriptors.Pipes:
        return descriptors.pipes(self._host, look.listings, self._partners)

    def _table(self, at: datetime, rows: list[OpenFile], look: fds.Look, sockets: Table) -> FileTable:
        by_state, by_peer = descriptors.tally(sockets.values(), TOP_PEERS)
        unknown: dict[str, Why] = {}
        if not look.complete:
            reason = (
                f"more than {fds.SHARE_FROM} descriptors: offset and flags are read of {fds.DETAILED} files at most"
            )
            unknown["offset"] = Why(reason=reason)
        return FileTable(
            at=at,
            rows=tuple(rows),
            omitted=sum(listing.omitted for listing in look.listings),
            by_state=by_state,
            by_peer=by_peer,
            unknown=unknown,
        )


@contextmanager
def without_gc() -> Iterator[None]:
    """Put garbage collection off: tens of thousands of new tuples would start it again and again, for nothing."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _sockets_inside(path: str) -> bytes:
    join_namespace(path)
    return dump_all()


def _raise(problems: dict[int, Exception]) -> None:
    """Nothing could be read: say why, unless all processes are simply gone."""
    for error in problems.values():
        if not isinstance(error, TargetGone):
            raise error


def _gaps(at: datetime, look: fds.Look, trouble: str) -> Iterator[Gap]:
    denied = [pid for pid, error in look.problems.items() if isinstance(error, NotPermitted)]
    if denied:
        yield Gap(
            at=at,
            source="files.processes",
            reason=f"{len(denied)} processes: permission denied",
            lost="the descriptors of these processes",
            remedy=ROOT,
            permission=True,
        )
    if trouble:
        yield Gap(
            at=at,
            source="files.sockets",
            reason=trouble,
            lost="state and peer of sockets",
            remedy=ROOT,
            permission="not permitted" in trouble or "denied" in trouble,
        )
