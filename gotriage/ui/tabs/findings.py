"""The first screen: ranked findings with evidence and a next step; then what is fine; then what is unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gotriage.catalog import view as view_of
from gotriage.records.stream import Heartbeat
from gotriage.render import units
from gotriage.render.text import MARKS, wrap
from gotriage.ui.spans import PageLine, cut, labelled, spread
from gotriage.ui.state import gap_lines
from gotriage.ui.tab import Tab
from gotriage.ui.widgets.page import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from textual.app import ComposeResult

    from gotriage.catalog import View
    from gotriage.records import Record
    from gotriage.records.findings import Finding, Fine, Unknown, Verdict
    from gotriage.records.stream import Gap
    from gotriage.ui.front import Front
    from gotriage.ui.spans import Span
    from gotriage.ui.tab import Hint

ID_WIDTH = 20
COLUMN = 9
INDENT = 4
ROOMY, SPACE = 100, 16
"""Columns and free lines from which the numbers of the overview stand below the findings."""


class FindingsTab(Tab):
    """A page of claims; Enter opens one."""

    hints: ClassVar[Sequence[Hint]] = (("⏎", "open"),)

    def __init__(self, front: Front, view: View) -> None:
        super().__init__(front, view)
        self._page = Page(self._build, id="findings")

    @property
    def kinds(self) -> Sequence[type[Record]] | None:
        """What calls for a new pull."""
        return None

    def compose(self) -> ComposeResult:
        """One page."""
        yield self._page

    def pull(self) -> None:
        """Read the session at its cursor."""
        self._page.compose_again()

    def _build(self, width: int) -> Sequence[PageLine]:
        verdict, gaps = self.front.verdict(), self.front.session.gaps()
        if verdict.at is None and not verdict.findings:
            return list(looking(self.front, width))
        lines = page(verdict, gaps, width)
        if width >= ROOMY and self._page.size.height - len(lines) >= SPACE:
            from gotriage.ui.gauges import gauges

            lines += [PageLine(), PageLine()]
            lines += [PageLine(line.spans) for line in gauges(self.front, width, {}, tall=False)]
        return lines

    def find(self, text: str, step: int = 1) -> bool:
        """The next or previous place with the text."""
        return self._page.find(text, step)

    def copied(self) -> str:
        """The selection as text."""
        return self._page.item_text

    def _claim(self) -> Finding | Fine | Unknown | Gap | None:
        return named(self.front.verdict(), self.front.session.gaps(), self._page.item)

    def detail(self) -> tuple[str, Callable[[int], Sequence[PageLine]]] | None:
        """The page about the selection."""
        claim = self._claim()
        if claim is None:
            return None
        verdict = self.front.verdict()
        return getattr(claim, "id", None) or claim.source, lambda width: list(claim_page(claim, verdict, width))  # type: ignore[union-attr]  # a gap has a source, the others an id

    def target_view(self) -> str:
        """The view that the selection points to."""
        return getattr(self._claim(), "view", "")


def looking(front: Front, width: int) -> Iterator[PageLine]:
    """Before the first verdict: who is asked and who has answered."""
    yield PageLine()
    target = front.target
    name = target.name if target is not None else "the target"
    yield PageLine(((f"Looking at {name} …", "strong"),))
    yield PageLine()
    beat = front.session.latest(Heartbeat)
    if beat is None:
        return
    for source, state in beat.collectors.items():
        done = state.last is not None
        role = "critical" if state.state == "failed" else ("good" if done else "dim")
        took = f"in {units.seconds(state.took)}" if state.took is not None else ""
        text = cut(f"{state.state if not done else 'read'} {took}", width - 20)
        yield PageLine((("  ", ""), ("✓ " if done else "· ", role), (f"{source:<16}", ""), (text, "dim")))


def page(verdict: Verdict, gaps: Sequence[Gap], width: int) -> list[PageLine]:
    """The whole screen: causes with their consequences folded below them, worst first; then fine; then unknown."""
    lines: list[PageLine] = []
    known = {claim.id for claim in verdict.findings}
    for claim in verdict.findings:
        if claim.because and claim.because in known:
            continue
        lines += card(claim, verdict.explained_by(claim), width)
        lines.append(PageLine())
    if not verdict.findings:
        lines += [
            PageLine(),
            PageLine((("✓ ", "good"), ("No finding.", "strong"), ("  What was checked is fine:", "dim"))),
        ]
        lines.append(PageLine())
    lines += fine_lines(verdict.fine, width)
    lines += unknown_lines(verdict.unknown, gaps, width)
    return lines


def card(claim: Finding, explained: Sequence[Finding], width: int) -> Iterator[PageLine]:
    """One finding: claim, evidence, since when, what to do, where to look; and what it explains."""
    item = ("finding", claim.id, claim.subject)
    head: list[Span] = [
        (f"{MARKS[claim.severity]} ", claim.severity),
        (f"{claim.id:<{ID_WIDTH}}", claim.severity),
        ("  ", ""),
    ]
    space = width - ID_WIDTH - 4
    for number, text in enumerate(wrap(claim.title, space)):
        yield PageLine(
            (*head, (text, "strong")) if not number else ((" " * (ID_WIDTH + 4), ""), (text, "strong")), item
        )
    for number, sentence in enumerate(claim.evidence):
        for spans in labelled("because" if not number else "", sentence, width, indent=INDENT, column=COLUMN):
            yield PageLine(spans, item)
    if claim.since is not None:
        for spans in labelled("since", since(claim), width, indent=INDENT, column=COLUMN):
            yield PageLine(spans, item)
    yield from _next(claim, width, item)
    for other in explained:
        yield PageLine(
            (
                ("  └ explains  ", "dim"),
                (f"{MARKS[other.severity]} ", other.severity),
                (f"{other.id}  ", other.severity),
                (cut(other.title, width - 18 - len(other.id)), "dim"),
            ),
            ("finding", other.id, other.subject),
        )


def since(claim: Finding) -> str:
    """Since when, and how long that is."""
    if claim.since is None:
        return ""
    return f"{units.clock(claim.since)}, {units.seconds((claim.observed_at - claim.since).total_seconds())} ago"


def _next(claim: Finding, width: int, item: object) -> Iterator[PageLine]:
    """What to do, and at the right of its last line the key of the view to look in."""
    where = view_of(claim.view)
    right: tuple[Span, ...] = ((f"[{where.key}]", "key"), (f" {where.title}", "dim")) if where is not None else ()
    lines = list(labelled("next", claim.fix, width, indent=INDENT, column=COLUMN)) if claim.fix else []
    tail = sum(len(text) for text, _ in right)
    for number, spans in enumerate(lines):
        last = number == len(lines) - 1
        if last and sum(len(text) for text, _ in spans) + tail + 2 <= width:
            yield PageLine(spread(spans, right, width), item)
            right = ()
        else:
            yield PageLine(spans, item)
    if right:
        yield PageLine(spread((), right, width), item)


def fine_lines(fine: Sequence[Fine], width: int) -> Iterator[PageLine]:
    """What was checked and is in order, in as few lines as it takes."""
    if not fine:
        return
    text = " · ".join(entry.text for entry in fine)
    for number, line in enumerate(wrap(text, width - COLUMN)):
        yield PageLine(((f"{'Fine' if not number else '':<{COLUMN}}", "good"), (line, "dim")), "fine")


def unknown_lines(unknown: Sequence[Unknown], gaps: Sequence[Gap], width: int) -> Iterator[PageLine]:
    """What could not be checked and why, each on a line of its own; gaps that no rule mentions stand there too."""
    reasons = {entry.reason for entry in unknown}
    entries = [
        (("unknown", entry.id, entry.reason), ", ".join((entry.id, *entry.also)), entry.reason, entry.remedy)
        for entry in unknown
    ]
    entries += [
        (("gap", gap.source, gap.reason), gap.source, gap.reason, gap.remedy)
        for gap in gaps
        if gap.reason not in reasons
    ]
    for number, (item, name, reason, remedy) in enumerate(entries):
        label = f"{'Unknown' if not number else '':<{COLUMN}}"
        spans: list[Span] = [(label, "warning"), (name, ""), (f"  {reason}", "dim")]
        if remedy:
            spans += [("  → ", "dim"), (remedy, "accent")]
        yield PageLine(spread(spans, (), width), item)


def named(verdict: Verdict, gaps: Sequence[Gap], item: object) -> Finding | Fine | Unknown | Gap | None:
    """The claim that a page item stands for."""
    if not isinstance(item, tuple):
        return None
    for claim in verdict.findings:
        if item == ("finding", claim.id, claim.subject):
            return claim
    for entry in verdict.unknown:
        if item == ("unknown", entry.id, entry.reason):
            return entry
    return next((gap for gap in gaps if item == ("gap", gap.source, gap.reason)), None)


def claim_page(claim: Finding | Fine | Unknown | Gap, verdict: Verdict, width: int) -> Iterator[PageLine]:
    """Everything about one claim, nothing folded or cut."""
    from gotriage.records.findings import Finding, Unknown
    from gotriage.records.stream import Gap

    if isinstance(claim, Gap):
        yield from gap_lines(claim.source, claim, width)
    elif isinstance(claim, Unknown):
        for label, text, role in (
            ("unknown", claim.id, "warning"),
            ("reason", claim.reason, ""),
            ("to allow", claim.remedy, "accent"),
        ):
            if text:
                for spans in labelled(label, text, width, role=role, indent=2, column=11):
                    yield PageLine(spans)
    elif isinstance(claim, Finding):
        explained = verdict.explained_by(claim)
        yield PageLine()
        yield from card(claim, (), width)
        yield PageLine()
        pairs = (
            ("severity", claim.severity),
            ("about", claim.subject),
            ("observed", units.timestamp(claim.observed_at)),
        )
        for label, text in (*pairs, ("caused by", claim.because)):
            if text:
                for spans in labelled(label, text, width, indent=INDENT, column=COLUMN + 2):
                    yield PageLine(spans)
        for other in explained:
            yield PageLine()
            yield PageLine((("└ explains", "dim"),))
            yield from card(other, (), width)
