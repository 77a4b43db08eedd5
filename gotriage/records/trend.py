"""Growth that lasts: told from the floor, the lowest value of each part of a window, so that load is not taken for it.

A value that goes up and down with load comes back to its floor; one that leaks has a floor that rises in every part
of the window, and by more than the value swings inside a part. A warm-up rises and stays: its last part does not rise.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PARTS = 6
"""Parts of a window: six rises in a row are no accident, and thirty seconds still give parts of five samples."""
SWING = 3.0
"""The floor must rise by this many times the usual swing inside a part: less is noise around a level."""

Point = tuple[float, float]
"""Seconds on any clock, and the value from then on."""


@dataclass(frozen=True, slots=True)
class Growth:
    """A rise of the floor over a window.

    Attributes:
        seconds: length of the window.
        before, after: floor in its first and its last part.
        rate: rise per second.
    """

    seconds: float
    before: float
    after: float
    rate: float

    @property
    def rise(self) -> float:
        """How much the floor rose."""
        return self.after - self.before


def growth(points: Sequence[Point], end: float, windows: Iterable[float], least: float) -> Growth | None:
    """The growth in the shortest of the windows (seconds before `end`) that shows one of at least `least`."""
    for seconds in sorted(windows):
        if not points or points[0][0] > end - seconds:
            return None
        found = _rising(points, end - seconds, end)
        if found is not None and found.rise >= least:
            return found
    return None


def _rising(points: Sequence[Point], start: float, end: float) -> Growth | None:
    parts = _parts(points, start, end)
    floors = [min(part) for part in parts]
    if any(later <= earlier for earlier, later in pairwise(floors)):
        return None
    rise = floors[-1] - floors[0]
    if rise < SWING * median(max(part) - min(part) for part in parts):
        return None
    step = (end - start) / PARTS
    return Growth(end - start, floors[0], floors[-1], rise / (step * (PARTS - 1)))


def _parts(points: Sequence[Point], start: float, end: float) -> list[list[float]]:
    """The values seen in each part; a value holds until the next, so that a part without a change has one too."""
    step = (end - start) / PARTS
    parts: list[list[float]] = [[] for _ in range(PARTS)]
    value = points[0][1]
    place = 0
    for number, part in enumerate(parts):
        begin, stop = start + number * step, start + (number + 1) * step
        while place < len(points) and points[place][0] <= begin:
            value = points[place][1]
            place += 1
        part.append(value)
        while place < len(points) and points[place][0] < stop:
            value = points[place][1]
            part.append(value)
            place += 1
    return parts
