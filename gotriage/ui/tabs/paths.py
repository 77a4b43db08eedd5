"""Paths that are not in order first; Enter shows each component; `d` shows the file systems below them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

from gotriage.records.paths import FileSystems, Inodes, Paths, PathUse, Sleepers
from gotriage.records.units import counted, share, size
from gotriage.render import paths as words
from gotriage.ui.detail import row_page
from gotriage.ui.screens.page import PageScreen
from gotriage.ui.spans import PageLine, labelled
from gotriage.ui.table_tab import TableTab

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from textual.binding import BindingType

    from gotriage.records import Record
    from gotriage.records.paths import FileSystemUse
    from gotriage.render.columns import Column
    from gotriage.ui.spans import Spans
    from gotriage.ui.tab import Hint

BAD = ("refused", "read-only", "stalled")
NEARLY_FULL = 0.95


class PathsTab(TableTab):
    """The table; what is full, read-only or hangs stands above it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("d", "systems", show=False)]
    hints: ClassVar[Sequence[Hint]] = (("⏎", "components"), ("d", "file systems"), ("&", "filter"), ("o", "sort"))
    spare: ClassVar[Sequence[str]] = ("owner",)
    sizes: ClassVar[Mapping[str, int]] = {"owner": 13}

    def summary(self, record: Record, width: int) -> Spans:  # noqa: ARG002  # cut by the line itself
        """How many are not in order; the file systems that are not."""
        assert isinstance(record, Paths)
        bad = sum(row.state in BAD for row in record.rows)
        spans: list[tuple[str, str]] = [(counted(len(record.rows), "path"), "strong")]
        spans.append((f"  {bad} not usable" if bad else "  all usable", "critical" if bad else "good"))
        if record.omitted:
            spans.append((f"  {record.omitted} more open", "dim"))
        if record.deleted:
            spans.append((f"  {counted(record.deleted, 'deleted file')} holds {size(record.deleted_bytes)}", "warning"))
        spans += [(f"  {text}", "critical") for one in self._systems() if (text := trouble(one))]
        hanging = self.front.session.latest(Sleepers)
        if hanging is not None and hanging.sleepers:
            spans.append((f"  {counted(len(hanging.sleepers), 'thread')} hang in the kernel", "critical"))
        return tuple(spans)

    def _systems(self) -> Sequence[FileSystemUse]:
        record = self.front.session.latest(FileSystems)
        return record.systems if record is not None else ()

    def key(self, row: object) -> Hashable:
        """A path."""
        assert isinstance(row, PathUse)
        return row.path, row.source

    def name_of(self, row: object) -> str:
        """For the breadcrumb."""
        assert isinstance(row, PathUse)
        return row.path

    def role(self, row: object, column: Column) -> str:
        """Red for what may not be used."""
        assert isinstance(row, PathUse)
        if column.field in ("state", "path") and row.state != "ok":
            return "critical" if row.state in BAD else "warning"
        return "" if column.field == "path" else "dim"

    def detail_of(self, row: object, width: int) -> Sequence[PageLine]:
        """The fields, then each component."""
        assert isinstance(row, PathUse)
        page = [line for line in row_page(row, self.view.columns, width, self.text) if line.item != "components"]
        inodes = self.front.session.latest(Inodes)
        for one in inodes.inodes if inodes is not None else ():
            if (one.device, one.number) == (row.device, row.inode):
                page += [PageLine(spans) for spans in labelled("on disk", words.inode(one), width, indent=2, column=18)]
        page += [PageLine(), PageLine((("Components", "title"),))]
        for part in row.components:
            acl = f"  acl {part.acl}" if part.acl else ""
            refused = f"  ✖ refuses {part.refused}" if part.refused else ""
            text = f"{part.owner}  {part.path}{acl}{refused}"
            page += [PageLine(spans, item=part.path) for spans in labelled(part.mode, text, width, indent=2, column=14)]
        return page

    def action_systems(self) -> None:
        """The file systems."""
        build = lambda width: list(systems_page(self._systems(), self._hanging(), width))  # noqa: E731  # used once
        self.app.push_screen(PageScreen(self.front, (self.view.title, "file systems"), build))

    def _hanging(self) -> Sequence[str]:
        record = self.front.session.latest(Sleepers)
        return [words.sleeper(one) for one in record.sleepers] if record is not None else []


def trouble(one: FileSystemUse) -> str:
    """In a few words, "" for nothing."""
    level = words.full(one)
    if one.stalled:
        return f"{one.point} does not answer"
    if one.written and one.read_only:
        return f"{one.point} is read-only"
    if one.written and level is not None and level >= NEARLY_FULL:
        return f"{one.point} {share(level)} full"
    return ""


def systems_page(systems: Sequence[FileSystemUse], hanging: Sequence[str], width: int) -> Iterator[PageLine]:
    """All that is known of each."""
    if hanging:
        yield PageLine((("Threads that hang", "title"),))
        yield from (PageLine(((f"  {text}", "critical"),)) for text in hanging)
        yield PageLine()
    for one in systems:
        yield PageLine(((one.point, "title"), (f"  {one.kind}", "dim")), item=one.point)
        room = f"{size(one.room_bytes)} of {size(one.total_bytes)} left" if one.total_bytes else ""
        inodes = f"{one.inodes_room:,} of {one.inodes:,} left" if one.inodes and one.inodes_room is not None else ""
        pairs = (
            ("state", words.notes(one)),
            ("space", room),
            ("inodes", inodes),
            ("mounted from", f"{one.source} ({one.device})"),
            ("disks", " on ".join(one.disks)),
            ("mount options", one.options),
            ("its options", one.system_options),
            ("written to", "yes" if one.written else ""),
            ("layers", "\n".join(one.layers)),
        )
        for label, value in pairs:
            if value:
                for spans in labelled(label, value, width, indent=2, column=16):
                    yield PageLine(spans, item=(one.point, label))
        yield PageLine()
