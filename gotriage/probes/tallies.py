"""Calls that the kernel has counted, as rows: since the start, and over the last seconds; so many rows, and no more."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from gotriage.records.http import (
    OTHER_ROUTES,
    SLOTS,
    CallKind,
    Direction,
    HttpRoute,
    is_client_error,
    is_error,
    quantile,
    slot_start,
    trimmed,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from numpy.typing import NDArray

    from gotriage.records.http import HttpCall

WINDOW: Final = 10.0
"""Seconds attached that the recent numbers are over."""
LOOKS: Final = 60
"""... and looks at most."""
MOST_ROWS: Final = 250
MOST_SLOW: Final = 30
"""Slow calls that are listed; about as many are told of in a look."""


class Key(NamedTuple):
    """What names a row; as HttpRoute.key."""

    direction: Direction
    call: CallKind
    protocol: str = ""
    method: str = ""
    route: str = ""
    peer: str = ""

    @property
    def other(self) -> Key:
        """The row of those for which there is no room."""
        return Key(self.direction, self.call, route=OTHER_ROUTES)


@dataclass
class Tally:
    """Calls of one row; `longest` in seconds."""

    statuses: dict[str, int] = field(default_factory=dict)
    slots: NDArray[np.int64] = field(default_factory=lambda: np.zeros(SLOTS, np.int64))
    longest: float = 0.0
    sample: str = ""

    def add(self, other: Tally) -> None:
        """Count those of another one too."""
        for status, number in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + number
        self.slots = self.slots + other.slots
        self.longest = max(self.longest, other.longest)
        self.sample = self.sample or other.sample

    def counts(self) -> tuple[int, int, int]:
        """All, those with errors, those with errors of the client."""
        errors = sum(number for status, number in self.statuses.items() if is_error(status))
        clients = sum(number for status, number in self.statuses.items() if is_client_error(status))
        return sum(self.statuses.values()), errors, clients


class Look(NamedTuple):
    """What came in one look, which ended after so many seconds attached."""

    attached: float
    new: dict[Key, Tally]
    slow: list[HttpCall]


class Flying(NamedTuple):
    """Calls of a row in flight: how many, and the age of the oldest, seconds."""

    number: int = 0
    oldest: float = 0.0

    def with_one(self, age: float) -> Flying:
        """One more."""
        return self.and_these(1, age)

    def and_these(self, number: int, oldest: float) -> Flying:
        """With some more."""
        return Flying(self.number + number, max(self.oldest, oldest))


class Now(NamedTuple):
    """The same moment by two clocks: CLOCK_MONOTONIC, seconds, as the kernel stamps; and of the day."""

    monotonic: float
    wall: datetime

    def age(self, stamp: int) -> float:
        """Seconds since a stamp of the kernel's, ns."""
        return round(max(self.monotonic - stamp / 1e9, 0.0), 6)

    def at(self, stamp: int) -> datetime:
        """The time of day of a stamp, to a millisecond."""
        time = self.wall - timedelta(seconds=self.monotonic - stamp / 1e9)
        return time.replace(microsecond=time.microsecond // 1000 * 1000)


class Tallies:
    """All calls of a trace."""

    def __init__(self) -> None:
        self._total: dict[Key, Tally] = {}
        self._looks: deque[Look] = deque(maxlen=LOOKS)
        self._crowded = False
        self.slow_from = 0.1
        """From how many seconds on a call is worth telling of: few of the last look took so long."""

    def look(self, found: Iterable[tuple[Key, Tally]], slow: Iterable[HttpCall], attached: float) -> None:
        """Take in what has come since the last look."""
        new: dict[Key, Tally] = {}
        self._crowded = False
        for key, tally in found:
            into = self._row_of(key, new)
            self._total.setdefault(into, Tally()).add(tally)
            new.setdefault(into, Tally()).add(tally)
        self._looks.append(Look(attached, new, sorted(slow, key=_slowness)[:MOST_SLOW]))
        self._adapt(new)

    def _row_of(self, key: Key, new: Mapping[Key, Tally]) -> Key:
        if key in self._total or len(self._total) < MOST_ROWS:
            return key
        if not self._crowded:
            self._crowded = not self._make_room(new)
        return key if len(self._total) < MOST_ROWS else key.other

    def _make_room(self, new: Mapping[Key, Tally]) -> bool:
        """Rows that have long been idle, the smallest first, become part of the others; whether there were any."""
        recent = {key for look in self._recent() for key in look.new} | new.keys()
        idle = [key for key in self._total if key not in recent and key.route != OTHER_ROUTES]
        for key in sorted(idle, key=lambda key: sum(self._total[key].statuses.values()))[: MOST_ROWS // 4]:
            self._total.setdefault(key.other, Tally()).add(self._total.pop(key))
        return bool(idle)

    def _adapt(self, new: dict[Key, Tally]) -> None:
        slots = sum((tally.slots for tally in new.values()), np.zeros(SLOTS, np.int64))
        above = np.cumsum(slots[::-1])[::-1]
        over = np.flatnonzero(above > MOST_SLOW)
        self.slow_from = slot_start(int(over[-1]) + 1) if len(over) else 0.0

    # -- the record

    @property
    def totals(self) -> tuple[int, int, int]:
        """All calls since the start, those with errors, those with errors of the client."""
        counts = [tally.counts() for tally in self._total.values()]
        return sum(c[0] for c in counts), sum(c[1] for c in counts), sum(c[2] for c in counts)

    @property
    def window(self) -> float:
        """Seconds attached that the recent numbers are over."""
        return self._looks[-1].attached - self._base() if self._looks else 0.0

    def _base(self) -> float:
        """The seconds attached at which the window begins: the end of a look, or the start."""
        end = self._looks[-1].attached
        before = [look.attached for look in self._looks if look.attached <= end - WINDOW]
        if before:
            return before[-1]
        return self._looks[0].attached if len(self._looks) == LOOKS else 0.0

    def _recent(self) -> list[Look]:
        base = self._base() if self._looks else 0.0
        return [look for look in self._looks if look.attached > base]

    def slowest(self) -> tuple[HttpCall, ...]:
        """Of the window, the slowest first."""
        return tuple(sorted((call for look in self._recent() for call in look.slow), key=_slowness)[:MOST_SLOW])

    def rows(self, flying: Mapping[Key, Flying]) -> tuple[HttpRoute, ...]:
        """All rows, those with most calls in the window first; rows also for calls that are only in flight yet."""
        window, recent = self.window, self._recent()
        in_flight: dict[Key, Flying] = {}
        for key, here in flying.items():
            into = key if key in self._total or len(self._total) + len(in_flight) < 2 * MOST_ROWS else key.other
            in_flight[into] = in_flight.get(into, Flying()).and_these(*here)
        rows = [
            self._row(key, recent, window, in_flight.get(key, Flying()))
            for key in dict.fromkeys((*self._total, *in_flight))
        ]
        rows.sort(key=lambda row: (-row.recent, -row.count, row.key))
        return tuple(rows)

    def _row(self, key: Key, looks: list[Look], window: float, flying: Flying) -> HttpRoute:
        total, recent = self._total.get(key, Tally()), Tally()
        for look in looks:
            if key in look.new:
                recent.add(look.new[key])
        count, errors, clients = total.counts()
        recent_count, recent_errors, recent_clients = recent.counts()
        slots = recent.slots.tolist()
        return HttpRoute(
            **key._asdict(),
            sample=total.sample if key.route != OTHER_ROUTES else "",
            count=count,
            statuses=dict(total.statuses),
            errors=errors,
            client_errors=clients,
            slots=trimmed(total.slots.tolist()),
            rate=round(recent_count / window, 3) if window > 0 else None,
            recent=recent_count,
            recent_errors=recent_errors,
            recent_client_errors=recent_clients,
            p50=_quantile(slots, 0.5, recent.longest),
            p99=_quantile(slots, 0.99, recent.longest),
            longest=_rounded(recent.longest or None),
            in_flight=flying.number,
            oldest=_rounded(flying.oldest) if flying.number else None,
        )


def _slowness(call: HttpCall) -> float:
    return -(call.seconds or 0.0)


def _quantile(slots: list[int], share: float, longest: float) -> float | None:
    """Read off the histogram; never more than what was the longest."""
    value = quantile(slots, share)
    return _rounded(min(value, longest) if value is not None and longest > 0 else value)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 7)
