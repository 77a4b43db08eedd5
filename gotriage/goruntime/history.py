"""What only comparing looks can tell: how long a goroutine has been where it is, and which groups grow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime.fields import positions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gotriage.goruntime.goroutines import Columns

    U64 = NDArray[np.uint64]
    F64 = NDArray[np.float64]

MAX_GROUPS: Final = 100_000
"""Groups whose counts are remembered."""
_PRIME: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(slots=True)
class History:
    """Between the looks of one reader.

    Attributes:
        first_at, before_at: when the first look and the one before the last were, seconds of any clock.
    """

    first_at: float | None = None
    before_at: float | None = None
    _at: float | None = None
    _ids: U64 = field(default_factory=lambda: np.zeros(0, np.uint64))
    _marks: U64 = field(default_factory=lambda: np.zeros(0, np.uint64))
    _since: F64 = field(default_factory=lambda: np.zeros(0, np.float64))
    _first: dict[int, int] = field(default_factory=dict)
    _before: dict[int, int] = field(default_factory=dict)

    def waited(self, columns: Columns, now: float, *, remember: bool = True) -> F64:
        """Seconds that each goroutine is known to have stayed where it is: 0 at the first look.

        It has stayed when goid, state, stack pointer, pc and trackingSeq are the same: the last one counts, modulo
        256, how often it stopped running (runtime/proc.go, casgstatus, Go 1.18), so that a worker that comes back to
        the same place between two looks is not taken for one that never left.
        """
        marks = (columns.sp ^ (columns.pc * _PRIME)) * _PRIME + columns.unsigned("turns")
        marks = marks * np.uint64(16) + columns.status.astype(np.uint64)
        ids = columns.unsigned("goid")
        place = positions(self._ids, ids)
        since = np.full(len(ids), now)
        known = np.flatnonzero(place >= 0)
        stayed = known[self._marks[place[known]] == marks[known]]
        since[stayed] = self._since[place[stayed]]
        if not remember:
            return now - since
        order = np.argsort(ids, kind="stable")
        self._ids, self._marks, self._since = ids[order], marks[order], since[order]
        return now - since

    def looked(self, at: float) -> None:
        """A look begins."""
        self.before_at, self._at = self._at, at
        if self.first_at is None:
            self.first_at = at

    def counts(self, now: dict[int, int]) -> tuple[dict[int, int] | None, dict[int, int]]:
        """Counts of each group at the look before (None at the first one) and at the first look; remembers these."""
        before = self._before if self.before_at is not None else None
        if self.before_at is None:
            self._first = now if len(now) <= MAX_GROUPS else {}
        self._before = now if len(now) <= MAX_GROUPS else {}
        return before, self._first
