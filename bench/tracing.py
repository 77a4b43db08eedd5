"""What counting system calls costs a Go HTTP service in a closed loop, beside strace -c.

wrk asks tests/services/healthy (net/http) in a closed loop, 16 connections, one thread, on the same machine; each
traced run stands between two untraced ones, and the figure is its throughput over the mean of the two, the median of
all rounds with the range beside it. A/A is the second of those untraced runs over the first: what chance alone gives.
"CPU" is the service's CPU time for one request, likewise. Each way looks once a second in this process, as the agent
does.

Then the whole product: how long after a start the first record came, and the memory of every process of gotriage while
it traces with goroutines.

    python -m bench.tracing [--seconds 2] [--rounds 9] [--ways counts latency ...]
"""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench.closed_loop import load
from gotriage.collectors.syscalls.bpf import BpfTracer
from gotriage.collectors.syscalls.totals import TotalsTracer
from gotriage.collectors.syscalls.tracefs import TracefsTracer
from gotriage.host import Host
from gotriage.records.target import TargetSpec
from gotriage.target.model import Process, Target
from tests.lab import toolchain
from tests.lab.process import Start, started, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
WAYS: dict[str, tuple[type[BpfTracer | TracefsTracer | TotalsTracer] | None, str, float | None]] = {
    "counts": (BpfTracer, "counts", 0.95),
    "latency": (BpfTracer, "latency", 0.92),
    "goroutines": (BpfTracer, "goroutines", 0.87),
    "totals": (TotalsTracer, "counts", None),
    "tracefs": (TracefsTracer, "counts", None),
    "strace -c": (None, "", None),
}
"""Name to the way, its level, and the throughput to reach."""
TO_SHOW = 0.3
"""Seconds within which the first record is to come."""


class Service(Protocol):
    """What is asked."""

    pid: int
    address: str


@contextmanager
def traced(name: str, pid: int) -> Iterator[None]:
    """Traced in that way, with a look each second."""
    kind, level, _ = WAYS[name]
    if kind is None:
        with straced(pid):
            yield
        return
    host, over = Host(), threading.Event()
    target = Target(spec=TargetSpec("pid", str(pid)), host=host, main=Process(host, pid), pids=(pid,))
    tracer = kind(host, target)

    def look() -> None:
        while not over.wait(1.0):
            list(tracer.collect())

    thread = threading.Thread(target=look)
    try:
        tracer.start({"level": level})
        thread.start()
        yield
    finally:
        over.set()
        if thread.ident is not None:
            thread.join()
        tracer.stop()


@contextmanager
def straced(pid: int) -> Iterator[None]:
    """strace -c on all threads, bounded in time."""
    tasks = Path(f"/proc/{pid}/task")
    helper = subprocess.Popen(
        ["timeout", "60", "strace", "-c", "-f", "-p", str(pid), "-o", "/dev/null"], stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: all("TracerPid:\t0" not in (one / "status").read_text() for one in tasks.iterdir()))
        yield
    finally:
        helper.send_signal(signal.SIGINT)
        helper.wait()


def compare(name: str, service: Service, seconds: int, rounds: int) -> float:
    """Print the medians of one way; its throughput over that of untraced runs."""
    ratios, costs, chance, chance_costs = [], [], [], []
    before = load(service.pid, f"http://{service.address}/", seconds)
    for _ in range(rounds):
        with traced(name, service.pid):
            run = load(service.pid, f"http://{service.address}/", seconds)
        after = load(service.pid, f"http://{service.address}/", seconds)
        ratios.append(run.rate / ((before.rate + after.rate) / 2))
        costs.append(run.cost / ((before.cost + after.cost) / 2))
        chance.append(after.rate / before.rate)
        chance_costs.append(after.cost / before.cost)
        before = after
    middle, goal = statistics.median, WAYS[name][2]
    verdict = "" if goal is None else f"  to reach {goal:.2f}: {'yes' if middle(ratios) >= goal else 'NO'}"
    print(
        f"{name:<11} throughput {middle(ratios):.3f} ({min(ratios):.2f} to {max(ratios):.2f})"
        f"  A/A {middle(chance):.3f} ({min(chance):.2f} to {max(chance):.2f})"
        f"  CPU x{middle(costs):.2f}  A/A x{middle(chance_costs):.2f}  untraced {before.rate:,.0f}/s{verdict}",
        flush=True,
    )
    return middle(ratios)


def first_record(pid: int) -> None:
    """How long loading, attaching and a first look take."""
    for level in ("counts", "latency", "goroutines"):
        took = []
        for _ in range(5):
            host = Host()
            target = Target(spec=TargetSpec("pid", str(pid)), host=host, main=Process(host, pid), pids=(pid,))
            begin = time.perf_counter()
            tracer = BpfTracer(host, target)
            tracer.start({"level": level})
            attached = time.perf_counter()
            list(tracer.collect())
            took.append((attached - begin, time.perf_counter() - attached))
            tracer.stop()
        start, look = (statistics.median(part) for part in zip(*took, strict=True))
        print(f"{level:<11} attached after {start:.3f} s, a look takes {look:.3f} s")


def product(service: Service) -> None:
    """Memory of gotriage's processes while it traces, and when the first record came."""
    command = ["-m", "gotriage", "show", "syscalls", "--pid", str(service.pid), "--for", "4s"]
    shown = subprocess.Popen(
        [sys.executable, *command, "--option", "level=goroutines"], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    most: dict[str, int] = {}
    while shown.poll() is None:
        for pid in below(shown.pid):
            with suppress(OSError, IndexError, StopIteration):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                name = "reader" if b"gotriage.goruntime.reader" in words else "gotriage"
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                size = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
                most[f"{name} {pid}"] = max(most.get(f"{name} {pid}", 0), size)
        time.sleep(0.1)
    for name, size in most.items():
        print(f"{name}: at most {size / 1024:.0f} MB of its own (PSS)")


def below(pid: int) -> list[int]:
    """A process and all that it has started."""
    found = [pid]
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += below(int(child))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--ways", nargs="*", choices=list(WAYS), default=list(WAYS))
    options = parser.parse_args()
    with started(Start(toolchain.build("healthy"))) as service:
        load(service.pid, f"http://{service.address}/", 1)
        for name in options.ways:
            compare(name, service, options.seconds, options.rounds if name != "strace -c" else min(options.rounds, 3))
        first_record(service.pid)
        product(service)


if __name__ == "__main__":
    main()
