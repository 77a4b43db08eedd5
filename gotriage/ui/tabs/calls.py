"""Functions of C libraries that the target calls; `l` has ltrace time them, where the target survives that."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

from gotriage.records.calls import LibraryCall, LibraryCalls
from gotriage.render import units
from gotriage.render.cells import cell
from gotriage.render.text import wrap
from gotriage.ui.plot import bar
from gotriage.ui.spans import PageLine, spread
from gotriage.ui.trace_tab import TraceTab
from gotriage.ui.traces import trace_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from textual.binding import BindingType

    from gotriage.records import Record
    from gotriage.render.columns import Column
    from gotriage.ui.spans import Span, Spans
    from gotriage.ui.tab import Hint

LTRACE = "ltrace"
"""The other source of this view."""
SECONDS = 3.0
BAR = 24


class CallsTab(TraceTab):
    """The table of functions."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("l", "ltrace", show=False)]
    hints: ClassVar[Sequence[Hint]] = (("⏎", "open"), ("l", "by ltrace"), ("&", "filter"), ("o", "sort"))
    spare: ClassVar[Sequence[str]] = ("library",)
    least: ClassVar[int] = 20

    def keys(self) -> Sequence[Hint]:
        """Both ways also while there is nothing to see."""
        return super().keys() if not self.has_class("-nothing") else (*self.trace_hints(), ("l", "by ltrace"))

    def action_ltrace(self) -> None:
        """Have ltrace do it, after a question; or end it."""
        if not self._live:
            self.action_trace()
            return
        row = trace_of(self.front, LTRACE)
        if row is not None and row.active:
            self.finish(LTRACE)
        else:
            self.start_asking(LTRACE, {}, SECONDS)

    def key(self, row: object) -> Hashable:
        """A function of a library."""
        return (row.function, row.library) if isinstance(row, LibraryCall) else None

    def summary(self, record: Record, width: int) -> Spans:
        """How many, of how many functions, by which way."""
        assert isinstance(record, LibraryCalls)
        spans: list[Span] = [(units.rate(record.rate), "strong")]
        called = f" · {units.counted(len(record.rows), 'function')} called"
        spans.append((called + (f" of {record.functions}" if record.functions is not None else ""), "dim"))
        if record.libraries:
            spans.append((f" in {units.counted(len(record.libraries), 'library', 'libraries')}", "dim"))
        spans.append((f" · counted for {units.seconds(round(record.attached, 1))}", "dim"))
        if record.refused:
            spans.append((f" · {len(record.refused)} cannot be counted", "warning"))
        return spread(spans, ((f" {record.way} ", "info"),), width)

    def text(self, row: object, column: Column) -> str:
        """The library by its file's name."""
        if isinstance(row, LibraryCall) and column.field == "library":
            return row.library.rpartition("/")[2] or units.UNKNOWN
        return cell(row, column)

    def role(self, row: object, column: Column) -> str:
        """The names stand out."""
        if column.field == "function":
            return "strong"
        return "plot" if column.field == "share" else "dim" if self.text(row, column) == units.UNKNOWN else ""

    def empty(self, record: Record, width: int) -> Sequence[PageLine]:
        """Nothing was called."""
        assert isinstance(record, LibraryCalls)
        seconds = units.seconds(round(record.attached, 1))
        lines = [PageLine(), PageLine(((f"No call of a C library in {seconds}", "strong"),))]
        if record.functions:
            text = f"{record.functions} functions of {', '.join(record.libraries)} are watched where they begin."
            lines += [PageLine(((line, "dim"),)) for line in wrap(text, width - 2)]
        return lines

    def detail_of(self, row: object, width: int) -> Sequence[PageLine]:
        """One function: the numbers, and what they mean."""
        assert isinstance(row, LibraryCall)
        heavy, thin = bar(row.share or 0.0, BAR)
        lines = [
            PageLine(((row.function, "title"),)),
            PageLine((("in ", "dim"), (row.library or "not told by ltrace", ""))),
            PageLine(),
            PageLine(((f"{units.rate(row.rate)}   ", "strong"), (heavy, "plot"), (thin, "faint"))),
            PageLine(((f"{units.share(row.share)} of all calls; {row.count:,} since the start", "dim"),)),
        ]
        if row.each is not None:
            took = f"{units.latency(row.each)} each, {units.seconds(row.seconds)} all together, most of it ltrace's own"
            lines.append(PageLine(((took, ""),)))
        text = (
            "Counted where the function begins: calls by other libraries count too."
            if row.seconds is None
            else "Counted where the program calls it: calls by libraries do not count."
        )
        return [*lines, PageLine(), *[PageLine(((line, "faint"),)) for line in wrap(text, width - 2)]]
