"""What watching costs: CPU of agent and front at 1 Hz, beside `htop -p PID` on the same target at the same time.

Both run in pseudo-terminals of the same size for the same seconds; the figure is user + system CPU time of each tree of
processes, in percent of one core, after start-up. Rounds are interleaved; the table shows minimum, median and maximum.

    python bench/watching.py [--seconds 20] [--rounds 3]
"""

from __future__ import annotations

import argparse
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
TICK = os.sysconf("SC_CLK_TCK")


def start_in_pty(words: list[str], columns: int = 80, lines: int = 24) -> tuple[int, int]:
    """Start a program on a terminal of its own; its pid and the terminal's other end."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", LANG="C.UTF-8")
        os.execv(words[0], words)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    return pid, fd


def drain(fds: list[int], seconds: float) -> None:
    """Read what the programs draw, as a terminal would, for so long."""
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        for fd in select.select(fds, [], [], left)[0]:
            try:
                os.read(fd, 1 << 16)
            except OSError:
                fds.remove(fd)


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += tree(int(child))
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of the processes so far, and of children of theirs that have ended."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15]))
    return total / TICK


def measure(target: int, seconds: float) -> tuple[float, float]:
    """CPU share of gotriage and of htop while both watch the target."""
    programs = {
        "gotriage": [str(ROOT / ".venv/bin/gotriage"), "--pid", str(target)],
        "htop": ["/usr/bin/htop", "-d", "10", "-p", str(target)],
    }
    running = {name: start_in_pty(words) for name, words in programs.items()}
    fds = [fd for _, fd in running.values()]
    try:
        drain(fds, 6.0)
        before = {name: cpu_seconds(tree(pid)) for name, (pid, _) in running.items()}
        begun = time.monotonic()
        drain(fds, seconds)
        spent = {name: cpu_seconds(tree(pid)) - before[name] for name, (pid, _) in running.items()}
        took = time.monotonic() - begun
    finally:
        for pid, fd in running.values():
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
            os.close(fd)
    return spent["gotriage"] / took, spent["htop"] / took


def main() -> int:
    """Print the table; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pid", type=int, help="watch this process instead of a Python child that sleeps")
    arguments = parser.parse_args()
    child = None if arguments.pid else subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    try:
        target = arguments.pid or (child.pid if child else 0)
        rows = [measure(target, arguments.seconds) for _ in range(arguments.rounds)]
    finally:
        if child:
            child.kill()
            child.wait()
    for place, name in enumerate(("gotriage", "htop -p")):
        values = sorted(row[place] * 100 for row in rows)
        low, middle, high = values[0], statistics.median(values), values[-1]
        print(f"{name:<10} CPU % of one core: min {low:.1f}  median {middle:.1f}  max {high:.1f}")
    ratios = sorted(row[0] / row[1] for row in rows if row[1])
    low, middle, high = ratios[0], statistics.median(ratios), ratios[-1]
    print(f"ratio gotriage / htop: min {low:.2f}  median {middle:.2f}  max {high:.2f}  (to reach: 3)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
