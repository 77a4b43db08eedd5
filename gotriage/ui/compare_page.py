"""What has changed among the goroutines since the first look that is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.render.compared import SHOWN, heading, since_first, where
from gotriage.ui.spans import PageLine, cut_spans, fit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.ui.front import Front
    from gotriage.ui.spans import Span

MOST = 200
"""Lines of a kind."""
ROLES = {"grew": "warning", "appeared": "warning", "shrank": "good", "vanished": "dim"}


def compare_page(front: Front, width: int) -> Iterator[PageLine]:
    """Groups that grew, appeared, shrank, vanished; then those that wait where they waited."""
    found = since_first(front.session)
    if found is None:
        yield PageLine()
        yield PageLine((("There is only one look yet: nothing to compare.", "strong"),))
        return
    yield PageLine(((heading(found), "strong"),))
    yield PageLine()
    state = 16 if width >= 100 else 13
    any_change = False
    for kind in SHOWN:
        changes = found.of(kind)  # type: ignore[arg-type]  # SHOWN holds kinds
        for number, change in enumerate(changes[:MOST]):
            any_change = True
            spans: list[Span] = [(fit(kind, 9), ROLES[kind]), (f" {change.by:>+7,} ", "strong")]
            spans.append((fit(f" {change.before:,} → {change.after:,}", 16), "dim"))
            spans += [(fit(change.wait_reason or change.state, state), ""), (f" {where(change)}", "")]
            yield PageLine(cut_spans(spans, width), (kind, number))
        if len(changes) > MOST:
            yield PageLine(((f"          and {len(changes) - MOST:,} more {kind}", "dim"),))
    if not any_change:
        yield PageLine((("No group has another size than then.", ""),))
    if not found.stuck:
        return
    yield PageLine()
    yield PageLine((("at the same place in both looks (they may have moved and come back)", "heading"),))
    for number, stuck in enumerate(found.stuck[:MOST]):
        spans = [
            (f"{stuck.count:>17,} ", "strong"),
            (fit("", 16), ""),
            (fit(stuck.wait_reason or stuck.state, state), ""),
        ]
        spans.append((f" {where(stuck)}", ""))
        yield PageLine(cut_spans(spans, width), ("stuck", number))
