"""Pressure stall information as the kernel prints it."""

from __future__ import annotations

import re

from gotriage.records.process import Pressure

_LINE = re.compile(r"^(some|full) avg10=([0-9.]+) avg60=[0-9.]+ avg300=[0-9.]+ total=(\d+)\s*$")


def parse_pressure(text: str) -> Pressure:
    """Parse a pressure file of /proc/pressure or of a v2 cgroup (Documentation/accounting/psi.rst).

    The averages are percent, the totals microseconds in the file and seconds here. A line that is missing ("full" of
    CPU on older kernels) leaves its values None.
    """
    found: dict[str, tuple[float, float]] = {}
    for line in text.splitlines()[:4]:
        if match := _LINE.match(line):
            found[match[1]] = (float(match[2]), int(match[3]) / 1e6)
    some, full = found.get("some", (None, None)), found.get("full", (None, None))
    return Pressure(some_avg10=some[0], full_avg10=full[0], some_total=some[1], full_total=full[1])
