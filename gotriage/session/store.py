"""What is known so far: every record in bounded rings, seen at a cursor.

Live data, a snapshot and a recording all enter by `feed`; every view and every rule reads at the cursor. At the head
it is live; anywhere else it is paused or replayed, and no reader can tell.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from gotriage.records.logs import LogLines
from gotriage.records.stream import Gap, Heartbeat
from gotriage.session.logs import LogStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.records import Record

R = TypeVar("R", bound="Record")


def _time(record: Record) -> datetime:
    return record.at


class Session:
    """The store and its cursor.

    Attributes:
        cursor: the moment that readers see; None is the head.
        logs: the log lines, which have a store of their own.
        bounded: rings forget (live); a recording that is opened keeps all that it holds.
    """

    def __init__(self, *, bounded: bool = True) -> None:
        self.bounded = bounded
        self.cursor: datetime | None = None
        self.logs = LogStore(bounded=bounded)
        self._rings: dict[type[Record], deque[Record]] = {}
        self._versions: dict[type[Record], int] = {}
        self.first: datetime | None = None
        self.last: datetime | None = None

    # -- writing

    def feed(self, record: Record) -> None:
        """Take one record in. Records of one type come in time order; a late one is put where it belongs."""
        kind = type(record)
        self._versions[kind] = self._versions.get(kind, 0) + 1
        if isinstance(record, LogLines):
            self.logs.add(record)
        else:
            self._put(kind, record)
        if self.first is None or record.at < self.first:
            self.first = record.at
        if self.last is None or record.at > self.last:
            self.last = record.at

    def _put(self, kind: type[Record], record: Record) -> None:
        ring = self._rings.get(kind)
        if ring is None:
            ring = self._rings[kind] = deque(maxlen=kind.keep if self.bounded else None)
        if not ring or ring[-1].at <= record.at:
            ring.append(record)
            return
        place = bisect_right(ring, record.at, key=_time)
        if ring.maxlen is not None and len(ring) == ring.maxlen:
            if place == 0:
                return
            ring.popleft()
            place -= 1
        ring.insert(place, record)

    # -- reading, at the cursor

    def version(self, kind: type[Record]) -> int:
        """Grows with every record of the type: readers compare it to know whether anything is new."""
        return self._versions.get(kind, 0)

    def latest(self, kind: type[R]) -> R | None:
        """The newest record of the type at the cursor."""
        ring = self._rings.get(kind)
        if not ring:
            return None
        if self.cursor is None or ring[-1].at <= self.cursor:
            return ring[-1]  # type: ignore[return-value]  # the ring of a type holds that type
        place = bisect_right(ring, self.cursor, key=_time)
        return ring[place - 1] if place else None  # type: ignore[return-value]

    def series(self, kind: type[R], seconds: float | None = None) -> Sequence[R]:
        """Records of the type up to the cursor, oldest first; only those of the last `seconds` before the cursor."""
        ring = self._rings.get(kind)
        if not ring:
            return ()
        end = len(ring) if self.cursor is None else bisect_right(ring, self.cursor, key=_time)
        start = 0
        if seconds is not None and end:
            start = bisect_right(ring, ring[end - 1].at - timedelta(seconds=seconds), key=_time)
        return list(islice(ring, start, end))  # type: ignore[arg-type]  # the ring of a type holds that type

    def records_of(self, kind: type[R]) -> list[R]:
        """Every record of the type, wherever the cursor stands."""
        return list(self._rings.get(kind, ()))  # type: ignore[arg-type]  # the ring of a type holds that type

    def everything(self) -> Iterator[Record]:
        """Every record but the log lines, in time order, wherever the cursor stands: what a snapshot holds."""
        return merge(*(list(ring) for ring in self._rings.values()), key=_time)

    def gaps(self) -> list[Gap]:
        """Gaps that are open at the cursor, one a source and reason, in order of appearance."""
        open_gaps: dict[str, dict[str, Gap]] = {}
        for gap in self.series(Gap):
            if gap.closed:
                open_gaps.pop(gap.source, None)
            else:
                open_gaps.setdefault(gap.source, {})[gap.reason] = gap
        return [gap for group in open_gaps.values() for gap in group.values()]

    @property
    def moment(self) -> datetime | None:
        """The time that readers see: the cursor, or the newest record's time at the head."""
        return self.cursor or self.last

    # -- moving the cursor

    @property
    def at_head(self) -> bool:
        """Whether readers see the newest records."""
        return self.cursor is None

    def pause(self) -> None:
        """Stay at the present moment."""
        self.cursor = self.moment

    def head(self) -> None:
        """Go back to the newest records."""
        self.cursor = None

    def jump(self, to: datetime) -> None:
        """Show the given moment, kept within what is there."""
        if self.first and self.last:
            self.cursor = min(max(to, self.first), self.last)

    def step(self, by: int) -> None:
        """Move by heartbeats (about seconds), backwards when negative; past the last one is not the head again."""
        beats = self._rings.get(Heartbeat)
        if not beats or self.moment is None:
            return
        place = bisect_right(beats, self.moment, key=_time) - 1 + by
        self.cursor = beats[min(max(place, 0), len(beats) - 1)].at
