"""Every system call with rate, latency and errors; Enter leads to one call, other keys to who, on what, and now."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

from gotriage.records.errnos import USUAL
from gotriage.records.syscalls import LEVELS, Syscall, Syscalls
from gotriage.render import syscalls, units
from gotriage.render.cells import cell
from gotriage.render.text import wrap
from gotriage.ui import call_pages
from gotriage.ui.plot import bar
from gotriage.ui.screens.drill import DrillScreen
from gotriage.ui.spans import PageLine, spread
from gotriage.ui.trace_tab import TraceTab
from gotriage.ui.traces import trace_of
from gotriage.ui.widgets.table import WIDE, BigTable

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from textual.binding import BindingType

    from gotriage.catalog import View
    from gotriage.records import Record
    from gotriage.records.syscalls import Level
    from gotriage.render.columns import Column
    from gotriage.ui.front import Front
    from gotriage.ui.spans import Span, Spans
    from gotriage.ui.tab import Hint
    from gotriage.ui.widgets.lines import LineView

MANY_FAIL = 0.1
"""Part of the calls of one kind that fail otherwise than usual, from which on it is coloured."""
LEVEL_WORDS = {
    "counts": "calls, errors and bytes",
    "latency": "and how long each call takes",
    "goroutines": "and which goroutine makes it",
}


class CallTable(BigTable):
    """A wide terminal has a bar beside the share."""

    def __init__(self, tab: SyscallsTab) -> None:
        columns = list(tab.view.columns)
        super().__init__(columns, key=tab.key, role=tab.role, text=tab.text, spare=tab.spare, least=tab.least)
        self._plain = columns
        self._wide = [replace(column, width=18) if column.field == "share" else column for column in columns]

    @property
    def shown(self) -> list[Column]:
        """The columns, by the room there is."""
        self.columns = self._wide if self.line_width > WIDE else self._plain
        return super().shown


class SyscallsTab(TraceTab):
    """The table of calls."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "level", show=False),
        Binding("b", "page('now')", show=False),
        Binding("w", "page('who')", show=False),
        Binding("d", "page('descriptors')", show=False),
        Binding("a", "arguments", show=False),
    ]
    hints: ClassVar[Sequence[Hint]] = (
        ("⏎", "open"),
        ("b", "blocked, slow"),
        ("w", "who"),
        ("d", "files"),
        ("a", "arguments"),
        ("v", "level"),
    )
    least: ClassVar[int] = 10

    def __init__(self, front: Front, view: View) -> None:
        super().__init__(front, view)
        self.table = CallTable(self)
        self._level: Level = "latency"

    # -- how much is measured

    def options(self) -> dict[str, str]:
        """The level."""
        return {"level": self._level}

    def action_level(self) -> None:
        """Measure more, or less again."""
        if not self._live:
            self._say("nothing can be measured here: this is what was recorded")
            return
        row = trace_of(self.front, self.trace)
        level = row.options.get("level", "") if row is not None and self.running else self._level
        at = LEVELS.index(level) if level in LEVELS else LEVELS.index(self._level)
        self._level = LEVELS[(at + 1) % len(LEVELS)]
        self._say(f"level {self._level}: {LEVEL_WORDS[self._level]}; counting begins anew", "info")
        self.start()

    def _say(self, words: str, role: str = "warning") -> None:
        self.screen.say(words, role)  # type: ignore[attr-defined]  # every screen is a Frame

    # -- table

    def key(self, row: object) -> Hashable:
        """The call."""
        return row.call if isinstance(row, Syscall) else None

    def summary(self, record: Record, width: int) -> Spans:
        """How many, how they fail, what is stuck."""
        assert isinstance(record, Syscalls)
        spans: list[Span] = [(f"{units.rate(record.rate)}", "strong")]
        bad = sum(syscalls.bad_errors(row) for row in record.rows)
        if bad and record.count:
            spans.append((f" · {units.count(bad)} failed unusually", "warning"))
        stuck = syscalls.stuck(record)
        if stuck:
            spans.append((f" · {units.counted(len(stuck), 'thread')} stuck (b)", "warning"))
        spans.append((f" · counted for {units.seconds(round(record.attached, 1))}", "dim"))
        if record.problems:
            spans.append((f" · {record.problems[0]}", "warning"))
        return spread(spans, ((f" {record.level or 'totals'} ", "info"),), width)

    def text(self, row: object, column: Column) -> str:
        """Errors with their numbers, the usual ones last; a bar where the share has room for one."""
        if isinstance(row, Syscall) and column.field == "errnos":
            names = sorted(row.errnos.items(), key=lambda item: (item[0] in USUAL, -item[1]))
            read = units.count if self.table.line_width > WIDE else _brief
            return ", ".join(f"{name} {read(count)}" for name, count in names)
        if isinstance(row, Syscall) and column.field == "share" and column.width > len("100 %") + 2:
            heavy, thin = bar(row.share, column.width - 7)
            return f"{heavy}{thin} {units.share(row.share):>6}"
        return cell(row, column)

    def role(self, row: object, column: Column) -> str:
        """Colour for calls that fail otherwise than usual."""
        if not isinstance(row, Syscall):
            return ""
        match column.field:
            case "call":
                return "strong"
            case "errnos" | "errors":
                bad = syscalls.bad_errors(row)
                return "warning" if bad >= MANY_FAIL * max(row.count, 1) else "" if bad else "dim"
            case "share":
                return "plot"
            case "p50" | "p99" | "longest" if row.waits:
                return "dim"
        return "dim" if self.text(row, column) == units.UNKNOWN else ""

    def empty(self, record: Record, width: int) -> Sequence[PageLine]:
        """No call, or only totals."""
        assert isinstance(record, Syscalls)
        lines = [PageLine(), PageLine((("No system call since the trace began", "strong"),))]
        if record.count:
            lines[1] = PageLine(((syscalls.head(record), "strong"),))
        for problem in record.problems:
            lines += [PageLine(((f"  {line}", "dim"),)) for line in wrap(problem, width - 4)]
        return lines

    # -- pages

    def on_line_view_entered(self, event: LineView.Entered) -> None:
        """Into the call; Enter on the page of a gap is for the screen."""
        row = self.table.row
        if self.has_class("-nothing") or not isinstance(row, Syscall):
            return
        event.stop()
        name = row.call
        self._drill(name, lambda width: list(call_pages.call_page(self.front, name, width)))

    def detail(self) -> tuple[str, Callable[[int], Sequence[PageLine]]] | None:
        """Enter is answered above; without rows there is nothing to open."""
        return None

    def action_page(self, which: str) -> None:
        """A page over all calls."""
        title, build = {
            "now": ("blocked and slow", call_pages.now_page),
            "who": ("who calls", call_pages.who_page),
            "descriptors": ("files and peers", call_pages.descriptor_page),
        }[which]
        self._drill(title, lambda width: list(build(self.front, width)))

    def action_arguments(self) -> None:
        """Single calls with arguments, by strace; its start asks first."""
        from gotriage.ui import strace_page

        strace_page.open_page(self)

    def _drill(self, name: str, build: Callable[[int], Sequence[PageLine]]) -> None:
        opened = lambda item: call_pages.open_item(self.front, item)  # noqa: E731  # one expression, used once
        self.app.push_screen(DrillScreen(self.front, (self.view.title, name), build, opened))


def _brief(count: int) -> str:
    """A count where there is little room: 2,345 is 2.3k."""
    if count < 1000:
        return str(count)
    number, unit = (count / 1e3, "k") if count < 999_500 else (count / 1e6, "M")
    return f"{number:.1f}{unit}" if number < 9.95 else f"{number:,.0f}{unit}"
