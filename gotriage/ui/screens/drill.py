"""A page whose items lead to further pages, Enter in and Backspace out; a question before something that costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

from gotriage.ui.screens.page import PageScreen

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from textual.binding import BindingType

    from gotriage.ui.front import Front
    from gotriage.ui.spans import PageLine
    from gotriage.ui.tab import Hint

    Build = Callable[[int], Sequence[PageLine]]
    Open = Callable[[Hashable], tuple[str, Build] | None]


MOST_STEPS = 3
"""Steps of a way that are named."""


class DrillScreen(PageScreen):
    """`open` gives the name and the builder of the page that an item leads to, None when it leads nowhere.

    The page follows the session, so a group that grows grows here too.
    """

    def __init__(self, front: Front, path: Sequence[str], build: Build, opened: Open) -> None:
        super().__init__(front, path, build, follow=True)
        self._open = opened

    def hints(self) -> Sequence[Hint]:
        """Enter only where it leads on."""
        item = self._page.item
        onward = [("⏎", "open")] if item is not None and self._open(item) is not None else []
        return [*onward, ("Backspace", "back"), ("y", "copy"), ("/", "search")]

    def on_mount(self) -> None:
        """The keys depend on what the cursor stands on, which is known once the page is composed."""
        super().on_mount()
        self.call_after_refresh(self.update_lines)

    def on_line_view_moved(self) -> None:
        """Other keys may work on another item."""
        self.update_lines()

    def action_onward(self) -> None:
        """The page of the item under the cursor."""
        item = self._page.item
        found = self._open(item) if item is not None else None
        if found is not None:
            name, build = found
            self.app.push_screen(DrillScreen(self.front, self._way_to(name), build, self._open))

    def _way_to(self, name: str) -> Sequence[str]:
        """The way there: where it began and the last two steps."""
        way = (*self.path, name)
        return way if len(way) <= MOST_STEPS else (way[0], "…", *way[-2:])


class AskScreen(PageScreen):
    """Says what something costs, and does it on `y` alone."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "yes", show=False, priority=True),
        Binding("n,escape", "back", show=False, priority=True),
    ]

    def __init__(self, front: Front, path: Sequence[str], build: Build, yes: Callable[[], None]) -> None:
        super().__init__(front, path, build, follow=True)
        self._yes = yes

    def hints(self) -> Sequence[Hint]:
        """Two answers."""
        return [("y", "start"), ("n", "no")]

    def action_yes(self) -> None:
        """Go back, and do it."""
        self.app.pop_screen()
        self._yes()

    def action_onward(self) -> None:
        """Enter is no answer."""
