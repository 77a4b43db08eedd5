"""What HTTP read at the sockets costs a service in a closed loop, and whether every request is counted.

wrk asks tests/services/web in a closed loop, and the trace is attached and detached every half second, by both ways: at
the tracepoints of sockets and at the end of all system calls. Throughput is told from the service's write(2) calls, one
an answer. The figures are medians of an attached slice over the mean of the two detached ones around it; beside them
the second of these over the first, which is what chance alone gives. "CPU" is the service's CPU time for an answer.

Then a load generator of our own asks for five answers in turn at a fixed rate, and as fast as it goes, and what it got
is compared with what was counted, route by route and status by status.

    python -m bench.http_sockets [--slices 40] [--seconds 4] [--rate 5000]
"""

from __future__ import annotations

import argparse
import re
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gotriage.collectors.http import CallTracer, SocketTracer
from gotriage.host import Host
from gotriage.records.http import Http
from gotriage.records.target import TargetSpec
from gotriage.target.model import Process, Target
from tests.lab import toolchain
from tests.lab.process import Start, started

if TYPE_CHECKING:
    from collections.abc import Iterator

SLICE, SETTLE = 0.48, 0.02
"""Seconds of a slice, and between a change and its beginning."""
TO_REACH = 0.90
WAYS = (SocketTracer, CallTracer)
CONNECTIONS = 16
ASKED = ("/", "/item/42", "/status/404", "/status/503", "/status/204")
ROUTES = {
    "/item/42": "/item/{n}",
    "/status/404": "/status/{n}",
    "/status/503": "/status/{n}",
    "/status/204": "/status/{n}",
}


@contextmanager
def traced(way: type[SocketTracer], pid: int) -> Iterator[SocketTracer]:
    """Traced; whoever asks looks once a second, as the agent does."""
    host = Host()
    target = Target(spec=TargetSpec("pid", str(pid)), host=host, main=Process(host, pid), pids=(pid,))
    with closing(way(host, target)) as tracer:
        tracer.start({})
        yield tracer


def counted_now(pid: int) -> tuple[int, float, float]:
    """write(2) calls of the service so far, its CPU time, and the time, seconds."""
    writes = re.search(r"syscw: (\d+)", Path(f"/proc/{pid}/io").read_text())
    assert writes is not None
    cpu = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            cpu += int((task / "schedstat").read_text().split()[0]) / 1e9
    return int(writes[1]), cpu, time.perf_counter()


def slice_of(pid: int) -> tuple[float, float]:
    """Answers a second, and CPU seconds for one, over a slice."""
    time.sleep(SETTLE)
    before, cpu_before, begun = counted_now(pid)
    time.sleep(SLICE)
    after, cpu_after, ended = counted_now(pid)
    answers = max(after - before, 1)
    return answers / (ended - begun), (cpu_after - cpu_before) / answers


def compare(way: type[SocketTracer], pid: int, address: str, slices: int) -> float:
    """Print the medians of one way; its throughput over that of detached slices."""
    line = ["wrk", "-t1", f"-c{CONNECTIONS}", "-d600s", f"http://{address}/item/42"]
    off, on = [], []
    with traced(way, pid) as tracer, subprocess.Popen(line, stdout=subprocess.DEVNULL) as load:
        time.sleep(1.0)
        for _ in range(slices):
            tracer.detach()
            off.append(slice_of(pid))
            tracer.attach()
            on.append(slice_of(pid))
            list(tracer.collect())
        tracer.detach()
        off.append(slice_of(pid))
        load.terminate()
    pairs = list(zip(off, on, off[1:], strict=False))
    rate, cpu = (statistics.median(b[of] / ((a[of] + c[of]) / 2) for a, b, c in pairs) for of in (0, 1))
    chance, chance_cpu = (statistics.median(c[of] / a[of] for a, _, c in pairs) for of in (0, 1))
    print(
        f"{way.backend:<20} throughput {rate:.3f}  A/A {chance:.3f}   CPU an answer {cpu:.3f}  A/A {chance_cpu:.3f}"
        f"   detached {statistics.median(one[0] for one in off):,.0f}/s",
        flush=True,
    )
    return rate


class Asker:
    """A client that counts: all connections ask at once, then all answers are read."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._sockets = [socket.create_connection((host, int(port))) for _ in range(CONNECTIONS)]
        for one in self._sockets:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.got: Counter[tuple[str, str]] = Counter()
        self._number = 0

    def ask(self, seconds: float, rate: float | None) -> float:
        """Ask for so long; the rate that it came to."""
        began, asked = time.monotonic(), 0
        while (now := time.monotonic()) < began + seconds:
            if rate is not None and asked > (now - began) * rate:
                time.sleep(0.001)
                continue
            paths = [ASKED[(self._number + place) % len(ASKED)] for place in range(CONNECTIONS)]
            self._number += CONNECTIONS
            for one, path in zip(self._sockets, paths, strict=True):
                one.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            for one, path in zip(self._sockets, paths, strict=True):
                answer = one.recv(65536)
                self.got[ROUTES.get(path, path), answer[9:12].decode()] += 1
            asked += CONNECTIONS
        return asked / (time.monotonic() - began)

    def close(self) -> None:
        """End the connections."""
        for one in self._sockets:
            one.close()


def exactness(way: type[SocketTracer], pid: int, address: str, seconds: float, rate: float | None) -> bool:
    """Print whether each answer was counted."""
    with closing(Asker(address)) as asker, traced(way, pid) as tracer:
        came_to = asker.ask(seconds, rate)
        time.sleep(0.1)
        (record,) = tracer.collect()
    assert isinstance(record, Http)
    counted = Counter(
        {(row.route, status): n for row in record.rows if row.direction == "in" for status, n in row.statuses.items()}
    )
    same = counted == asker.got and record.count == asker.got.total()
    print(
        f"{way.backend:<20} at {came_to:,.0f}/s: the client got {asker.got.total():,} answers, {record.count:,} were"
        f" counted, routes and statuses {'all the same' if same else 'differ'}; lost {record.lost}",
        flush=True,
    )
    return same


def main() -> int:
    """Print the tables; 1 when a figure is not reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rate", type=float, default=5000.0)
    arguments = parser.parse_args()
    with started(Start(toolchain.build("web", flags=["-ldflags=-s -w"]))) as service:
        address = (service.folder / "ready").read_text().split()[0]
        ratios = [compare(way, service.pid, address, arguments.slices) for way in WAYS]
        exact = [
            exactness(way, service.pid, address, arguments.seconds, rate)
            for way in WAYS
            for rate in (arguments.rate, None)
        ]
    reached = ratios[0] >= TO_REACH and all(exact)
    print(f"{'reached' if reached else 'not reached'}: {TO_REACH} at sockets, and exact")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
