"""Security modules: which are at work, denials with their cure, then the contexts of what the target uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gotriage.records.security import Security, SecurityRow
from gotriage.ui.spans import PageLine, labelled
from gotriage.ui.table_tab import TableTab

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from gotriage.records import Record
    from gotriage.render.columns import Column
    from gotriage.ui.spans import Span, Spans

SECCOMP = {0: "off", 1: "strict", 2: "filter"}


class SecurityTab(TableTab):
    """The table; a page of the state where there is no row."""

    spare: ClassVar[Sequence[str]] = ("label",)

    def summary(self, record: Record, width: int) -> Spans:  # noqa: ARG002  # cut by the line itself
        """The modules and how the target stands."""
        assert isinstance(record, Security)
        denials = sum(row.what == "denial" and not row.permissive for row in record.rows)
        spans: list[Span] = [(f"{denials} denied", "critical") if denials else ("nothing denied", "good")]
        spans += [(f"  {name} {value}", "dim") for name, value in state_of(record) if name in ("SELinux", "seccomp")]
        if record.context or record.profile:
            spans.append((f"  {record.context or record.profile}", ""))
        return tuple(spans)

    def key(self, row: object) -> Hashable:
        """A denial or a thing."""
        assert isinstance(row, SecurityRow)
        return row.what, row.module, row.operation, row.name, row.label, row.permissive

    def name_of(self, row: object) -> str:
        """What it is about."""
        assert isinstance(row, SecurityRow)
        return f"{row.operation} {row.name}".strip()

    def role(self, row: object, column: Column) -> str:
        """Red for denials and wrong contexts."""
        assert isinstance(row, SecurityRow)
        if column.field in ("what", "name") and row.what == "denial":
            return "warning" if row.permissive else "critical"
        if column.field == "label" and row.cure:
            return "warning"
        return super().role(row, column)

    def empty(self, record: Record, width: int) -> Sequence[PageLine]:
        """The state alone."""
        assert isinstance(record, Security)
        lines = [PageLine(), PageLine((("✓ ", "good"), ("no security module has refused it anything", "")))]
        lines.append(PageLine())
        for name, value in state_of(record):
            lines += [PageLine(spans, name) for spans in labelled(name, value, width, indent=2, column=20)]
        return lines


def state_of(record: Security) -> list[tuple[str, str]]:
    """What is in force, in words; what is not known is left out."""
    seccomp = SECCOMP.get(record.seccomp, "") if record.seccomp is not None else ""
    if record.filters:
        seccomp += f" ({record.filters})"
    pairs = [
        ("modules", ", ".join(record.modules) if record.modules is not None else ""),
        ("SELinux", f"{record.selinux or ''} {record.policy}".strip()),
        ("context", record.context),
        ("AppArmor", record.profile),
        ("seccomp", seccomp),
        ("no_new_privs", {True: "yes", False: "no", None: ""}[record.no_new_privs]),
        ("looked in", ", ".join(record.looked)),
    ]
    return [(name, value) for name, value in pairs if value]
