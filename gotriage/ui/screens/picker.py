"""Without a target: the Go services that run here, to choose one from."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

from gotriage.records.target import GoService, GoServices, TargetSpec
from gotriage.render.cells import cell
from gotriage.render.columns import Column
from gotriage.render.text import wrap
from gotriage.ui.plot import severity
from gotriage.ui.screens.frame import Frame
from gotriage.ui.spans import PageLine, spread
from gotriage.ui.state import gap_lines
from gotriage.ui.widgets.chrome import OneLine
from gotriage.ui.widgets.page import Page
from gotriage.ui.widgets.table import BigTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.binding import BindingType
    from textual.widget import Widget

    from gotriage.records import Record
    from gotriage.ui.front import Front
    from gotriage.ui.spans import Spans
    from gotriage.ui.tab import Hint
    from gotriage.ui.widgets.lines import LineView

COLUMNS = (
    Column("mark", " ", "text", 1),
    Column("name", "SERVICE", "text", 0),
    Column("pid", "PID", "text", 7),
    Column("go_version", "GO", "text", 9),
    Column("age", "UP", "seconds", 6),
    Column("cpu", "CPU", "cores", 5),
    Column("memory_bytes", "MEMORY", "bytes", 6),
    Column("fds", "FDS", "count", 6),
    Column("user", "USER", "text", 10),
    Column("fd_limit", "FD LIMIT", "count", 9, wide=True),
    Column("unit", "UNIT", "text", 28, wide=True),
    Column("container", "CONTAINER", "text", 20, wide=True),
    Column("module", "MODULE", "text", 36, wide=True),
)


def spec_of(row: GoService) -> TargetSpec:
    """What choosing a row attaches to: the unit or container that goes by its name, else the one process."""
    if row.unit and row.name == row.unit.removesuffix(".service"):
        return TargetSpec(kind="unit", value=row.unit)
    if row.container and row.name == row.container:
        return TargetSpec(kind="container", value=row.container)
    return TargetSpec(kind="pid", value=str(row.pid))


def text_of(row: object, column: Column) -> str:
    """A cell; a row where a finding already shows has its sign."""
    if column.field == "mark":
        return "▲" if getattr(row, "mark", "") else ""
    return cell(row, column)


def role_of(row: object, column: Column) -> str:
    """Colour for what shows already."""
    assert isinstance(row, GoService)
    if column.field == "mark":
        return "warning"
    if column.field == "fds" and row.fds is not None and row.fd_limit:
        role = severity(row.fds / row.fd_limit)
        return "" if role == "plot" else role
    return {"name": "strong", "go_version": "", "cpu": "", "memory_bytes": ""}.get(column.field, "dim")


class PickerScreen(Frame):
    """The services, and what could not be looked at."""

    DEFAULT_CSS = """
    PickerScreen #nothing { display: none; }
    PickerScreen.-nothing #nothing { display: block; }
    PickerScreen.-nothing BigTable { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "sort(False)", show=False),
        Binding("O", "sort(True)", show=False),
        Binding("ampersand", "narrow", show=False),
        Binding("question_mark", "help", show=False),
    ]

    def __init__(self, front: Front) -> None:
        super().__init__(front)
        self._table = BigTable(
            COLUMNS, key=lambda row: getattr(row, "pid", 0), role=role_of, text=text_of, least=14, steady=True
        )
        self._nothing = Page(self._why, id="nothing")

    def identity(self, width: int) -> Spans:
        """No target yet: the machine is looked at."""
        found = self.front.session.latest(GoServices)
        count = f"{len(found.rows)} Go services" if found is not None else "looking …"
        return spread([(" gotriage", "strong"), (f"  {count}", "")], [(" LIVE ", "live")], width)

    def rule(self, width: int) -> Spans:
        """What a mark means, and how many processes could not be read."""
        found = self.front.session.latest(GoServices)
        row = self._table.row
        spans = [(f"▲ {row.mark} ", "warning")] if isinstance(row, GoService) and row.mark else []
        if found is not None and found.skipped:
            spans.append((f"⊘ not readable: {found.skipped} ", "warning"))
        left = width - sum(len(text) for text, _ in spans) - 2
        return (("─" * max(left, 0), "faint"), *spans, ("──", "faint"))

    def top_line(self) -> OneLine:
        """What to do here."""
        return OneLine(lambda _: ((" Which one? ", ""), ("Enter", "key"), (" looks into it", "dim")), "surface")

    def body(self) -> Sequence[Widget]:
        """The table, or why there is nothing in it."""
        return self._table, self._nothing

    def hints(self) -> Sequence[Hint]:
        """Keys that work here."""
        if self.has_class("-nothing"):
            return ()
        return ("⏎", "look into it"), ("/", "search"), ("&", "filter"), ("o", "sort"), ("y", "copy")

    def on_mount(self) -> None:
        """The keys go to the table."""
        self._table.focus()
        self._fill()

    def arrived(self, kind: type[Record]) -> None:  # noqa: ARG002  # few records come here
        """Show the newest list."""
        self._fill()

    def _fill(self) -> None:
        found = self.front.session.latest(GoServices)
        self._table.show(found.rows if found is not None else ())
        self.set_class(found is None or not found.rows, "-nothing")
        self._nothing.compose_again()
        self.update_lines()

    def _why(self, width: int) -> list[PageLine]:
        found = self.front.session.latest(GoServices)
        lines = [PageLine()]
        for gap in self.front.session.gaps():
            lines += [*gap_lines("Go services", gap, width), PageLine()]
        said = "No Go program runs here that gotriage may read." if found is not None else "Looking at every process …"
        lines.append(PageLine(((said, "strong"),)))
        hint = "Any process, unit or container can be looked at by name: --pid N, --unit NAME, --container REF."
        return [*lines, *[PageLine(((text, "dim"),)) for text in wrap(hint, width)]]

    def on_line_view_entered(self, event: LineView.Entered) -> None:
        """The choice; whoever started the screens attaches to it."""
        event.stop()
        row = self._table.row
        if isinstance(row, GoService):
            self.front.picked = spec_of(row)
            self.app.exit(0)

    def on_line_view_moved(self) -> None:
        """Another row may have a mark."""
        self.update_lines()

    def on_screen_resume(self) -> None:
        """Back from the help: catch up."""
        if self._table.is_mounted:
            self._fill()

    def undo(self) -> bool:
        """Take the filter away."""
        if not self._table.filter:
            return False
        self._table.narrow("")
        return True

    def action_back(self) -> None:
        """There is nothing before the picker: only the filter can be taken back."""
        self.undo()

    def action_help(self) -> None:
        """What is listed, and the keys."""
        from gotriage.ui.help import picker_page
        from gotriage.ui.screens.page import PageScreen

        page = PageScreen(self.front, ("Which one?", "help"), picker_page)
        page.identity = self.identity  # type: ignore[method-assign]  # the same first line: there is no target yet
        self.app.push_screen(page)

    def find(self, text: str, step: int) -> bool:
        """The next or previous service with the text."""
        return self._table.find(text, step)

    def copied(self) -> str:
        """The selected row."""
        return self._table.row_text

    def action_sort(self, reverse: bool) -> None:
        """By the next column, or the other way round."""
        self.say(f"sorted by {self._table.sort(reverse=reverse)}")

    def action_narrow(self) -> None:
        """Ask for what rows must contain."""
        self.ask("only rows with", self._table.narrow)
