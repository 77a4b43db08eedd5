"""Somebody traces the target already.

A tracer stops the thread at every system call or breakpoint and makes it slower by factors; only one may be attached
(ptrace(2)), so that strace and debuggers of ours would fail with EPERM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.records.findings import Fine
from gotriage.records.process import ProcessSample
from gotriage.records.units import count

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

ID: Final = "already-traced"
DEFAULTS: Final[dict[str, dict[str, float]]] = {}


def traced(evidence: Evidence) -> Iterator[Claim]:
    """TracerPid of proc_pid_status(5)."""
    if not evidence.running:
        return
    sample = evidence.current(ProcessSample)
    if sample is None or (sample.tracer_pid is None and not sample.states):
        yield evidence.unknown(ID, "process", sample.unknown.get("tracer_pid") if sample else None)
        return
    if not sample.tracer_pid:  # the threads were looked at one by one, and none names a tracer
        yield Fine(ID, "no tracer")
        return
    name = sample.tracer_name or "a process"
    told = [f"TracerPid is {sample.tracer_pid} ({name})"]
    if stopped := sample.states.get("t", 0):
        told.append(f"{count(stopped)} of its {count(sample.threads)} threads are stopped by the tracer right now")
    yield evidence.finding(
        ID,
        "warning",
        f"traced by {name} (pid {sample.tracer_pid}): every traced call stops a thread",
        evidence=tuple(told),
        fix=f"end the tracer if nobody needs it: kill {sample.tracer_pid}",
        view="overview",
        since=_since(evidence, sample.tracer_pid),
    )


def _since(evidence: Evidence, tracer: int) -> datetime | None:
    """When the tracer came, if that was seen."""
    begun: datetime | None = None
    seen_without = False
    for sample in evidence.series(ProcessSample, 3600):
        if sample.tracer_pid == tracer:
            begun = begun or sample.at
        else:
            begun, seen_without = None, True
    return begun if seen_without else None
