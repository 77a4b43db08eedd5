"""A line of input at the foot of the screen: search, filter, a time to jump to."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding
from textual.widgets import Input

from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.binding import BindingType
    from textual.widget import Widget


class Prompt(Input):
    """Asks one thing; Enter answers, Escape does not. The focus goes back where it was."""

    DEFAULT_CSS = """
    Prompt, Prompt:focus {
        dock: bottom; height: 1; border: none; padding: 0 1; background: $surface; color: $foreground;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", show=False)]

    def __init__(self, label: str, answer: Callable[[str], None], value: str = "") -> None:
        super().__init__(value=value, placeholder=f"{label}: type, then Enter; Escape leaves", select_on_focus=True)
        self._answer = answer
        self._back: Widget | None = None

    def on_mount(self) -> None:
        """Take the keys."""
        self._back = self.screen.focused
        self.focus()

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
