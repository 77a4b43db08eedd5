"""A time as people type it, for the jump."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_STEP = re.compile(r"([+-])\s*(\d{1,9})\s*(s|m|h|d|)")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_UNITS = {"": 60, "s": 1, "m": 60, "h": 3600, "d": 86400}


def parse(text: str, now: datetime) -> datetime | None:
    """The moment meant: "02:47:10" (local, the last one up to `now`), "-5m", "+30s", or ISO 8601; else None."""
    text = text.strip()
    step, clock = _STEP.fullmatch(text), _CLOCK.fullmatch(text)
    try:
        if step:
            seconds = int(step[2]) * _UNITS[step[3]]
            return now + timedelta(seconds=seconds if step[1] == "+" else -seconds)
        if clock:
            local = now.astimezone().replace(
                hour=int(clock[1]), minute=int(clock[2]), second=int(clock[3] or 0), microsecond=0
            )
            return local if local <= now else local - timedelta(days=1)
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        return None
