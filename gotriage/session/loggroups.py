"""Similar lines as one: what varies in a message is masked, and what then is equal is counted."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from gotriage.host import clock
from gotriage.session.logchunk import UNRANKED, from_us

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence
    from datetime import datetime

    from gotriage.records.logs import LogLine
    from gotriage.session.logchunk import Chunk
    from gotriage.session.logview import LogView

MAX_TEMPLATES = 20_000
"""Distinct templates that a store tells apart; all others count as one."""
MAX_LENGTH = 300
OTHER = "(other lines)"
MASK = "•"

_VARYING = re.compile(
    r'"[^"]{0,512}"'
    r"|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
    r"|0x[0-9a-fA-F]+"
    r"|\b(?=[a-f]*\d)[0-9a-f]{8,64}\b"
    r"|\d[\d.,:]*(?:[nµum]?s\b|[hmd]\b|[kKMGT]?i?B\b|%)?"
)


def template_of(message: str) -> str:
    """The first line of a message with numbers, hexadecimals, UUIDs, durations, sizes and quoted text masked."""
    return _VARYING.sub(MASK, message.partition("\n")[0][:MAX_LENGTH])


class Templates:
    """The templates of a store by number; 0 stands for all beyond the bound."""

    def __init__(self) -> None:
        self.texts = [OTHER]
        self._numbers: dict[str, int] = {}

    def fill(self, chunk: Chunk, rows: int) -> None:
        """Work out the templates of the next `rows` lines of a chunk."""
        numbers, known = self._numbers, chunk.templates
        for row in range(len(known), min(len(known) + rows, len(chunk))):
            text = template_of(chunk.message(row))
            number = numbers.get(text)
            if number is None:
                number = 0
                if len(self.texts) <= MAX_TEMPLATES:
                    number = numbers[text] = len(self.texts)
                    self.texts.append(text)
            known.append(number)


@dataclass(slots=True)
class LogGroup:
    """Lines that are alike.

    Attributes:
        template: the message with what varies as `•`.
        count: how many there are.
        first, last: times of the oldest and the newest.
        rank: syslog priority of the worst, 8 when none has one.
        example: the newest line.
    """

    template: str
    count: int
    first: datetime
    last: datetime
    rank: int
    example: LogLine


class _Sum:
    """What is known of one template: count, first and last time, rank, place of the newest line."""

    __slots__ = ("count", "first", "last", "place", "rank")

    def __init__(self, count: int, first: int, last: int, rank: int, place: tuple[Chunk, int]) -> None:
        self.count, self.first, self.last, self.rank, self.place = count, first, last, rank, place

    def plus(self, other: _Sum) -> _Sum:
        newer = other if other.last >= self.last else self
        first, last = min(self.first, other.first), max(self.last, other.last)
        return _Sum(self.count + other.count, first, last, min(self.rank, other.rank), newer.place)


_Sums = dict[int, _Sum]
_Part = tuple["Chunk", "array[int] | range"]


def _summed(chunk: Chunk, rows: array[int] | range) -> _Sums:
    """The templates of some rows of a chunk, counted."""
    if not rows:
        return {}
    templates, times, ranks = chunk.templates, chunk.times, chunk.ranks
    whole = len(rows) == len(templates)
    numbers: Sequence[int] = templates if whole else [templates[row] for row in rows]
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    worst: dict[int, int] = {}
    for row, number in zip(rows, numbers, strict=True):
        if number not in first:
            first[number] = row
            worst[number] = UNRANKED
        last[number] = row
        if ranks[row] < worst[number]:
            worst[number] = ranks[row]
    return {
        number: _Sum(count, times[first[number]], times[last[number]], worst[number], (chunk, last[number]))
        for number, count in Counter(numbers).items()
    }


class GroupView:
    """The groups of a view's lines, brought up to date in steps like the view itself.

    Chunks behind the newest one do not change, so their sums are added once; only the newest is counted again.
    """

    STEP = 256

    def __init__(self, view: LogView) -> None:
        self.view = view
        self.complete = False
        self._base: _Sums = {}
        self._based: dict[int, int] = {}
        """Chunk serial to how many of its rows are in the base."""
        self._edge: _Sums = {}
        self._edge_of = (0, 0)

    def sync(self, until: datetime | None = None, budget: float = 0.004) -> bool:
        """Take in what is new within `budget` seconds; True when nothing is left."""
        deadline = clock.monotonic() + budget
        searched = self.view.sync(until, budget / 2)
        parts = [part for part in self.view.parts() if len(part[1])]
        if self._outdated(parts):
            self._base, self._based = {}, {}
        self.complete = self._take(parts, deadline) and searched
        return self.complete

    def _outdated(self, parts: Sequence[_Part]) -> bool:
        """Whether the base holds lines that the view no longer shows."""
        now = {chunk.serial: len(rows) for chunk, rows in parts}
        return any(now.get(serial) != rows for serial, rows in self._based.items())

    def _take(self, parts: Sequence[_Part], deadline: float) -> bool:
        if not parts:
            self._edge, self._edge_of = {}, (0, 0)
            return True
        chunk, rows = parts[-1]
        if self._edge_of != (chunk.serial, len(rows)):
            if not self._fill(chunk, deadline):
                return False
            self._edge, self._edge_of = _summed(chunk, rows), (chunk.serial, len(rows))
        for chunk, rows in reversed(parts[:-1]):
            if chunk.serial in self._based:
                continue
            if clock.monotonic() > deadline or not self._fill(chunk, deadline):
                return False
            _add(self._base, _summed(chunk, rows))
            self._based[chunk.serial] = len(rows)
        return True

    def _fill(self, chunk: Chunk, deadline: float) -> bool:
        """Work templates out until the deadline, one step at least; True when the chunk has all."""
        while len(chunk.templates) < len(chunk):
            self.view.store.templates.fill(chunk, self.STEP)
            if clock.monotonic() > deadline:
                break
        return len(chunk.templates) == len(chunk)

    def groups(self, most: int | None = None) -> list[LogGroup]:
        """The groups, largest first."""
        total = dict(self._base)
        if self._edge_of[0] not in self._based:
            _add(total, self._edge)
        texts = self.view.store.templates.texts
        order = sorted(total.items(), key=lambda item: item[1].count, reverse=True)
        return [
            LogGroup(texts[number], found.count, from_us(found.first), from_us(found.last), found.rank, _line(found))
            for number, found in islice(order, most)
        ]


def _add(total: _Sums, sums: _Sums) -> None:
    for number, part in sums.items():
        before = total.get(number)
        total[number] = part if before is None else before.plus(part)


def _line(found: _Sum) -> LogLine:
    chunk, row = found.place
    return chunk.line(row)
