"""The base of all tabs (see `gotriage.ui.tabs` for how to write one)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.containers import Vertical

from gotriage.host import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gotriage.catalog import View
    from gotriage.records import Record
    from gotriage.ui.front import Front
    from gotriage.ui.spans import PageLine

Hint = tuple[str, str]
"""A key as the footer shows it, and what it does here."""

EARLY = 0.4
"""A pull may come that part of `every` too early: what comes once a second does not come to the millisecond."""
WARM_UP = 3.0
"""Seconds after start in which tabs update as fast as records come: first answers count."""


class Tab(Vertical):
    """One view on a screen: pulls from the session at the cursor, and never asks whether that is the head.

    Attributes:
        every: seconds between two pulls at least, once warm.
        hints: keys that work in this tab besides the general ones, for the footer.
        filters: what can be typed at `&` where that is more than a text: an example and what it does.
    """

    every: ClassVar[float] = 1.0
    hints: ClassVar[Sequence[Hint]] = ()
    filters: ClassVar[Sequence[Hint]] = ()

    def __init__(self, front: Front, view: View) -> None:
        super().__init__(id=f"tab-{view.id}")
        self.front = front
        self.view = view
        self._born = clock.monotonic()
        self._pulled = 0.0
        self._planned = False
        self._stale = True

    # -- for a tab to fill in

    @property
    def kinds(self) -> Sequence[type[Record]] | None:
        """Record types whose arrival changes this tab; None for all."""
        return self.view.records

    def pull(self) -> None:
        """Read the session at the cursor and hand the widgets what they show. Called only while the tab is seen."""
        raise NotImplementedError

    def find(self, text: str, step: int = 1) -> bool:  # noqa: ARG002  # the shape that tabs fill in
        """Select the next (`step` 1) or previous (-1) place with the text; False when there is none. "" clears."""
        return False

    def narrow(self, text: str) -> bool:  # noqa: ARG002  # the shape that tabs fill in
        """Show only what contains the text ("" shows all); False when this tab cannot."""
        return False

    def sort(self, *, reverse: bool = False) -> str:  # noqa: ARG002  # the shape that tabs fill in
        """Sort by the next column, or turn the order round; returns what it is sorted by, "" when this tab cannot."""
        return ""

    def detail(self) -> tuple[str, Callable[[int], Sequence[PageLine]]] | None:
        """A short name of the selected row and the page about it, made for a width; None when nothing is selected."""
        return None

    def copied(self) -> str:
        """The selected row as text, for the clipboard."""
        return ""

    def left(self) -> None:
        """Another tab came into sight."""

    def target_view(self) -> str:
        """The id of another view that the selection points to, or ""."""
        return ""

    def keys(self) -> Sequence[Hint]:
        """The hints of keys that work right now."""
        return self.hints

    def back(self) -> bool:
        """Undo one step inside the tab (a filter, a folded part); False when there is nothing to undo."""
        return False

    def command(self) -> str:
        """The shell command that would show about the same, with {pid}, {unit}, {container} and {target} in it."""
        return self.view.command

    # -- machinery

    def arrived(self, kind: type[Record]) -> None:
        """Records of that type came in."""
        kinds = self.kinds
        if kinds is None or kind in kinds:
            self.plan()

    def plan(self) -> None:
        """Pull soon: at once when the last pull is long enough ago, else when it will be."""
        self._stale = True
        if self._planned or not self.display:
            return
        now = clock.monotonic()
        every = 0.2 if now - self._born < WARM_UP else self.every
        wait = self._pulled + every - now
        self._planned = True
        if wait <= every * EARLY:
            self.call_next(self._pull)
        else:
            self.set_timer(wait, self._pull)

    def pull_now(self) -> None:
        """Pull at once: the cursor moved, or the tab came into sight."""
        self._stale = True
        self._pull()

    def _pull(self) -> None:
        self._planned = False
        if not self.display or not self._stale or not self.is_mounted:
            return
        self._stale = False
        self._pulled = clock.monotonic()
        self.pull()

    def take_focus(self) -> None:
        """Let the keys go to the tab's main widget."""
        for child in self.query("*"):
            if child.can_focus and child.display:
                child.focus()
                return
