"""One of the ways that a bench compares: what a round of it takes, with its children's CPU time."""

from __future__ import annotations

import resource
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@dataclass
class Side:
    """A way to look, and what its rounds took: seconds and CPU seconds."""

    name: str
    work: Callable[[], int]
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def run(self) -> int:
        """One round; how much it saw."""
        cpu, begun = _cpu(), time.perf_counter()
        number = self.work()
        self.wall.append(time.perf_counter() - begun)
        self.cpu.append(_cpu() - cpu)
        return number


def _cpu() -> float:
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def compared(sides: Sequence[Side], rounds: int) -> Iterator[str]:
    """Run all in turns; a line a side: medians, the range, and how often the first side's time and CPU it takes."""
    for _ in range(rounds):
        for side in sides:
            side.run()
    best = statistics.median(sides[0].wall), statistics.median(sides[0].cpu)
    for side in sides:
        wall, cpu = statistics.median(side.wall), statistics.median(side.cpu)
        yield (
            f"  {side.name:<12} {wall * 1e3:7.0f} ms ({min(side.wall) * 1e3:.0f}..{max(side.wall) * 1e3:.0f})"
            f"   CPU {cpu * 1e3:6.0f} ms   takes {wall / best[0]:5.1f}x the time, {cpu / best[1]:5.1f}x the CPU"
        )
