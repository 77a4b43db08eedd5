"""From the screens into a shell in the target's namespaces, and back; the launcher starts it, for it may have root."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from textual.app import SuspendNotSupported

from gotriage.host import clock, enter
from gotriage.records.text import clean
from gotriage.session import control

if TYPE_CHECKING:
    from collections.abc import Iterator

    from textual.app import App

    from gotriage.session.link import Link
    from gotriage.ui.front import Front

HINT: Final = "Enter: this machine's tools   f: its files, by busybox"
AT_ONCE: Final = 3.0
"""Seconds: what failed sooner has said something that must be read before the screens come back."""
FAILED: Final = (1, 3, 64, 69, 77, 126)
"""Exit statuses of sudo, of gotriage and of a start that say: there was no shell."""
Said = tuple[str, str]
"""A line and its role."""


def problem(front: Front) -> str:
    """Why there can be no shell; "" when there can."""
    if front.link is None:
        return "a recording has no namespaces to enter"
    target = front.target
    if target is None or target.state != "running":
        return "nothing runs: no namespaces to enter"
    return ""


def shell(app: App[int], front: Front, text: str) -> Said:
    """Give the terminal away until the shell ends; what to say afterwards."""
    if front.link is None:
        return problem(front), "warning"
    kind = control.VIEW if text.strip().lower().startswith("f") else control.SHELL
    try:
        with app.suspend(), enter.terminal_kept(interactive=True), _asked() as heard:
            ended = _wait(front.link, kind)
        if heard:
            app.exit(return_code=128 + heard[0])
    except SuspendNotSupported:
        return "this terminal cannot be left: type gotriage shell elsewhere", "warning"
    if ended.text:
        return clean(ended.text, 300), "warning"
    return f"the shell ended with status {ended.code}", "info"


def _wait(link: Link, kind: bytes) -> control.Message:
    """Until the shell has ended, or we are to."""
    begun = clock.monotonic()
    try:
        ended = link.shell(kind)
        if ended.code in FAILED and clock.monotonic() - begun < AT_ONCE:
            _let_read(ended.text)
    except _Asked:
        return link.shell(control.END)  # the terminal is its own until then
    return ended


class _Asked(Exception):
    """We are to end."""


@contextmanager
def _asked() -> Iterator[list[int]]:
    """Signals that end the screens end the wait; yields a list that the number of such a one is put into."""
    heard: list[int] = []

    def ask(number: int, _: object) -> None:
        heard.append(number)
        if len(heard) == 1:
            raise _Asked

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _let_read(text: str) -> None:
    """Wait for Enter, on the plain terminal."""
    if text:
        print(f"gotriage: {clean(text)}")  # noqa: T201  # the screens are away
    print("Enter leads back to the screens.", end=" ", flush=True)  # noqa: T201  # as above
    with suppress(OSError, EOFError):
        sys.stdin.readline()
