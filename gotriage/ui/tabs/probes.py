"""The probe library: `s` starts and stops the probe under the cursor, any number at once; Enter shows what it sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

from gotriage.errors import UsageError
from gotriage.host import scripts
from gotriage.probes.library import BY_ID, OWN
from gotriage.records.probes import Probes, ProbeState
from gotriage.render import probes, units
from gotriage.render.cells import cell
from gotriage.ui import probe_pages
from gotriage.ui.screens.drill import AskScreen, DrillScreen
from gotriage.ui.trace_tab import TraceTab
from gotriage.ui.traces import question, trace_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from textual.binding import BindingType

    from gotriage.catalog import View
    from gotriage.records import Record
    from gotriage.render.columns import Column
    from gotriage.ui.front import Front
    from gotriage.ui.spans import PageLine, Span, Spans
    from gotriage.ui.tab import Hint
    from gotriage.ui.widgets.lines import LineView

LOOK = 1.5
"""Seconds of a start without a probe, which only tells what there is."""


class ProbesTab(TraceTab):
    """The library by groups."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("u", "own", show=False)]
    hints: ClassVar[Sequence[Hint]] = (("⏎", "open"), ("u", "your own"), ("&", "filter"))
    spare: ClassVar[Sequence[str]] = ("events",)
    least: ClassVar[int] = 10
    seconds: ClassVar[float | None] = 600.0

    def __init__(self, front: Front, view: View) -> None:
        super().__init__(front, view)
        self._script = ""

    # -- which probes run

    @property
    def on(self) -> list[str]:
        """Those that were asked for, as the agent knows it."""
        row = trace_of(self.front, self.trace)
        if row is None or not row.active:
            return []
        return [name for name in row.options.get("probe", "").split(",") if name in BY_ID]

    def action_trace(self) -> None:
        """Start or stop the one under the cursor; the others go on."""
        row = self.table.row
        if not self._live:
            super().action_trace()
        elif isinstance(row, ProbeState):
            self.toggle(row.id)

    def trace_hints(self) -> Sequence[Hint]:
        """What `s` does to the one under the cursor."""
        row = self.table.row
        if not self._live or not isinstance(row, ProbeState):
            return ()
        return (("s", "stop" if row.id in self.on else "start"),)

    def _status(self, width: int) -> Spans:
        """As in other tabs; a look at what there is was no run."""
        row = trace_of(self.front, self.trace)
        if row is None or not row.options.get("probe") or (row.state == "ended" and not self._live):
            hint: list[Span] = [(" none runs", "dim"), ("   s", "key"), (" starts the one under the cursor", "dim")]
            return tuple(hint) if self._live else ()
        return super()._status(width)

    def toggle(self, name: str) -> None:
        """Start or stop a probe."""
        if name in self.on:
            self._run([each for each in self.on if each != name])
        elif name in OWN and not self._script:
            self.action_own()
        elif BY_ID[name].price == "heavy":
            self._ask([*self.on, name])
        else:
            self._run([*self.on, name])

    def _options(self, names: Sequence[str]) -> dict[str, str]:
        options = {"probe": ",".join(names)}
        return options | {"script": self._script} if any(name in OWN for name in names) else options

    def _run(self, names: Sequence[str]) -> None:
        if names:
            self.start(options=self._options(names))
        else:
            self.finish()

    def _ask(self, names: Sequence[str]) -> None:
        """A heavy one starts after a question with its price."""
        if self.front.link is not None:
            self.front.link.request("price", (self.trace,), options=self._options(names))
        self.app.push_screen(
            AskScreen(
                self.front,
                (self.view.title, f"start {BY_ID[names[-1]].title}"),
                lambda width: list(question(self.front, self.trace, self.lasts, width)),
                lambda: self._run(names),
            )
        )

    def start(self, name: str = "", options: dict[str, str] | None = None, seconds: float | None = None) -> None:
        """Without options: only tell what there is."""
        super().start(name, options or {}, seconds if options else LOOK)

    # -- the user's own

    def action_own(self) -> None:
        """A bpftrace script or BCC program from a file."""
        if not self._live:
            super().action_trace()
            return
        hint = "a bpftrace script, or a C program for BCC; $1 and TARGET_PID are the target's PID"
        self.screen.ask("program", self._own, hint=hint)  # type: ignore[attr-defined]  # every screen is a Frame

    def _own(self, path: str) -> None:
        if not path.strip():
            return
        try:
            text = scripts.read(path)
            name = scripts.kind(text)
        except UsageError as error:
            self.screen.say(str(error), "warning")  # type: ignore[attr-defined]  # every screen is a Frame
            return
        self._script = text
        self._run([*(each for each in self.on if each not in OWN), name])

    # -- table

    @property
    def kinds(self) -> Sequence[type[Record]] | None:
        """The library's state, and how the trace fares; events are for the pages."""
        return tuple(kind for kind in super().kinds or () if kind not in self.view.records[1:])

    def rows(self, record: Record) -> Sequence[object]:
        """By groups."""
        assert isinstance(record, Probes)
        return probes.in_order(record.rows)

    def summary(self, record: Record, width: int) -> Spans:  # noqa: ARG002  # cut by the line itself
        """How many there are, and which run."""
        assert isinstance(record, Probes)
        names = self.on
        there = sum(row.state != "unavailable" for row in record.rows)
        spans: list[Span] = [(f"{there} of {len(record.rows)} probes can run here", "dim")]
        if names:
            spans.append((f"   {units.counted(len(names), 'probe')} on: ", ""))
            spans.append((", ".join(BY_ID[name].title for name in names), "strong"))
        return tuple(spans)

    def key(self, row: object) -> Hashable:
        """The probe."""
        return row.id if isinstance(row, ProbeState) else None

    def text(self, row: object, column: Column) -> str:
        """Whether it runs is what the trace says; why it cannot run stands where it says what it shows."""
        assert isinstance(row, ProbeState)
        if column.field == "state":
            return self._state(row)
        if column.field == "about" and row.reason:
            return row.reason
        return cell(row, column)

    def _state(self, row: ProbeState) -> str:
        if row.state in ("failed", "unavailable"):
            return row.state
        return "on" if row.id in self.on else "off"

    def role(self, row: object, column: Column) -> str:
        """Colour for what runs, costs much, or cannot run."""
        assert isinstance(row, ProbeState)
        state = self._state(row)
        if column.field == "title":
            return "strong" if state == "on" else "dim" if state == "unavailable" else ""
        if column.field == "state":
            return {"on": "good", "failed": "warning", "unavailable": "warning"}.get(state, "dim")
        if column.field == "price":
            return "warning" if row.price == "heavy" else "dim"
        return "dim"

    # -- pages

    def on_line_view_entered(self, event: LineView.Entered) -> None:
        """The live page of a probe; Enter on the page of a gap is for the screen."""
        row = self.table.row
        if self.has_class("-nothing") or not isinstance(row, ProbeState):
            return
        event.stop()
        name = row.id
        self.app.push_screen(
            DrillScreen(
                self.front,
                (self.view.title, row.title),
                lambda width: list(probe_pages.probe_page(self.front, name, width)),
                lambda item: probe_pages.open_item(self.front, item),
            )
        )

    def detail(self) -> tuple[str, Callable[[int], Sequence[PageLine]]] | None:
        """Enter is answered above; without rows there is nothing to open."""
        return None
