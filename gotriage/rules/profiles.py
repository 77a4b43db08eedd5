"""What rules take from a CPU profile: the function that is answerable for the time, and what waiting for CPUs cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.records.profile import CpuProfile
from gotriage.records.units import clock, count, seconds, share

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gotriage.rules.evidence import Evidence

FRESH: Final = 300.0
"""Seconds after which a profile says nothing about now."""
LEAST: Final = 0.3
"""Part of the samples that makes one function the answer."""
ENOUGH: Final = 20
"""Samples."""
MOST_WORDS: Final = 160


class Hot(NamedTuple):
    """A function, where in it, who called it, and its part of so many samples."""

    place: str
    caller: str
    part: float
    samples: int
    at: datetime

    def __str__(self) -> str:
        by = f", called by {self.caller}" if self.caller else ""
        return (
            f"the profile of {clock(self.at)}: {share(self.part)} of {count(self.samples)} samples in {self.place}{by}"
        )


def _profile(evidence: Evidence) -> CpuProfile | None:
    profile = evidence.current(CpuProfile)
    if profile is None or (evidence.ago(profile.at) or 0.0) > FRESH or profile.samples < ENOUGH:
        return None
    return profile


def hottest(evidence: Evidence) -> Hot | None:
    """The function of the program's own that most of the time is to be laid to."""
    profile = _profile(evidence)
    row = max(profile.rows, key=lambda row: row.own_share, default=None) if profile is not None else None
    if profile is None or row is None or row.own_share < LEAST:
        return None
    name = row.file.rpartition("/")[2]
    place = f"{row.function} ({name}:{row.line})" if name else row.function
    return Hot(_short(place), _short(row.caller), row.own_share, profile.samples, profile.at)


def waited(evidence: Evidence) -> Iterator[str]:
    """What the threads lost while they were sampled."""
    profile = _profile(evidence)
    if profile is None or not profile.seconds:
        return
    parts = []
    if profile.running is not None:
        parts.append(f"ran {seconds(profile.running)}")
    if profile.waiting is not None:
        parts.append(f"waited {seconds(profile.waiting)} for a CPU")
    if profile.throttled_seconds is not None:
        parts.append(f"were stopped by the quota for {seconds(profile.throttled_seconds)}")
    if parts:
        yield f"in the {seconds(profile.seconds)} of the profile of {clock(profile.at)} its threads {', '.join(parts)}"


def _short(text: str) -> str:
    return text if len(text) <= MOST_WORDS else text[: MOST_WORDS - 1] + "…"
