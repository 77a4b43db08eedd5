"""A process of a test as what a collector or a tracer looks at."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gotriage.host import Host, clock
from gotriage.records.target import TargetSpec, TargetState
from gotriage.rules.engine import judge
from gotriage.session.store import Session
from gotriage.target.model import Process, Target

if TYPE_CHECKING:
    from gotriage.records import Record
    from gotriage.records.findings import Finding


def target_of(*pids: int, host: Host | None = None) -> Target:
    """These processes, the main one first."""
    host = host or Host()
    return Target(spec=TargetSpec("pid", str(pids[0])), host=host, main=Process(host, pids[0]), pids=pids)


def findings(pid: int, *records: Record, later: float = 0.0) -> dict[str, Finding]:
    """What the rules say of the records about a running process, some seconds later, by id."""
    session, now = Session(), clock.now()
    started = now - timedelta(hours=1)
    spec = TargetSpec("pid", str(pid))
    facts: dict[str, Any] = {
        "spec": spec,
        "name": "it",
        "state": "running",
        "pid": pid,
        "pids": (pid,),
        "started_at": started,
    }
    session.feed(TargetState(at=started, **facts))
    for record in records:
        session.feed(record)
    session.feed(TargetState(at=now + timedelta(seconds=later), **facts))
    return {finding.id: finding for finding in judge(session).findings}
