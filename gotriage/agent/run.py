"""A trace from its start to its end: how long it is attached, what it counts, and what it may cost."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from gotriage.host import clock

if TYPE_CHECKING:
    from gotriage.collectors import Tracer
    from gotriage.records.tracing import Trace

PERIOD: Final = 10.0
"""Seconds of a round of a trace that may be attached a part of the time only."""
LONGEST_PERIOD: Final = 60.0
"""... where the least part of the shorter one is over its budget."""
LEAST_ON: Final = 0.1
"""Seconds that it is attached in a round at least; where that is over the budget, it ends."""
FIRST: Final = 0.3
"""Seconds after which a trace with a budget is first held against it."""
LEAST_CPU: Final = 0.05
"""Cores that an idle target counts for in a budget: a part of nothing would forbid everything."""


@dataclass(slots=True)
class Run:
    """Times are those of clock.monotonic."""

    tracer: Tracer
    row: Trace
    began: float
    until: float
    look_at: float
    attached_at: float
    switch_at: float
    attached: bool = True
    attached_seconds: float = 0.0
    on: float = PERIOD
    """Seconds of each round that it is attached."""
    period: float = PERIOD
    """Seconds of a round."""
    fixed: bool = False
    """The agent's own sampling: the share is the catalogue's, not the budget's."""
    rated: list[tuple[float, int]] = field(default_factory=list)
    """Seconds attached, and the hits by then, at the last looks."""
    paid: list[tuple[float, float]] = field(default_factory=list)
    """Seconds attached, and seconds of the target's CPU that the hits have cost by then, where the tracer tells."""
    leaving: float = 0.0
    """Seconds that the last detaching took: until its end, the target pays."""
    over: threading.Event = field(default_factory=threading.Event)
    """It has ended, or is about to."""
    dropped: bool = False
    """It was taken off the target from outside: see agent.guard."""

    def attached_for(self, now: float) -> float:
        """Seconds attached since the start."""
        return self.attached_seconds + (now - self.attached_at if self.attached else 0.0)

    def measure(self, now: float, cpu: float | None) -> None:
        """Read the meter; `cpu` is what the target uses since the start, in cores."""
        meter, attached = self.tracer.meter(), self.attached_for(now)
        rate = self.row.hits_per_second
        if meter.hits is not None:
            self.rated = [*self.rated[-5:], (attached, meter.hits)]
            rate = round(_per_second(self.rated), 1)
        if meter.seconds is not None:
            self.paid = [*self.paid[-5:], (attached, meter.seconds)]
        self.row = replace(
            self.row,
            attached_seconds=round(attached, 2),
            hits=meter.hits,
            lost=meter.lost,
            hits_per_second=rate,
            target_cpu=cpu,
        )

    def hold(self, now: float) -> str:
        """Attached a part of the time only, where all of it would cost more than the budget.

        Returns why it must end, where even the least part costs too much, else "".
        """
        cost = self._cost()
        if self.row.budget is None or cost is None or self.attached_for(now) < FIRST * 0.9:
            return ""
        allowed = self.row.budget * max(self.row.target_cpu_before or 0.0, self.row.target_cpu or 0.0, LEAST_CPU)
        share = min(1.0, allowed / cost) if cost > 0 else 1.0
        least = max(LEAST_ON, self.leaving)
        if share * LONGEST_PERIOD < least:
            return (
                f"over its budget of {self.row.budget:.1%} of the target's CPU: {self.row.hits_per_second:,.0f} hits/s"
                f" cost about {cost:.2f} cores"
            )
        self.period = max(PERIOD, least / share)
        self.row = replace(self.row, on_share=round(share, 4), round_seconds=round(self.period, 1))
        if share == 1.0:
            self.on, self.switch_at = self.period, now + PERIOD * 1000
        else:
            self.on = max(share * self.period - self.leaving, LEAST_ON / 2)
            self.switch_at = now if now - self.attached_at >= self.on else self.attached_at + self.on
        return ""

    def detach(self) -> float:
        """Off the target until `attach`; the seconds for which it was on in this round."""
        before = clock.monotonic()
        self.tracer.detach()
        now = clock.monotonic()
        self.leaving = now - before
        self.attached_seconds = self.attached_for(now)
        self.attached = False
        return now - self.attached_at

    def attach(self) -> None:
        """On again."""
        self.tracer.attach()
        self.attached, self.attached_at = True, clock.monotonic()

    def _cost(self) -> float | None:
        """Cores while attached, over the last looks; None while not known."""
        price = self.row.price
        if price is None or price.seconds_per_hit is None or self.row.hits_per_second is None:
            return None
        return _per_second(self.paid) if self.paid else self.row.hits_per_second * price.seconds_per_hit


def _per_second(counted: list[tuple[float, int]] | list[tuple[float, float]]) -> float:
    """Over the last looks, of (seconds attached, count by then); from the start when there was but one."""
    began, first = counted[0] if len(counted) > 1 else (0.0, 0)
    until, last = counted[-1]
    return (last - first) / max(until - began, 0.001)
