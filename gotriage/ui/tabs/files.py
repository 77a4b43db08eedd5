"""Every open descriptor; sockets with both ends, what was deleted marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gotriage.records.files import FileCounts, FileTable, OpenFile
from gotriage.render import units
from gotriage.render.cells import cell
from gotriage.ui.plot import severity
from gotriage.ui.table_tab import TableTab

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from gotriage.records import Record
    from gotriage.render.columns import Column
    from gotriage.ui.spans import Span, Spans

TROUBLED = ("CLOSE_WAIT", "FIN_WAIT2", "SYN_SENT", "LAST_ACK")
"""TCP states that only pile up when something is wrong."""


class FilesTab(TableTab):
    """The table under a line of counts by kind and state."""

    least: ClassVar[int] = 24

    def rows(self, record: Record) -> Sequence[object]:
        """The column of PIDs says nothing when there is one process; the peer stands in the name."""
        assert isinstance(record, FileTable)
        one = len({row.pid for row in record.rows}) <= 1
        self.table.hidden = frozenset({"peer", "pid"} if one else {"peer"})
        return record.rows

    def summary(self, record: Record, width: int) -> Spans:  # noqa: ARG002  # cut by the line itself
        """How many against the limit, by type, and sockets by state."""
        spans: list[Span] = []
        counts = self.front.session.latest(FileCounts)
        if counts is not None and counts.fullest is not None:
            share = counts.fullest / counts.soft_limit if counts.soft_limit else None
            role = severity(share)
            limit = f" of {units.count(counts.soft_limit)}" if counts.soft_limit else ""
            others = counts.total is not None and counts.total != counts.fullest
            where = f" in pid {counts.fullest_pid}" if others and counts.fullest_pid is not None else ""
            spans.append((f"{units.count(counts.fullest)}{limit}{where}", "strong" if role == "plot" else role))
            if others:  # the types are those of all processes
                spans.append((f"  {units.count(counts.total)} in all processes:", ""))
            for kind, count in sorted(counts.by_type.items(), key=lambda entry: -entry[1]):
                spans.append((f"  {kind} {count:,}", "dim"))
        assert isinstance(record, FileTable)
        for state, count in sorted(record.by_state.items(), key=lambda entry: -entry[1]):
            spans.append((f"  {state} {count:,}", "warning" if state.split()[-1] in TROUBLED else "dim"))
        if record.omitted:
            spans.append((f"  {record.omitted:,} more not listed", "warning"))
        return tuple(spans)

    def key(self, row: object) -> Hashable:
        """A descriptor of a process."""
        assert isinstance(row, OpenFile)
        return row.pid, row.fd

    def text(self, row: object, column: Column) -> str:
        """A socket's name is its two ends; a deleted file says so."""
        if column.field == "name" and isinstance(row, OpenFile):
            return name_of(row)
        return cell(row, column)

    def role(self, row: object, column: Column) -> str:
        """Colour for what is deleted, and for states that pile up."""
        assert isinstance(row, OpenFile)
        if column.field == "name":
            return "warning" if row.deleted else ""
        if column.field == "state":
            return "warning" if row.state in TROUBLED else "dim"
        return "dim" if column.field != "fd" else ""

    def name_of(self, row: object) -> str:
        """For the breadcrumb."""
        assert isinstance(row, OpenFile)
        return f"fd {row.fd}"


def name_of(row: OpenFile) -> str:
    """Path, socket ends or pipe partner in one text."""
    if row.type == "socket":
        ends = f"{row.local} → {row.peer}".strip() if row.peer else row.local
        return f"{row.protocol} {ends}".strip() if ends else f"{row.protocol} {row.name}".strip()
    if row.type == "pipe" and row.peer:
        return f"{row.name} ⇄ {row.peer}"
    return f"{row.name} (deleted)" if row.deleted and not row.name.endswith("(deleted)") else row.name
