"""The log lines of a session: many, compact, filtered in small steps.

For rules: `tail(n, until)` the newest lines, `of_kind(kind, until)` panics, fatal errors, OOM kills and the rest of
`LogLine.kind`, `matching(filter, until)` lines by text or field, `groups(until)` similar lines with counts; all read
no more than they must and are cheap to call once a second. `until` is the session's cursor. `log_state(session)` puts
together what the collectors say about the places where the lines come from.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from gotriage.records.logs import LogState
from gotriage.session.logchunk import Chunk, Names, to_us
from gotriage.session.logfilter import LogFilter
from gotriage.session.loggroups import GroupView, LogGroup, Templates
from gotriage.session.logview import LogView

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from gotriage.records.logs import LogLine, LogLines
    from gotriage.session.store import Session

MAX_ASKED = 64
"""Different questions to `first` that are remembered."""
MAX_BYTES = 512 * 1024 * 1024
"""Memory that a live session spends on log lines, about."""


class LogStore:
    """Log lines in time order; a live session keeps the newest `keep` or `max_bytes`, a recording all.

    Attributes:
        version: grows with every line that comes or goes.
        chunks: the lines; a list that is replaced, never changed, when its members change.
    """

    def __init__(self, *, bounded: bool = True, keep: int = 1_000_000, max_bytes: int = MAX_BYTES) -> None:
        self.bounded = bounded
        self.keep = keep
        self.max_bytes = max_bytes
        self.version = 0
        self.names = Names()
        self.templates = Templates()
        self.chunks: list[Chunk] = []
        self._length = 0
        self._without: dict[tuple[str, str], set[int]] = {}
        """For `first`: the serials of full chunks in which no line is of that kind."""

    def __len__(self) -> int:
        return self._length

    @property
    def oldest(self) -> datetime | None:
        """Time of the first line."""
        return self.chunks[0].line(0).at if self.chunks else None

    def boots(self) -> list[str]:
        """The boots that lines are of, oldest first (_BOOT_ID= of the journal)."""
        column = Chunk.WORDS.index("boot")
        found: dict[str, None] = {}
        for chunk in self.chunks:
            for row in sorted({number: row for row, number in reversed([*enumerate(chunk.words[column])])}.values()):
                if boot := chunk.word("boot", row):
                    found.setdefault(boot)
        return list(found)

    # -- writing

    def add(self, batch: LogLines) -> None:
        """Take a batch in; what is older than the newest line goes where its time belongs, unless it is there."""
        timed = [(to_us(line.at), line) for line in batch.rows]
        if not timed:
            return
        if any(one[0] > other[0] for one, other in pairwise(timed)):
            timed.sort(key=lambda item: item[0])
        self.version += 1
        last = self.chunks[-1].times[-1] if self.chunks else None
        if last is not None and (timed[0][0] < last or (batch.history and timed[0][0] <= last)):
            late = [item for item in timed if item[0] <= last]
            timed = timed[len(late) :]
            self._merge(late)
        self._append(timed)
        if self.bounded:
            self._forget()

    def _append(self, timed: Sequence[tuple[int, LogLine]]) -> None:
        chunk = self.chunks[-1] if self.chunks else None
        for us, line in timed:
            if chunk is None or chunk.full:
                chunk = Chunk(self.names)
                self.chunks = [*self.chunks, chunk]
            chunk.append(line, us)
        self._length += len(timed)

    def _merge(self, late: Sequence[tuple[int, LogLine]]) -> None:
        """Rebuild the chunks that the late lines fall into; lines that are there already are left out."""
        first, last = late[0][0], late[-1][0]
        low = next(number for number, chunk in enumerate(self.chunks) if chunk.times[-1] >= first)
        high = next((number for number, chunk in enumerate(self.chunks) if chunk.times[0] > last), len(self.chunks))
        low = min(low, high)
        touched = self.chunks[low:high]
        fresh = Chunk(self.names)
        known = Counter(_identities(touched, first, last))
        for us, line in late:
            fresh.append(line, us)
            identity = (us, fresh.raw(len(fresh) - 1))
            if known[identity] > 0:
                known[identity] -= 1
                _drop_last(fresh)
        if not len(fresh):
            return
        rebuilt = list(_woven(self.names, touched, fresh))
        self.chunks = [*self.chunks[:low], *rebuilt, *self.chunks[high:]]
        self._length += len(fresh)

    def _forget(self) -> None:
        """Drop the oldest chunks beyond the bounds."""
        size, dropped = sum(chunk.size for chunk in self.chunks), 0
        length = self._length
        while dropped < len(self.chunks) - 1 and (
            length - len(self.chunks[dropped]) >= self.keep or size > self.max_bytes
        ):
            size -= self.chunks[dropped].size
            length -= len(self.chunks[dropped])
            dropped += 1
        if dropped:
            self.chunks = self.chunks[dropped:]
            self._length = length

    # -- reading

    def view(self, filter: LogFilter | None = None) -> LogView:  # noqa: A002  # what it is
        """A view that is brought up to date in small steps."""
        return LogView(self, filter)

    def tail(self, n: int, until: datetime | None = None) -> list[LogLine]:
        """The newest `n` lines up to a time, oldest first."""
        parts: list[list[LogLine]] = []
        us = None if until is None else to_us(until)
        for chunk in reversed(self.chunks):
            end = chunk.until(us)
            parts.append([chunk.line(row) for row in range(max(end - n, 0), end)])
            n -= len(parts[-1])
            if n <= 0:
                break
        return [line for part in reversed(parts) for line in part]

    def of_kind(
        self, kind: str, until: datetime | None = None, *, since: datetime | None = None, most: int = 1000
    ) -> list[LogLine]:
        """The newest `most` lines recognised as `kind` ("panic", "fatal error", "oom" ...), oldest first."""
        number = self.names.known(kind)
        return [] if number < 0 else self.matching(LogFilter(fields=(("kind", kind),), since=since), until, most=most)

    def matching(self, wanted: LogFilter, until: datetime | None = None, *, most: int = 1000) -> list[LogLine]:
        """The newest `most` lines that pass a filter, oldest first; looks at no more chunks than it must."""
        us = None if until is None else to_us(until)
        since = None if wanted.since is None else to_us(wanted.since)
        found: list[LogLine] = []
        for chunk in reversed(self.chunks):
            if since is not None and chunk.times[-1] < since:
                break
            end = chunk.until(us)
            rows = wanted.rows(chunk)
            for row in reversed(range(end) if rows is None else rows):
                if row < end:
                    found.append(chunk.line(row))
                    if len(found) >= most:
                        return found[::-1]
        return found[::-1]

    def first(self, text: str, since: datetime, until: datetime, *, but: str = "") -> LogLine | None:
        """The oldest line of that time that holds `text` and not `but` (ASCII case ignored).

        May be asked once a second: chunks that hold no such line are remembered and not searched again.
        """
        low, high = to_us(since), to_us(until)
        if len(self._without) > MAX_ASKED:
            self._without.clear()
        without = self._without.setdefault((text, but), set())
        for chunk in self.chunks:
            if chunk.times[-1] < low or chunk.serial in without:
                continue
            if chunk.times[0] > high:
                break
            held = chunk.find(text.encode())
            unwanted = set(chunk.find(but.encode())) if but and held else set()
            rows = [row for row in held if row not in unwanted]
            if not rows and chunk.full:
                without.add(chunk.serial)
            for row in rows:
                if low <= chunk.times[row] <= high:
                    return chunk.line(row)
        return None

    def groups(self, until: datetime | None = None, *, newest: int = 20_000, most: int = 200) -> list[LogGroup]:
        """Similar lines among the newest ones up to a time, largest group first; each line is masked only once."""
        recent = LogStore(bounded=False)
        recent.names, recent.templates = self.names, self.templates
        us, left = None if until is None else to_us(until), newest
        for chunk in reversed(self.chunks):
            if left <= 0:
                break
            left -= chunk.until(us)
            recent.chunks = [chunk, *recent.chunks]
        recent._length = sum(map(len, recent.chunks))
        grouped = GroupView(recent.view())
        grouped.sync(until, budget=1.0)
        return grouped.groups(most)


def _identities(chunks: Sequence[Chunk], first: int, last: int) -> Iterator[tuple[int, bytes]]:
    for chunk in chunks:
        for row, us in enumerate(chunk.times):
            if first <= us <= last:
                yield us, chunk.raw(row)


def _drop_last(chunk: Chunk) -> None:
    """Take the last line out of a chunk that is being made."""
    del chunk.blob[chunk.start(len(chunk) - 1) :]
    for column in (chunk.times, chunk.ends, chunk.ranks, chunk.flags, chunk.pids, chunk.counts, *chunk.words):
        column.pop()


def _woven(names: Names, old: Sequence[Chunk], fresh: Chunk) -> Iterator[Chunk]:
    """The lines of some chunks and of one more, in time order, as new chunks; of equal times the old come first."""
    made = Chunk(names)
    at = 0
    for chunk in old:
        for row, us in enumerate(chunk.times):
            while at < len(fresh) and fresh.times[at] < us:
                made.take_row(fresh, at)
                at += 1
                if made.full:
                    yield made
                    made = Chunk(names)
            made.take_row(chunk, row)
            if made.full:
                yield made
                made = Chunk(names)
    for row in range(at, len(fresh)):
        made.take_row(fresh, row)
        if made.full:
            yield made
            made = Chunk(names)
    if len(made):
        yield made


def log_state(session: Session) -> LogState | None:
    """The newest LogState of each collector at the cursor, as one; None when no collector has said anything."""
    newest: dict[str, LogState] = {}
    for state in session.series(LogState):
        newest[state.collector] = state
    if not newest:
        return None
    oldest = [state.oldest for state in newest.values() if state.oldest is not None]
    boots = [state.boots for state in newest.values() if state.boots is not None]
    return LogState(
        at=max(state.at for state in newest.values()),
        sources=tuple(source for name in sorted(newest) for source in newest[name].sources),
        oldest=min(oldest, default=None),
        boots=max(boots, default=None),
    )
