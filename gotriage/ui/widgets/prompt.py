"""A line of input at the foot of the screen: search, filter, a time to jump to."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual.binding import Binding
from textual.containers import Horizontal
from textual.widgets import Input

from gotriage.records.text import clean
from gotriage.ui.widgets.chrome import OneLine

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult
    from textual.binding import BindingType
    from textual.widget import Widget

HINT = "type, then Enter; Escape leaves"


class Prompt(Horizontal):
    """Asks one thing; Enter answers, Escape does not. The focus goes back where it was.

    The label stays while something is typed; `hint` stands in the empty line.
    """

    DEFAULT_CSS = """
    Prompt { dock: bottom; height: 1; background: $surface; }
    Prompt > Input, Prompt > Input:focus {
        width: 1fr; height: 1; border: none; padding: 0 1; background: $surface; color: $foreground;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", show=False)]

    def __init__(self, label: str, answer: Callable[[str], None], value: str = "", hint: str = "") -> None:
        super().__init__()
        self._label = OneLine(lambda _: ((f" {label}", "label"), (" ›", "dim")), "surface")
        self._label.styles.width = cell_len(label) + 3
        self._input = Input(value=value, placeholder=hint or HINT, select_on_focus=True)
        self._answer = answer
        self._back: Widget | None = None

    def compose(self) -> ComposeResult:
        """The label and the line."""
        yield self._label
        yield self._input

    def on_mount(self) -> None:
        """Take the keys."""
        self._back = self.screen.focused
        self._input.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Answer and go."""
        event.stop()
        self._leave()
        self._answer(clean(event.value))

    def action_leave(self) -> None:
        """Go without an answer."""
        self._leave()

    def _leave(self) -> None:
        if self._back is not None and self._back.is_mounted:
            self._back.focus()
        self.remove()
