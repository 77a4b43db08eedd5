"""The reading of numbers as the screens know it; it lives below, because findings are sentences with numbers too."""

from __future__ import annotations

from gotriage.records.units import (
    UNKNOWN,
    clock,
    cores,
    count,
    counted,
    latency,
    per_minute,
    rate,
    seconds,
    share,
    size,
    timestamp,
)

__all__ = [
    "UNKNOWN",
    "clock",
    "cores",
    "count",
    "counted",
    "latency",
    "per_minute",
    "rate",
    "seconds",
    "share",
    "size",
    "timestamp",
]
