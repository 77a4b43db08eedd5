"""Every limit against its use, the nearest to exhaustion first; Enter shows the line that raises it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gotriage.records.limits import Limit
from gotriage.render import units
from gotriage.render.cells import cell
from gotriage.ui.plot import severity
from gotriage.ui.state import missing
from gotriage.ui.table_tab import TableTab

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from gotriage.records import Record
    from gotriage.render.columns import Column
    from gotriage.ui.spans import Spans


NUMBER = 11
"""Cells of a number; longer ones (kernel.file-max may be 2^63 - 1) read as powers of ten."""


def use(limit: Limit) -> float | None:
    """The share of the soft limit that is used."""
    if limit.used is None or not limit.soft or limit.unlimited:
        return None
    return limit.used / limit.soft


def own(limit: Limit) -> bool:
    """Whether it is the target that fills it: what the whole machine shares grows by others too."""
    return limit.scope in ("rlimit", "systemd", "cgroup") or limit.subject.startswith("pid ")


class LimitsTab(TableTab):
    """The table, with what is near its limit in colour and named above it."""

    spare: ClassVar[Sequence[str]] = ("subject", "hard")
    sizes: ClassVar[Mapping[str, int]] = {"name": 19, "used": 10, "soft": 11, "hard": 11, "growth": 10}

    def summary(self, record: Record, width: int) -> Spans:  # noqa: ARG002  # cut by the line itself
        """The limits that are nearly used up."""
        rows = [row for row in self.rows(record) if isinstance(row, Limit)]
        near = [row for row in rows if (use(row) or 0) >= 0.8]
        if not near:
            full = [row for row in rows if row.full_in is not None and own(row)]
            soon = min(full, key=lambda row: row.full_in or 0.0, default=None)
            first = f", {soon.name} first, in {units.seconds(soon.full_in)} at this rate" if soon is not None else ""
            return ((f"{units.counted(len(rows), 'limit')}, none above 80 %{first}", "dim"),)
        spans: list[tuple[str, str]] = []
        for row in near:
            full_in = f", full in {units.seconds(row.full_in)}" if row.full_in is not None else ""
            spans += [(f"{row.name} {units.share(use(row))}{full_in}", severity(use(row))), ("   ", "")]
        return tuple(spans)

    def key(self, row: object) -> Hashable:
        """A limit of a thing."""
        assert isinstance(row, Limit)
        return row.name, row.scope, row.subject

    def text(self, row: object, column: Column) -> str:
        """As everywhere; a use that may not be read has its own sign."""
        if isinstance(row, Limit) and column.field == "name" and row.scope == "filesystem":
            return f"{row.name} {row.subject}"
        if isinstance(row, Limit) and row.used is None and column.field == "used":
            return missing(row.unknown)[0]
        text = cell(row, column)
        if len(text) > NUMBER and column.right:
            return f"{getattr(row, column.field):.1e}"
        return text

    def role(self, row: object, column: Column) -> str:
        """Colour where it is near."""
        assert isinstance(row, Limit)
        share = use(row)
        if column.field in ("name", "used", "full_in") and share is not None and share >= 0.8:
            return severity(share)
        if column.field == "used":
            return "strong" if row.used is not None else missing(row.unknown)[1]
        return "dim" if column.field in ("hard", "scope", "subject") or row.unlimited else super().role(row, column)
