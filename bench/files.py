"""50,000 open descriptors listed, beside `lsof -p`, in one run.

A real process holds them: TCP connections over loopback, files, and some pipes. Where its hard limit of descriptors
is lower than that, as many processes as needed hold them, and both sides list all of these. lsof is timed as a process
that writes to /dev/null; ours is one look of the collector to typed rows with socket states, peers and pipe partners.
Rounds are interleaved; both must name the same number of descriptors. CPU is user and system time, children included.

    python bench/files.py [--count 50000] [--rounds 7]
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from bench.side import Side, compared
from gotriage.collectors.files import TableCollector
from gotriage.host import Host
from gotriage.records.files import FileTable
from gotriage.records.target import TargetSpec
from gotriage.target.model import Process, Target

HOLDER = """
import os, resource, socket, sys, tempfile
count, kind = int(sys.argv[1]), sys.argv[2]
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
keep = []
with tempfile.TemporaryDirectory() as folder:
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    while len(keep) < count:
        at = len(keep)
        if kind == "files" or (kind == "mixed" and at % 10 < 3):
            keep.append(os.open(f"{folder}/log-{at % 1000}", os.O_RDWR | os.O_CREAT | os.O_APPEND))
        elif kind == "mixed" and at % 100 == 99:
            keep += os.pipe()
        else:
            keep.append(socket.create_connection(listener.getsockname()))
            keep.append(listener.accept()[0])
    print("ready", flush=True)
    sys.stdin.read()
"""


def holders(stack: ExitStack, count: int, kind: str) -> list[int]:
    """Processes that hold so many descriptors together, as few as the hard limit lets."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    processes = -(-count // (hard - 100))
    found = []
    for _ in range(processes):
        words = [sys.executable, "-c", HOLDER, str(count // processes), kind]
        process = stack.enter_context(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        found.append(process)
    for process in found:
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise SystemExit("a holder did not start")
    return [process.pid for process in found]


def lsof(pids: list[int], *flags: str) -> int:
    """Lines of numbered descriptors."""
    words = ["lsof", *flags, "-p", ",".join(map(str, pids))]
    with Path(os.devnull).open("wb") as sink:
        subprocess.run(words, stdout=sink, stderr=subprocess.DEVNULL, check=False)
    return 0


def counted_by_lsof(pids: list[int]) -> int:
    """Numbered descriptors that lsof names (besides cwd, mem and its like); "*234" is its way to write 10234."""
    words = ["lsof", "-nP", "-F", "f", "-p", ",".join(map(str, pids))]
    out = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    return sum(1 for line in out.splitlines() if line[:1] == "f" and line[1:].lstrip("*").isdigit())


def ours(pids: list[int]) -> int:
    """Rows of a first look by a new collector."""
    host = Host()
    target = Target(spec=TargetSpec("pid", str(pids[0])), host=host, main=Process(host, pids[0]), pids=tuple(pids))
    (table,) = (record for record in TableCollector(host, target).collect() if isinstance(record, FileTable))
    if target.main:
        target.main.close()
    return len(table.rows)


def measure(kind: str, count: int, rounds: int) -> None:
    """Print one table."""
    with ExitStack() as stack:
        pids = holders(stack, count, kind)
        sides = [
            Side("gotriage", lambda: ours(pids)),
            Side("lsof -p", lambda: lsof(pids)),
            Side("lsof -nP -p", lambda: lsof(pids, "-nP")),
        ]
        listed, theirs = ours(pids), counted_by_lsof(pids)
        if listed != theirs:
            raise SystemExit(f"gotriage lists {listed} descriptors, lsof {theirs}")
        print(f"\n{kind}: {listed} descriptors in {len(pids)} process(es); medians of {rounds} rounds")
        for line in compared(sides, rounds):
            print(line)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    for kind in ("sockets", "files", "mixed"):
        measure(kind, options.count, options.rounds)


if __name__ == "__main__":
    main()
