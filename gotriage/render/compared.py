"""Two looks at goroutines side by side: what grew, appeared, shrank and vanished, and who has not moved in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gotriage.goruntime.compare import Comparison, compare
from gotriage.goruntime.exports import as_printed, place
from gotriage.records.goroutines import Goroutines
from gotriage.records.target import TargetState
from gotriage.render import units
from gotriage.render.goroutines import dump_of, last_look, short
from gotriage.render.goroutines import place as place_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.goruntime.compare import Change, Stuck
    from gotriage.session.store import Session

SHOWN = ("grew", "appeared", "shrank", "vanished")
"""Kinds of change, in the order in which they are told; what is the same is not."""


def since_first(session: Session) -> Comparison | None:
    """The oldest look that is kept against the one at the cursor; None when there are not two."""
    looks = session.series(Goroutines)
    if len(looks) < 2:
        return None
    same = {(state.pid, state.generation) for state in session.series(TargetState) if state.at > looks[0].at}
    return compare(dump_of(looks[0]), dump_of(looks[-1], last_look(session)), same_process=len(same) <= 1)


def two_sessions(before: Session, after: Session) -> Comparison | None:
    """The last look of each; goroutines by id only where both are of one process."""
    old, new = before.latest(Goroutines), after.latest(Goroutines)
    if old is None or new is None:
        return None
    first, second = before.latest(TargetState), after.latest(TargetState)
    same = (
        first is not None
        and second is not None
        and (first.pid, first.started_at) == (second.pid, second.started_at)
        and first.pid is not None
    )
    return compare(dump_of(old), dump_of(new, last_look(after)), same_process=same)


def heading(found: Comparison) -> str:
    """How long, and from how many to how many."""
    left = ", groups were left out" if found.incomplete else ""
    return f"{found.before:,} → {found.after:,} goroutines in {units.seconds(round(found.seconds, 1))}{left}"


def where(one: Change | Stuck) -> str:
    """The place of the program's own where they stand, and who made them."""
    frames = as_printed(one.stack)
    frame = one.stack[one.user] if 0 <= one.user < len(one.stack) else (frames[0] if frames else None)
    shown = f"{short(frame.function)} {place_of(frame.file, frame.line)}" if frame is not None else "stack not read"
    made = f", created at {place_of(one.creator.file, one.creator.line)}" if one.creator is not None else ""
    return shown + made


def lines(found: Comparison) -> Iterator[str]:
    """For people: a line a group."""
    yield heading(found)
    for kind in SHOWN:
        for change in found.of(kind):  # type: ignore[arg-type]  # SHOWN holds kinds
            numbers = f"{change.before:,} → {change.after:,}"
            state = change.wait_reason or change.state
            yield f"{kind:<9} {change.by:>+8,}  {numbers:<18} {state:<16} {where(change)}"
    for stuck in found.stuck:
        yield f"{'stuck':<9} {stuck.count:>8,}  {'':<18} {stuck.wait_reason or stuck.state:<16} {where(stuck)}"


def objects(found: Comparison) -> Iterator[dict[str, Any]]:
    """For scripts: one object a group that changed, and one for goroutines that wait at one place in both looks."""
    for change in found.changes:
        yield {
            "change": change.kind,
            "before": change.before,
            "after": change.after,
            "seconds": round(found.seconds, 3),
            **_common(change),
        }
    for stuck in found.stuck:
        yield {
            "change": "stuck",
            "before": stuck.count,
            "after": stuck.count,
            "seconds": round(found.seconds, 3),
            **_common(stuck),
        }


def _common(one: Change | Stuck) -> dict[str, Any]:
    return {
        "state": one.state,
        "wait_reason": one.wait_reason or None,
        "ids": list(one.ids),
        "stack": [place(frame) for frame in as_printed(one.stack)],
        "created_by": place(one.creator) if one.creator is not None else None,
    }
