"""One look at all goroutines, put together: columns, stacks, waits, groups, and what earlier looks add."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.errors import UsageError
from gotriage.goruntime import goroutines, standing, waits
from gotriage.goruntime.assembly import Assembly
from gotriage.goruntime.conds import find_conds
from gotriage.goruntime.history import History
from gotriage.goruntime.locate import NotLocated
from gotriage.goruntime.memory import Unreadable
from gotriage.goruntime.naming import user_frame
from gotriage.goruntime.objects import Needles, needles_for
from gotriage.goruntime.printing import stack_of
from gotriage.goruntime.report import Frame
from gotriage.goruntime.spans import Spans, read_spans
from gotriage.goruntime.stuck import Search
from gotriage.host import clock

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gotriage.goruntime.counters import Source
    from gotriage.goruntime.goroutines import Columns
    from gotriage.goruntime.image import Image
    from gotriage.goruntime.report import Dump, Stack
    from gotriage.goruntime.unwind import Walked

    U64 = NDArray[np.uint64]
    F64 = NDArray[np.float64]

MAX_STACKS: Final = 50_000
"""Stacks whose frames are remembered from look to look."""
MANY: Final = 200_000
"""With more goroutines than this the stacks are not searched for who holds a lock: it would double the cost."""
MAX_WAIT: Final = 10 * 365 * 86400
"""Longest waiting time believed, seconds."""
_PRIME: Final = np.uint64(0x9E3779B97F4A7C15)
_TRAPPED: Final = np.uint64(0xA5A5A5A5A5A5A5A5)
"""Tells a stack that begins at an instruction from one of the same pcs where the first is a return address."""


class Reasons:
    """Why each goroutine waits (runtime/runtime2.go, waitReasonStrings): a number each, -1 for one that does not."""

    def __init__(self, numbers: NDArray[np.int64], names: tuple[str, ...]) -> None:
        self._numbers, self._names = numbers, names

    def name(self, number: int) -> str:
        """The words of a number that g.waitreason has."""
        return "" if number < 0 else self._names[number] if number < len(self._names) else f"wait reason {number}"

    def of(self, who: int) -> str:
        """The words of one goroutine, "" when it does not wait."""
        return self.name(int(self._numbers[who]))

    def those(self, start: str) -> NDArray[np.int64]:
        """Numbers of the goroutines whose reason begins so."""
        wanted = [number for number, name in enumerate(self._names) if name.startswith(start)]
        return np.flatnonzero(np.isin(self._numbers, wanted)).astype(np.int64)

    def counts(self) -> dict[str, int]:
        """How many wait for each reason, the commonest first."""
        numbers, counts = np.unique(self._numbers[self._numbers >= 0], return_counts=True)
        pairs = sorted(zip(numbers.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1])
        return {self.name(number): count for number, count in pairs}


@dataclass(slots=True)
class Look:
    """What one look has read; numbers of goroutines are those of the columns."""

    columns: Columns
    walked: Walked
    waits: waits.Waits
    needles: Needles
    alone: dict[int, bool]
    waited: F64
    runtime_wait: F64
    reasons: Reasons
    groups: U64
    now: float


class Dumper:
    """Looks again and again at one process."""

    def __init__(self, source: Source, image: Image) -> None:
        self._source, self._functions = source, image.functions
        self._module = image.build.main.path if image.build and image.build.main else ""
        self._history = History()
        self._search = Search(source.memory, image)
        self._frames: dict[int, Stack] = {}
        self._sites: dict[int, Frame] = {}
        self._users: dict[int, int] = {}
        self._trapped: set[int] = set()

    def dump(self, rows: int = 2000, *, locks: bool = True) -> Dump:
        """Look. At most `rows` goroutines one by one; `locks`: search for who holds what, and for who waits for ever.

        Raises Unreadable, TargetGone, NotPermitted.
        """
        begun, at = clock.monotonic(), clock.now().timestamp()
        self._history.looked(at)
        problems: list[str] = []
        look = self._read(locks, begun, problems)
        return Assembly(self, look, rows).dump(at, begun, problems)

    def one(self, goid: int) -> Dump:
        """One goroutine, without groups. Raises UsageError when there is none of that id, Unreadable, TargetGone."""
        begun, at = clock.monotonic(), clock.now().timestamp()
        problems: list[str] = []
        look = self._read(False, begun, problems, goid)
        return Assembly(self, look, 1).dump(at, begun, problems, grouped=False)

    def _read(self, locks: bool, now: float, problems: list[str], only: int | None = None) -> Look:
        source = self._source
        memory, layout = source.memory, source.layout
        columns = goroutines.read(memory, layout, source.found)
        if only is not None:
            who = np.flatnonzero(columns.unsigned("goid") == only).astype(np.int64)
            if not len(who):
                raise UsageError(f"there is no goroutine {only} (any more)")
            columns = columns.only(who[:1])
        trapped, untold = (np.zeros(0, np.int64), ()) if memory.live else standing.place(source, columns)
        problems += untold
        reasons = self._reasons(columns)
        waiting = waits.find_waits(memory, layout, source.found, columns)
        spans = self._spans(problems) if locks and len(columns) <= MANY else None
        needles = needles_for(waiting, spans) if spans is not None else Needles(np.zeros(0, np.uint64))
        walked = goroutines.walk_all(memory, layout, self._functions, columns, needles.values)
        self._mark(walked, trapped)
        waits.find_polled(memory, layout, columns, reasons.those("IO wait"), waiting)
        find_conds(memory, layout, columns, reasons.those("sync.Cond.Wait")[: waits.MAX_POLLED], waiting)
        if waiting.cut:
            problems.append("some waiters were not followed to what they wait on")
        since = columns.column("waitsince").astype(np.int64)
        stamped = (since > 0) & (columns.status == goroutines.WAITING)
        runtime_wait = np.where(stamped, now - since / 1e9, 0.0)
        runtime_wait[(runtime_wait < 0) | (runtime_wait > MAX_WAIT) | (not memory.live)] = 0.0
        return Look(
            columns=columns,
            walked=walked,
            waits=waiting,
            needles=needles,
            alone=self._search.look(spans, columns, waiting, now) if spans is not None else {},
            waited=self._history.waited(columns, now, remember=only is None),
            runtime_wait=runtime_wait,
            reasons=reasons,
            groups=self._group_keys(columns, walked),
            now=now,
        )

    def _mark(self, walked: Walked, trapped: NDArray[np.int64]) -> None:
        """Stacks that begin at an instruction have keys of their own: the same pcs are other lines there."""
        for who in trapped.tolist():
            key = int(walked.key[who])
            if key in walked.pcs:
                walked.key[who] = own = np.uint64(key) ^ _TRAPPED
                walked.pcs[int(own)] = walked.pcs[key]
                self._trapped.add(int(own))

    def _spans(self, problems: list[str]) -> Spans | None:
        try:
            return read_spans(self._source.memory, self._source.layout, self._source.found)
        except (NotLocated, Unreadable, KeyError) as error:
            problems.append(f"the heap's spans: {error}")
            return None

    def _reasons(self, columns: Columns) -> Reasons:
        waiting = (columns.status == goroutines.WAITING) | (columns.status == goroutines.LEAKED)
        numbers = np.where(waiting, columns.column("reason").astype(np.int64), -1)
        return Reasons(numbers, self._source.layout.wait_reasons)

    def _group_keys(self, columns: Columns, walked: Walked) -> U64:
        """A hash of what makes a group: stack, creator, first function, state, reason."""
        state = columns.status.astype(np.uint64) << np.uint64(8)
        state |= np.where(columns.status == goroutines.WAITING, columns.unsigned("reason"), np.uint64(0))
        mixed = walked.key
        for part in (columns.unsigned("gopc"), columns.unsigned("startpc"), state):
            mixed = (mixed ^ part) * _PRIME + np.uint64(1)
        return mixed

    # -- names, each looked up once

    def stack(self, key: int, walked: Walked) -> Stack:
        """The frames of a stack, as Go prints them."""
        found = self._frames.get(key)
        if found is None:
            if len(self._frames) >= MAX_STACKS:
                self._frames.clear()
                self._users.clear()
            found = self._frames[key] = stack_of(self._functions, walked.pcs[key], trapped=key in self._trapped)
        return found

    def site(self, pc: int, *, exact: bool) -> Frame | None:
        """The place of a pc: a creator (its return address), a first function (its entry, `exact`)."""
        if not pc:
            return None
        found = self._sites.get(pc)
        if found is None:
            found = self._sites[pc] = self._functions.site(pc, exact) or Frame(f"{pc:#x}")
        return found

    def user(self, key: int, walked: Walked) -> int:
        """Index of the first frame of the user's in a stack."""
        found = self._users.get(key)
        if found is None:
            found = self._users[key] = user_frame(self.stack(key, walked).frames, self._module)
        return found

    @property
    def source(self) -> Source:
        """What it reads from."""
        return self._source

    @property
    def history(self) -> History:
        """Of the looks so far."""
        return self._history
