"""The palette: everything that can be done, by name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gotriage.catalog import VIEWS
from gotriage.ui.screens.tabs import TabScreen
from gotriage.ui.theme import DARK, LIGHT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from textual.app import App
    from textual.screen import Screen


def commands(app: App[int], screen: Screen[object]) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """Title, a few words, and what to call."""
    if isinstance(screen, TabScreen):
        for view in VIEWS:
            yield f"View: {view.title}", f"{view.about} ({view.key})", partial(screen.call_next, screen.open, view.id)
        yield "Pause or go on", "stay at this moment, or back to the newest records (Space)", screen.action_pause
        yield "Follow", "back to the newest records (f)", screen.action_follow
        yield "Jump to a time", "a clock time, or -5m (t)", screen.action_jump
        yield "Snapshot", "all that is known into a file (S)", screen.action_snapshot
        yield "Shell command", "the command that shows the same (e)", screen.action_shell
        yield "Shell", "in the target's namespaces; leads back here (!)", screen.action_enter
        yield "Help", "keys, source and price of this view (?)", screen.action_help
    other = LIGHT if app.theme == DARK.name else DARK
    yield "Theme", f"change to {other.name}", partial(setattr, app, "theme", other.name)
    yield "Quit", "leave; the service is not touched (q)", partial(app.exit, 0)
