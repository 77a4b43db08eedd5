"""The frame of every screen: identity, a line of tabs or the way back, a rule, the view, the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import Screen

from gotriage.render.text import wrap
from gotriage.ui.widgets.chrome import OneLine, identity, keys_line, rule
from gotriage.ui.widgets.lines import palette_of, strip_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual import events
    from textual.app import ComposeResult
    from textual.binding import BindingType
    from textual.strip import Strip
    from textual.timer import Timer
    from textual.widget import Widget

    from gotriage.records import Record
    from gotriage.ui.front import Front
    from gotriage.ui.spans import Span, Spans
    from gotriage.ui.tab import Hint

SMALLEST = (60, 12)
"""Columns and lines below which a screen only says that it is too small."""
MESSAGE_SECONDS = 6.0


class TooSmall(OneLine):
    """What a terminal shows that is too small for anything else."""

    DEFAULT_CSS = "TooSmall { height: 100%; display: none; }"

    def __init__(self) -> None:
        super().__init__(lambda _: ())

    def render_line(self, y: int) -> Strip:
        """The size that is needed, wrapped to whatever there is."""
        width, height = self.app.size
        text = f"gotriage needs {SMALLEST[0]}x{SMALLEST[1]}, this terminal has {width}x{height}. q quits."
        lines = list(wrap(text, max(width, 1)))
        return strip_of(((lines[y] if y < len(lines) else "", ""),), self.size.width, palette_of(self.app.theme))


class Frame(Screen[None]):
    """What all screens have in common."""

    AUTO_FOCUS = ""
    DEFAULT_CSS = """
    Frame { layout: vertical; background: $background; }
    Frame.-small > * { display: none; }
    Frame.-small > TooSmall { display: block; }
    #body { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("backspace", "back", show=False, id="back"),
        Binding("escape", "clear", show=False, id="clear"),
        Binding("y", "copy", show=False, id="copy"),
        Binding("n", "again(1)", show=False, id="next"),
        Binding("N", "again(-1)", show=False, id="previous"),
        Binding("slash", "search", show=False, id="search"),
    ]
    always: ClassVar[Sequence[Hint]] = (("?", "help"), ("q", "quit"))

    def __init__(self, front: Front) -> None:
        super().__init__()
        self.front = front
        self._message: Span | None = None
        self._message_timer: Timer | None = None
        self._wanted = ""

    # -- for screens to fill in

    def top_line(self) -> OneLine:
        """The second line: tabs, or the way here."""
        raise NotImplementedError

    def identity(self, width: int) -> Spans:
        """The first line: who is looked at."""
        return identity(self.front, width)

    def rule(self, width: int) -> Spans:
        """The third line: a rule, with what is worth saying everywhere."""
        return rule(self.front, width)

    def body(self) -> Sequence[Widget]:
        """What stands between the rule and the footer at first."""
        return ()

    def hints(self) -> Sequence[Hint]:
        """Keys that work here, most useful first."""
        return ()

    def arrived(self, kind: type[Record]) -> None:
        """Records of that type came in."""

    def moved(self) -> None:
        """The session's cursor moved."""

    def find(self, text: str, step: int) -> bool:
        """Search in what is shown."""
        raise NotImplementedError

    def copied(self) -> str:
        """What `y` copies."""
        return ""

    def action_back(self) -> None:
        """One step back."""
        if len(self.app.screen_stack) > 1:
            self.app.pop_screen()

    # -- the frame

    def compose(self) -> ComposeResult:
        """Lay it out."""
        self._measure(*self.app.size)
        yield OneLine(self.identity, "surface")
        yield self.top_line()
        yield OneLine(self.rule)
        yield Vertical(*self.body(), id="body")
        yield OneLine(self._keys, "surface")
        yield TooSmall()

    def _keys(self, width: int) -> Spans:
        return keys_line(self.hints(), self.always, self._message, width)

    def update_lines(self) -> None:
        """Bring header, rule and footer up to date."""
        for line in self.query(OneLine):
            line.update()

    def on_resize(self, event: events.Resize) -> None:
        """Say so when it is too small."""
        self._measure(event.size.width, event.size.height)

    def _measure(self, width: int, height: int) -> None:
        self.set_class(width < SMALLEST[0] or height < SMALLEST[1], "-small")

    def say(self, text: str, role: str = "info") -> None:
        """A line in the footer for a few seconds."""
        self._message = (text, role)
        if self._message_timer is not None:
            self._message_timer.stop()
        self._message_timer = self.set_timer(MESSAGE_SECONDS, self.unsay)
        self.update_lines()

    def unsay(self) -> None:
        """The keys again."""
        self._message = None
        self.update_lines()

    # -- search and copy, the same everywhere

    def ask(self, label: str, answer: Callable[[str], None], value: str = "", hint: str = "") -> None:
        """A line of input at the foot of the screen; `hint` says what may be typed."""
        from gotriage.ui.widgets.prompt import Prompt

        if self.query(Prompt):
            return
        prompt = Prompt(label, answer, value, hint)
        self.mount(prompt)

    def action_clear(self) -> None:
        """Take away what was searched, else what is filtered; never leads away from what is seen."""
        self.unsay()
        if self._wanted:
            self._wanted = ""
            self.find("", 1)
        else:
            self.undo()

    def undo(self) -> bool:
        """Undo one step inside what is shown (a filter, a folded part); False when there is nothing to undo."""
        return False

    def action_search(self) -> None:
        """Ask what to look for."""
        self.ask("search", self._search)

    def _search(self, text: str) -> None:
        self._wanted = text
        if not self.find(text, 1):
            self.say(f"no place with {text!r} here", "warning")

    def action_again(self, step: int) -> None:
        """The next or the previous place with what was looked for."""
        if not self._wanted:
            self.say("nothing was searched yet: /", "warning")
        elif not self.find(self._wanted, step):
            self.say(f"no place with {self._wanted!r} here", "warning")

    def action_copy(self) -> None:
        """Copy the selection by the terminal (OSC 52), as clean text."""
        text = self.copied()
        if text:
            self.app.copy_to_clipboard(text)
            self.say(f"copied {len(text):,} characters", "good")
        else:
            self.say("nothing is selected", "warning")
