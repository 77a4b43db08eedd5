"""The only clock: wall time in UTC, monotonic time, and the start of this boot."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime


def now() -> datetime:
    """Wall time, UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """CLOCK_MONOTONIC in seconds: for ages and deadlines."""
    return time.monotonic()


def sleep(seconds: float) -> None:
    """Sleep; the only sleep outside the event loop."""
    time.sleep(seconds)


def from_epoch(seconds: float) -> datetime:
    """Seconds since the epoch as UTC time."""
    return datetime.fromtimestamp(seconds, UTC)


TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
"""Unit of the times in /proc/PID/stat (proc_pid_stat(5))."""


def boot_epoch() -> float:
    """When the machine started, seconds since the epoch: start times in /proc/PID/stat count from here."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def from_ticks(ticks: int) -> datetime:
    """A start time of /proc/PID/stat field 22 (clock ticks since boot) as UTC time."""
    return from_epoch(boot_epoch() + ticks / TICKS_PER_SECOND)
