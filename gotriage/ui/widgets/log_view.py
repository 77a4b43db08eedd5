"""Log lines, any number of them: only those in sight are read from the store and drawn."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING

from textual.message import Message

from gotriage.render import loglines, units
from gotriage.session.logchunk import UNRANKED, rank_of
from gotriage.ui.spans import cut, cut_spans, fit
from gotriage.ui.widgets.lines import GUTTER, LineView, strip_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from textual.strip import Strip

    from gotriage.records.logs import LogLine
    from gotriage.session.loggroups import LogGroup
    from gotriage.session.logview import Key, LogView
    from gotriage.ui.spans import Span

WIDE = 120
"""Terminals wider than this show milliseconds and who wrote each line."""
LEVEL = 6
WHO = 16
_PRIORITY_WORDS = ("emerg", "alert", "crit", "error", "warn", "notice", "info", "debug")


def role_of(rank: int) -> str:
    """The role of a rank (syslog priority)."""
    if rank <= 3:
        return "critical"
    if rank == 4:
        return "warning"
    return "dim" if rank == 7 else ""


def level_word(line: LogLine) -> str:
    """The level as a word of at most six cells; "" for a line that has none of its own."""
    if line.kind in ("panic", "race"):
        return line.kind
    if line.kind == "fatal error":
        return "fatal"
    if line.level:
        return {"critical": "crit", "emergency": "emerg"}.get(line.level, line.level)
    rank = rank_of(line)
    return "" if rank in (UNRANKED, 6) else _PRIORITY_WORDS[rank]


def time_text(at: datetime, *, wide: bool, today: date) -> str:
    """Local time of day, with the month and day when it is not of `today`."""
    local = at.astimezone()
    clock = f"{local:%H:%M:%S}"
    if wide:
        clock += f".{local.microsecond // 1000:03d}"
    return clock if local.date() == today else f"{local:%m-%d} {clock if wide else clock[:5]}"


def marked(text: str, wanted: str, role: str) -> Iterator[Span]:
    """The text with each place of `wanted` (ignoring case) as a match."""
    low, needle, at = text.lower(), wanted.lower(), 0
    if not needle or len(low) != len(text):
        yield text, role
        return
    while (found := low.find(needle, at)) >= 0:
        if found > at:
            yield text[at:found], role
        yield text[found : found + len(needle)], "match"
        at = found + len(needle)
    yield text[at:], role


def message_spans(line: LogLine, width: int, wanted: str) -> list[Span]:
    """What a line says, in at most `width` cells: who, when it is not the program; the message; its fields."""
    rank, name = rank_of(line), loglines.who(line)
    spans: list[Span] = [(f"{name}: ", "label")] if name else []
    text = cut(loglines.first_line(line.message), width)
    spans += marked(text, wanted, role_of(rank) if rank <= 4 or rank == 7 else "")
    for key, value in loglines.fields(line):
        spans.append((f"  {key}=", "dim"))
        spans += marked(value, wanted, "dim")
    return list(cut_spans(spans, width))


class LogList(LineView):
    """The lines of a `LogView` with a cursor that stays on its line, or on the newest one while it follows.

    Attributes:
        following: the newest line is kept in sight.
        wanted: what was searched, marked where it stands.
    """

    class Start(Message):
        """The cursor was moved beyond the first line: older ones are wanted."""

    def __init__(self, id: str | None = None) -> None:  # noqa: A002  # Textual's own name for it
        super().__init__(id=id)
        self.view: LogView | None = None
        self.following = True
        self.wanted = ""
        self._key: Key | None = None
        self._length = 0
        self._version = -1
        self._today = date.min

    # -- content

    def show(self, view: LogView) -> None:
        """Show the view's rows as they are now: called again whenever the view was brought up to date."""
        other = view is not self.view
        key = None if other or self.following else self._key
        self.view = view
        count = len(view)
        grown = count != self._length or other
        if not grown and view.store.version == self._version:
            return
        self._version, self._length = view.store.version, count
        self._today = view.line(count - 1).at.astimezone().date() if count else date.min
        self.set_line_count(count)
        if self.following or other:
            self.following = True
            self._stand(count - 1)
            self._to_bottom()
        elif key is not None and (row := view.row_of(key)) is not None and row != self.cursor:
            top = round(self.scroll_y) + row - self.cursor
            self._stand(row)
            self.scroll_to(y=top, animate=False, immediate=True)
        self.cursor = min(self.cursor, max(count - 1, 0))
        self.refresh()

    def _stand(self, row: int) -> None:
        """Put the cursor on a row, without drawing."""
        self.cursor = max(row, 0)
        self._remember()

    def _remember(self) -> None:
        view = self.view
        self._key = view.key(self.cursor) if view is not None and 0 <= self.cursor < len(view) else None

    def _to_bottom(self) -> None:
        if self.size.height:
            self.scroll_to(y=self.virtual_size.height, animate=False, immediate=True)

    def on_resize(self) -> None:
        """The newest line stays in sight while it is followed, the selected one otherwise."""
        if self.following:
            self._to_bottom()
        elif self.item_count:
            self.reveal(self.cursor, self.cursor)

    def follow(self) -> None:
        """Keep the newest line in sight from now on."""
        self.following = True
        self.select(self.item_count - 1, keep=True)
        self._to_bottom()

    def go(self, row: int) -> None:
        """Stand on a row, in the middle of what is seen when it was out of sight."""
        self.select(row, keep=True)
        top = round(self.scroll_y)
        if not top <= row < top + self.page_height:
            self.scroll_to(y=max(row - self.page_height // 2, 0), animate=False, immediate=True)

    @property
    def line(self) -> LogLine | None:
        """The selected line."""
        return self.view.line(self.cursor) if self.view is not None and self.cursor < len(self.view) else None

    # -- LineView

    @property
    def item_count(self) -> int:
        """How many lines pass the filter."""
        return len(self.view) if self.view is not None else 0

    def select(self, item: int, *, keep: bool = False) -> None:
        """Put the cursor on a line; on the newest one it follows."""
        super().select(item, keep=keep)
        self.following = self.item_count == 0 or self.cursor == self.item_count - 1
        self._remember()

    def action_move(self, step: int) -> None:
        """One line up or down; up from the first one asks for older ones."""
        if step < 0 and self.cursor == 0:
            self.post_message(self.Start())
        super().action_move(step)

    def action_leap(self, pages: int) -> None:
        """A page up or down."""
        if pages < 0 and self.cursor == 0:
            self.post_message(self.Start())
        super().action_leap(pages)

    def draw(self, line: int, width: int) -> Strip:
        """One line: time, level, on wide terminals who wrote it, and what it says."""
        if self.view is None or not 0 <= line < len(self.view):
            return self.blank(width)
        row = self.view.line(line)
        wide = width > WIDE
        stamp = time_text(row.at, wide=wide, today=self._today)
        spans = [*self.bar(line), (fit(stamp, 18 if wide else 11 if len(stamp) > 8 else 8), "dim"), (" ", "")]
        word = level_word(row)
        spans += [(fit(word, LEVEL), role_of(rank_of(row)) or "dim"), (" ", "")]
        if wide:
            spans += [(fit(row.identifier or row.source, WHO), "label"), (" ", "")]
        used = GUTTER + sum(len(text) for text, _ in spans[1:])
        spans += message_spans(row, max(width - used, 8), self.wanted)
        return strip_of(spans, width, self.palette, "selected" if line == self.cursor else "")


class GroupList(LineView):
    """Groups of similar lines: how many, since when, the newest, and what they have in common."""

    head = 1

    def __init__(self, id: str | None = None) -> None:  # noqa: A002  # Textual's own name for it
        super().__init__(id=id)
        self.groups: list[LogGroup] = []
        self.wanted = ""

    def show(self, groups: list[LogGroup]) -> None:
        """Show these; the cursor stays on its group."""
        selected = self.group.template if self.group is not None else None
        self.groups = groups
        self.set_line_count(len(groups))
        place = next((at for at, group in enumerate(groups) if group.template == selected), None)
        self.cursor = place if place is not None else min(self.cursor, max(len(groups) - 1, 0))
        self.refresh()

    @property
    def group(self) -> LogGroup | None:
        """The selected group."""
        return self.groups[self.cursor] if 0 <= self.cursor < len(self.groups) else None

    @property
    def item_count(self) -> int:
        """How many groups."""
        return len(self.groups)

    def draw_head(self, line: int, width: int) -> Strip:  # noqa: ARG002  # there is only one
        """The heading."""
        text = f" {'COUNT':>9}  {'FIRST':<11} {'LAST':<11} {'LEVEL':<{LEVEL}} ALIKE"
        return strip_of([(text, "heading")], width, self.palette)

    def draw(self, line: int, width: int) -> Strip:
        """One group."""
        if not 0 <= line < len(self.groups):
            return self.blank(width)
        group = self.groups[line]
        today = group.last.astimezone().date()
        role = role_of(group.rank)
        text = group.template.replace("\t", "  ")
        spans = [
            *self.bar(line),
            (f"{units.count(group.count):>9}  ", "strong"),
            (fit(time_text(group.first, wide=False, today=today), 11) + " ", "dim"),
            (fit(time_text(group.last, wide=False, today=today), 11) + " ", "dim"),
            (fit(level_word(group.example), LEVEL) + " ", role or "dim"),
            *marked(cut(text, max(width - 43, 8)), self.wanted, role if group.rank <= 4 else ""),
        ]
        return strip_of(spans, width, self.palette, "selected" if line == self.cursor else "")
