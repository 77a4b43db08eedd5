"""Everything that leans on parts of Textual which are not public, in one place (Textual 8.2).

The terminal driver draws on standard output, sleeps while nobody types, survives bytes that are no UTF-8, and takes a
terminal that is gone for what it is: the end.
"""

from __future__ import annotations

import codecs
import locale
import os
import select
import threading
from typing import TYPE_CHECKING, cast

from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

from gotriage.host import clock

if TYPE_CHECKING:
    from io import TextIOWrapper

    from textual.app import App

HANGUP = 129
"""128 + SIGHUP: the exit status of a program whose terminal went away."""
STDOUT = 1
READ = 4096
TICK = 0.1
"""Seconds between two questions to the parser whether what came is the whole of a key: Esc begins many."""
AWAKE = 1.0
"""Seconds after the last byte in which the parser is asked."""


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


class Bell(threading.Event):
    """An event that also ends the wait of who polls its descriptor."""

    def __init__(self) -> None:
        super().__init__()
        self._heard, self._rung = os.pipe()

    def set(self) -> None:
        """As Event.set."""
        if not self.is_set():
            super().set()
            os.write(self._rung, b"!")

    def clear(self) -> None:
        """As Event.clear."""
        if self.is_set():
            os.read(self._heard, 1)
            super().clear()

    def fileno(self) -> int:
        """Readable while the event is set."""
        return self._heard


class Terminal(LinuxDriver):
    """Textual's driver for Linux terminals with the differences of this module."""

    def __init__(
        self, app: App[object], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._file = cast("TextIOWrapper", Patient(STDOUT))
        self.exit_event = self._bell = Bell()
        self.app = app

    def run_input_thread(self) -> None:
        """Read keys. Textual's own looks ten times a second whether there are any; this one waits for the first."""
        parser = XTermParser()
        decoder = codecs.getincrementaldecoder("utf-8")("ignore")  # what cannot be decoded is no key
        poll = select.poll()
        poll.register(self.fileno, select.POLLIN)
        poll.register(self._bell, select.POLLIN)
        last = -AWAKE
        while not self.exit_event.is_set():
            ready = dict(poll.poll(TICK * 1000 if clock.monotonic() - last < AWAKE else None))
            if self.fileno in ready:
                last = clock.monotonic()
                data = os.read(self.fileno, READ)
                if not data:
                    raise OSError("the terminal is gone")
                text = decoder.decode(data)
                for message in parser.feed(text) if text else ():
                    self.process_message(message)
            for message in parser.tick():
                self.process_message(message)

    def _run_input_thread(self) -> None:
        """An error of the device is a hang-up."""
        try:
            self.run_input_thread()
        except OSError:
            self.app.call_later(self.app.exit, None, HANGUP)
