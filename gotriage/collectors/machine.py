"""The machine around the target: /proc/stat, loadavg, meminfo, pressure, uptime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gotriage.errors import GotriageError
from gotriage.host import clock
from gotriage.host.proc import parse_fields
from gotriage.records.base import Why
from gotriage.records.pressure import parse_pressure
from gotriage.records.process import HostSample, Pressure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.target.model import Target


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """The "cpu" line of /proc/stat in clock ticks, all CPUs together (proc_stat(5))."""

    busy: int
    steal: int
    total: int


def parse_cpu(text: str) -> tuple[CpuTimes, int]:
    """Parse /proc/stat: the times of all CPUs and how many CPUs are online. Raises ValueError without a "cpu" line."""
    lines = text.splitlines()
    if not lines or not lines[0].startswith("cpu "):
        raise ValueError("no cpu line")
    user, nice, system, idle, iowait, irq, softirq, steal = ([int(word) for word in lines[0].split()[1:9]] + [0] * 8)[
        :8
    ]
    busy = user + nice + system + irq + softirq
    cpus = sum(1 for line in lines if line.startswith("cpu") and line[3:4].isdigit())
    return CpuTimes(busy, steal, busy + idle + iowait + steal), cpus


class MachineCollector:
    """One `HostSample` a look."""

    backend = "/proc/stat, meminfo, pressure"

    def __init__(self, host: Host, target: Target) -> None:
        self._proc = host.proc
        self._before: CpuTimes | None = None

    def collect(self) -> Iterator[Record]:
        """Look once."""
        times, cpus = parse_cpu(self._proc.text("stat"))
        used, steal = self._shares(times, cpus)
        memory = parse_fields(self._proc.read("meminfo"))
        pressures = {name: self._pressure(name) for name in ("cpu", "memory", "io")}
        unknown = {
            f"{name}_pressure": Why("this kernel has no PSI", "boot with psi=1 (CONFIG_PSI)")
            for name, pressure in pressures.items()
            if pressure is None
        }
        yield HostSample(
            at=clock.now(),
            unknown=unknown,
            cpus=cpus,
            cpu=used,
            steal=steal,
            load1=float(self._proc.text("loadavg").split()[0]),
            memory_total_bytes=_kilobytes(memory, "MemTotal"),
            memory_available_bytes=_kilobytes(memory, "MemAvailable"),
            swap_total_bytes=_kilobytes(memory, "SwapTotal"),
            swap_free_bytes=_kilobytes(memory, "SwapFree"),
            cpu_pressure=pressures["cpu"],
            memory_pressure=pressures["memory"],
            io_pressure=pressures["io"],
            uptime=float(self._proc.text("uptime").split()[0]),
        )

    def _shares(self, times: CpuTimes, cpus: int) -> tuple[float | None, float | None]:
        """CPU in use and stolen since the look before, in cores; None at the first look."""
        before, self._before = self._before, times
        if before is None or times.total <= before.total:
            return None, None
        passed = (times.total - before.total) / cpus if cpus else 0.0
        return (times.busy - before.busy) / passed, (times.steal - before.steal) / passed

    def _pressure(self, name: str) -> Pressure | None:
        try:
            return parse_pressure(self._proc.text("pressure", name))
        except (GotriageError, OSError):
            return None

    def close(self) -> None:
        """Nothing is held."""


def _kilobytes(fields: dict[str, str], name: str) -> int | None:
    """A "kB" line of /proc/meminfo in bytes."""
    words = fields.get(name, "").split()
    return int(words[0]) * 1024 if words and words[0].isdigit() else None
