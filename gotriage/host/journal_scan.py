"""History read straight from the files of systemd's journal: what libsystemd gives, in half of the time.

libsystemd looks at every field of every entry. But the entries of a stream differ in their message alone: an entry
lists the offsets of its fields, equal fields lie in the file once, and so all offsets but one are those of the entry
before. The format is that of systemd.io/JOURNAL_FILE_FORMAT and of journal-def.h in src/libsystemd/sd-journal
(keyed hashes, which systemd 246 to 259 write). Whatever is otherwise than it should be raises `Unreadable`: then the
caller asks libsystemd.
"""

from __future__ import annotations

import heapq
import os
import struct
from bisect import bisect_right
from contextlib import ExitStack
from dataclasses import dataclass
from functools import reduce
from itertools import groupby, islice, pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import zstandard

from gotriage.errors import MissingFacility
from gotriage.host.journal_entry import Alike
from gotriage.host.siphash import siphash24

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self

    from gotriage.host.journal import Found, Match
    from gotriage.host.journal_entry import Message

Offsets = np.ndarray[Any, np.dtype[np.uint64]]
Places = np.ndarray[Any, np.dtype[np.int64]]
_NONE: Final = np.zeros(0, np.uint64)

WINDOW, BEFORE, AHEAD = 2 << 20, 32 << 10, 2048
"""Bytes of a file that are read at once, beginning `BEFORE` an entry, where its message lies; most entries in them."""
LEAST, LEAST_ENTRY, PROBED = 32 << 10, 68, 1024
"""Bytes that hold any entry (`MOST_FIELDS`), bytes of the smallest; bytes that most objects fit in."""
MOST_FIELDS: Final = 1023
"""Fields of an entry; journald takes no more (ENTRY_FIELD_COUNT_MAX is 1024)."""
MOST_VALUE, MOST_OBJECT = 1 << 20, 64 << 20
"""Bytes of a field that are kept; bytes of an object that is read."""
LATEST: Final = 1 << 55
"""Microseconds; systemd's own bound for a time (VALID_REALTIME)."""
MOST_STEPS: Final = 100_000
"""Links of a chain that are followed."""
REMEMBERED, MOST_SETS = 16_384, 32

_HEAD: Final = struct.Struct("<8sII B7x 16s16s16s16s 18Q")
"""struct Header, up to n_entry_arrays."""
_OBJECT: Final = struct.Struct("<H6xQ")
"""struct ObjectHeader: type and flags, size."""
_DATA: Final = struct.Struct("<16x 6Q")
"""struct DataObject: hash, next_hash_offset, next_field_offset, entry_offset, entry_array_offset, n_entries."""
_ENTRY: Final = struct.Struct("<H6xQ 8x Q")
"""struct EntryObject: type and flags, size, realtime."""
_NUMBER: Final = struct.Struct("<Q")
DATA, ENTRY, ENTRY_ARRAY, ZSTD = 1, 3, 6, 4
"""enum ObjectType, and OBJECT_COMPRESSED_ZSTD."""
KEYED, COMPACT, KNOWN = 4, 16, 4 | 8 | 16
"""Incompatible flags: hashes by siphash24, 32-bit offsets; and all that are understood here (8 is ZSTD)."""
_ENTRY_ITEMS, _ARRAY_ITEMS, SMALLEST, BUCKET = 64, 24, 24, 16
"""Bytes before the items of an entry and of an array; of the smallest object; of a bucket of the hash table."""
_MESSAGE: Final = int.from_bytes(b"MESSAGE=", "little")


class Unreadable(MissingFacility):
    """A file that is not as expected; the text says how."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says about itself. Times in microseconds; offsets and sizes in bytes."""

    compact: bool
    file_id: bytes
    table: int
    table_size: int
    end: int
    oldest_us: int
    newest_us: int


def parse_header(data: bytes, size: int) -> Header:
    """Raises Unreadable for a format that is not known here."""
    if len(data) < _HEAD.size:
        raise Unreadable("a journal file is cut")
    magic, _, flags, _, file_id, _, _, _, head_size, arena, table, table_size, *rest = _HEAD.unpack_from(data)
    if magic != b"LPKSHHRH" or not flags & KEYED or flags & ~KNOWN:
        raise Unreadable("a journal file is of another format")
    end = head_size + arena
    if end > size or table + table_size > end or table_size < 16:
        raise Unreadable("a journal file is cut")
    entries, oldest, newest = rest[4], rest[8], rest[9]
    if not entries:
        oldest = newest = 0
    return Header(bool(flags & COMPACT), file_id, table, table_size, end, oldest, newest)


class Fields(NamedTuple):
    """What entries have in common that differ in their message alone; `links` is None where an entry is like no other.

    `message` is that of the entry by which they were found.
    """

    alike: Alike
    message: Message
    links: Places | None


class JournalFile:
    """One open file. Raises OSError, Unreadable."""

    def __init__(self, path: str) -> None:
        self._fd, self.header = _opened(path)
        compact = self.header.compact
        self._link = np.dtype("<u4" if compact else "<u8")
        self._item, self._payload = (4, 72) if compact else (16, 64)
        self._sets: list[Fields] = []
        self._values: dict[int, tuple[str, bytes]] = {}
        """By offset: name and value of what other entries had."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def _bytes(self, offset: int, size: int) -> bytes:
        if not 0 < offset <= self.header.end - size:
            raise Unreadable("a journal file points beyond its end")
        data = os.pread(self._fd, size, offset)
        if len(data) < size:
            raise Unreadable("a journal file is cut")
        return data

    def _object(self, offset: int, kind: int) -> bytes:
        """A whole object."""
        data = self._bytes(offset, max(min(PROBED, self.header.end - offset), SMALLEST))
        found, size = _OBJECT.unpack_from(data)
        if found & 0xFF != kind or not SMALLEST <= size <= MOST_OBJECT:
            raise Unreadable("a journal file has other objects than it says")
        return data[:size] if size <= len(data) else self._bytes(offset, size)

    # -- which entries

    def matching(self, match: Match) -> Offsets:
        """The offsets of the entries that match, in order."""
        found = _NONE
        for alternative in match:
            kept: Offsets | None = None
            for _, terms in groupby(sorted(alternative), key=lambda term: term.partition("=")[0]):
                one = reduce(np.union1d, [self._with(term.encode()) for term in terms])
                kept = one if kept is None else np.intersect1d(kept, one, assume_unique=True)
            if kept is not None and len(kept):
                found = np.union1d(found, kept) if len(found) else kept
        return found

    def _with(self, data: bytes) -> Offsets:
        """The entries that have a field."""
        header = self.header
        wanted = siphash24(header.file_id, data)
        bucket = header.table + wanted % (header.table_size // BUCKET) * BUCKET
        (offset,) = _NUMBER.unpack(self._bytes(bucket, 8))
        for _ in range(MOST_STEPS):
            if not offset:
                return _NONE
            found = self._object(offset, DATA)
            hashed, following, _, first, array, count = _DATA.unpack_from(found)
            if hashed == wanted and self._value(found) == data:
                return self._entries(first, array, count)
            offset = following
        raise Unreadable("a journal file goes in circles")

    def _entries(self, first: int, array: int, count: int) -> Offsets:
        """The entries of a field: the first one, and the chain of arrays with the others."""
        parts, left = [np.array([first] if count else [], np.uint64)], count - 1
        while array and left > 0:
            found = self._object(array, ENTRY_ARRAY)
            many = min((len(found) - _ARRAY_ITEMS) // self._link.itemsize, left)
            items = np.frombuffer(found, self._link, many, _ARRAY_ITEMS).astype(np.uint64)
            parts.append(items[items != 0])
            (following,) = _NUMBER.unpack_from(found, 16)
            if not many or 0 < following <= array:
                raise Unreadable("a journal file goes in circles")
            left -= many
            array = following
        entries = np.concatenate(parts)
        if np.any(entries[1:] <= entries[:-1]):
            raise Unreadable("entries of a journal file are out of order")
        return entries

    def time(self, offset: int) -> int:
        """When an entry was written, microseconds."""
        kind, _, us = _ENTRY.unpack(self._bytes(offset, _ENTRY.size))
        if kind != ENTRY:
            raise Unreadable("a journal file has other objects than it says")
        return int(us)

    def until(self, entries: Offsets, us: int) -> int:
        """How many of the entries are not later."""
        return bisect_right(entries, us, key=lambda offset: self.time(int(offset)))

    # -- what is in them

    def read(self, entries: Offsets) -> Iterator[Found]:
        """The fields of entries, in their order."""
        while len(entries):
            start = max(int(entries[0]) - BEFORE, 8)
            some = entries[: max(int(np.searchsorted(entries[:AHEAD], start + WINDOW)), 1)]
            entries = entries[len(some) :]
            yield from self._piece(some.astype(np.int64) - start, start)

    def _piece(self, places: Places, start: int) -> Iterator[Found]:
        """Entries at these places behind `start`, near each other."""
        size = min(int(places[-1]) + LEAST, self.header.end - start) & ~7
        data = self._bytes(start, size)
        words = np.frombuffer(data, "<i8")
        if size < LEAST_ENTRY or np.any(places & 7) or np.any(places > size - LEAST_ENTRY):
            raise Unreadable("a journal file points beyond its end")
        heads, sizes, times = (words[(places >> 3) + word] for word in (0, 1, 3))
        if np.any(heads & 0xFF != ENTRY) or np.any(sizes < LEAST_ENTRY) or np.any(sizes > size - places):
            raise Unreadable("a journal file has other objects than it says")
        if np.any(times <= 0) or np.any(times >= LATEST):
            raise Unreadable("an entry of a journal file is of no time")
        sets, messages = self._sorted_out(data, places + _ENTRY_ITEMS, sizes - _ENTRY_ITEMS)
        texts, stops = self._texts(words, messages - start, size)
        columns = (column.tolist() for column in (sets, times, texts, stops, messages))
        for number, us, text, stop, link in zip(*columns, strict=True):
            fields = self._sets[number]
            if stop:
                yield fields.alike, us, "", data[text:stop]
            elif link:
                yield fields.alike, us, "", self._known(link)[1]
            else:
                yield fields.alike, us, "", fields.message

    def _sorted_out(self, data: bytes, places: Places, sizes: Places) -> tuple[Places, Places]:
        """Of entries with items at these places: which of `_sets` each has, and its message's offset, 0 for none.

        An entry has a set when its items, which ascend, are those of the set with one more somewhere between them.
        """
        links, step = np.frombuffer(data, self._link), self._item // self._link.itemsize
        first, counts = places // self._link.itemsize, sizes // self._item
        sets, messages = np.full(len(places), -1), np.zeros(len(places), np.int64)
        if len(self._sets) > MOST_SETS:
            self._sets.clear()
        tried = 0
        while len(left := np.flatnonzero(sets < 0)):
            if tried == len(self._sets):
                row = int(left[0])
                own = links[first[row] : first[row] + counts[row] * step : step].tolist()
                self._sets.append(self._fields_of(own))
                sets[row] = tried
            known = self._sets[tried].links
            if known is not None:
                rows = left[counts[left] == len(known) + 1]
                items = links[first[rows, None] + np.arange(len(known) + 1) * step]
                before, behind = items[:, :-1] == known, items[:, 1:] == known
                has = (before | behind).all(axis=1)
                place = before[has].sum(axis=1)
                sets[rows[has]], messages[rows[has]] = tried, items[has, place]
            tried += 1
        return sets, messages

    def _texts(self, words: Places, places: Places, size: int) -> tuple[Places, Places]:
        """Where messages begin and end whose objects lie at these places; the end is 0 where that is not in sight."""
        near = (places >= 0) & (places <= size - self._payload - 8) & (places & 7 == 0)
        places = np.where(near, places, 0)
        texts, stops = places + self._payload, places + words[(places >> 3) + 1]
        near &= (words[places >> 3] & 0xFFFF == DATA) & (words[texts >> 3] == _MESSAGE) & (stops <= size)
        return texts + 8, np.where(near, stops, 0)

    def _fields_of(self, links: list[int]) -> Fields:
        """An entry by its items."""
        if len(links) > MOST_FIELDS:
            raise Unreadable("an entry of a journal file has too many fields")
        pairs = [self._known(link) for link in links]
        alike = Alike(pairs) if len({name for name, _ in pairs}) == len(pairs) else _with_lists(pairs)
        message = alike.pop("MESSAGE", b"")
        others = [link for link, (name, _) in zip(links, pairs, strict=True) if name != "MESSAGE"]
        one = len(others) == len(links) - 1
        return Fields(alike, message, np.array(others, self._link) if one else None)

    def _known(self, offset: int) -> tuple[str, bytes]:
        """Name and value of a field; remembered, for most occur again."""
        pair = self._values.get(offset)
        if pair is None:
            pair = self._field(offset)
            if len(pair[1]) < PROBED:
                if len(self._values) >= REMEMBERED:
                    self._values.clear()
                self._values[offset] = pair
        return pair

    def _field(self, offset: int) -> tuple[str, bytes]:
        name, equals, value = self._value(self._object(offset, DATA)).partition(b"=")
        if not equals:
            raise Unreadable("a journal file has a field without a value")
        return name.decode("ascii", "replace"), value

    def _value(self, data: bytes) -> bytes:
        """The NAME=value of a data object."""
        flags, value = data[1], data[self._payload :]
        if not flags:
            return value[:MOST_VALUE]
        if flags != ZSTD:
            raise Unreadable("a journal file is compressed by LZ4 or XZ")
        try:
            with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(value) as stream:
                return stream.read(MOST_VALUE)
        except zstandard.ZstdError as error:
            raise Unreadable("a field of a journal file cannot be decompressed") from error


def _with_lists(pairs: Iterable[tuple[str, bytes]]) -> Alike:
    """Fields of which some occur more than once."""
    entry = Alike()
    for name, value in pairs:
        before = entry.get(name)
        entry[name] = value if before is None else [*(before if isinstance(before, list) else [before]), value]
    return entry


class Wanted(NamedTuple):
    """What is asked for."""

    match: Match
    since_us: int | None
    until_us: int | None
    most: int

    def of(self, file: JournalFile) -> Offsets:
        """The entries of a file that may belong to it."""
        entries = file.matching(self.match)
        end = len(entries) if self.until_us is None else file.until(entries, self.until_us)
        begin = 0 if self.since_us is None else file.until(entries, self.since_us - 1)
        return entries[max(begin, end - self.most) : end]


class Run(NamedTuple):
    """Entries of one file, in order, and when the first and the last of them were written."""

    file: JournalFile
    entries: Offsets
    first_us: int
    last_us: int

    def read(self) -> Iterator[Found]:
        """The entries."""
        return self.file.read(self.entries)


def between(
    paths: Iterable[str], match: Match, since_us: int | None, until_us: int | None, count: int
) -> Iterator[Found]:
    """The newest `count` entries between two times, oldest first, without their cursors. Raises OSError, Unreadable."""
    with ExitStack() as stack:
        wanted = Wanted(match, since_us, until_us, count)
        runs = sorted(_runs(stack, paths, wanted), key=lambda run: run.first_us)
        spare = max(sum(len(run.entries) for run in runs) - count, 0)
        if any(one.last_us > other.first_us for one, other in pairwise(runs)):
            yield from islice(heapq.merge(*(run.read() for run in runs), key=lambda found: found[1]), spare, None)
            return
        for run in runs:
            yield from run._replace(entries=run.entries[spare:]).read()
            spare = max(spare - len(run.entries), 0)


def _runs(stack: ExitStack, paths: Iterable[str], wanted: Wanted) -> Iterator[Run]:
    """What of each file may belong to the newest entries; older files are not looked at once there are enough."""
    left, oldest = wanted.most, LATEST
    for newest_us, path in sorted(_newest_first(paths, wanted), reverse=True):
        if left <= 0 and newest_us < oldest:
            return
        file = stack.enter_context(JournalFile(path))
        entries = wanted.of(file)
        if len(entries):
            run = Run(file, entries, file.time(int(entries[0])), file.time(int(entries[-1])))
            left, oldest = left - len(entries), min(oldest, run.first_us)
            yield run


def _newest_first(paths: Iterable[str], wanted: Wanted) -> Iterator[tuple[int, str]]:
    """The files that may have entries of that time, each with the time of its newest."""
    for path in paths:
        fd, head = _opened(path)
        os.close(fd)
        after = wanted.since_us is None or head.newest_us >= wanted.since_us
        if head.newest_us and after and (wanted.until_us is None or head.oldest_us <= wanted.until_us):
            yield head.newest_us, path


def _opened(path: str) -> tuple[int, Header]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        return fd, parse_header(os.pread(fd, _HEAD.size, 0), os.fstat(fd).st_size)
    except BaseException:
        os.close(fd)
        raise
