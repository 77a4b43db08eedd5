"""Requests in and out by route; Enter leads to one route, and from there to the goroutine that serves a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

from gotriage.records.http import Http, HttpRoute
from gotriage.render import http, units
from gotriage.render.cells import cell
from gotriage.render.text import wrap
from gotriage.ui.http_pages import opened, route_page
from gotriage.ui.screens.drill import DrillScreen
from gotriage.ui.spans import PageLine, spread
from gotriage.ui.trace_tab import TraceTab
from gotriage.ui.traces import trace_of
from gotriage.ui.widgets.table import WIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from textual.binding import BindingType

    from gotriage.records import Record
    from gotriage.render.columns import Column
    from gotriage.ui.spans import Span, Spans
    from gotriage.ui.tab import Hint
    from gotriage.ui.widgets.lines import LineView

LIGHT, HEAVY = "http", "http_uprobes"
MANY = 0.05
"""A part of failed calls that is no accident."""
INSIDE = ("TLS", "HTTP/2")
"""What probes at functions see, and sockets do not."""


class HttpTab(TraceTab):
    """The table of routes: read at the sockets, or while it runs by probes at functions."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("v", "inside", show=False)]
    hints: ClassVar[Sequence[Hint]] = (("⏎", "open"), ("&", "filter"), ("o", "sort"))
    spare: ClassVar[Sequence[str]] = ("recent_client_errors",)
    least: ClassVar[int] = 24

    # -- which way

    @property
    def _inside(self) -> bool:
        """Whether functions are probed now."""
        row = trace_of(self.front, HEAVY)
        return row is not None and row.active

    @property
    def trace(self) -> str:
        """What `s` starts and stops."""
        return HEAVY if self._inside else LIGHT

    def latest(self) -> Http | None:
        """The newest record; while functions are probed, of that way, which sees more."""
        newest = self.front.session.latest(Http)
        if newest is None or newest.way == "functions" or not self._inside:
            return newest
        return next((row for row in reversed(self.front.session.series(Http)) if row.way == "functions"), newest)

    def action_inside(self) -> None:
        """Probe functions, after a question; or end that."""
        if not self._live:
            self.screen.say("nothing can be started here: this is what was recorded", "warning")  # type: ignore[attr-defined]  # every screen is a Frame
        elif self._inside:
            self.finish(HEAVY)
        else:
            self.start_asking(HEAVY, {})

    def keys(self) -> Sequence[Hint]:
        """The other way, too."""
        first, *rest = super().keys() or (("", ""),)
        other = (("v", "sockets" if self._inside else "inside TLS, HTTP/2"),) if self._live else ()
        return tuple(hint for hint in (first, *other, *rest) if hint[0])

    # -- table

    def rows(self, record: Record) -> Sequence[object]:
        """Method and peer stand in the route."""
        assert isinstance(record, Http)
        self.table.hidden = frozenset({"method", "peer"})
        return record.rows

    def summary(self, record: Record, width: int) -> Spans:  # noqa: ARG002  # cut by the line itself
        """Rates, failures, the slowest, what is in flight."""
        assert isinstance(record, Http)
        spans: list[Span] = []
        for part in http.headline(record):
            spans += [(part.text, part.role), ("  ", "")]
        if record.lost:
            spans.append((f"{record.lost:,} not counted", "warning"))
        return tuple(spans)

    def note_line(self, width: int) -> Spans:
        """What is not read, and how to; then gaps."""
        gaps = super().note_line(width)
        if gaps or not isinstance(self.record, Http) or not self.record.unseen:
            return gaps
        unseen = self.record.unseen
        inside = self._live and not self._inside and any(row.why in INSIDE for row in unseen)
        key: tuple[Span, ...] = (("v", "key"), (" looks inside ", "dim")) if inside else ()
        return spread(((" not read: ", "dim"), (http.unseen_words(unseen), "info")), key, width)

    def key(self, row: object) -> Hashable:
        """A route of a direction and peer."""
        return row.key if isinstance(row, HttpRoute) else None

    def text(self, row: object, column: Column) -> str:
        """The route with its method and peer; failures as a part of the calls; the mix of statuses."""
        assert isinstance(row, HttpRoute)
        match column.field:
            case "route":
                return http.name_of(row, short=self.table.line_width <= WIDE)
            case "recent_errors":
                return units.share(row.error_share)
            case "recent_client_errors":
                return units.share(row.client_error_share)
            case "statuses":
                return http.mix(row)
        return cell(row, column)

    def role(self, row: object, column: Column) -> str:
        """Colour for what fails."""
        assert isinstance(row, HttpRoute)
        if not row.recent and not row.in_flight:
            return "dim"
        match column.field:
            case "recent_errors" if row.recent_errors:
                return "critical" if (row.error_share or 0.0) >= MANY else "warning"
            case "recent_client_errors" if row.recent_client_errors:
                return "warning" if (row.client_error_share or 0.0) >= MANY else ""
            case "route":
                return "strong"
            case "rate" | "p99" | "p50" | "longest":
                return "" if row.recent else "dim"
            case "in_flight":
                return "" if row.in_flight else "dim"
        return "dim"

    def empty(self, record: Record, width: int) -> Sequence[PageLine]:
        """Why there is none, and what would show more."""
        assert isinstance(record, Http)
        lines = [
            PageLine(),
            PageLine((("– ", "dim"), ("HTTP", "strong"), ("   no request seen yet", "dim"))),
            PageLine(),
        ]
        note = record.note or "nothing was asked since the start"
        lines += [PageLine((("    ", ""), (text, ""))) for text in wrap(note, width - 6)]
        if self._live and not self._inside and any(row.why in INSIDE for row in record.unseen):
            text = "looks inside TLS and HTTP/2, by probes at the program's functions; it asks first"
            lines += [PageLine(), PageLine((("    v", "key"), (f"  {text}", "dim")))]
        return lines

    # -- one row

    def on_line_view_entered(self, event: LineView.Entered) -> None:
        """Into the route; Enter on a page without rows is for the screen."""
        row = self.table.row
        if self.has_class("-nothing") or not isinstance(row, HttpRoute):
            return
        event.stop()
        key = row.key
        self.app.push_screen(
            DrillScreen(
                self.front,
                (self.view.title, http.name_of(row)),
                lambda width: list(route_page(self.latest, key, width)),
                lambda item: opened(self.front, item),
            )
        )

    def detail(self) -> tuple[str, Callable[[int], Sequence[PageLine]]] | None:
        """Enter is answered above; without rows there is nothing to open."""
        return None
