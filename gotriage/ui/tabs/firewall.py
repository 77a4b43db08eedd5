"""What packet filters do with each port and peer: what is refused comes first; Enter shows the rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gotriage.records.firewall import Filtered, Firewall
from gotriage.render import units
from gotriage.ui.detail import row_page, section
from gotriage.ui.spans import PageLine
from gotriage.ui.table_tab import TableTab

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from gotriage.records import Record
    from gotriage.render.columns import Column
    from gotriage.ui.spans import Span, Spans

REFUSES = ("drop", "reject")


class FirewallTab(TableTab):
    """The table, refused ones first."""

    spare: ClassVar[Sequence[str]] = ("packets",)

    def rows(self, record: Record) -> Sequence[object]:
        """Refused ones first, ports before peers."""
        assert isinstance(record, Firewall)
        return sorted(record.rows, key=lambda row: (row.verdict not in REFUSES, row.direction != "in"))

    def summary(self, record: Record, width: int) -> Spans:  # noqa: ARG002  # cut by the line itself
        """How much there is, and who keeps it."""
        assert isinstance(record, Firewall)
        refused = sum(row.verdict in REFUSES for row in record.rows)
        spans: list[Span] = [(f"{refused} refused", "critical") if refused else ("nothing refused", "good")]
        whose = "the machine's network" if record.shared else "its own network"
        spans.append((f"  {units.counted(record.rules_count, 'rule')} in {whose}", "dim"))
        if record.tools:
            spans.append((f"  by {', '.join(record.tools)}", "dim"))
        if record.manager:
            spans.append((f"  kept by {record.manager}", "dim"))
        if record.programs:
            spans.append((f"  {units.counted(len(record.programs), 'BPF program')} at its cgroup", "warning"))
        return tuple(spans)

    def key(self, row: object) -> Hashable:
        """A port or a peer."""
        assert isinstance(row, Filtered)
        return row.direction, row.protocol, row.address, row.state

    def name_of(self, row: object) -> str:
        """The port or peer."""
        assert isinstance(row, Filtered)
        return row.address

    def role(self, row: object, column: Column) -> str:
        """Red for what is refused."""
        assert isinstance(row, Filtered)
        if column.field in ("verdict", "address") and row.verdict in REFUSES:
            return "critical"
        if column.field == "verdict":
            return "good" if row.verdict == "accept" else "warning"
        return "" if column.field == "address" else super().role(row, column)

    def detail_of(self, row: object, width: int) -> Sequence[PageLine]:
        """The row, then the rules that refuse anything, and the programs that are not evaluated."""
        lines = row_page(row, self.view.columns, width, self.text)
        record = self.record
        if not isinstance(record, Firewall):
            return lines
        rules = [
            (rule.chain, f"{rule.text}" + (f"   {units.counted(rule.packets, 'packet')}" if rule.packets else ""))
            for rule in record.rules
        ]
        programs = [(program.at, f"{program.name or 'a BPF program'}, id {program.id}") for program in record.programs]
        zones = list(record.zones.items())
        for title, pairs in (
            ("Zones of firewalld", zones),
            ("Rules that refuse", rules),
            ("BPF programs, not evaluated", programs),
        ):
            if pairs:
                lines += [PageLine(), *section(title, pairs, width, column=34)]
        return lines

    def empty(self, record: Record, width: int) -> Sequence[PageLine]:  # noqa: ARG002  # one short line
        """No port and no peer, but maybe rules."""
        assert isinstance(record, Firewall)
        text = f"it listens nowhere and talks to nobody; {units.counted(record.rules_count, 'rule')}"
        return [PageLine(), PageLine((("– ", "dim"), (self.view.title, "strong"), (f"   {text}", "dim")))]
