"""What the cgroup's CPU quota took from the target while a profile was taken (cpu.stat of cgroup v1 and v2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gotriage.errors import GotriageError
from gotriage.host.cgroupfs import Cgroups, locate

if TYPE_CHECKING:
    from gotriage.host import Host
    from gotriage.host.cgroupfs import Level
    from gotriage.target.model import Target


class Throttled(NamedTuple):
    """Since the cgroup was made: periods, those in which it was stopped, and seconds that its threads stood."""

    periods: int
    throttled: int
    seconds: float


class Throttling:
    """The counters of the target's cgroup and of those above it: a quota may be set at any of them."""

    def __init__(self, host: Host, target: Target) -> None:
        self._levels: tuple[Level, ...] = ()
        try:
            group = locate(Cgroups(host), "cpu", target.cgroup, target.cgroup_v1)
            self._levels = group.levels if group is not None else ()
        except (GotriageError, OSError):
            self._levels = ()
        self._before = self._read()

    def _read(self) -> dict[str, Throttled]:
        found = {}
        for level in self._levels:
            stat = level.table("cpu.stat")
            periods, throttled = stat.get("nr_periods"), stat.get("nr_throttled")
            if not periods or throttled is None:
                continue
            seconds = stat["throttled_usec"] / 1e6 if "throttled_usec" in stat else stat.get("throttled_time", 0) / 1e9
            found[level.path] = Throttled(periods, throttled, seconds)
        return found

    def since(self) -> Throttled | None:
        """Since this was made, at the level that took most; None where no quota is counted."""
        best: Throttled | None = None
        for path, now in self._read().items():
            before = self._before.get(path, Throttled(0, 0, 0.0))
            grown = Throttled(
                max(now.periods - before.periods, 0),
                max(now.throttled - before.throttled, 0),
                round(max(now.seconds - before.seconds, 0.0), 6),
            )
            if best is None or grown.seconds > best.seconds:
                best = grown
        return best
