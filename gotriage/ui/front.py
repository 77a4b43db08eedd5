"""What all screens share: the session, the verdict at its cursor, and the few words about where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.host import clock
from gotriage.records.findings import Verdict
from gotriage.records.service import ContainerState, UnitState
from gotriage.records.target import TargetState

if TYPE_CHECKING:
    from datetime import datetime

    from gotriage.records.target import TargetSpec
    from gotriage.session.link import Link
    from gotriage.session.store import Session

JUDGE_EVERY = 1.0
"""Seconds between two verdicts at the head; a slow verdict takes a tenth of the time at most."""


class Front:
    """The seam between the session and the screens.

    Attributes:
        session: what is known; views read it at its cursor.
        link: the stream's live end, for requests; None for an opened file.
        title: name of the opened file, "" for a live target.
        trouble: one line about the stream itself (an agent that does not answer), "" when all is well.
        finished: the stream has ended.
        picked: the target chosen in the picker, for the caller.
        thresholds: what the user's settings change of the rules' own.
    """

    def __init__(self, session: Session, link: Link | None = None, title: str = "") -> None:
        self.session = session
        self.link = link
        self.title = title
        self.trouble = ""
        self.finished = False
        self.picked: TargetSpec | None = None
        self.thresholds: dict[str, dict[str, float]] = {}
        self._verdict = Verdict()
        self._judged: tuple[datetime | None, datetime | None] | None = None
        self._judged_at = 0.0
        self._cost = 0.0

    @property
    def state(self) -> tuple[str, str]:
        """The word for where the readers stand, and its role: LIVE, PAUSED, ENDED, RECORDED or CORE."""
        if self.link is None:
            return "RECORDED", "past"
        if not self.session.at_head:
            return "PAUSED", "paused"
        if self.target is not None and self.target.state == "core":
            return "CORE", "past"
        return ("ENDED", "past") if self.finished else ("LIVE", "live")

    @property
    def target(self) -> TargetState | None:
        """Who is looked at, at the cursor."""
        return self.session.latest(TargetState)

    @property
    def unit(self) -> UnitState | None:
        """What the service manager says, at the cursor."""
        return self.session.latest(UnitState)

    @property
    def container(self) -> ContainerState | None:
        """What the container engine says, at the cursor."""
        return self.session.latest(ContainerState)

    def verdict(self) -> Verdict:
        """What the rules say at the cursor; at the head it is worked out once a second at most."""
        seen = (self.session.cursor, self.session.last)
        if self.session.last is None:
            return self._verdict
        if seen == self._judged:
            return self._verdict
        moved = self._judged is None or seen[0] != self._judged[0]
        waited = clock.monotonic() - self._judged_at
        if not moved and self._verdict.at is not None and waited < max(JUDGE_EVERY * 0.9, self._cost * 10):
            return self._verdict
        from gotriage.rules.engine import judge

        begun = clock.monotonic()
        self._verdict = judge(self.session, self.thresholds)
        self._judged = seen
        self._judged_at = clock.monotonic()
        self._cost = self._judged_at - begun
        return self._verdict
