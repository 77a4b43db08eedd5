"""Every limit that applies to the target, against its use."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import msgspec

from gotriage.records.base import Record, Row, Why


class Limit(Row, frozen=True, kw_only=True):
    """One limit. `soft`, `hard` and `used` are in `unit`; None with `unlimited` is no limit at all.

    Counts and bytes are integers, also in recordings that were made when they were written as 512.0.

    Attributes:
        name: as the owner calls it: RLIMIT_NOFILE, TasksMax, memory.max, kernel.pid_max, free inodes of a path ...
        scope: who sets it.
        unit: "count", "bytes", "seconds", "cores", "microseconds" (RLIMIT_RTTIME) or "priority" (RLIMIT_NICE).
        growth: change of `used` per second over the last minute, None until measured.
        full_in: seconds to the limit at that growth; None when it does not grow, goes up and down, or would take more
            than a day.
        fix: the exact line that raises it.
        unknown: why `used` is None.
    """

    name: str
    scope: Literal["rlimit", "systemd", "cgroup", "kernel", "filesystem"]
    unit: str = "count"
    soft: int | float | None = None
    hard: int | float | None = None
    unlimited: bool = False
    used: int | float | None = None
    growth: float | None = None
    full_in: float | None = None
    fix: str = ""
    subject: str = ""
    """What it applies to: a pid, a cgroup path, a mount point."""
    unknown: Why | None = None

    def __post_init__(self) -> None:
        if self.unit in WHOLE:
            for name in ("soft", "hard", "used"):
                value = getattr(self, name)
                if isinstance(value, float) and value.is_integer() and abs(value) < LARGEST:
                    msgspec.structs.force_setattr(self, name, int(value))


WHOLE: Final = ("count", "bytes")
"""Units without fractions."""
LARGEST: Final = 1 << 64


class LimitTable(Record, frozen=True, kw_only=True, tag="limits"):
    """All limits, the nearest to exhaustion first."""

    keep: ClassVar[int] = 600

    rows: tuple[Limit, ...] = ()
