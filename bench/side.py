"""One of the ways that a bench compares: what a round of it takes, with its children's CPU time."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


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
