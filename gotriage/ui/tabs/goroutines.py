"""The goroutines in groups, the one that grows first; Enter leads to stacks, to one goroutine, to what it waits on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

from gotriage.records.cpustacks import CpuStacks
from gotriage.records.goroutines import GoroutineCounts, Goroutines
from gotriage.records.stream import Heartbeat
from gotriage.render import units
from gotriage.render.goroutines import COLUMNS, WIDE_COLUMNS, GroupRow, fitted, interval, last_look, lines, rows
from gotriage.render.text import wrap
from gotriage.ui.compare_page import compare_page
from gotriage.ui.goroutine_pages import cpu_page, open_item
from gotriage.ui.not_go import not_go_page
from gotriage.ui.screens.drill import AskScreen, DrillScreen
from gotriage.ui.screens.page import PageScreen
from gotriage.ui.spans import PageLine, spread
from gotriage.ui.state import nothing_page
from gotriage.ui.table_tab import TableTab
from gotriage.ui.widgets.table import WIDE, BigTable

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from textual.binding import BindingType

    from gotriage.catalog import View
    from gotriage.records import Record
    from gotriage.render.columns import Column
    from gotriage.ui.front import Front
    from gotriage.ui.spans import Span, Spans
    from gotriage.ui.tab import Hint
    from gotriage.ui.widgets.lines import LineView

SLOWER = 1.6
"""A look that comes so much later than the catalogue says is worth a word."""
ROOMY = 100
"""Cells from which on the header line has room for everything."""
STOP = "under 0.3 ms"
"""What a stop of one thread was measured to take at most; 0.06 ms in the middle."""


class GroupTable(BigTable):
    """Search and filter look at every function, file and label of a group's stacks, not at the columns alone."""

    def __init__(self, more: Callable[[GroupRow], str], tab: GoroutinesTab) -> None:
        columns = tab.view.columns
        super().__init__(columns, key=tab.key, role=tab.role, text=tab.text, spare=tab.spare, least=tab.least)
        self._more = more

    @property
    def shown(self) -> list[Column]:
        """More columns, and wider ones, where there is room."""
        self.columns = list(WIDE_COLUMNS if self.line_width > WIDE else COLUMNS)
        return super().shown

    def haystack(self, row: object) -> str:
        """All that is known of the row, in lower case."""
        return super().haystack(row) + (self._more(row) if isinstance(row, GroupRow) else "")


class GoroutinesTab(TableTab):
    """The table of groups."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("x", "stacks", show=False),
        Binding("c", "compare", show=False),
    ]
    hints: ClassVar[Sequence[Hint]] = (
        ("⏎", "stacks"),
        ("c", "changes"),
        ("x", "on-CPU stacks"),
        ("&", "filter"),
        ("o", "sort"),
    )
    spare: ClassVar[Sequence[str]] = ("labels", "stacks")
    least: ClassVar[int] = 20

    def __init__(self, front: Front, view: View) -> None:
        super().__init__(front, replace(view, columns=COLUMNS))
        self.table = GroupTable(self._search_text, self)
        self._cells: dict[int, dict[str, str]] = {}

    @property
    def kinds(self) -> Sequence[type[Record]]:
        """Its own, the answers to its question, and each second: waiting times grow while nothing changes."""
        return Goroutines, GoroutineCounts, CpuStacks, Heartbeat

    # -- table

    def rows(self, record: Record) -> Sequence[object]:  # noqa: ARG002  # growth needs earlier records too
        """Groups of groups."""
        found = rows(self.front.session)
        self._cells = {id(row): text for row, text in zip(found, lines(found, self.front.session.moment), strict=True)}
        return found

    def summary(self, record: Record, width: int) -> Spans:
        """How many, read when and at what cost."""
        assert isinstance(record, Goroutines)
        counts = self.front.session.latest(GoroutineCounts)
        groups = self.table.counts[1] + record.omitted_groups
        spans: list[Span] = [(f"{record.total:,} goroutines", "strong"), (f" · {groups:,} groups", "")]
        spans.append((f" · read {self._ago()}", "dim"))
        if counts is not None:
            spans.append((f" in {units.seconds(counts.took)}", "dim"))
        slower = interval(self.front.session)
        if slower is not None and slower > self._every() * SLOWER:
            spans.append((f", every {units.seconds(round(slower))}", "warning"))
        if width >= ROOMY or not record.cycles:
            spans.append((", target not paused", "dim"))
        spans += [(f"  ⟲ ring of {len(cycle)}", "critical") for cycle in record.cycles[:1]]
        return spread(spans, ((f" {self.view.price} ", "good"),), width)

    def _every(self) -> float:
        from gotriage.catalog import source

        row = source("goroutines")
        return row.every if row is not None else 2.0

    def _ago(self) -> str:
        moment, seen = self.front.session.moment, last_look(self.front.session)
        if moment is None or seen is None:
            return ""
        return f"{units.seconds(max((moment - seen).total_seconds(), 0.0))} ago"

    def key(self, row: object) -> Hashable:
        """A place where goroutines wait."""
        return row.key if isinstance(row, GroupRow) else None

    def text(self, row: object, column: Column) -> str:
        """Prepared for all columns at once; a wide column names the creator, too."""
        if not isinstance(row, GroupRow):
            return ""
        cells = self._cells.get(id(row))
        if cells is not None and column is COLUMNS[-1]:
            return fitted(cells["created"], column.width)
        field = "creator" if column.field == "created" and column.width > COLUMNS[-1].width else column.field
        return cells[field] if cells is not None else ""

    def role(self, row: object, column: Column) -> str:
        """Colour for what grows, what goes round in a ring, and what is on a CPU."""
        if not isinstance(row, GroupRow):
            return ""
        if row.system:
            return "dim"
        match column.field:
            case "growth" | "last" | "attached":
                value = getattr(row, column.field) or 0
                return "warning" if round(value) > 0 else "dim"
            case "where":
                return "critical" if row.cycle else ("info" if row.on_cpu else "strong")
            case "count":
                return "strong"
            case "state":
                return ""
        return "dim"

    def _search_text(self, row: GroupRow) -> str:
        record = self.record
        if not isinstance(record, Goroutines):
            return ""
        words: list[str] = [row.where, row.created]
        for group in row.groups[:50]:
            if 0 <= group.stack < len(record.stacks):
                for frame in record.stacks[group.stack].frames[:200]:
                    words += (frame.function, frame.file)
            words += (f"{key}={value}" for key, value in group.labels.items())
        return "\x00".join(words).lower()

    # -- tab

    def _nothing_page(self, width: int) -> Sequence[PageLine]:
        if self.record is None:
            return list(not_go_page(self.front, self.view, width)) or nothing_page(self.front, self.view, width)
        return [PageLine(), PageLine((("no goroutine", "strong"),))]

    def on_line_view_entered(self, event: LineView.Entered) -> None:
        """Into the group; Enter on the page of a gap is for the screen."""
        row = self.table.row
        if self.has_class("-nothing") or not isinstance(row, GroupRow):
            return
        event.stop()
        self._drill(("group", row.key))

    def _drill(self, item: Hashable) -> None:
        found = open_item(self.front, item)
        if found is not None:
            name, build = found
            self.app.push_screen(
                DrillScreen(self.front, (self.view.title, name), build, lambda item: open_item(self.front, item))
            )

    def detail(self) -> tuple[str, Callable[[int], Sequence[PageLine]]] | None:
        """Enter is answered above; without rows there is nothing to open."""
        return None

    def action_compare(self) -> None:
        """What has changed since the first look that is kept."""
        build = lambda width: list(compare_page(self.front, width))  # noqa: E731  # one expression, used once
        self.app.push_screen(PageScreen(self.front, (self.view.title, "changes"), build, follow=True))

    # -- a stop, on request

    def action_stacks(self) -> None:
        """Ask before threads are stopped."""
        if self.front.link is None or self.front.finished:
            taken = self.front.session.latest(CpuStacks)
            if taken is not None:
                self._show_stacks()
            else:
                self.screen.say("nothing can be stopped here: this is what was recorded", "warning")  # type: ignore[attr-defined]  # every screen is a Frame
            return
        self.app.push_screen(
            AskScreen(
                self.front,
                (self.view.title, "stacks of what is on a CPU"),
                lambda width: list(self._question(width)),
                self._stop_and_show,
            )
        )

    def _question(self, width: int) -> Iterator[PageLine]:
        record = self.front.session.latest(Goroutines)
        running = sum(row.count for row in record.rows if row.state == "running") if record is not None else 0
        who = self.front.target.name if self.front.target is not None else "the target"
        yield PageLine()
        yield PageLine(((f"Stop the threads of {who} that run goroutines, for a moment each?", "strong"),))
        yield PageLine()
        text = (
            f"At the last look {running} were on a CPU. Each of their threads is stopped once, one after the other,"
            f" {STOP} each, while its registers and stack are copied (ptrace: seize, interrupt, detach); the other"
            " threads run on. Nothing is written into the target, and no signal reaches it."
        )
        for part in wrap(text, width - 4):
            yield PageLine((("  ", ""), (part, "")))
        yield PageLine()
        yield PageLine((("  lighter: ", "dim"), ("the groups behind this page, which stop nothing", "")))
        yield PageLine()
        yield PageLine((("  [y]", "key"), (" stop and read    ", ""), ("[n]", "key"), (" no", "")))

    def _stop_and_show(self) -> None:
        if self.front.link is not None:
            self._show_stacks(self.front.link.request("stacks", ("goroutines",)))

    def _show_stacks(self, number: int | None = None) -> None:
        self.app.push_screen(
            DrillScreen(
                self.front,
                (self.view.title, "on a CPU"),
                lambda width: list(cpu_page(self.front, width, number)),
                lambda item: open_item(self.front, item),
            )
        )
