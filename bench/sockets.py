"""50,000 TCP sockets of a process listed by peer, beside `ss -tanp` and `lsof -i`, in one run.

A real process holds them: connections over loopback, both ends its own. Where its hard limit of descriptors is lower
than that, as many processes as needed hold them, and they are the target together. The others are timed as processes
that write to /dev/null; ours is one look of the collector: every socket of the network namespace with what the kernel
knows of its connection, joined with the processes, grouped by peer. `ss -tanpi` asks the kernel for as much;
`lsof -i` also asks for names of hosts and ports. Rounds are
interleaved, the number of sockets that each side sees must agree. CPU is user and system time, children included.

    python bench/sockets.py [--count 50000] [--rounds 7]
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
from gotriage.collectors.network import NetworkCollector
from gotriage.host import Host
from gotriage.records.network import Network
from gotriage.records.target import TargetSpec
from gotriage.target.model import Process, Target

HOLDER = """
import resource, socket, sys
count = int(sys.argv[1])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
keep = []
listeners = [socket.create_server((f"127.0.0.{last}", 0), backlog=4096) for last in range(1, 5)]
while len(keep) < count:
    listener = listeners[len(keep) // 2 % 4]
    keep.append(socket.create_connection(listener.getsockname()))
    keep.append(listener.accept()[0])
print("ready", flush=True)
sys.stdin.read()
"""


def holders(stack: ExitStack, count: int) -> list[int]:
    """Processes that hold so many sockets together, as few as the hard limit lets."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    processes = -(-count // (hard - 100))
    found = []
    for _ in range(processes):
        words = [sys.executable, "-c", HOLDER, str(count // processes)]
        found.append(stack.enter_context(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)))
    for process in found:
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise SystemExit("a holder did not start")
    return [process.pid for process in found]


def other(*words: str) -> int:
    """Run it, its output thrown away."""
    with Path(os.devnull).open("wb") as sink:
        subprocess.run(words, stdout=sink, stderr=subprocess.DEVNULL, check=False)
    return 0


def counted_by_ss(pids: list[int]) -> int:
    """Connections in ESTABLISHED that ss gives to the processes."""
    out = subprocess.run(["ss", "-Htnp", "state", "established"], capture_output=True, text=True, check=True).stdout
    mine = tuple(f"pid={pid}," for pid in pids)
    return sum(1 for line in out.splitlines() if any(word in line for word in mine))


def ours(pids: list[int]) -> int:
    """Connections in ESTABLISHED of the target, after a first look by a new collector."""
    host = Host()
    target = Target(spec=TargetSpec("pid", str(pids[0])), host=host, main=Process(host, pids[0]), pids=tuple(pids))
    (record,) = (record for record in NetworkCollector(host, target).collect() if isinstance(record, Network))
    if target.main:
        target.main.close()
    return record.by_state["tcp ESTABLISHED"]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with ExitStack() as stack:
        pids = holders(stack, options.count)
        sides = [
            Side("gotriage", lambda: ours(pids)),
            Side("ss -tanp", lambda: other("ss", "-tanp")),
            Side("ss -tanpi", lambda: other("ss", "-tanpi")),
            Side("lsof -i", lambda: other("lsof", "-i")),
            Side("lsof -nP -i", lambda: other("lsof", "-nP", "-i")),
        ]
        seen, theirs = ours(pids), counted_by_ss(pids)
        if seen != theirs:
            raise SystemExit(f"gotriage sees {seen} connections, ss {theirs}")
        print(f"{seen} connections in {len(pids)} process(es); medians of {options.rounds} rounds")
        for line in compared(sides, options.rounds):
            print(line)


if __name__ == "__main__":
    main()
