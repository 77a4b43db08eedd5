"""The lines that pass a filter, counted and found in small steps: a view of the store that is never waited for."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

from gotriage.host import clock
from gotriage.session.logchunk import to_us
from gotriage.session.logfilter import LogFilter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gotriage.records.logs import LogLine
    from gotriage.session.logchunk import Chunk
    from gotriage.session.logs import LogStore

Key = tuple[int, int]
"""A line by the serial of its chunk and its row there; holds until the chunk is dropped or rebuilt."""


class LogView:
    """Rows 0 to `len(view)` - 1, oldest first, of the lines that pass `filter` up to a time.

    `sync` brings it up to date within a budget of seconds, newest lines first, so the newest page is there at once and
    older rows come in front of it as they are found: a reader that wants to stay on a line keeps its `key`.
    """

    def __init__(self, store: LogStore, filter: LogFilter | None = None) -> None:  # noqa: A002  # what it is
        self.store = store
        self.filter = filter or LogFilter()
        self.complete = False
        self._chunks: list[Chunk] = []
        self._found: dict[int, tuple[int, array[int] | None]] = {}
        """Chunk serial to how many of its rows were looked at, and which of them pass (None: all)."""
        self._counts: list[int] = []
        self._sums: list[int] = []
        self._until: int | None = None

    def __len__(self) -> int:
        return self._sums[-1] if self._sums else 0

    @property
    def searched(self) -> tuple[int, int]:
        """How many lines were looked at, and how many there are."""
        if self.filter.trivial:
            return len(self.store), len(self.store)
        return sum(seen for seen, _ in self._found.values()), len(self.store)

    def sync(self, until: datetime | None = None, budget: float = 0.004) -> bool:
        """Take in what is new, as far as `budget` seconds allow; True when nothing is left to look at."""
        self._until = None if until is None else to_us(until)
        self._chunks = self.store.chunks
        self.complete = self.filter.trivial or self._search(clock.monotonic() + budget)
        self._count()
        return self.complete

    def _search(self, deadline: float) -> bool:
        live = {chunk.serial for chunk in self._chunks}
        if len(self._found) > len(live):
            self._found = {serial: found for serial, found in self._found.items() if serial in live}
        looked = 0
        for chunk in reversed(self._chunks):
            seen, rows = self._found.get(chunk.serial, (0, array("H")))
            if seen == len(chunk):
                continue
            if looked and clock.monotonic() > deadline:
                return False
            more = self.filter.rows(chunk, seen)
            assert rows is not None
            rows.extend(range(seen, len(chunk)) if more is None else more)
            self._found[chunk.serial] = (len(chunk), rows)
            looked += 1
        return True

    def _count(self) -> None:
        trivial, until = self.filter.trivial, self._until
        counts = []
        for chunk in self._chunks:
            if trivial:
                counts.append(chunk.until(until))
                continue
            found = self._found.get(chunk.serial)
            if found is None or found[1] is None:
                counts.append(0)
                continue
            limit = chunk.until(until)
            counts.append(len(found[1]) if limit == len(chunk) else bisect_left(found[1], limit))
        self._counts = counts
        self._sums = list(accumulate(counts))

    def place(self, row: int) -> tuple[Chunk, int]:
        """The chunk of a row and its row there."""
        number = bisect_right(self._sums, row)
        chunk = self._chunks[number]
        inner = row - (self._sums[number - 1] if number else 0)
        found = None if self.filter.trivial else self._found[chunk.serial][1]
        return chunk, inner if found is None else found[inner]

    def line(self, row: int) -> LogLine:
        """A row as a record."""
        chunk, inner = self.place(row)
        return chunk.line(inner)

    def key(self, row: int) -> Key:
        """What names the row's line while others come and go."""
        chunk, inner = self.place(row)
        return chunk.serial, inner

    def row_of(self, key: Key) -> int | None:
        """The row at which a line stands now (the next one that passes, when it does not), None when it is gone."""
        for number, chunk in enumerate(self._chunks):
            if chunk.serial == key[0]:
                before = self._sums[number - 1] if number else 0
                found = None if self.filter.trivial else self._found.get(chunk.serial, (0, array("H")))[1]
                inner = key[1] if found is None else bisect_left(found, key[1])
                return min(before + min(inner, self._counts[number]), max(len(self) - 1, 0))
        return None

    def row_at(self, us: int) -> int:
        """The first row that is not earlier than a time in microseconds."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            chunk, inner = self.place(middle)
            low, high = (middle + 1, high) if chunk.times[inner] < us else (low, middle)
        return low

    def parts(self) -> Iterator[tuple[Chunk, array[int] | range]]:
        """Chunk by chunk, oldest first, the rows in it that the view shows."""
        for chunk, count in zip(self._chunks, self._counts, strict=True):
            found = None if self.filter.trivial else self._found.get(chunk.serial, (0, array("H")))[1]
            yield chunk, range(count) if found is None else found[:count]

    def next_with(self, text: str, row: int, step: int, budget: float = 0.02) -> tuple[int | None, int]:
        """The nearest row after (`step` 1) or before (-1) `row` whose text holds `text`.

        Gives the row, or None, and the row up to which was looked, for the next call; -1 or `len` when at the end.
        """
        deadline = clock.monotonic() + budget
        needle = text.encode()
        while 0 <= row + step < len(self):
            number = bisect_right(self._sums, row + step)
            chunk = self._chunks[number]
            first = self._sums[number - 1] if number else 0
            last = self._sums[number] - 1
            found = None if self.filter.trivial else self._found[chunk.serial][1]
            hits = chunk.find(needle)
            if found is not None:
                wanted = set(hits)
                rows = [first + at for at, inner in enumerate(found[: self._counts[number]]) if inner in wanted]
            else:
                rows = [first + inner for inner in hits if inner < self._counts[number]]
            near = [hit for hit in rows if hit > row] if step > 0 else [hit for hit in rows if hit < row]
            if near:
                return (near[0] if step > 0 else near[-1]), row
            row = last if step > 0 else first
            if clock.monotonic() > deadline:
                return None, row
        return None, len(self) if step > 0 else -1
