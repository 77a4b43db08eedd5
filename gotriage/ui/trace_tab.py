"""The base of tabs whose view runs on request: `s` starts and stops it, a line says how it fares and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

from gotriage.catalog import source
from gotriage.records.tracing import Traces
from gotriage.ui.screens.drill import AskScreen
from gotriage.ui.tab import Tab
from gotriage.ui.table_tab import TableTab
from gotriage.ui.traces import status_line, trace_of
from gotriage.ui.widgets.chrome import OneLine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from gotriage.catalog import View
    from gotriage.records import Record
    from gotriage.ui.front import Front
    from gotriage.ui.spans import Spans
    from gotriage.ui.tab import Hint


class Traced(Tab):
    """A tab over a source that runs on request; the first such source of the view unless `trace` says another.

    Put `trace_status` above what the tab shows, and add `Traces` to its kinds.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("s", "trace", show=False, id="trace")]
    seconds: ClassVar[float | None] = None
    """How long a start lasts; None is the catalogue's."""
    by_itself: ClassVar[bool] = True
    """A light trace starts when the tab is first seen."""

    def __init__(self, front: Front, view: View) -> None:
        super().__init__(front, view)
        self.trace_status = OneLine(self._status)
        self._began = False
        self._unasked = False
        """It was started because the tab came into sight."""

    # -- for a tab to fill in

    @property
    def trace(self) -> str:
        """The name of the source that `s` starts."""
        return next((name for name in self.view.sources if (row := source(name)) is not None and row.asked), "")

    def options(self) -> dict[str, str]:
        """What to start it with."""
        return {}

    # -- what all share

    @property
    def running(self) -> bool:
        """Whether it runs because somebody asked for it."""
        row = trace_of(self.front, self.trace)
        return row is not None and row.active and row.asked

    @property
    def _live(self) -> bool:
        return self.front.link is not None and not self.front.finished

    @property
    def lasts(self) -> float:
        """Seconds that a start lasts."""
        row = source(self.trace)
        return self.seconds if self.seconds is not None else (row.lasts if row is not None else 60.0)

    def pull(self) -> None:
        """A light trace starts by itself when it is first looked at; call this at the end of the tab's own."""
        self.trace_status.update()
        row = source(self.trace)
        if not self._began and self._live and row is not None and self.front.target is not None:
            self._began = True
            if row.price == "light" and not row.sends and self.by_itself and not self.running:
                self.start()
                self._unasked = True

    def left(self) -> None:
        """What was started by coming here ends by going; what was asked for goes on."""
        if self._unasked and self._live:
            self._began = self._unasked = False
            if self.running:
                self.finish()

    def trace_hints(self) -> Sequence[Hint]:
        """For the footer."""
        return (("s", "stop" if self.running else "start"),) if self._live else ()

    def action_trace(self) -> None:
        """Start it, after a question where it is dear; or end it."""
        if not self._live:
            self.screen.say("nothing can be started here: this is what was recorded", "warning")  # type: ignore[attr-defined]  # every screen is a Frame
        elif self.running:
            self._unasked = False
            self.finish()
        else:
            self.start_asking(self.trace, self.options())

    def start_asking(self, name: str, options: dict[str, str], seconds: float | None = None) -> None:
        """Start a trace of this view; heavy ones, those that stop the target and active checks only after a yes."""
        row, link = source(name), self.front.link
        if row is None or link is None:
            return
        lasts = seconds or (self.lasts if name == self.trace else row.lasts)
        if row.price in ("free", "light") and not row.sends:
            self.start(name, options, lasts)
            return
        from gotriage.ui.traces import question

        link.request("price", (name,), options=options)
        self.app.push_screen(
            AskScreen(
                self.front,
                (self.view.title, f"start {name}"),
                lambda width: list(question(self.front, name, lasts, width)),
                lambda: self.start(name, options, lasts),
            )
        )

    def start(self, name: str = "", options: dict[str, str] | None = None, seconds: float | None = None) -> None:
        """Start it without a question."""
        if self.front.link is not None:
            chosen = options if options is not None else self.options()
            self.front.link.request("start", (name or self.trace,), seconds=seconds or self.lasts, options=chosen)

    def finish(self, name: str = "") -> None:
        """End it."""
        if self.front.link is not None:
            self.front.link.request("finish", (name or self.trace,))

    def _status(self, width: int) -> Spans:
        return status_line(self.front, self.trace, width)


class TraceTab(Traced, TableTab):
    """A table over a source that runs on request."""

    DEFAULT_CSS = TableTab.DEFAULT_CSS.replace("TableTab", "TraceTab")  # styles are inherited from the first base only
    hints: ClassVar[Sequence[Hint]] = (("⏎", "open"), ("&", "filter"), ("o", "sort"))

    @property
    def kinds(self) -> Sequence[type[Record]] | None:
        """Its records, and how the trace fares."""
        return (*self.view.records, Traces)

    def compose(self) -> ComposeResult:
        """The trace's line above the table."""
        yield self.trace_status
        yield from super().compose()

    def pull(self) -> None:
        """The table, then the trace."""
        TableTab.pull(self)
        Traced.pull(self)

    def keys(self) -> Sequence[Hint]:
        """The trace's key first."""
        return (*self.trace_hints(), *TableTab.keys(self))
