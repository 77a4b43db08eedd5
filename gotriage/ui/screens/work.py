"""What can be done from any tab: stop and move the time, snapshot, command, help."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

from gotriage.render import units
from gotriage.ui.screens.frame import Frame
from gotriage.ui.screens.page import PageScreen

if TYPE_CHECKING:
    from textual.binding import BindingType

    from gotriage.ui.tab import Tab


class Work(Frame):
    """Actions that need a tab in sight."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "pause", show=False, id="pause"),
        Binding("comma", "step(-1)", show=False, id="back-in-time"),
        Binding("full_stop", "step(1)", show=False, id="forward-in-time"),
        Binding("t", "jump", show=False, id="jump"),
        Binding("f", "follow", show=False, id="follow"),
        Binding("S", "snapshot", show=False, id="snapshot"),
        Binding("e", "shell", show=False, id="command"),
        Binding("exclamation_mark", "enter", show=False, id="enter-namespaces"),
        Binding("question_mark", "help", show=False, id="help"),
    ]

    @property
    def tab(self) -> Tab:
        """The tab in sight."""
        raise NotImplementedError

    # -- time

    def _time_moved(self) -> None:
        self.moved()
        self.update_lines()

    def action_pause(self) -> None:
        """Stay at this moment, or go back to the newest."""
        session = self.front.session
        if session.at_head:
            session.pause()
        else:
            session.head()
        self._time_moved()

    def action_step(self, by: int) -> None:
        """To the next or the previous look."""
        self.front.session.step(by)
        self._time_moved()

    def action_follow(self) -> None:
        """Back to the newest records."""
        self.front.session.head()
        self._time_moved()

    def action_jump(self) -> None:
        """Ask for a time."""
        session = self.front.session
        span = f"{units.clock(session.first)} to {units.clock(session.last)}"
        self.ask("go to a time", self._jump, hint=f"{span}, or as far as -5m or +30s from here")

    def _jump(self, text: str) -> None:
        from gotriage.ui.times import parse

        session = self.front.session
        moment = parse(text, session.moment) if session.moment is not None else None
        if moment is None:
            self.say(f"{text!r} is no time; try 02:47:10, -5m or +30s", "warning")
            return
        session.jump(moment)
        self._time_moved()

    # -- pages

    def action_help(self) -> None:
        """Keys, source and price of this view."""
        from gotriage.ui.help import help_page

        view, hints, filters = self.tab.view, self.tab.hints, self.tab.filters
        build = lambda width: help_page(self.front, view, hints, width, filters)  # noqa: E731  # one expression
        self.app.push_screen(PageScreen(self.front, (view.title, "help"), build))

    def action_shell(self) -> None:
        """The shell command that would show the same."""
        from gotriage.ui.help import command_page

        view, command = self.tab.view, self.tab.command()
        build = lambda width: command_page(self.front, command, width)  # noqa: E731  # one expression, used once
        self.app.push_screen(PageScreen(self.front, (view.title, "shell command"), build))

    # -- a shell in the target's namespaces

    def action_enter(self) -> None:
        """Ask which kind of shell."""
        from gotriage.ui.entering import HINT, problem

        why = problem(self.front)
        if why:
            self.say(why, "warning")
        else:
            self.ask("shell in its namespaces", self._enter, hint=HINT)

    def _enter(self, text: str) -> None:
        from gotriage.ui.entering import shell

        self.say(*shell(self.app, self.front, text))

    # -- snapshot

    def action_snapshot(self) -> None:
        """Write what is known into a file, in a thread of its own: the screens go on."""
        self.say("writing a snapshot …")
        threading.Thread(target=self._write_snapshot, name="snapshot", daemon=True).start()

    def _write_snapshot(self) -> None:
        from gotriage.ui.snapshot import write

        text, role = write(self.front)
        if self.app.is_running:
            self.app.call_from_thread(self.say, text, role)
