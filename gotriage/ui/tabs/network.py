"""What listens, peers and single sockets; Enter opens one, `v` the namespace around: ports, interfaces, routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

from gotriage.records.network import NetRow, Network
from gotriage.render import network
from gotriage.render.cells import cell
from gotriage.ui.screens.page import PageScreen
from gotriage.ui.spans import PageLine, labelled
from gotriage.ui.table_tab import TableTab
from gotriage.ui.widgets.table import WIDE

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from textual.binding import BindingType

    from gotriage.records import Record
    from gotriage.render.columns import Column
    from gotriage.ui.spans import Span, Spans
    from gotriage.ui.tab import Hint

LABEL = 15
SILENT = ("stuck", "unanswered", "states", "peer", "retransmits", "drop_rate", "half_open")
"""Fields that say nothing where they are empty or zero."""


class NetworkTab(TableTab):
    """The table under a line of sockets by state."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("v", "around", show=False)]
    hints: ClassVar[Sequence[Hint]] = (
        ("⏎", "open"),
        ("v", "interfaces, routes, ports"),
        ("&", "filter"),
        ("o", "sort"),
    )
    spare: ClassVar[Sequence[str]] = ("send_queue", "retransmits")
    least: ClassVar[int] = 30

    def rows(self, record: Record) -> Sequence[object]:
        """The peer stands in the name."""
        assert isinstance(record, Network)
        self.table.hidden = frozenset({"peer"})
        return record.rows

    def summary(self, record: Record, width: int) -> Spans:  # noqa: ARG002  # cut by the line itself
        """Sockets by state, ports, what is tracked."""
        assert isinstance(record, Network)
        spans: list[Span] = []
        for text, role in network.headline(record):
            spans += [(text, role), ("  ", "")]
        if record.omitted:
            spans.append((f"{sum(record.omitted.values()):,} rows not listed", "dim"))
        return tuple(spans)

    def key(self, row: object) -> Hashable:
        """Its ends and who holds it."""
        assert isinstance(row, NetRow)
        return row.what, row.protocol, row.local, row.peer, row.pid, row.fd

    def text(self, row: object, column: Column) -> str:
        """Both ends in one cell; queues of what listens are numbers of connections."""
        assert isinstance(row, NetRow)
        match column.field:
            case "what":
                return network.kind_of(row)
            case "local":
                return network.name_of(row, short=self.table.line_width <= WIDE)
            case "recv_queue" | "send_queue":
                return network.queue(row, column.field)
            case "states":
                return network.states(row)
        return cell(row, column)

    def role(self, row: object, column: Column) -> str:
        """Colour for what piles up; what is not the target's is dim."""
        assert isinstance(row, NetRow)
        if not row.own:
            return "dim"
        match column.field:
            case "local":
                return network.severity(row)
            case "state":
                return "warning" if row.state in network.TROUBLED else "dim"
            case "recv_queue" if row.what == "listen":
                return network.severity(row)
            case "count":
                return ""
        return "dim"

    def name_of(self, row: object) -> str:
        """For the breadcrumb."""
        assert isinstance(row, NetRow)
        return network.name_of(row)

    def detail_of(self, row: object, width: int) -> Sequence[PageLine]:
        """The goroutines that wait at the socket, then the fields that say something."""
        assert isinstance(row, NetRow)
        lines: list[PageLine] = []
        for place, words in enumerate(network.waiting_at(self.front.session, row)):
            pairs = labelled("" if place else "goroutines", words, width, indent=2, column=LABEL + 3)
            lines += [PageLine(spans, item=words) for spans in pairs]
        fields = super().detail_of(row, width)
        return [*lines, *(line for line in fields if line.item not in SILENT or getattr(row, str(line.item)))]

    def action_around(self) -> None:
        """The namespace as a page of its own."""
        self.app.push_screen(PageScreen(self.front, (self.view.title, "namespace"), self._around))

    def _around(self, width: int) -> Sequence[PageLine]:
        record = self.latest()
        if not isinstance(record, Network):
            return [PageLine((("not looked at yet", "dim"),))]
        return [
            PageLine(spans, item=words)
            for label, words, role in network.around(record)
            for spans in labelled(label, words, width, role=role, indent=2, column=LABEL)
        ]
