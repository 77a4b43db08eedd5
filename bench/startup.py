"""Start-up: from the command to the first paint and to the first findings, beside a bare Textual app.

Every program runs in a pseudo-terminal of 80x24; the figure is the time until a word has been drawn: "READY" of the
bare app, the name of the first tab, and the first word of the verdict. Rounds are interleaved, so that what else the
machine does hits all alike; the table shows minimum, median and maximum, and the ratios of the medians.

    python -m bench.startup [--rounds 11] [--pid PID]      without a PID: a small sleeping process
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
GOTRIAGE = ROOT / ".venv" / "bin" / "gotriage"
BARE = """
from textual.app import App
from textual.widgets import Static
class Bare(App):
    def compose(self):
        yield Static("READY")
Bare().run()
"""
PAINT, VERDICT = (b"Findings",), (b"because", b"No finding", b"Fine")
PATIENCE = 60.0


def start(words: list[str]) -> tuple[int, int]:
    """Start a program on a terminal of its own; its pid and the terminal's other end."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", LANG="C.UTF-8")
        os.execv(words[0], words)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    return pid, fd


def times(words: list[str], *wanted: tuple[bytes, ...]) -> list[float]:
    """Seconds from the start until one of each group of words has been drawn; then the program is ended."""
    begun = time.monotonic()
    pid, fd = start(words)
    seen, found = b"", []
    try:
        for group in wanted:
            while not any(word in seen for word in group):
                if time.monotonic() - begun > PATIENCE:
                    raise SystemExit(f"{words[0]}: none of {group} came: {seen[-500:]!r}")
                if select.select([fd], [], [], 0.05)[0]:
                    seen += os.read(fd, 1 << 16)
            found.append(time.monotonic() - begun)
    finally:
        end(pid, fd)
    return found


def end(pid: int, fd: int) -> None:
    """Ask it to end, read what it still writes, and wait."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + 10
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if select.select([fd], [], [], 0.02)[0]:
            with contextlib.suppress(OSError):
                os.read(fd, 1 << 16)
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            break
    os.close(fd)


def main() -> None:
    """Measure and print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=11)
    options.add_argument("--pid", type=int)
    given = options.parse_args()
    sleeper = None if given.pid else subprocess.Popen(["sleep", "3600"])
    pid = given.pid or sleeper.pid
    rows: dict[str, list[float]] = {"a bare Textual app": [], "first paint": [], "first findings": []}
    try:
        for number in range(given.rounds + 1):
            bare = times([sys.executable, "-c", BARE], (b"READY",))
            paint, findings = times([str(GOTRIAGE), "--pid", str(pid)], PAINT, VERDICT)
            if number:  # the first round fills the caches of the disk
                for name, value in zip(rows, (*bare, paint, findings), strict=True):
                    rows[name].append(value)
    finally:
        if sleeper is not None:
            sleeper.kill()
            sleeper.wait()
    base = statistics.median(rows["a bare Textual app"])
    print(f"{'':<20} {'min':>8} {'median':>8} {'max':>8}  ratio   ({given.rounds} rounds, interleaved)")
    for name, found in rows.items():
        middle = statistics.median(found)
        print(f"{name:<20} {min(found):>7.2f}s {middle:>7.2f}s {max(found):>7.2f}s {middle / base:>6.2f}")
    print("to reach: first paint at most 2, first findings at most 6")


if __name__ == "__main__":
    main()
