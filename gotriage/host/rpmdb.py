"""Owners of files from rpm's sqlite database, read as a plain file of the target's root.

Schema and header format: rpm 4.18 (lib/backend/sqlite.c, lib/header.c). A header is two big-endian counts (entries,
bytes of data), entries of (tag, type, offset, count), then the data. The file is the target's: it is opened read-only
and immutable, with a bound on the work that a query may do.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from gotriage.host.inroot import InRoot

PLACES: Final = ("/usr/lib/sysimage/rpm", "/var/lib/rpm")
TAG_NAME, TAG_DIRINDEXES, TAG_BASENAMES, TAG_DIRNAMES = 1000, 1116, 1117, 1118
MAX_BLOB: Final = 8 * 1024 * 1024
MAX_HEADERS: Final = 512
"""Headers read in one look-up, and the longest of them, bytes."""
MAX_STEPS: Final = 2000
"""Thousands of virtual machine steps that all queries together may take."""


def find(root: InRoot) -> str:
    """The path of the sqlite database, "" when there is none."""
    return next((f"{place}/rpmdb.sqlite" for place in PLACES if root.exists(f"{place}/rpmdb.sqlite")), "")


def unreadable(root: InRoot) -> str:
    """The name of a database in a format that is not read (Berkeley DB, ndb), "" when there is none."""
    for place in PLACES:
        for name, words in (("Packages", "Berkeley DB"), ("Packages.db", "ndb")):
            if root.exists(f"{place}/{name}"):
                return f"{place}/{name} ({words})"
    return ""


def owners(root: InRoot, paths: list[str]) -> Iterator[tuple[str, str]]:
    """Path and package of those of the paths that a package owns; nothing when the database cannot be read."""
    import sqlite3

    place = find(root)
    if not place:
        return
    try:
        with root.opened(place) as fd:
            connection = sqlite3.connect(f"file:/proc/self/fd/{fd}?mode=ro&immutable=1", uri=True)
            try:
                yield from _lookup(connection, paths)
            finally:
                connection.close()
    except (OSError, sqlite3.Error, struct.error, UnicodeDecodeError):
        return


def _lookup(connection: sqlite3.Connection, paths: list[str]) -> Iterator[tuple[str, str]]:
    for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "query_only=ON", "mmap_size=0"):
        connection.execute(f"PRAGMA {pragma}")
    steps = iter(range(MAX_STEPS))
    connection.set_progress_handler(lambda: next(steps, None) is None, 1000)
    known: dict[int, tuple[str, set[str]]] = {}
    for path in paths:
        name = path.rpartition("/")[2]
        for (number,) in connection.execute("SELECT hnum FROM Basenames WHERE key = ? LIMIT 32", (name,)).fetchall():
            if number not in known and len(known) < MAX_HEADERS:
                known[number] = _header(connection, number)
            package, files = known.get(number, ("", set()))
            if path in files:
                yield path, package
                break


def _header(connection: sqlite3.Connection, number: int) -> tuple[str, set[str]]:
    query = "SELECT blob FROM Packages WHERE hnum = ? AND length(blob) < ?"
    row = connection.execute(query, (number, MAX_BLOB)).fetchone()
    return files_of(row[0]) if row and isinstance(row[0], bytes) else ("", set())


def files_of(blob: bytes) -> tuple[str, set[str]]:
    """Name of a package and all its files, from a header. Raises struct.error or UnicodeDecodeError when damaged."""
    entries, _ = struct.unpack_from(">II", blob)
    entries = min(entries, (len(blob) - 8) // 16)
    data = blob[8 + 16 * entries :]
    tags = {}
    for i in range(entries):
        tag, _, offset, count = struct.unpack_from(">IIiI", blob, 8 + 16 * i)
        tags[tag] = (offset, count)
    names = _strings(data, *tags.get(TAG_BASENAMES, (0, 0)))
    folders = _strings(data, *tags.get(TAG_DIRNAMES, (0, 0)))
    offset, count = tags.get(TAG_DIRINDEXES, (0, 0))
    indexes = struct.unpack_from(f">{min(count, len(data) // 4)}I", data, offset) if count else ()
    files = {folders[index] + name for name, index in zip(names, indexes, strict=False) if index < len(folders)}
    package = _strings(data, tags[TAG_NAME][0], 1) if TAG_NAME in tags else []
    return (package or [""])[0], files


def _strings(data: bytes, offset: int, count: int) -> list[str]:
    """`count` NUL-terminated strings from an offset."""
    if not count or not 0 <= offset < len(data):
        return []
    return [part.decode("utf-8") for part in data[offset:].split(b"\0", min(count, len(data)))[:count]]
