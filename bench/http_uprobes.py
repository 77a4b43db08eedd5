"""What the probes at Go's functions cost an HTTP service in a closed loop: at the default budget, and without any.

wrk asks tests/services/web over one CPU's worth of connections, now untraced, now traced by `gotriage show http --trace
http_uprobes`, in turns. The figure is the median of throughput over the mean of the two untraced runs around it; beside
it the second of these over the first, which is what chance alone gives. /sql makes three queries an answer, whose
ends are stepped by the processor: the dearest that there is.

    python -m bench.http_uprobes [--seconds 20] [--rounds 4]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.closed_loop import Run, command, load
from tests.lab import toolchain
from tests.lab.process import Start, started

ROOT = Path(__file__).parents[1]
WARM = 3.0
"""Seconds of load before a trace: a budget is a part of the CPU that the target uses when it starts."""
SETTLE = 3.0
"""Seconds of load from the start of a trace until a run begins: it is attached then, and has found its share."""
TO_REACH = 0.97


def traced(pid: int, url: str, seconds: float, budget: str) -> tuple[Run, str]:
    """One run while it is traced; and what gotriage said of the trace."""
    line = [str(ROOT / ".venv/bin/gotriage"), "show", "http", "--trace", "http_uprobes", "--pid", str(pid)]
    line += ["--for", f"{seconds + SETTLE + 1:g}s", "--option", f"budget={budget}", "--json"]
    warm = command(url, WARM + SETTLE)
    with subprocess.Popen(warm, stdout=subprocess.DEVNULL) as loading:
        time.sleep(WARM)
        tracer = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        loading.wait()
    with tracer:
        run = load(pid, url, seconds)
        _, said = tracer.communicate(timeout=60)
    return run, said.strip()


def compare(pid: int, url: str, seconds: float, rounds: int, budget: str) -> tuple[float, float, float]:
    """Medians: throughput traced over untraced, untraced over untraced, seconds of CPU added to a request."""
    ratios, chance, added = [], [], []
    said = ""
    before = load(pid, url, seconds)
    for _ in range(rounds):
        run, said = traced(pid, url, seconds, budget)
        after = load(pid, url, seconds)
        ratios.append(run.rate / ((before.rate + after.rate) / 2))
        chance.append(after.rate / before.rate)
        added.append(run.cost - (before.cost + after.cost) / 2)
        before = after
    print(f"    {[round(ratio, 3) for ratio in ratios]}; {said.splitlines()[-1] if said else ''}")
    return statistics.median(ratios), statistics.median(chance), statistics.median(added)


def main() -> int:
    """Print the table; 1 when a figure is not reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    reached = True
    with started(Start(toolchain.build("web", flags=["-ldflags=-s -w"]))) as service:
        address = (service.folder / "ready").read_text().split()[0]
        for path in ("/", "/sql"):
            for budget, words in (("2%", "budget 2 %"), ("off", "no budget")):
                seconds = arguments.seconds if budget != "off" else min(arguments.seconds, 4.0)
                url = f"http://{address}{path}"
                ratio, chance, added = compare(service.pid, url, seconds, arguments.rounds, budget)
                figures = f"throughput {ratio:.3f}  A/A {chance:.3f}  added {added * 1e6:.2f} us a request"
                print(f"{path:<5} {words:<11} {figures}", flush=True)
                reached = reached and (budget == "off" or ratio >= TO_REACH)
    print(f"at the default budget: {'reached' if reached else 'not reached'} ({TO_REACH})")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
