"""A page above the tabs: the detail of a row, the keys, a shell command. Backspace goes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gotriage.ui.screens.frame import Frame
from gotriage.ui.widgets.chrome import OneLine, crumbs
from gotriage.ui.widgets.page import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.widget import Widget

    from gotriage.records import Record
    from gotriage.ui.front import Front
    from gotriage.ui.spans import PageLine
    from gotriage.ui.tab import Hint
    from gotriage.ui.widgets.lines import LineView


class PageScreen(Frame):
    """Shows what a builder composes.

    `path` is the breadcrumb, `onward` what Enter does and its name, `follow` composes again when records come.
    """

    always: ClassVar[Sequence[Hint]] = (("q", "quit"),)

    def __init__(
        self,
        front: Front,
        path: Sequence[str],
        build: Callable[[int], Sequence[PageLine]],
        *,
        onward: tuple[str, Callable[[], None]] | None = None,
        follow: bool = False,
    ) -> None:
        super().__init__(front)
        self.path = path
        self._page = Page(build, id="page")
        self._onward = onward
        self._follow = follow

    def top_line(self) -> OneLine:
        """The line under the identity."""
        return OneLine(lambda width: crumbs(self.path, width), "surface")

    def body(self) -> Sequence[Widget]:
        """What stands between rule and footer."""
        return (self._page,)

    def hints(self) -> Sequence[Hint]:
        """Keys that work here."""
        onward = [("⏎", self._onward[0])] if self._onward is not None else []
        return [*onward, ("Backspace", "back"), ("y", "copy"), ("/", "search")]

    def on_mount(self) -> None:
        """The keys go to the page."""
        self._page.focus()

    def arrived(self, kind: type[Record]) -> None:  # noqa: ARG002  # whatever came, the builder reads the session
        """Hand it on to what is in sight."""
        if self._follow:
            self._page.compose_again()

    def moved(self) -> None:
        """Show the other moment."""
        self._page.compose_again()

    def find(self, text: str, step: int) -> bool:
        """The next or previous place with the text."""
        return self._page.find(text, step)

    def copied(self) -> str:
        """The selection as text."""
        return self._page.item_text

    def on_line_view_entered(self, event: LineView.Entered) -> None:
        """Enter on an item, or on the page."""
        event.stop()
        self.action_onward()

    def key_enter(self) -> None:
        """Enter on a page without items."""
        self.action_onward()

    def action_onward(self) -> None:
        """Where this page leads to."""
        if self._onward is not None:
            self.app.pop_screen()
            self._onward[1]()
