"""An HTTP service in a closed loop: wrk asks as fast as answers come, 16 connections, one thread, same machine."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Run:
    """Requests a second, and the service's CPU time for one, seconds."""

    rate: float
    cost: float


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5), /proc/PID/stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def command(url: str, seconds: float) -> list[str]:
    """wrk for so long."""
    return ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", url]


def load(pid: int, url: str, seconds: float) -> Run:
    """One run of wrk against the service of that process. Raises RuntimeError when wrk says something else."""
    before = cpu_seconds(pid)
    out = subprocess.run(command(url, seconds), capture_output=True, text=True, check=True).stdout
    count, rate = re.search(r"(\d+) requests in", out), re.search(r"Requests/sec:\s+([\d.]+)", out)
    if count is None or rate is None:
        raise RuntimeError(f"wrk said: {out}")
    return Run(float(rate[1]), (cpu_seconds(pid) - before) / max(int(count[1]), 1))
