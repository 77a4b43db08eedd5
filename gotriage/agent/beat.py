"""When the agent's threads look: on a common beat, one shortly after the other.

Threads that look at any time wake the agent, and with it the front, a dozen times a second. On a beat both wake once
or twice: the records of all sources come in one batch, and every processor sleeps in between.
"""

from __future__ import annotations

from typing import Final

LONGEST: Final = 1.0
"""Seconds between two beats for sources that look once a second or less often; the others have a beat of their own."""
STEP: Final = 0.005
"""Seconds between two places on the beat: time enough for most looks, so that threads seldom wait for each other."""


def following(now: float, pause: float, place: int) -> float:
    """The moment on the beat, at that place of it, which is about `pause` seconds away: at least half of them."""
    beat = min(max(pause, STEP), LONGEST)
    start = place * STEP
    return round((now + pause - start) / beat) * beat + start
