"""Small pictures of numbers: a line of eighth blocks over time, and a bar of use against a limit."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"
WINDOWS = (60, 120, 300, 600, 900, 1800, 3600)
"""Seconds that a plot may span: the smallest that holds what is known."""
Point = tuple[float, float | None]
"""Seconds since the epoch and the value then; None where it was not measured."""


def window_for(span: float) -> int:
    """The window for so many seconds of data."""
    return next((window for window in WINDOWS if span <= window), WINDOWS[-1])


def buckets(points: Sequence[Point], cells: int, window: float, now: float) -> list[float | None]:
    """The largest value in each of `cells` steps of time up to `now`; None where nothing was measured.

    Points come in time order. The steps are aligned to the clock, so that a value stays in its step while time goes on.
    A value holds until the next point, for what has not changed is not recorded again; a point that is None ends it.
    """
    step = window / cells
    first = int(now // step) - cells + 1
    found: list[float | None] = [None] * cells
    for number, (time, value) in enumerate(points):
        if value is None:
            continue
        begin = int(time // step) - first
        after = int(points[number + 1][0] // step) - first if number + 1 < len(points) else cells
        for place in range(max(begin, 0), min(max(after, begin + 1), cells)):
            before = found[place]
            found[place] = value if before is None else max(before, value)
    return found


def lines(values: Sequence[float | None], top: float, height: int = 1) -> list[str]:
    """The values as columns of eighth blocks, `height` lines high, the upper line first; zero is the lowest block.

    What was not measured is empty, which zero is not.
    """
    levels = height * 8 - 1  # the topmost eighth stays free, so that rows do not run into each other
    heights = [
        0 if value is None else max(1, min(ceil(value / top * levels), levels) if top > 0 else 1) for value in values
    ]
    return ["".join(BLOCKS[min(max(h - row * 8, 0), 8)] for h in heights) for row in reversed(range(height))]


def bar(share: float | None, width: int) -> tuple[str, str]:
    """A share 0..1 as a line of `width` cells: its heavy and its thin part. Anything above zero is seen."""
    if share is None:
        return "", " " * width
    halves = min(ceil(max(share, 0.0) * width * 2), width * 2)
    heavy = "━" * (halves // 2) + ("╸" if halves % 2 else "")
    return heavy, "─" * (width - len(heavy))


def severity(share: float | None) -> str:
    """The role of a use against a limit."""
    if share is None or share < 0.8:
        return "plot"
    return "warning" if share < 0.95 else "critical"
