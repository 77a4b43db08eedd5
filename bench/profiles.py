"""Profiles: from the key to the flame graph, names on a stripped program, and what they cost the target.

- *Screen*: the TUI on a terminal of its own, a CPU profile of 5 s of a busy service; seconds from the last key to the
  picture of the whole profile.
- *Names*: frames outside of the kernel whose function is known, of a stripped Go service under load.
- *Throughput*: tests/services/parked with 10,000 goroutines in a closed loop of HTTP requests by wrk, with a wall-clock
  profile at 10 samples a second, with a CPU profile at 99 Hz, and with neither, in turn; each round gives the ratio to
  the runs without any before and after it, and that of the service's CPU time a request, which a busy machine disturbs
  less. "A/A" is a run without any against the same: the noise.

    python -m bench.profiles [--rounds 5] [--seconds 4] [--goroutines 10000]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import signal
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.watching import cpu_seconds, start_in_pty
from gotriage.catalog import source
from gotriage.collectors.profile.cpu import BpfTracer
from gotriage.collectors.profile.wall import WallTracer
from gotriage.host import Host
from tests.collectors.fakes import real_target
from tests.lab import toolchain
from tests.lab.process import Running, Start, started

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
GOTRIAGE = str(ROOT / ".venv/bin/gotriage")
STRIPPED = ("-ldflags=-s -w",)
PATH = "/gap?ms=0"
"""Is refused at once: the smallest request that the service answers."""


# -- screen


def screen(pid: int) -> float:
    """Seconds from the key that starts a profile of 5 s to the picture of all of it."""
    child, fd = start_in_pty([GOTRIAGE, "--pid", str(pid)], 120, 40)
    seen = bytearray()

    def wait_for(text: bytes, key: bytes = b"") -> None:
        """Press the key, again now and then while the screens are not ready for it, until the text is there."""
        ends, press_at = time.monotonic() + 60.0, 0.0
        while text not in seen:
            if time.monotonic() > ends:
                raise SystemExit(f"{text!r} did not come on the screen")
            if key and time.monotonic() > press_at:
                os.write(fd, key)
                press_at = time.monotonic() + 5.0
            if select.select([fd], [], [], 0.05)[0]:
                seen.extend(os.read(fd, 1 << 16))
        seen.clear()

    try:
        wait_for(b"LIVE")
        wait_for(b"none so far", b"P")
        wait_for(b"hits a second", b"r")
        os.write(fd, b"y")
        begun = time.monotonic()
        wait_for(b"its time is over")
        return time.monotonic() - begun
    finally:
        os.kill(child, signal.SIGTERM)
        os.close(fd)
        os.waitpid(child, 0)


# -- names


def names(running: Running) -> dict[str, Any]:
    """What a profile under load says of itself: samples, attributed, user_frames, named_frames."""
    said: dict[str, Any] = {}
    with profiled(running.pid, "profile", said), load(running.address, 5.0):
        pass
    return said


# -- throughput


@contextmanager
def load(address: str, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Requests in a closed loop, for so long."""
    words = ["wrk", "-t1", "-c8", f"-d{seconds:g}s", f"http://{address}{PATH}"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.communicate()


class Served(NamedTuple):
    """Requests a second, and CPU time of the service for each, seconds."""

    rate: float
    each: float


def throughput(running: Running, seconds: float) -> Served:
    """In a closed loop, for so long."""
    before = cpu_seconds([running.pid])
    with load(running.address, seconds) as process:
        said = process.communicate()[0]
    spent = cpu_seconds([running.pid]) - before
    rate, count = re.search(r"Requests/sec:\s+([\d.]+)", said), re.search(r"(\d+) requests in", said)
    if rate is None or count is None:
        raise SystemExit(f"wrk said: {said}")
    return Served(float(rate[1]), spent / int(count[1]))


def work(pid: int, kind: str) -> None:
    """Take a profile as the agent does, until standard input ends; what came of it as JSON."""
    tracer = (WallTracer if kind == "wall" else BpfTracer)(Host(), real_target(pid))
    every = source(kind).every  # type: ignore[union-attr]  # it is in the catalogue
    tracer.start({})
    print("on", flush=True)
    os.set_blocking(0, False)
    found: list[Any] = []
    while sys.stdin.buffer.raw.read(1) is None:  # type: ignore[attr-defined]  # standard input is a pipe
        time.sleep(every)
        found = list(tracer.collect()) or found
    tracer.stop()
    record = found[-1]
    names = ("samples", "attributed", "user_frames", "named_frames", "seconds", "looks", "took")
    print(json.dumps({name: getattr(record, name, 0) for name in names}), flush=True)


@contextmanager
def profiled(pid: int, kind: str, result: dict[str, Any] | None = None) -> Iterator[None]:
    """While a profile is taken; what it says of itself goes to `result`."""
    if kind == "nothing":
        yield
        return
    words = [sys.executable, "-m", "bench.profiles", "--worker", kind, str(pid)]
    process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        if process.stdout.readline() != "on\n":
            raise SystemExit(f"{kind}: did not start")
        yield
    finally:
        said = process.communicate()[0]
    record = json.loads(said)
    if result is not None:
        result.update(record)
    took = f", {record['took'] / record['looks'] * 1e3:.0f} ms a look" if record["looks"] else ""
    rate = (record["looks"] or record["samples"]) / record["seconds"]
    print(f"    {kind}: {rate:.1f} a second{took}", file=sys.stderr, flush=True)


def cost(running: Running, rounds: int, seconds: float) -> dict[str, list[Served]]:
    """Ratios of throughput, and of CPU time a request, to the mean of the runs without any just before and after."""
    found: dict[str, list[Served]] = {"A/A": [], "wall": [], "profile": []}

    def run(kind: str) -> Served:
        with profiled(running.pid, kind):
            return throughput(running, seconds)

    run("nothing")
    for _ in range(rounds):
        before = run("nothing")
        for name, ratios in found.items():
            value = run("nothing" if name == "A/A" else name)
            after = run("nothing")
            rate, each = (before.rate + after.rate) / 2, (before.each + after.each) / 2
            ratios.append(Served(value.rate / rate, value.each / each))
            before = after
    return found


def line(name: str, values: list[float], target: str) -> None:
    low, middle, high = min(values), statistics.median(values), max(values)
    print(f"{name:<34}{middle:>8.3f}  ({low:.3f} to {high:.3f}, {len(values)} rounds)  {target}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--goroutines", type=int, default=10_000)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(int(given.worker[1]), given.worker[0])
        return 0
    with ExitStack() as stack:
        busy = stack.enter_context(started(Start(toolchain.build("goill", flags=STRIPPED), ("-ill=busy",))))
        line("seconds to the flame graph of 5 s", [screen(busy.pid) for _ in range(given.rounds)], "to reach: 6.5")
    binary = toolchain.build("parked", flags=STRIPPED)
    with started(Start(binary, (f"-n={given.goroutines}",))) as running:
        said = names(running)
        named, frames = said["named_frames"], said["user_frames"]
        share, known = named / max(frames, 1), said["attributed"] / max(said["samples"], 1)
        print(f"{'frames named, stripped':<34}{share:>8.4f}  ({named:,} of {frames:,})  to reach: 0.99", flush=True)
        print(f"{'samples with their goroutine':<34}{known:>8.3f}  (of {said['samples']:,})", flush=True)
        ratios = cost(running, given.rounds, given.seconds)
    names_of = {"A/A": "A/A", "wall": f"wall, {given.goroutines:,} goroutines", "profile": "CPU at 99 Hz"}
    for key, name in names_of.items():
        line(f"throughput, {name}", [one.rate for one in ratios[key]], "to reach: 0.95" if key == "wall" else "")
        line("   CPU time a request", [one.each for one in ratios[key]], "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
