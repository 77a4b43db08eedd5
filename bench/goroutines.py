"""All goroutines of a running service with their stacks: gotriage, Delve, and the service's own pprof, in one run.

The service is tests/services/parked, built with its debug information (Delve needs it) by the oldest Go of the tests,
which Debian's Delve still reads. Each way is taken in turn on the same process, while two things are asked of that
process: how long a goroutine that spins on the clock was kept from it at most ("gap"), and HTTP requests every 5 ms,
counted from when they were due, so that a standstill counts in full ("p99"). "Nothing" is both without anybody who
looks, "a busy core" beside a loop that takes as long as our stacks and touches nothing. Of gotriage's ways `cold` is a
whole new process that finds its way and looks once; `reader` is what the product runs, at idle priority and a capped
rate; the others are the library, warm. Delve is a whole command each time.

    python -m bench.goroutines [--counts 1000 10000 100000 1000000] [--rounds 5] [--delve-most 100000]
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gotriage.goruntime import client, goroutines
from gotriage.goruntime.runtime import attach
from tests.lab import toolchain
from tests.lab.process import Running, Start, started

if TYPE_CHECKING:
    from collections.abc import Callable

    Way = Callable[[], tuple[float, int]]

ROOT = Path(__file__).parents[1]
EVERY = 0.005
"""Seconds between two HTTP requests."""
WINDOW = 400
"""Milliseconds that the spinning goroutine looks at the clock before it says how that went."""
FEW = 30
"""Goroutines by which two ways may differ: those of the requests themselves."""
NEEDED = 8 << 30
"""Bytes of memory that have to be available for a million goroutines."""


# -- what is asked of the service meanwhile


@dataclass
class Watch:
    """Asks a service for its gaps and by HTTP for as long as something runs."""

    address: str
    gaps: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    _over: float | None = None

    def __enter__(self) -> Watch:
        begun = threading.Event()
        self._threads = [threading.Thread(target=self._spin, args=(begun,)), threading.Thread(target=self._ask)]
        for thread in self._threads:
            thread.start()
        begun.wait()
        time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._over = time.monotonic()
        for thread in self._threads:
            thread.join()

    def _get(self, connection: http.client.HTTPConnection, path: str) -> bytes:
        connection.request("GET", path)
        return connection.getresponse().read()

    def _spin(self, begun: threading.Event) -> None:
        connection = http.client.HTTPConnection(self.address, timeout=900)
        self._get(connection, "/gap?ms=1")
        begun.set()
        while self._over is None:
            self.gaps.append(int(self._get(connection, f"/gap?ms={WINDOW}")) / 1e9)

    def _ask(self) -> None:
        connection, due = http.client.HTTPConnection(self.address, timeout=900), time.monotonic()
        while self._over is None or due < self._over:
            if (left := due - time.monotonic()) > 0:
                time.sleep(left)
            self._get(connection, "/gap?ms=0")  # refused at once
            self.latencies.append(time.monotonic() - due)
            due += EVERY

    @property
    def p99(self) -> float:
        found = sorted(self.latencies)
        return found[int(len(found) * 0.99)]


# -- the library, in a process of its own


def work(pid: int) -> None:
    """Serve the parent: a line with the name of an operation in, its seconds, goroutines and peak memory out."""
    runtime = attach(pid)
    operations: dict[str, Callable[[], int]] = {
        "list": lambda: len(goroutines.read(runtime.memory, runtime.layout, runtime.found)),
        "stacks": lambda: runtime.dump().count,
        "counters": lambda: runtime.counters(spans=False).threads or 0,
        "sizes": lambda: runtime.counters(spans=True).threads or 0,
    }
    last = 0.05
    for line in sys.stdin:
        begun = time.perf_counter()
        if line.strip() == "burn":
            while time.perf_counter() < begun + last:
                pass
            count = 0
        else:
            count = operations[line.strip()]()
            last = time.perf_counter() - begun if count and line.strip() == "stacks" else last
        took, peak = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps([took, count, peak * 1024]), flush=True)


class Worker:
    """The library, warm."""

    def __init__(self, pid: int) -> None:
        words = [sys.executable, "-m", "bench.goroutines", "--worker", str(pid)]
        self._process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.peak = 0

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def ask(self, operation: str) -> tuple[float, int]:
        assert self._process.stdin
        assert self._process.stdout
        print(operation, file=self._process.stdin, flush=True)
        took, count, self.peak = json.loads(self._process.stdout.readline())
        return took, count


COLD = """
import sys
from gotriage.goruntime.runtime import attach
from gotriage.host import cache
cache.load = lambda *_: None  # nothing is known of this build
print(attach(int(sys.argv[1])).dump().count)
"""


def cold(pid: int) -> tuple[float, int]:
    """A new process from its start to its end."""
    begun = time.perf_counter()
    words = [sys.executable, "-c", COLD, str(pid)]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return time.perf_counter() - begun, int(said)


# -- the others


def delve(pid: int, command: str) -> tuple[float, int]:
    """Attach, list, let go."""
    words = ["dlv", "attach", str(pid), "--check-go-version=false", "--allow-non-terminal-interactive=true"]
    begun = time.perf_counter()
    script = f"{command}\nexit\nn\n"
    said = subprocess.run(words, input=script, capture_output=True, text=True, check=False).stdout
    took = time.perf_counter() - begun
    count = re.search(r"^\[(\d+) goroutines\]$", said, re.MULTILINE)
    if count is None:
        raise SystemExit(f"dlv did not list the goroutines: {said[-500:]}")
    return took, int(count[1])


def pprof(address: str, debug: int) -> tuple[float, int]:
    """The service's own list; the count is 0 where it was cut (at 64 MB)."""
    connection = http.client.HTTPConnection(address, timeout=900)
    begun = time.perf_counter()
    connection.request("GET", f"/debug/pprof/goroutine?debug={debug}")
    data = connection.getresponse().read()
    took = time.perf_counter() - begun
    if debug == 1:
        return took, int(data.split(b"\n", 1)[0].split()[-1])
    return took, data.count(b"\n\ngoroutine ") + 1 if len(data) < 64 << 20 else 0


# -- put together


@dataclass
class Row:
    """The rounds of one way."""

    seconds: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    count: int = 0


def nothing() -> tuple[float, int]:
    time.sleep(1.0)
    return 1.0, 0


def ways(running: Running, worker: Worker, reader: client.Reader, with_delve: bool) -> dict[str, Way]:
    """Name to what does it once and says for how long it took, and how many goroutines it saw."""

    def product() -> tuple[float, int]:
        begun = time.perf_counter()
        dump = reader.call("goroutines", 600.0)
        return time.perf_counter() - begun, dump.count  # type: ignore[attr-defined]

    found: dict[str, Way] = {
        "nothing": nothing,
        "gotriage list": lambda: worker.ask("list"),
        "gotriage stacks": lambda: worker.ask("stacks"),
        "a busy core": lambda: worker.ask("burn"),
        "gotriage reader": product,
        "gotriage cold": lambda: cold(running.pid),
        "counters": lambda: (worker.ask("counters")[0], 0),
        "counters, sizes": lambda: (worker.ask("sizes")[0], 0),
        "pprof debug=1": lambda: pprof(running.address, 1),
        "pprof debug=2": lambda: pprof(running.address, 2),
    }
    if with_delve:
        found["delve list"] = lambda: delve(running.pid, "goroutines")
        found["delve stacks"] = lambda: delve(running.pid, "goroutines -t 100")
    return found


def measure(binary: Path, count: int, rounds: int, with_delve: bool) -> None:
    """One number of goroutines; prints a table."""
    with ExitStack() as stack:
        running = stack.enter_context(started(Start(binary, (f"-n={count}",))))
        worker = stack.enter_context(Worker(running.pid))
        reader = stack.enter_context(client.Reader(running.pid))
        rows: dict[str, Row] = {}
        for number in range(rounds + 1):
            for name, way in ways(running, worker, reader, with_delve).items():
                slow = rows.get(name) is not None and rows[name].seconds[:1] > [10.0]
                if slow and len(rows[name].seconds) >= 2:
                    continue
                with Watch(running.address) as watch:
                    took, seen = way()
                if seen and abs(seen - count) > 200 + FEW:
                    raise SystemExit(f"{name} saw {seen} of about {count} goroutines")
                row = rows.setdefault(name, Row())
                if number == 1:
                    row.__init__()  # type: ignore[misc]  # the first round warmed everything up
                row.seconds.append(took)
                row.gaps.append(max(watch.gaps))
                row.p99.append(watch.p99)
                row.count = seen
        show(count, rows, worker.peak)


def show(count: int, rows: dict[str, Row], peak: int) -> None:
    """The table."""
    base = statistics.median(rows["gotriage stacks"].seconds)
    print(f"\n{count:,} goroutines: medians; peak memory of the reading process {peak / 1e6:,.0f} MB")
    print(f"{'':<17}{'rounds':>7}{'time':>12}{'x stacks':>10}{'gap':>12}{'gap max':>12}{'HTTP p99':>12}{'seen':>12}")
    for name, row in rows.items():
        took = statistics.median(row.seconds)
        ratio = "" if name == "nothing" else f"{took / base:.2f}x"
        cells = [ms(took), ratio, ms(statistics.median(row.gaps)), ms(max(row.gaps)), ms(statistics.median(row.p99))]
        widths = (12, 10, 12, 12, 12)
        text = "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        print(f"{name:<17}{len(row.seconds):>7}{text}{row.count or '':>12}", flush=True)


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms"


def available() -> int:
    """Bytes (proc_meminfo(5))."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--delve-most", type=int, default=100_000, help="goroutines up to which Delve is asked")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.worker)
        return
    binary = toolchain.build("parked", toolchain.QUICK[0])
    has_delve = shutil.which("dlv") is not None
    if not has_delve:
        print("dlv is missing: apt install delve (./dev bench does); going on without it", file=sys.stderr)
    print(f"parked, built by Go {toolchain.QUICK[0]}, on {os.cpu_count()} CPUs")
    for count in given.counts:
        if count >= 1_000_000 and available() < NEEDED:
            print(f"\n{count:,} goroutines: left out, less than {NEEDED >> 30} GB of memory are available")
            continue
        measure(binary, count, given.rounds, has_delve and count <= given.delve_most)


if __name__ == "__main__":
    main()
