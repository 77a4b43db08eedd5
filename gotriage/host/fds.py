"""The descriptors of processes, many at a time: /proc/PID/fd and /proc/PID/fdinfo (proc_pid_fd(5), proc_pid_fdinfo(5)).

Each descriptor costs one readlink(2), a file two or three system calls more. With thousands of them the kernel's own
iterator is asked (`host.fditer`); where that is closed to us, a forked child does half: the two share the work through
a pipe that holds chunk numbers, and whoever is free takes the next one.
"""

from __future__ import annotations

import marshal
import os
import struct
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError
from gotriage.host.fdread import ALL, FILES, LINKS, Chunk, Entry, Stat, read, read_links
from gotriage.host.forked import Forked
from gotriage.host.proc import translated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gotriage.host import Host
    from gotriage.host.sockdiag import Table
    from gotriage.records.files import OpenFile

ITERATE_FROM: Final = 4000
"""A process with so many descriptors or more is read by `host.fditer` where the kernel and our rights let us."""
CHUNK: Final = 256
SHARE_FROM: Final = 6000
"""With fewer descriptors a second process would cost more than it saves."""
BATCH: Final = 64
"""Processes whose folders are held open at a time."""
CHILD_SECONDS: Final = 15.0
DETAILED: Final = 5_120
"""With SHARE_FROM or more, offset and flags are read of what is no socket among the first so many descriptors of one
look."""


@cache
def _counts_by_size(root: str) -> bool:
    """Whether the size of a /proc/PID/fd folder is its number of entries: Linux 6.2 and later (fs/proc/fd.c)."""
    path = f"{root}/self/fd"
    try:
        size, names = os.stat(path).st_size, len(os.listdir(path))
    except OSError:
        return False
    return size > 0 and abs(size - names) <= 2


def count(host: Host, pid: int, *, checked: bool = False) -> int:
    """How many descriptors are open. Raises TargetGone, NotPermitted, OSError.

    The size of the folder is told without any right to the process; `checked` refuses where its list would be refused.
    """
    path = host.proc.path(pid, "fd")
    try:
        if _counts_by_size(str(host.proc.root)):
            if checked:
                os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            return os.stat(path).st_size
        return len(os.listdir(path))
    except OSError as error:
        raise translated(error, path) from error


@dataclass(slots=True)
class Listing:
    """The descriptors of one process in ascending order, but for `rows`; `omitted` more lay beyond the bound."""

    pid: int
    numbers: list[int]
    names: list[str]
    """The numbers as text."""
    entries: list[Entry] = field(default_factory=list)
    omitted: int = 0
    rows: list[OpenFile] = field(default_factory=list)
    """Descriptors of which all is known already; not among the numbers and entries."""


@dataclass(slots=True)
class Look:
    """All listings, whether offset and flags of every descriptor were read, and what the child brought along."""

    listings: list[Listing]
    complete: bool
    extra: bytes | None = None
    sockets: Table = field(default_factory=dict)
    """Internet sockets that the kernel's iterator told along with their descriptors."""
    problems: dict[int, Exception] = field(default_factory=dict)


def look(
    host: Host,
    pids: Sequence[int],
    limit: int = 100_000,
    remote: tuple[str, ...] = (),
    extra: Callable[[], bytes] | None = None,
) -> Look:
    """Every descriptor of the processes, at most `limit`.

    `remote` are path prefixes where stat(2) might hang; `extra` is work that a child does first, if there is one. A
    process that cannot be read is in `problems` (TargetGone, NotPermitted, OSError).
    """
    result = Look([], complete=True)
    rest = []
    for pid in pids:
        found = _iterated(host, pid, limit) if limit > 0 else None
        if found is None:
            rest.append(pid)
            continue
        listing, sockets = found
        result.listings.append(listing)
        if result.sockets:
            result.sockets.update(sockets)
        else:
            result.sockets = sockets
        limit -= len(listing.rows) + len(listing.numbers)
    for start in range(0, len(rest), BATCH):
        begun = len(result.listings)
        _look(host, rest[start : start + BATCH], limit, remote, extra if start == 0 else None, result)
        limit = max(0, limit - sum(len(listing.numbers) for listing in result.listings[begun:]))
    place = {pid: at for at, pid in enumerate(pids)}
    result.listings.sort(key=lambda listing: place[listing.pid])
    return result


def _iterated(host: Host, pid: int, limit: int) -> tuple[Listing, Table] | None:
    """A process with very many descriptors, read by the kernel's iterator; None where that does not work or pay."""
    try:
        number = count(host, pid)
    except (GotriageError, OSError):
        return None
    if number < ITERATE_FROM:
        return None
    from gotriage.host import fditer  # with NumPy, which takes memory: for who has that many

    found = fditer.read(host, pid, limit)
    if found is None:
        return None
    seen = len(found.rows) + len(found.numbers)
    listing = Listing(pid, found.numbers, [], found.entries, max(0, number - seen), found.rows)
    places = found.incomplete[:ITERATE_FROM]
    try:
        with ExitStack() as stack:
            links, infos = (_folder(host, pid, name, stack) for name in ("fd", "fdinfo"))
            chunk = Chunk(pid, links, infos, [str(found.numbers[at]) for at in places], ALL)
            for at, entry in zip(places, read(chunk, (), {}), strict=True):
                listing.entries[at] = entry
    except (GotriageError, OSError):
        pass
    return listing, found.sockets


def _folder(host: Host, pid: int, name: str, stack: ExitStack) -> int:
    path = host.proc.path(pid, name)
    try:
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise translated(error, path) from error
    stack.callback(os.close, opened)
    return opened


def _look(
    host: Host,
    pids: Sequence[int],
    limit: int,
    remote: tuple[str, ...],
    extra: Callable[[], bytes] | None,
    result: Look,
) -> None:
    """Look at so many processes as we may hold folders open of, and add what is found to the result."""
    with ExitStack() as stack:
        folders = _open(host, pids, limit, result, stack)
        new = [listing for listing in result.listings if listing.pid in folders]
        total = sum(len(listing.names) for listing in new)
        chunks = list(_cut(new, folders, total))
        result.complete = result.complete and total < SHARE_FROM
        done: list[list[Entry]] = []
        if total >= SHARE_FROM:
            done, result.extra = _shared(chunks, remote, extra)
        else:
            known: dict[str, Stat] = {}
            done = [read(chunk, remote, known) for chunk in chunks]
    by_pid = {listing.pid: listing for listing in new}
    for chunk, entries in zip(chunks, done, strict=True):
        by_pid[chunk.pid].entries += entries


def _open(host: Host, pids: Sequence[int], limit: int, result: Look, stack: ExitStack) -> dict[int, tuple[int, int]]:
    """List each process and open its two folders. Raises nothing; see Look.problems."""
    folders = {}
    for pid in pids:
        try:
            links, infos = (_folder(host, pid, name, stack) for name in ("fd", "fdinfo"))
            names = os.listdir(links)
        except (GotriageError, OSError) as error:
            result.problems[pid] = error
            continue
        numbers = list(map(int, names))
        if numbers != sorted(numbers):
            numbers.sort()
            names = list(map(str, numbers))
        result.listings.append(Listing(pid, numbers[:limit], names[:limit], omitted=max(0, len(names) - limit)))
        limit = max(0, limit - len(names))
        folders[pid] = (links, infos)
    return folders


def _cut(listings: list[Listing], folders: dict[int, tuple[int, int]], total: int) -> list[Chunk]:
    chunks: list[Chunk] = []
    for listing in listings:
        links, infos = folders[listing.pid]
        for start in range(0, len(listing.names), CHUNK):
            level = ALL if total < SHARE_FROM else FILES if len(chunks) * CHUNK < DETAILED else LINKS
            chunks.append(Chunk(listing.pid, links, infos, listing.names[start : start + CHUNK], level))
    return chunks


def _shared(
    chunks: list[Chunk], remote: tuple[str, ...], extra: Callable[[], bytes] | None
) -> tuple[list[list[Entry]], bytes | None]:
    """Read all chunks with a child's help; alone when there can be no child."""
    done: list[list[Entry] | None] = [None] * len(chunks)
    known: dict[str, Stat] = {}
    brought: bytes | None = None
    queue, fill = os.pipe2(os.O_CLOEXEC)
    try:
        os.write(fill, b"".join(struct.pack("=H", place) for place in range(len(chunks))))
        os.close(fill)
        child: Forked | None = None
        with suppress(OSError):
            child = Forked(lambda: _child(chunks, queue, remote, extra))
        while ticket := os.read(queue, 2):
            place = int.from_bytes(ticket, "little")
            done[place] = read(chunks[place], remote, known)
        if child is not None:
            with suppress(OSError):  # what the child did not do is done below
                brought = _merge(child.result(CHILD_SECONDS), done)
    finally:
        os.close(queue)
    return [part if part is not None else read(chunks[at], remote, known) for at, part in enumerate(done)], brought


def _child(chunks: list[Chunk], queue: int, remote: tuple[str, ...], extra: Callable[[], bytes] | None) -> bytes:
    """The child's part: the extra work, then chunks while there are any."""
    brought: bytes | None = None
    if extra is not None:
        with suppress(OSError, GotriageError):
            brought = extra()
    mine: dict[int, list[Entry]] = {}
    known: dict[str, Stat] = {}
    while ticket := os.read(queue, 2):
        place = int.from_bytes(ticket, "little")
        mine[place] = read(chunks[place], remote, known)
    return marshal.dumps((brought, mine))


def _merge(data: bytes, done: list[list[Entry] | None]) -> bytes | None:
    brought: bytes | None
    brought, mine = marshal.loads(data)  # written by our own child a moment ago
    for place, entries in mine.items():
        done[place] = entries
    return brought


def soft_limit(host: Host, pid: int) -> tuple[int | None, int | None] | None:
    """RLIMIT_NOFILE, soft and hard; None when it cannot be read."""
    try:
        return host.proc.limits(pid).get("Max open files")
    except (GotriageError, OSError, ValueError):
        return None


def links_of(host: Host, pids: Sequence[int], limit: int) -> list[str] | None:
    """What the descriptors of the processes lead to, at most `limit`, nothing more read; None when one refuses."""
    found: list[str] = []
    for pid in pids:
        path = host.proc.path(pid, "fd")
        try:
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:
            return None
        except OSError:
            continue
        try:
            found += filter(None, read_links(folder, os.listdir(folder)[: limit - len(found)]))
        except OSError:
            continue
        finally:
            os.close(folder)
    return found
