"""Everything that leans on parts of Textual which are not public, in one place (Textual 8.2).

The terminal driver draws on standard output, survives bytes that are no UTF-8, and takes a terminal that is gone for
what it is: the end.
"""

from __future__ import annotations

import locale
import os
from typing import TYPE_CHECKING, cast

from textual.drivers.linux_driver import LinuxDriver

if TYPE_CHECKING:
    from io import TextIOWrapper

    from textual.app import App

HANGUP = 129
"""128 + SIGHUP: the exit status of a program whose terminal went away."""
STDOUT = 1


def encoding() -> str:
    """The terminal's encoding; an ASCII locale (LANG=C) says nothing about the terminal, which is UTF-8 today."""
    name = locale.getpreferredencoding(False).lower()
    return "utf-8" if name in ("ascii", "us-ascii", "ansi_x3.4-1968", "646") else name


class Patient:
    """What the driver writes to: the terminal itself, without Python's buffers. Once it is gone, writes are dropped."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._held: list[str] = []
        self._encoding = encoding()
        self._gone = False

    def write(self, text: str) -> int:
        """Hold it until the flush."""
        self._held.append(text)
        return len(text)

    def flush(self) -> None:
        """Write what is held."""
        data = memoryview("".join(self._held).encode(self._encoding, "replace"))
        self._held.clear()
        try:
            while data and not self._gone:
                data = data[os.write(self._fd, data) :]
        except OSError:
            self._gone = True

    def fileno(self) -> int:
        """The terminal's descriptor."""
        return self._fd


class Terminal(LinuxDriver):
    """Textual's driver for Linux terminals with the three differences of this module."""

    def __init__(
        self, app: App[object], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._file = cast("TextIOWrapper", Patient(STDOUT))
        self.app = app

    def _run_input_thread(self) -> None:
        """Read keys; text that cannot be decoded is a key that nobody meant, an error of the device is a hang-up."""
        while not self.exit_event.is_set():
            try:
                self.run_input_thread()
            except UnicodeDecodeError:
                continue
            except OSError:
                self._hang_up()
                return
            return

    def _hang_up(self) -> None:
        self.app.call_later(self.app.exit, None, HANGUP)
