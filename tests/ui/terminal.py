"""A real pseudo-terminal with the screens in it, in a process of their own."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHOW = """
import sys
from tests.ui import made
from gotriage.ui.app import _show
sys.exit(_show(made.front(), None))
"""
LEFT = (b"\x1b[?1049l", b"\x1b[?1000l", b"\x1b[?1003l", b"\x1b[?2004l", b"\x1b[?25h")
"""Alternate screen, mouse reports and bracketed paste are off again, the cursor is back."""


class Terminal:
    """Runs Python code with a terminal of the given size as its standard streams; use as a context manager."""

    def __init__(self, code: str = SHOW, size: tuple[int, int] = (80, 24), **environment: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        known = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "COLORTERM": "truecolor", "HOME": "/nonexistent"}
        self.output = b""
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, env={**known, **environment},
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for fd in (self.master, self.slave):
            if fd >= 0:
                os.close(fd)

    def read(self, until: bytes, seconds: float = 60.0) -> bytes:
        """Read until the bytes have come, or fail."""
        ends = time.monotonic() + seconds
        while until not in self.output:
            assert time.monotonic() < ends, f"{until!r} did not come: {self.output[-2000:]!r}"
            self._some(0.1)
        return self.output

    def _some(self, seconds: float) -> bool:
        if self.master < 0:
            time.sleep(seconds)
            return False
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.output += data
        return bool(data)

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def lose(self) -> None:
        """The terminal goes away, as when an ssh connection breaks."""
        os.close(self.slave)
        os.close(self.master)
        self.master = self.slave = -1

    def end(self, seconds: float = 60.0) -> int:
        """Wait for the end of the process, and read all that it wrote; its exit status, 128 + n after signal n."""
        ends = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < ends, "it did not end"
            self._some(0.05)
        while self._some(0.1):
            pass
        return self.process.returncode if self.process.returncode >= 0 else 128 - self.process.returncode

    def restored(self) -> bool:
        """Whether the modes are those from before, and the last words undid all that was switched on."""
        last = self.output[self.output.rindex(b"\x1b[?1049h") :]
        return termios.tcgetattr(self.slave) == self.before and all(last.rfind(code) > 0 for code in LEFT)
