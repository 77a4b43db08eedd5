"""What a trace may cost: attached all the time, a part of each round, of longer rounds, or not at all."""

from __future__ import annotations

import pytest
from gotriage.agent.run import FIRST, LONGEST_PERIOD, PERIOD, Run
from gotriage.collectors import Meter
from gotriage.records.tracing import Price, Trace


class Counts:
    """So many hits a second, from the start."""

    def __init__(self, rate: int) -> None:
        self.rate = rate

    def meter(self) -> Meter:
        return Meter(int(self.rate * FIRST), 0)


def held(rate, *, budget=0.1, cpu=1.0, leaving=0.0):
    """A run that was attached just long enough to be held against its budget; a hit costs a microsecond."""
    row = Trace(source="t", budget=budget, price=Price(seconds_per_hit=1e-6), target_cpu_before=cpu)
    run = Run(Counts(rate), row, began=0.0, until=60.0, look_at=0.0, attached_at=0.0, switch_at=1e9, leaving=leaving)
    run.measure(FIRST, cpu)
    return run, run.hold(FIRST)


def test_what_is_affordable_stays():
    run, over = held(50_000)
    assert (over, run.row.on_share) == ("", 1.0)
    assert run.switch_at > 1000


def test_what_is_not_gets_its_part_of_a_round():
    run, over = held(1_000_000)
    assert over == ""
    assert run.row.on_share == pytest.approx(0.1)
    assert (run.on, run.period) == (pytest.approx(1.0), PERIOD)


def test_the_target_pays_until_it_is_off():
    run, _ = held(1_000_000, leaving=0.4)
    assert run.on == pytest.approx(0.6)


def test_rounds_grow_where_too_little_of_one_is_left():
    run, over = held(20_000_000)
    assert over == ""
    assert run.row.round_seconds == run.period == pytest.approx(20.0)
    assert run.on == pytest.approx(0.1)
    slow, _ = held(2_000_000, leaving=1.0)
    assert slow.period == pytest.approx(20.0)


def test_where_no_part_is_affordable_it_ends():
    run, over = held(100_000_000)
    assert over.startswith("over its budget of 10.0% of the target's CPU: 100,000,000 hits/s cost about 100.00 cores")
    assert run.period <= LONGEST_PERIOD


def test_an_idle_target_has_a_budget_too():
    run, _ = held(50_000, cpu=0.0)
    assert run.row.on_share == pytest.approx(0.1)
