"""What the program takes for granted: faults first, in colour; Enter shows what follows and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gotriage.records.minimal import Condition, Minimal
from gotriage.records.units import counted
from gotriage.ui.table_tab import TableTab

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from gotriage.records import Record
    from gotriage.render.columns import Column
    from gotriage.ui.spans import Spans

ROLES: Mapping[str, str] = {"fault": "critical", "note": "warning", "unknown": "dim"}


class MinimalTab(TableTab):
    """The table."""

    sizes: ClassVar[Mapping[str, int]] = {"name": 15}

    def summary(self, record: Record, width: int) -> Spans:  # noqa: ARG002  # cut by the line itself
        """How many are not as they should be."""
        assert isinstance(record, Minimal)
        states = [row.state for row in record.rows]
        faults, notes, unknown = (states.count(state) for state in ("fault", "note", "unknown"))
        spans = [(counted(faults, "fault"), "critical") if faults else ("no fault", "good")]
        if notes:
            spans.append((f"  {counted(notes, 'note')}", "warning"))
        if unknown:
            spans.append((f"  {unknown} not known", "dim"))
        told = f"  kernel {record.kernel}" + (f", {record.go_version}" if record.go_version else "")
        return (*spans, (told, "dim"), (f"  local time {record.zone}" if record.zone else "", "dim"))

    def key(self, row: object) -> Hashable:
        """A condition."""
        assert isinstance(row, Condition)
        return row.group, row.name

    def name_of(self, row: object) -> str:
        """For the breadcrumb."""
        assert isinstance(row, Condition)
        return row.name

    def role(self, row: object, column: Column) -> str:
        """Colour for what is no "ok"."""
        assert isinstance(row, Condition)
        if column.field in ("state", "value") and row.state != "ok":
            return ROLES[row.state]
        return "" if column.field == "name" else "dim"
