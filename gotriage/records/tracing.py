"""What traces cost and how they fare: sources that run only while asked for, as they can slow or stop the target."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from gotriage.records.base import Record, Row

TraceWord = Literal["off", "priced", "starting", "running", "waiting", "ended", "refused", "failed"]
"""`waiting`: between two samples of a trace that is on a part of the time only. `refused`: it was not started, because
of the target, the machine or the options; `failed`: it broke while it ran."""


class Price(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a trace is expected to cost this target, before it starts.

    Attributes:
        hits_per_second: how often the traced place is passed now, None when that is not known.
        seconds_per_hit: CPU time that one hit costs the target, seconds, None when it is not known.
        stops: it halts threads of the target.
        words: what else there is to know before a start: who shares the binary, what is left out, what was measured.
    """

    hits_per_second: float | None = None
    seconds_per_hit: float | None = None
    stops: bool = False
    words: tuple[str, ...] = ()

    @property
    def cores(self) -> float | None:
        """Expected CPU time of the target, in cores; None when it cannot be told."""
        if self.hits_per_second is None or self.seconds_per_hit is None:
            return None
        return self.hits_per_second * self.seconds_per_hit


class Trace(Row, frozen=True, kw_only=True):
    """One source that is started on request.

    Attributes:
        source: its name in the catalogue.
        asked: somebody asked for it; False while the agent samples by itself, a small part of the time.
        backend: how it looks; `passed_over`: better ways, and why they do not serve here.
        options: what it was started with.
        ends_at: when it ends by itself.
        on_share: the part of the time that it is attached, to stay within its budget: 1.0 is always.
        round_seconds: of such a round, attached and not.
        attached_seconds: how long it has been attached since the start.
        hits, lost: since the start; None where the kernel does not count them.
        hits_per_second: while attached.
        budget: the part of the target's CPU that it may cost; None is no limit.
        target_cpu_before, target_cpu: cores the target used before the start, and uses now.
        reason: why it ended, was refused or failed; `remedy`: what would help.
    """

    source: str
    state: TraceWord = "off"
    asked: bool = True
    price_class: str = "light"
    backend: str = ""
    passed_over: tuple[str, ...] = ()
    options: dict[str, str] = {}
    price: Price | None = None
    started_at: datetime | None = None
    ends_at: datetime | None = None
    ended_at: datetime | None = None
    on_share: float = 1.0
    round_seconds: float = 10.0
    attached_seconds: float = 0.0
    hits: int | None = None
    hits_per_second: float | None = None
    lost: int | None = None
    budget: float | None = None
    target_cpu_before: float | None = None
    target_cpu: float | None = None
    reason: str = ""
    remedy: str = ""

    @property
    def active(self) -> bool:
        """Whether it is attached, or will be again by itself."""
        return self.state in ("starting", "running", "waiting")


class Traces(Record, frozen=True, kw_only=True, tag="traces"):
    """All of them, whenever one of them changes and once a second while one runs."""

    keep: ClassVar[int] = 1200

    rows: tuple[Trace, ...] = ()

    def of(self, source: str) -> Trace | None:
        """The trace of that source."""
        return next((row for row in self.rows if row.source == source), None)
