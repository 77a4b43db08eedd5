"""The target's log: follow, search, filter by words, level, field and time; similar lines as one; one in full."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

from gotriage.errors import UsageError
from gotriage.records.environment import Environment
from gotriage.records.logs import LogLines, LogState
from gotriage.records.stream import Gap, Heartbeat
from gotriage.render import units
from gotriage.rules.remedies import ENGINES
from gotriage.session import logfilter
from gotriage.session.logfilter import LogFilter
from gotriage.session.loggroups import GroupView
from gotriage.session.logs import log_state
from gotriage.ui.log_pages import group_page, line_page
from gotriage.ui.spans import PageLine, cut_spans, spread
from gotriage.ui.state import note, nothing_page
from gotriage.ui.tab import Tab
from gotriage.ui.times import parse as parse_time
from gotriage.ui.widgets.chrome import OneLine
from gotriage.ui.widgets.log_view import GroupList, LogList, level_word
from gotriage.ui.widgets.page import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from gotriage.catalog import View
    from gotriage.records import Record
    from gotriage.records.logs import LogLine, LogSource
    from gotriage.ui.front import Front
    from gotriage.ui.spans import Span, Spans
    from gotriage.ui.tab import Hint

SLICE = 0.006
"""Seconds of one step of a search through the store; the keys are served between two."""
PAUSE = 0.004
OLDER = 10_000
"""Lines of history that one request asks for."""
MOST_GROUPS = 1000
LEVELS: tuple[int | None, ...] = (None, 4, 3, 2)
"""What `l` goes through: all, warnings, errors, fatal ones."""
LEVEL_NAMES = {None: "all levels", 4: "warn and worse", 3: "error and worse", 2: "fatal and panics"}


class LogsTab(Tab):
    """A line about what is shown, the lines or their groups, and a line about what lacks."""

    DEFAULT_CSS = """
    LogsTab > .note, LogsTab > #nothing, LogsTab > GroupList { display: none; }
    LogsTab.-note > .note { display: block; }
    LogsTab.-nothing > #nothing { display: block; }
    LogsTab.-nothing > LogList, LogsTab.-nothing > GroupList { display: none; }
    LogsTab.-alike > LogList { display: none; }
    LogsTab.-alike > GroupList { display: block; }
    LogsTab.-nothing.-alike > GroupList { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "follow", show=False),
        Binding("l", "level(1)", show=False),
        Binding("L", "level(-1)", show=False),
        Binding("a", "alike", show=False),
        Binding("h", "older", show=False),
    ]
    hints: ClassVar[Sequence[Hint]] = (
        ("⏎", "open"),
        ("f", "follow"),
        ("l", "level"),
        ("&", "filter"),
        ("a", "alike"),
        ("h", "older"),
    )
    filters: ClassVar[Sequence[Hint]] = logfilter.SYNTAX
    every: ClassVar[float] = 0.2

    def __init__(self, front: Front, view: View) -> None:
        super().__init__(front, view)
        self.lines = LogList(id="lines")
        self.alike = GroupList(id="alike")
        self._view = front.session.logs.view()
        self._groups = GroupView(self._view)
        self._summary = OneLine(self._summary_line)
        self._note = OneLine(self._note_line, "surface")
        self._note.add_class("note")
        self._nothing = Page(self._nothing_page, id="nothing")
        self._stepping = False
        self._looking: tuple[str, int, int, bool] | None = None
        """What is searched, in which direction, how far it was looked, and whether it began anew at the other end."""
        self._asked: object = None

    @property
    def kinds(self) -> Sequence[type[Record]] | None:
        """What calls for a new pull; without a line also what tells where lines would come from."""
        more = () if len(self.front.session.logs) else (Heartbeat, Environment)
        return (LogLines, LogState, Gap, *more)

    def compose(self) -> ComposeResult:
        """Lay it out."""
        yield self._summary
        yield self.lines
        yield self.alike
        yield self._nothing
        yield self._note

    def take_focus(self) -> None:
        """Keys go to what is in sight."""
        if self.has_class("-nothing"):
            self._nothing.focus()
        else:
            (self.alike if self.has_class("-alike") else self.lines).focus()

    # -- content, in steps

    def pull(self) -> None:
        """Bring the view up to date as far as one step goes; the next steps follow by themselves."""
        self._step()
        self.set_class(bool(self._note_line(80)) and bool(len(self.front.session.logs)), "-note")
        self._note.update()

    @property
    def _unmatched(self) -> bool:
        """There are lines, and the filter lets none of them pass."""
        view = self._view
        return bool(len(self.front.session.logs)) and not view.filter.trivial and view.complete and not len(view)

    def _show_or_say(self) -> None:
        """The lines; a page instead when there is none to show."""
        nothing = not len(self.front.session.logs) or self._unmatched
        if nothing:
            self._nothing.compose_again()
        if nothing != self.has_class("-nothing"):
            self.set_class(nothing, "-nothing")
            self.call_after_refresh(self.take_focus)
            self.call_after_refresh(self._nothing.compose_again)

    def _nothing_page(self, width: int) -> Sequence[PageLine]:
        if not self._unmatched:
            return nothing_page(self.front, self.view, width)
        from gotriage.ui.help import filter_lines

        count = units.counted(len(self.front.session.logs), "line")
        said = (("– ", "dim"), (f"None of {count} has ", ""), (str(self._view.filter), "warning"))
        back = [("Escape", "key"), (" shows all lines again", "dim")]
        if self.front.link is not None:
            back += [("  h", "key"), (" asks for older ones", "dim")]
        return [
            PageLine(),
            PageLine(cut_spans(said, width)),
            PageLine(),
            *filter_lines(self.filters, width),
            PageLine(),
            PageLine(tuple(back)),
        ]

    def keys(self) -> Sequence[Hint]:
        """Without a line there is none to open or to follow."""
        if not self.has_class("-nothing"):
            return self.hints
        keys = ("l", "&", "h") if self._unmatched else ("h",)
        return [hint for hint in self.hints if hint[0] in keys]

    def _step(self) -> None:
        self._stepping = False
        if not self.is_mounted:
            return
        until = self.front.session.cursor
        if self.has_class("-alike"):
            done = self._groups.sync(until, SLICE)
            self.alike.show(self._groups.groups(MOST_GROUPS))
        else:
            done = self._view.sync(until, SLICE)
            self.lines.show(self._view)
            done = self._look_on() and done
        self._show_or_say()
        self._summary.update()
        if not done:
            self._again()

    def _again(self) -> None:
        if not self._stepping and self.display:
            self._stepping = True
            self.set_timer(PAUSE, self._step)

    def _show(self, wanted: LogFilter) -> None:
        """Filter anew; the line under the cursor stays under it when it still passes."""
        line, following = self.lines.line, self.lines.following
        self._view = self.front.session.logs.view(wanted)
        self._groups = GroupView(self._view)
        self._view.sync(self.front.session.cursor, SLICE)
        self.lines.show(self._view)
        if line is not None and not following:
            self.lines.go(self._view.row_at(_us(line)))
        self._step()
        self.set_class(bool(self._note_line(80)), "-note")

    # -- lines around

    def _summary_line(self, width: int) -> Spans:
        logs, view = self.front.session.logs, self._view
        spans: list[Span] = [(" ", "")]
        if self.has_class("-alike"):
            spans.append((units.counted(len(self.alike.groups), "kind of line", "kinds of line"), "strong"))
        else:
            spans.append((units.counted(len(view), "line"), "strong"))
        if not view.filter.trivial:
            spans += [(f" of {len(logs):,}  ", "dim"), (str(view.filter), "warning")]
        seen, all_lines = view.searched
        if not view.complete and all_lines:
            spans.append((f"  searching {seen * 100 // all_lines} %", "accent"))
        elif self.lines.following and not self.has_class("-alike") and self.front.session.at_head:
            spans.append(("  following", "good"))
        return spread(spans, self._sources(), width)

    def _sources(self) -> Spans:
        """Each place where lines come from and how it fares."""
        state = log_state(self.front.session)
        spans: list[Span] = []
        for source in state.sources if state is not None else ():
            role = "dim" if source.state == "ok" else "warning"
            spans += [("  ", ""), (f"{source.name} {source.state}", role)]
        if state is not None and (state.boots or 0) > 1:
            spans.append((f"  {state.boots} boots", "dim"))
        return (*cut_spans(spans, 60), (" ", ""))

    def _note_line(self, width: int) -> Spans:
        """The gravest that lacks: a gap, else a source that does not fare well, with what mends it."""
        if spans := note(self.front, self.view.sources, width):
            return spans
        source = self._troubled()
        if source is None:
            return ()
        spans_of: list[Span] = [(" ▲ ", "warning"), (f"{source.name}: ", ""), (source.detail, "dim")]
        if source.remedy:
            spans_of += [("  → ", "dim"), (source.remedy, "accent")]
        return cut_spans(spans_of, width)

    def _troubled(self) -> LogSource | None:
        state = log_state(self.front.session)
        bad = [source for source in state.sources if source.state != "ok"] if state is not None else []
        return bad[0] if bad else None

    # -- keys

    def action_follow(self) -> None:
        """Keep the newest line in sight, at the newest moment."""
        self.lines.follow()
        self.screen.action_follow()  # type: ignore[attr-defined]  # the screen of tabs has it

    def action_level(self, step: int) -> None:
        """The next stricter level, or back."""
        now = self._view.filter.max_rank
        place = LEVELS.index(now) if now in LEVELS else 0
        rank = LEVELS[(place + step) % len(LEVELS)]
        self._show(replace(self._view.filter, max_rank=rank))
        self._say(LEVEL_NAMES[rank])

    def action_alike(self) -> None:
        """Similar lines as one, or all lines."""
        self.set_class(not self.has_class("-alike"), "-alike")
        self._step()
        self.take_focus()

    def action_older(self) -> None:
        """Ask for lines before the first one."""
        self._ask_older()

    def on_log_list_start(self, event: LogList.Start) -> None:
        """The cursor was moved beyond the first line."""
        event.stop()
        self._ask_older()

    def _ask_older(self) -> None:
        oldest = self._view.filter.since or self.front.session.logs.oldest
        if self.front.link is None or not self.front.session.at_head:
            self._say("what was recorded begins here" if self.front.link is None else "older lines: f first")
        elif oldest is None or oldest == self._asked:
            self._say("nothing older was found yet")
        else:
            self._asked = oldest
            self.front.link.request("logs", until=oldest, limit=OLDER)
            self._say(f"asking for {OLDER:,} older lines …")

    def _say(self, text: str, role: str = "info") -> None:
        self.screen.say(text, role)  # type: ignore[attr-defined]  # every screen of ours has it

    # -- filter and search

    def narrow(self, text: str) -> bool:
        """Words, "phrases", /regex/, name=value, level:warn, since:-10m, until:02:47:10, boot:-1; "" shows all."""
        moment = self.front.session.moment
        boots = self.front.session.logs.boots() if "boot:" in text else ()
        try:
            wanted = logfilter.parse(text, lambda word: parse_time(word, moment) if moment is not None else None, boots)
        except UsageError as error:
            self.call_after_refresh(self._say, str(error), "warning")
            return True
        self._show(wanted)
        oldest = self.front.session.logs.oldest
        if wanted.since is not None and oldest is not None and wanted.since < oldest and self.front.link is not None:
            self.front.link.request("logs", since=wanted.since, until=oldest, limit=OLDER * 5)
        return True

    def back(self) -> bool:
        """From groups to lines, then the filter away."""
        if self.has_class("-alike"):
            self.action_alike()
            return True
        if self._view.filter.trivial:
            return False
        self._show(LogFilter())
        return True

    def find(self, text: str, step: int = 1) -> bool:
        """Go to the next or previous line with the text; what takes longer goes on in steps."""
        self.lines.wanted = self.alike.wanted = text
        self.lines.refresh()
        self.alike.refresh()
        if not text:
            self._looking = None
            return True
        if self.has_class("-alike"):
            return self._find_group(text.lower(), step)
        self._looking = (text, step, self.lines.cursor, False)
        if not self._look_on():
            self._again()
        return True

    def _find_group(self, text: str, step: int) -> bool:
        groups, count = self.alike.groups, len(self.alike.groups)
        for distance in range(1, count + 1):
            place = (self.alike.cursor + step * distance) % count
            if text in groups[place].template.lower() or text in groups[place].example.message.lower():
                self.alike.select(place)
                return True
        return False

    def _look_on(self) -> bool:
        """One more step of a search; True when it has ended."""
        if self._looking is None:
            return True
        text, step, start, wrapped = self._looking
        row, looked = self._view.next_with(text, start, step, SLICE)
        if row is None and -1 < looked < len(self._view):
            self._looking = (text, step, looked, wrapped)
            return False
        if row is None and not wrapped and self._view.complete:
            self._looking = (text, step, -1 if step > 0 else len(self._view), True)
            return self._look_on()
        self._looking = None
        if row is None:
            self._say(f"no line with {text!r}", "warning")
        else:
            self.lines.go(row)
            if wrapped:
                self._say("searched on from the " + ("first line" if step > 0 else "newest line"))
        return True

    # -- one line, one group

    def detail(self) -> tuple[str, Callable[[int], Sequence[PageLine]]] | None:
        """Everything about the selected line or group."""
        if self.has_class("-alike"):
            group = self.alike.group
            return None if group is None else ("alike", lambda width: list(group_page(group, width)))
        line = self.lines.line
        return None if line is None else (units.clock(line.at), lambda width: list(line_page(line, width)))

    def copied(self) -> str:
        """The selected line as text, whole."""
        if self.has_class("-alike"):
            return self.alike.group.template if self.alike.group is not None else ""
        line = self.lines.line
        return "" if line is None else f"{line.at.isoformat()} {level_word(line)} {line.message}".replace("  ", " ")

    def command(self) -> str:
        """What shows the same in a shell."""
        if self.front.target is not None and self.front.target.unit is None:
            engine = (self.front.target.engine or "docker") if self.front.target.container_id else ""
            engine = engine if engine in ENGINES else ""
            return f"{engine} logs -f {{container}}" if engine else "journalctl _PID={pid} -f"
        return self.view.command


def _us(line: LogLine) -> int:
    return int(line.at.timestamp() * 1e6)
