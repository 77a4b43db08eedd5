"""Lines of source files that a target names, read by whoever sits at the screen: bounded, and never waited for.

The path comes from the target. Only regular files with the ending of a source file are opened, without following what
the kernel makes up, and in a thread of their own: a file system that does not answer delays nothing but its own lines.
"""

from __future__ import annotations

import os
import stat
import threading

MOST = 4 * 1024 * 1024
"""Bytes of a file that are read."""
LONGEST = 300
"""Characters of a line that are kept."""
FILES = 64
"""Files that are kept."""
PATIENCE = 0.05
"""Seconds that the first question for a file waits for it."""
ENDINGS = (".go", ".s", ".c", ".h", ".cc", ".cpp", ".y", ".rl")
MADE_UP = ("/proc/", "/sys/", "/dev/")


class Sources:
    """Files by path, each read once."""

    def __init__(self) -> None:
        self._files: dict[str, list[str] | None] = {}
        self._running = 0

    def line(self, path: str, number: int) -> str | None:
        """Line `number` of the file, counted from 1; None when it cannot be had (yet)."""
        if path not in self._files:
            self._read(path)
        lines = self._files.get(path)
        return lines[number - 1] if lines is not None and 0 < number <= len(lines) else None

    def _read(self, path: str) -> None:
        if not path.startswith("/") or not path.endswith(ENDINGS) or os.path.normpath(path).startswith(MADE_UP):
            self._keep(path, None)
            return
        if self._running >= 4:
            return
        self._running += 1
        self._keep(path, None)
        thread = threading.Thread(target=self._load, args=(path,), name="source", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._running -= 1
            return
        thread.join(PATIENCE)

    def _load(self, path: str) -> None:
        try:
            self._files[path] = read(path)
        finally:
            self._running -= 1

    def _keep(self, path: str, lines: list[str] | None) -> None:
        while len(self._files) >= FILES:
            del self._files[next(iter(self._files))]
        self._files[path] = lines


def read(path: str) -> list[str] | None:
    """The lines of a regular file, tabs as four spaces; None when it is none or may not be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        chunks, left = [], MOST
        while left > 0 and (chunk := os.read(fd, min(left, 1 << 18))):
            chunks.append(chunk)
            left -= len(chunk)
    except OSError:
        return None
    finally:
        os.close(fd)
    text = b"".join(chunks).decode("utf-8", "replace")
    return [line[:LONGEST].expandtabs(4) for line in text.split("\n")]
