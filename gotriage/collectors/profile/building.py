"""Samples and their names put together: what a profile's record has."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from gotriage.records.profile import FrameKind, ProfileFrame, ProfileStack, TopFunction
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from gotriage.goruntime.profileparts import Origin, Place

NAME: Final = 1000
"""Characters of a function, file or label that are kept."""
MOST_STACKS: Final = 3000
"""Stacks in a record, the commonest."""
MOST_KEPT: Final = 30_000
"""Distinct stacks that are told apart while a profile is taken."""
ANSWERABLE: Final = ("user", "library")
"""Kinds of code whose authors can change it; the rest runs because they called it."""
TOP: Final = {"flat": 150, "own": 100, "cum": 100}
"""Functions that a record names, by each of their numbers."""
WORD: Final = 8


class Key(NamedTuple):
    """What makes two samples one row of a profile; as `ProfileStack`, with texts in place of their numbers."""

    frames: tuple[int, ...]
    kernel: int = 0
    creator: ProfileFrame | None = None
    labels: tuple[tuple[str, str], ...] = ()
    state: str = ""
    thread: str = ""
    system: bool = False
    cut: bool = False


class Table:
    """Frames, each once; their numbers stay as long as the table does."""

    def __init__(self) -> None:
        self._numbers: dict[Place, int] = {}
        self.frames: list[ProfileFrame] = []

    def number(self, place: Place) -> int:
        """The number of a frame."""
        found = self._numbers.get(place)
        if found is None:
            found = self._numbers[place] = len(self.frames)
            self.frames.append(frame_of(place))
        return found


def frame_of(place: Place) -> ProfileFrame:
    """A frame, its texts made harmless."""
    return ProfileFrame(
        clean(place.function, NAME) or "?",
        cast("FrameKind", place.kind),
        clean(place.file, NAME),
        place.line,
        place.inlined,
        place.named,
    )


def caller_of(size: int, words: Sequence[int], link: int, *, linked: bool) -> int:
    """The caller that a walk along frame pointers misses, 0 for none: `size` bytes lie between the stack pointer and
    the return address. `linked`: the machine has a link register, which holds it while there is no frame.
    """
    if size < 0 or size % WORD:
        return 0
    if linked:
        return link if size == 0 else 0
    return words[size // WORD] if size // WORD < len(words) else 0


@dataclass(slots=True)
class Sums:
    """What a profile has so far."""

    counts: Counter[Key] = field(default_factory=Counter)
    samples: int = 0
    omitted: int = 0
    attributed: int = 0
    user_frames: int = 0
    named_frames: int = 0
    cut: int = 0

    def add(self, key: Key, count: int) -> None:
        """Count samples; those of one distinct stack too many are left out."""
        self.samples += count
        if key in self.counts or len(self.counts) < MOST_KEPT:
            self.counts[key] += count
        else:
            self.omitted += count


def parts(sums: Sums, table: Table, first: str = "flat") -> dict[str, object]:
    """Fields of a record: its stacks with the tables that they point into, and its functions, by `first`."""
    chosen = sums.counts.most_common(MOST_STACKS)
    frames: dict[int, int] = {}
    sites: dict[ProfileFrame | None, int] = {None: -1}
    labels: dict[tuple[tuple[str, str], ...], int] = {(): -1}
    states: dict[str, int] = {"": -1}
    threads: dict[str, int] = {"": -1}

    def index(known: dict[Hashable, int], item: Hashable) -> int:
        return known.setdefault(item, len(known) - 1)

    stacks = [
        ProfileStack(
            count,
            tuple(frames.setdefault(number, len(frames)) for number in key.frames),
            key.kernel,
            index(cast("dict[Hashable, int]", sites), key.creator),
            index(cast("dict[Hashable, int]", labels), key.labels),
            index(cast("dict[Hashable, int]", states), key.state),
            index(cast("dict[Hashable, int]", threads), key.thread),
            key.system,
            key.cut,
        )
        for key, count in chosen
    ]
    return {
        "samples": sums.samples,
        "stacks": tuple(stacks),
        "frames": tuple(table.frames[number] for number in frames),
        "sites": tuple(site for site in sites if site is not None),
        "label_sets": tuple(dict(pairs) for pairs in labels if pairs),
        "states": tuple(state for state in states if state),
        "threads_named": tuple(thread for thread in threads if thread),
        "omitted": sums.omitted + sum(sums.counts.values()) - sum(count for _, count in chosen),
        "rows": tuple(top_functions(sums.counts, table.frames, sums.samples, first)),
        "user_frames": sums.user_frames,
        "named_frames": sums.named_frames,
    }


# -- functions


@dataclass(slots=True)
class _Function:
    """One function over all stacks."""

    flat: int = 0
    cum: int = 0
    own: int = 0
    places: Counter[tuple[str, int]] = field(default_factory=Counter)
    callers: Counter[str] = field(default_factory=Counter)
    creators: Counter[str] = field(default_factory=Counter)


def top_functions(
    counts: Mapping[Key, int], frames: Sequence[ProfileFrame], total: int, first: str = "flat"
) -> list[TopFunction]:
    """The functions that matter most by each of their numbers, in the order of one of them."""
    found: dict[tuple[str, FrameKind], _Function] = {}
    for key, count in counts.items():
        _add_stack(found, [frames[number] for number in key.frames], key.creator, count)
    wanted: dict[tuple[str, FrameKind], None] = {}
    for name, most in TOP.items():
        ranked = sorted(found.items(), key=lambda item: -getattr(item[1], name))[:most]
        wanted.update((function, None) for function, sums in ranked if getattr(sums, name))
    rows = [_row(*function, found[function], total) for function in wanted]
    return sorted(rows, key=lambda row: (-getattr(row, first), -row.flat, -row.own, -row.cum, row.function))


def _add_stack(
    found: dict[tuple[str, FrameKind], _Function],
    stack: Sequence[ProfileFrame],
    creator: ProfileFrame | None,
    count: int,
) -> None:
    answerable = _answerable(stack)
    seen: set[tuple[str, FrameKind]] = set()
    for place, frame in enumerate(stack):
        name = (frame.function, frame.kind)
        if name in seen:
            continue
        seen.add(name)
        sums = found.setdefault(name, _Function())
        sums.cum += count
        sums.flat += count if place == 0 else 0
        sums.own += count if place == answerable else 0
        sums.places[frame.file, frame.line] += count
        if (caller := _caller(stack, place)) is not None:
            sums.callers[caller] += count
        if creator is not None:
            sums.creators[creator.function] += count


def _answerable(stack: Sequence[ProfileFrame]) -> int:
    """The innermost frame of the user's, in programs without any the innermost one outside of the kernel; -1."""
    for place, frame in enumerate(stack):
        if frame.kind in ANSWERABLE:
            return place
    return next((place for place, frame in enumerate(stack) if frame.kind == "c" and frame.named), -1)


def _caller(stack: Sequence[ProfileFrame], place: int) -> str | None:
    """The next function outwards that is neither the same nor the runtime's."""
    name = stack[place].function
    return next(
        (frame.function for frame in stack[place + 1 :] if frame.function != name and frame.kind != "runtime"), None
    )


def _row(function: str, kind: FrameKind, sums: _Function, total: int) -> TopFunction:
    (file, line), _ = sums.places.most_common(1)[0]
    caller = sums.callers.most_common(1)
    creator = sums.creators.most_common(1)
    whole = max(total, 1)
    return TopFunction(
        function=function,
        frame_kind=kind,
        flat=sums.flat,
        cum=sums.cum,
        own=sums.own,
        flat_share=round(sums.flat / whole, 4),
        cum_share=round(sums.cum / whole, 4),
        own_share=round(sums.own / whole, 4),
        caller=caller[0][0] if caller else "",
        caller_share=round(caller[0][1] / sums.cum, 4) if caller else 0.0,
        file=file,
        line=line,
        creator=creator[0][0] if creator else "",
    )


def labels_of(labels: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """pprof labels in order, their texts made harmless."""
    return tuple(sorted((clean(key, NAME), clean(value, NAME)) for key, value in (labels or {}).items()))


def creator_of(origin: Origin | None) -> ProfileFrame | None:
    """The function of the go statement, without a line: the same for all of its goroutines."""
    if origin is None or origin.creator is None:
        return None
    return frame_of(origin.creator)


def cut_note(sums: Sums) -> Iterable[str]:
    """What has to be said of stacks that are not whole."""
    if sums.samples and sums.cut / sums.samples >= 0.05:
        yield (
            f"{sums.cut / sums.samples:.0%} of the stacks are cut: their walk met code without frame pointers, as that"
            " of most C libraries, or they are deeper than the kernel follows"
        )
