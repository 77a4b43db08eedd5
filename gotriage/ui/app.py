"""The app: puts the screens on the terminal and leaves it as it was. It has nothing else to do."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from textual.app import App, SystemCommand
from textual.binding import Binding

from gotriage.errors import EXIT_NOT_INSPECTED
from gotriage.records.target import Event
from gotriage.render import units
from gotriage.session.store import Session
from gotriage.ui.bridge import Arrived, Bridge, StreamEnded
from gotriage.ui.front import Front
from gotriage.ui.gate import Gate
from gotriage.ui.screens.frame import Frame
from gotriage.ui.screens.tabs import TabScreen
from gotriage.ui.theme import DARK, LIGHT, chosen, textual_theme
from gotriage.ui.traces import active

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from textual.binding import BindingType
    from textual.driver import Driver
    from textual.filter import LineFilter
    from textual.screen import Screen

    from gotriage.records.target import TargetSpec
    from gotriage.session.link import Link

DETACH_EVERY = 0.2
"""Seconds between two looks whether a trace has ended, before Ctrl-Z."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Options(Protocol):
    """How the screens look; the command line has it."""

    @property
    def theme(self) -> str | None:
        """ "dark", "light" or None for what fits the terminal."""

    @property
    def color(self) -> bool:
        """False for grey only."""

    @property
    def config(self) -> str | None:
        """The settings file that was named, or None for the usual ones."""


class GotriageApp(App[int]):
    """The screens of one session."""

    TITLE = "gotriage"
    CSS = """
    CommandPalette > Vertical { background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "leave", show=False, id="quit"),
        Binding("ctrl+c", "leave", show=False, priority=True),
        Binding("colon", "command_palette", show=False),
        Binding("ctrl+z", "suspend_process", show=False),
    ]

    def __init__(self, front: Front, theme: str | None = None, *, picker: bool = False) -> None:
        super().__init__(driver_class=_driver())
        self.front = front
        self._picker = picker
        self._gate = Gate()
        self._event: Event | None = None
        self._bridge = Bridge(self, front, front.link) if front.link is not None else None
        for palette in (DARK, LIGHT):
            self.register_theme(textual_theme(palette))
        self.set_reactive(App.theme, chosen(theme).name)
        # Set without its watcher, which would style everything twice; the style sheet has to know it all the same.
        self.stylesheet.set_variables(self.get_css_variables())

    def get_default_screen(self) -> Screen[None]:
        """The tabs, or the picker; there is nothing below them."""
        if self._picker:
            from gotriage.ui.screens.picker import PickerScreen

            return PickerScreen(self.front)
        return TabScreen(self.front)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """The gate is the last of the filters."""
        return [*super().get_line_filters(), self._gate]

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """What the palette offers: the views and what can be done, in our own words."""
        from gotriage.ui.commands import commands

        for title, about, call in commands(self, screen):
            yield SystemCommand(title, about, call)

    # -- start and end

    def on_mount(self) -> None:
        """Listen to signals and to the stream."""
        loop = asyncio.get_running_loop()
        if not self.is_headless:
            for number in SIGNALS:
                loop.add_signal_handler(number, self._signalled, number)
        if self._bridge is not None:
            self._bridge.start(loop)
        self.app_resume_signal.subscribe(self, self._draw_again)
        self.call_after_refresh(self._settle)

    def _draw_again(self, _: object) -> None:
        """Back from Ctrl-Z: the terminal shows what the shell left there."""
        for widget in self.screen.walk_children():
            widget.refresh()

    def _settle(self) -> None:
        """What the start has made stays: the garbage collector need not look at it again and again."""
        gc.freeze()
        gc.enable()

    def _signalled(self, number: int) -> None:
        self.exit(return_code=128 + number)

    def on_unmount(self) -> None:
        """No more records."""
        if self._bridge is not None:
            self._bridge.stop()

    def action_leave(self) -> None:
        """Quit, and ask nothing."""
        self.exit(0)

    def action_suspend_process(self) -> None:
        """Ctrl-Z: what stops the target is ended first; it would keep it stopped while we are."""
        stopping = [row.source for row in active(self.front) if row.price_class == "stops"]
        if stopping and self.front.link is not None and not self.front.finished:
            self.front.link.request("finish", tuple(stopping))
            self.set_timer(DETACH_EVERY, self.action_suspend_process)
            return
        super().action_suspend_process()

    # -- the stream

    def on_arrived(self, message: Arrived) -> None:
        """Tell the screen in front what came."""
        screen = self.screen
        if isinstance(screen, Frame):
            for kind in message.kinds:
                screen.arrived(kind)
            screen.update_lines()
            if Event in message.kinds:
                self._say_event(screen)

    def _say_event(self, screen: Frame) -> None:
        """What happened just now, on whatever screen is seen."""
        events = self.front.session.records_of(Event)
        if events and events[-1] is not self._event and events[-1].what != "attached":
            screen.say(f"{units.clock(events[-1].at)}  {events[-1].what}: {events[-1].detail}", "warning")
        self._event = events[-1] if events else None

    def on_stream_ended(self, message: StreamEnded) -> None:  # noqa: ARG002  # the front has the reason
        """Say so; what was seen stays."""
        if isinstance(self.screen, Frame):
            self.screen.update_lines()

    # -- errors: one line after the terminal is restored, and never a local variable in it

    def _fatal_error(self) -> None:
        """Textual would prepare a traceback with locals here."""
        self._close_messages_no_wait()

    def panic(self, *renderables: object) -> None:  # noqa: ARG002  # whatever it was, it is not printed
        """End at once."""
        self._close_messages_no_wait()

    def _print_error_renderables(self) -> None:
        """Nothing is printed from inside."""
        self._exit_renderables.clear()

    @property
    def error_line(self) -> str:
        """What went wrong inside, as one line; "" when nothing did."""
        error = self._exception
        if error is None:
            return ""
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "gotriage" in frame.filename]
        place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
        return f"gotriage: internal error: {type(error).__name__}{place}; the service was not touched"


def _driver() -> type[Driver]:
    from gotriage.ui.driver import Terminal

    return Terminal


def _show(front: Front, options: Options | None, *, picker: bool = False) -> int:
    from gotriage.config import load

    if options is not None and not options.color:
        os.environ["NO_COLOR"] = "1"
    config = options.config if options is not None else None
    settings = load(config)
    if settings.thresholds:  # only then the rules are needed before the first paint
        from gotriage.rules.engine import THRESHOLDS

        settings = load(config, THRESHOLDS)
    for remark in settings.unread:
        print(f"gotriage: {remark}", file=sys.stderr)  # noqa: T201  # before the screens, to be read after them
    front.thresholds = settings.thresholds
    app = GotriageApp(front, (options.theme if options is not None else None) or settings.theme, picker=picker)
    app.set_keymap(settings.keys)
    if front.link is not None and settings.interval is not None:
        front.link.request("interval", seconds=settings.interval)
    with warnings.catch_warnings():
        # A message that Textual's driver sends while the loop ends (a resize, a resume) is lost, and nobody misses it.
        warnings.filterwarnings("ignore", message="coroutine .* was never awaited", category=RuntimeWarning)
        result = app.run()
        gc.collect()
    if app.error_line:
        print(app.error_line, file=sys.stderr)  # noqa: T201  # the screens are gone: this is the one clear line
        return EXIT_NOT_INSPECTED
    return result if result is not None else (app.return_code or 0)


def run(link: Link, options: Options | None = None) -> int:
    """Show a live target until the user quits; the exit status is 0, or 128 + n after signal n."""
    front = Front(Session(), link)
    try:
        return _show(front, options)
    finally:
        link.close()


def pick(link: Link, options: Options | None = None) -> tuple[int, TargetSpec | None]:
    """Show the Go services that run here; the exit status, and the one that was chosen."""
    front = Front(Session(), link)
    try:
        return _show(front, options, picker=True), front.picked
    finally:
        link.close()


def run_session(session: Session, title: str = "", options: Options | None = None) -> int:
    """Show an opened recording on the same screens."""
    return _show(Front(session, title=title), options)
