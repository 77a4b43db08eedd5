"""The lines around every view: who is looked at, the tabs or the way back, the rule with findings, the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.message import Message
from textual.widget import Widget

from gotriage.render import units
from gotriage.render.text import MARKS, core_words
from gotriage.ui.spans import cut_middle, cut_spans, spread, width_of
from gotriage.ui.traces import rule_spans
from gotriage.ui.widgets.lines import palette_of, strip_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual import events
    from textual.strip import Strip

    from gotriage.catalog import View
    from gotriage.ui.front import Front
    from gotriage.ui.spans import Span, Spans
    from gotriage.ui.tab import Hint


MORE = 2
"""Cells for the sign that there are more tabs."""


class OneLine(Widget):
    """A line of spans; drawn again only when they have changed."""

    DEFAULT_CSS = "OneLine { height: 1; width: 100%; }"

    def __init__(self, compose: Callable[[int], Spans], fill: str = "") -> None:
        super().__init__()
        self._compose_line = compose
        self._fill = fill
        self._shown: Spans = ()

    def update(self) -> None:
        """Compose again; draw when it is another line."""
        if self.size.width and self._compose_line(self.size.width) != self._shown:
            self.refresh()

    def render_line(self, y: int) -> Strip:  # noqa: ARG002  # there is only one
        """Textual asks for the line."""
        self._shown = self._compose_line(self.size.width)
        return strip_of(self._shown, self.size.width, palette_of(self.app.theme), self._fill)


# -- identity


def identity(front: Front, width: int) -> Spans:
    """Name, pid, Go version, revision, age and restarts; at the right where the readers stand, and when."""
    word, role = front.state
    moment = front.session.moment
    right: list[Span] = [(f" {word} ", role)]
    if moment is not None:
        right.append((f" {units.clock(moment)} ", "dim"))
    space = width - width_of(right) - 1
    name, facts = _who(front)
    left: list[Span] = [(" ", ""), (name, "strong")]
    for text, fact_role in sorted(_fitting(facts, space - 1 - cell_len(name)), key=facts.index):
        left += [("  ", ""), (text, fact_role)]
    return spread(left, right, width)


def _who(front: Front) -> tuple[str, list[Span]]:
    target = front.target
    if target is None:
        return front.title or "gotriage", [] if front.title else [("looking …", "dim")]
    facts: list[Span] = []
    if target.core is not None:
        words = core_words(target.core, front.session.moment)
        go: list[Span] = [(target.go.version, "")] if target.go is not None else []
        return target.name, [*go, (words[0], "critical" if target.core.signal else ""), (words[1], "")]
    if target.state == "running":
        facts.append((f"pid {target.pid}", ""))
    else:
        facts.append((f"{target.state}: {target.reason}" if target.reason else target.state, "critical"))
    if target.go is not None:
        facts.append((target.go.version, ""))
        if target.go.vcs_revision:
            modified = "+" if target.go.vcs_modified else ""
            facts.append((f"rev {target.go.vcs_revision[:7]}{modified}", "dim"))
    moment = front.session.moment
    if target.state == "running" and target.started_at is not None and moment is not None:
        facts.append((f"up {units.seconds(max((moment - target.started_at).total_seconds() // 1, 0))}", ""))
    facts += _restarts(front)
    return target.name, facts


def _restarts(front: Front) -> list[Span]:
    unit, container = front.unit, front.container
    count = unit.n_restarts if unit is not None else (container.restart_count if container is not None else None)
    return [] if count is None else [(f"restarts {count}", "warning" if count else "dim")]


def _fitting(facts: Sequence[Span], space: int) -> list[Span]:
    """The facts that fit; the revision goes first, then the Go version, then the last ones."""
    kept = list(facts)
    drop = (
        [f for f in facts if f[0].startswith("rev ")]
        + [f for f in facts if f[0].startswith("go")]
        + list(reversed(facts))
    )
    for fact in drop:
        if sum(cell_len(text) + 2 for text, _ in kept) <= space or len(kept) == 1:
            break
        if fact in kept:
            kept.remove(fact)
    return kept


# -- tabs and breadcrumb


class TabBar(OneLine):
    """The views with their keys; a click on one opens it."""

    class Chosen(Message):
        """A tab was clicked."""

        def __init__(self, view_id: str) -> None:
            super().__init__()
            self.view_id = view_id

    def __init__(self, views: Sequence[View], active: Callable[[], str]) -> None:
        super().__init__(self._tabs, "surface")
        self._views = views
        self._active = active

    def _laid_out(self, width: int) -> tuple[list[tuple[View, str]], str, bool, bool]:
        """Tabs with their titles, the gap between them, and whether there are more to the left and to the right.

        Shorter titles and less between them where the line is narrow; then only as many as fit around the active one.
        """
        tabs, gap = [(view, view.title) for view in self._views], "  "
        if _need(tabs, gap) > width:
            tabs, gap = [(view, view.short or view.title) for view in self._views], " "
        if _need(tabs, gap) <= width:
            return tabs, gap, False, False
        place = next((n for n, view in enumerate(self._views) if view.id == self._active()), 0)
        first = last = place
        while True:  # the earlier ones first: they stay where one is used to see them
            if first > 0 and _need(tabs[first - 1 : last + 1], gap) + MORE <= width:
                first -= 1
            elif last + 1 < len(tabs) and _need(tabs[first : last + 2], gap) + MORE <= width:
                last += 1
            else:
                return tabs[first : last + 1], gap, first > 0, last + 1 < len(tabs)

    def _tabs(self, width: int) -> Spans:
        tabs, gap, before, after = self._laid_out(width)
        spans: list[Span] = [("‹" if before else " ", "accent")]
        for view, title in tabs:
            on = view.id == self._active()
            spans += [(view.key, "key" if on else "dim"), (" ", ""), (title, "tab-on" if on else "tab"), (gap, "")]
        more: list[Span] = [("› ", "accent")] if after else []
        return spread(cut_spans(spans[:-1], width - width_of(more)), more, width) if more else cut_spans(spans, width)

    def on_click(self, event: events.Click) -> None:
        """Find the tab under the mouse."""
        place = 1
        tabs, gap, _, _ = self._laid_out(self.size.width)
        for view, title in tabs:
            place += len(view.key) + 1 + cell_len(title) + len(gap)
            if event.x < place:
                self.post_message(self.Chosen(view.id))
                return


def _need(tabs: Sequence[tuple[View, str]], gap: str) -> int:
    """Cells that these tabs take."""
    return 1 + sum(len(view.key) + 1 + cell_len(title) for view, title in tabs) + len(gap) * (len(tabs) - 1)


def crumbs(path: Sequence[str], width: int) -> Spans:
    """The way here, and how to go back."""
    spans: list[Span] = [(" ", "")]
    for number, part in enumerate(path):
        if number:
            spans.append((" › ", "faint"))
        spans.append((part, "strong" if number == len(path) - 1 else "dim"))
    return spread(spans, [("Backspace", "key"), (" back ", "dim")], width)


# -- the rule


def rule(front: Front, width: int) -> Spans:
    """A rule with the number of findings in it; trouble of the stream itself takes its place."""
    if front.trouble:
        return cut_spans([(" ! ", "paused"), (f" {front.trouble}", "warning")], width)
    if front.finished and front.link is not None:
        return cut_spans(
            [(" ended ", "past"), (" the target is not looked at any more; all that was seen is here", "dim")], width
        )
    verdict = front.verdict()
    marks: list[Span] = []
    for severity in ("critical", "warning"):
        count = sum(1 for claim in verdict.findings if claim.severity == severity)
        if count:
            marks += [(f" {MARKS[severity]} {count} {severity}", severity)]
    running = rule_spans(front)
    if running:
        running = [("──", "faint"), *running]
    if not marks:
        return cut_spans([*running, ("─" * max(width - width_of(running), 0), "faint")], width)
    marks.append((" ", ""))
    running = list(cut_spans(running, max(width - width_of(marks) - 3, 0)))
    between = max(width - width_of(marks) - width_of(running) - 2, 0)
    return cut_spans([*running, ("─" * between, "faint"), *marks, ("──", "faint")], width)


# -- the footer


def keys_line(hints: Sequence[Hint], always: Sequence[Hint], message: Span | None, width: int) -> Spans:
    """What the keys do here; as many as fit, and always the last ones. A message takes the place of the hints."""
    right: list[Span] = []
    for key, text in always:
        right += [(key, "key"), (f" {text}  ", "dim")]
    if message is not None:
        said = cut_middle(message[0], width - width_of(right) - 2)
        return spread([(" ", ""), (said, message[1])], right, width)
    left: list[Span] = [(" ", "")]
    space = width - width_of(right)
    for key, text in hints:
        if width_of(left) + cell_len(key) + cell_len(text) + 3 <= space:
            left += [(key, "key"), (f" {text}  ", "dim")]
    return spread(left, right, width)
