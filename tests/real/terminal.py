"""A program on a terminal of its own: what it draws, and how it leaves the terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

_ESCAPES = re.compile(r"\x1b\[[0-9;?<>=]*[A-Za-z]|\x1b[()][0-9A-Za-z]|\x1b\].*?(?:\x07|\x1b\\)")
MODES = ("1049", "1000", "1002", "1003", "1006", "2004")
"""Private modes that a full-screen program switches on: alternate screen, mouse reports, bracketed paste."""


class Terminal:
    """Runs a command on a pseudo terminal; a context manager that ends what is left."""

    def __init__(self, command: list[str], size: tuple[int, int] = (80, 24), env: dict[str, str] | None = None) -> None:
        self.output = ""
        self._status: int | None = None
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.environ.update({"TERM": "xterm-256color", **(env or {})})
            os.execvp(command[0], command)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self._before = termios.tcgetattr(self._fd)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)

    @property
    def text(self) -> str:
        """All that was drawn, without escapes."""
        return _ESCAPES.sub("", self.output)

    def wait_for(self, words: str, seconds: float = 30) -> None:
        """Read until the words were drawn."""
        until = time.monotonic() + seconds
        while words not in self.text:
            assert self._read(0.1) and time.monotonic() < until, f"no {words!r} in {self.text[-3000:]!r}"

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._fd, keys.encode())

    def end(self, seconds: float = 15) -> int:
        """Wait for the end; the exit status."""
        until = time.monotonic() + seconds
        while self._status is None and time.monotonic() < until:
            self._read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        while self._read(0):
            pass
        assert self._status is not None, "it does not end"
        return self._status

    @property
    def restored(self) -> bool:
        """Every mode that was switched on is off again, the cursor shows, and line editing is as before."""
        for mode in MODES:
            switches = re.findall(rf"\x1b\[\?{mode}([hl])", self.output)
            if switches and switches[-1] == "h":
                return False
        shown = re.findall(r"\x1b\[\?25([hl])", self.output)
        return (not shown or shown[-1] == "h") and termios.tcgetattr(self._fd) == self._before

    def _read(self, timeout: float) -> bool:
        """Take in what comes; False when nothing came at the end of a program, or nothing ever will."""
        if not select.select([self._fd], [], [], timeout)[0]:
            return timeout > 0
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            return False
        self.output += data.decode("utf-8", "replace")
        return bool(data)
