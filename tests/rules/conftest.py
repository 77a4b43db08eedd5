"""Stories for the rules: a session fed with typed records, told in seconds from its start."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from gotriage.records.logs import LogLine, LogLines, LogSource, LogState
from gotriage.records.stream import CollectorState, Gap, Heartbeat
from gotriage.records.target import GoBrief, TargetSpec, TargetState
from gotriage.rules.engine import judge
from gotriage.session.store import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from gotriage.records import Record
    from gotriage.records.findings import Finding, Fine, Unknown, Verdict

START = datetime(2026, 3, 1, 2, 40, tzinfo=UTC)


class Story:
    """A session under construction; `now` is the story's time in seconds, which records without a time get."""

    def __init__(self) -> None:
        self.session = Session()
        self.now = 0.0

    def time(self, seconds: float | None = None) -> datetime:
        return START + timedelta(seconds=self.now if seconds is None else seconds)

    def add(self, kind: type[Record], at: float | None = None, **fields: Any) -> Story:
        if at is not None:
            self.now = max(self.now, at)
        self.session.feed(kind(at=self.time(at), **fields))
        return self

    def target(self, *, age: float = 7200, go: bool | GoBrief = True, **fields: Any) -> Story:
        known: dict[str, Any] = {
            "spec": TargetSpec("unit", "web.service"),
            "name": "web.service",
            "state": "running",
            "pid": 4242,
            "pids": (4242,),
            "started_at": self.time() - timedelta(seconds=age),
            "go": (go if isinstance(go, GoBrief) else GoBrief("go1.24.3")) if go else None,
        }
        return self.add(TargetState, **{**known, **fields})

    def down(self, **fields: Any) -> Story:
        return self.target(**{"state": "stopped", "pid": None, "pids": (), "started_at": None, **fields})

    def beat(self, at: float | None = None, *looked: str) -> Story:
        self.now = self.now if at is None else at
        states = {name: CollectorState(last=self.time(), state="ok") for name in looked}
        return self.add(Heartbeat, collectors=states)

    def log(self, message: str, at: float | None = None, **fields: Any) -> Story:
        line = LogLine(at=self.time(at), source=fields.pop("source", "journal"), message=message, **fields)
        return self.add(LogLines, at, rows=(line,))

    def log_source(self, **fields: Any) -> Story:
        return self.add(LogState, collector="journal", sources=(LogSource(**{"name": "journal", **fields}),))

    def gap(self, source: str, reason: str, remedy: str = "") -> Story:
        return self.add(Gap, source=source, reason=reason, remedy=remedy)

    def each_second(self, seconds: float, kind: type[Record], fields: Callable[[float], dict[str, Any]]) -> Story:
        """One record a second from now on; `fields` gets the seconds since then."""
        start = self.now
        for step in range(int(seconds) + 1):
            self.add(kind, start + step, **fields(step))
        return self

    # -- what the rules say

    def verdict(self, **thresholds: dict[str, float]) -> Verdict:
        judged = judge(self.session, {name.replace("_", "-"): values for name, values in thresholds.items()})
        failed = [claim for claim in judged.unknown if "the rule" in claim.reason and "failed" in claim.reason]
        assert [claim.id for claim in failed] in ([], ["broken"])  # the one that a test adds to see it fail
        return judged

    def finding(self, rule: str, **thresholds: dict[str, float]) -> Finding:
        found = [claim for claim in self.verdict(**thresholds).findings if claim.id == rule]
        assert len(found) == 1, self.verdict(**thresholds)
        return found[0]

    def ids(self, **thresholds: dict[str, float]) -> list[str]:
        return [claim.id for claim in self.verdict(**thresholds).findings]

    def fine(self, rule: str) -> Fine:
        (found,) = [claim for claim in self.verdict().fine if claim.id == rule]
        return found

    def unknown(self, rule: str) -> Unknown:
        (found,) = [claim for claim in self.verdict().unknown if rule in (claim.id, *claim.also)]
        return found


@pytest.fixture
def story() -> Story:
    """An empty story."""
    return Story()


@pytest.fixture
def running(story: Story) -> Story:
    """A Go unit that has run for two hours."""
    return story.target()
