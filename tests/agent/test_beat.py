"""The beat: sources look shortly after each other, at the pause that each wants, whenever their last look ended."""

from __future__ import annotations

import pytest
from gotriage.agent.beat import STEP, following

NOWS = (0.0, 0.001, 12.3, 12.49, 12.51, 98_765.4321)


@pytest.mark.parametrize("pause", [0.0, 0.1, 0.5, 1.0, 1.3, 2.0, 30.0])
@pytest.mark.parametrize("place", [0, 1, 17])
def test_the_pause_is_kept_within_half_a_beat(pause, place):
    for now in NOWS:
        wait = following(now, pause, place) - now
        assert abs(wait - pause) <= min(max(pause, STEP), 1.0) / 2 + 1e-6


def test_looks_of_all_pauses_fall_on_the_same_beat_one_after_the_other():
    for place, pause in enumerate((1.0, 2.0, 5.0, 30.0)):
        for now in NOWS:
            assert following(now, pause, place) % 1.0 == pytest.approx(place * STEP, abs=1e-6)


def test_a_look_that_took_its_time_does_not_move_the_next_one():
    assert following(10.0 + STEP, 1.0, 1) == following(10.3, 1.0, 1) == pytest.approx(11.0 + STEP)
