"""Numbers, sizes, durations and times as people read them; None is a dash, never a zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

UNKNOWN = "–"


def count(value: float | None) -> str:
    """1021 -> "1,021"."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def counted(number: float | None, one: str, many: str = "") -> str:
    """A number with its thing: "1 thread", "1,021 threads"; `many` where the plural is not made by "s" or "es"."""
    plural = many or (f"{one}es" if one.endswith(("s", "x", "ch", "sh")) else f"{one}s")
    return f"{count(number)} {one if number == 1 else plural}"


def size(value: float | None) -> str:
    """Bytes with binary prefixes: 222298112 -> "212M"; at most five cells wide up to 9999 PiB."""
    if value is None:
        return UNKNOWN
    number, sign = abs(float(value)), "-" if value < 0 else ""
    for prefix in ("B", "K", "M", "G", "T"):
        if number < 1023.5:
            digits = 0 if prefix == "B" or number >= 99.5 else 1
            return f"{sign}{number:.{digits}f}{prefix}"
        number /= 1024
    return f"{sign}{number:.1f}P"


def seconds(value: float | None) -> str:
    """A duration: 0.0004 -> "400µs", 0.25 -> "250ms", 192 -> "3m12s", 11520 -> "3h12m", 200000 -> "2d07h"."""
    if value is None:
        return UNKNOWN
    sign, rest = ("-", -value) if value < 0 else ("", value)
    if rest < 0.001:
        return f"{sign}{rest * 1e6:.0f}µs" if rest else "0s"
    if rest < 1:
        return f"{sign}{rest * 1e3:.0f}ms"
    if rest < 10 and rest != int(rest):
        return f"{sign}{rest:.1f}s"
    whole = int(rest)
    if whole < 60:
        return f"{sign}{whole}s"
    if whole < 3600:
        return f"{sign}{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{sign}{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{sign}{whole // 86400}d{whole % 86400 // 3600:02d}h"


def latency(value: float | None) -> str:
    """A short duration, with two digits where one would say too little: 2.3e-7 -> "230ns", 0.0000015 -> "1.5µs"."""
    if value is None or not 0 < value < 0.01:
        return seconds(value)
    if value < 1e-6:
        return f"{value * 1e9:.0f}ns"
    number, unit = (value * 1e6, "µs") if value < 1e-3 else (value * 1e3, "ms")
    return f"{number:.1f}{unit}" if number < 10 else f"{number:.0f}{unit}"


def share(value: float | None) -> str:
    """A share 0..1 in percent: 0.314 -> "31 %"; below ten percent with one digit."""
    if value is None:
        return UNKNOWN
    percent = value * 100
    return f"{percent:.1f} %" if 0 < percent < 9.95 else f"{percent:.0f} %"


def cores(value: float | None) -> str:
    """CPU in cores: 0.253 -> "0.25"."""
    return UNKNOWN if value is None else f"{value:.2f}"


def rate(value: float | None) -> str:
    """Events a second: 0.63 -> "0.6/s", 1234 -> "1,234/s"."""
    if value is None:
        return UNKNOWN
    return f"{value:.1f}/s" if 0 < abs(value) < 10 else f"{value:,.0f}/s"


def per_minute(value: float | None) -> str:
    """A growth per second, read per minute with its sign: 0.63 -> "+38/min"."""
    if value is None:
        return UNKNOWN
    minute = value * 60
    return f"{minute:+,.0f}/min" if abs(minute) >= 10 or minute == 0 else f"{minute:+.1f}/min"


def clock(value: datetime | None) -> str:
    """Local time of day: "02:47:10"."""
    return UNKNOWN if value is None else value.astimezone().strftime("%H:%M:%S")


def timestamp(value: datetime | None) -> str:
    """Local date and time: "2026-11-23 02:47:10"."""
    return UNKNOWN if value is None else value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
