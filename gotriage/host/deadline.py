"""A time limit that several steps share."""

from __future__ import annotations

from gotriage.host import clock


class Deadline:
    """Ends `seconds` after it was made; what one step leaves, the next may use."""

    def __init__(self, seconds: float) -> None:
        self._end = clock.monotonic() + seconds

    def left(self, most: float | None = None) -> float:
        """Seconds that remain, never negative, at most `most`."""
        rest = max(0.0, self._end - clock.monotonic())
        return rest if most is None else min(rest, most)

    @property
    def over(self) -> bool:
        """Nothing remains."""
        return self.left() <= 0
