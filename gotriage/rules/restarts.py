"""It does not stay up: crash-loop, and not-running for what is down and not known to have failed at its start.

crash-loop
    Three restarts in ten minutes that nobody asked for are critical; systemd itself gives up after five in ten
    seconds (DefaultStartLimitBurst=), which a RestartSec= of more than two seconds never reaches, so that its limit
    is no measure. Fewer, or restarts of unknown times while the last was a moment ago, are a warning. NRestarts counts
    only restarts by Restart= and starts anew when somebody starts the unit; engines count theirs the same way.
not-running
    The target was asked for and is down. Critical when it failed, worth knowing when it was stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from gotriage.records.exits import exit_words
from gotriage.records.findings import Fine, Severity
from gotriage.records.service import ContainerState, UnitState
from gotriage.records.target import Event
from gotriage.records.units import clock, count, counted, seconds
from gotriage.rules import lastwords, remedies

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from gotriage.records.findings import Finding
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

LOOP: Final = "crash-loop"
DOWN: Final = "not-running"
DEFAULTS: Final = {LOOP: {"critical": 3.0, "seconds": 600.0, "total": 3.0, "fresh": 60.0}}


@dataclass(frozen=True, slots=True)
class Restarts:
    """Restarts that nobody asked for.

    Attributes:
        recent: how many in the window.
        total: as the manager or engine counts; None where nobody does.
        last: the last start.
        now: it is down at this moment and waits to be started again.
        gave_up: the manager does not try any more.
    """

    recent: int
    total: int | None
    last: datetime | None
    now: bool = False
    gave_up: bool = False


def crash_loop(evidence: Evidence) -> Iterator[Claim]:
    """Restarts as systemd, the engine or gotriage itself have seen them."""
    seen = _by_unit(evidence) or _by_container(evidence) or _by_events(evidence)
    if seen is None:
        return
    severity = _severity(evidence, seen)
    if severity is None:
        yield Fine(LOOP, f"restarts {count(seen.recent if seen.total is None else seen.total)}")
        return
    window = seconds(evidence.limit(LOOP, "seconds"))
    number = seen.recent if seen.recent >= evidence.limit(LOOP, "critical") or seen.total is None else seen.total
    title = f"restarted {counted(number, 'time')}" + (f" in {window}" if number == seen.recent else "")
    if seen.gave_up:
        title = f"given up after {count(max(number, seen.total or 0))} restarts"
    elif seen.now:
        title += "; down right now"
    elif (ago := evidence.ago(seen.last)) is not None and ago >= 0:
        title += f", last {seconds(int(ago))} ago"
    yield evidence.finding(
        LOOP,
        severity,
        title,
        evidence=tuple(_ends(evidence, seen)),
        fix=f"see what it says before it ends: {remedies.logs(evidence)}"
        + (
            f"\nthen {remedies.systemctl(evidence)} reset-failed {remedies.word(evidence.name)}" if seen.gave_up else ""
        ),
        view="logs",
        since=_first_restart(evidence),
    )


def _severity(evidence: Evidence, seen: Restarts) -> Severity | None:
    total = seen.total or 0
    if seen.recent >= evidence.limit(LOOP, "critical") or (seen.gave_up and total >= 2):
        return "critical"
    if total < evidence.limit(LOOP, "total"):
        return None
    ago = evidence.ago(seen.last)
    fresh = seen.now or (ago is not None and ago <= evidence.limit(LOOP, "fresh"))
    return "warning" if fresh else None


def _gained(numbers: Sequence[int]) -> int:
    """By how much a counter rose; a step down is a new start of counting."""
    return sum(max(0, after - before) for before, after in pairwise(numbers))


def _by_unit(evidence: Evidence) -> Restarts | None:
    unit = evidence.unit
    if unit is None or unit.n_restarts is None:
        return None
    window = evidence.limit(LOOP, "seconds")
    numbers = [
        one.n_restarts
        for one in evidence.every(UnitState)
        if one.n_restarts is not None and one.name == unit.name and (evidence.ago(one.at) or 0.0) <= window
    ]
    said = sum("N_RESTARTS" in line.fields for line in evidence.lines_of("systemd", window))
    down = unit.sub_state.startswith("auto-restart")
    return Restarts(
        min(max(_gained(numbers), said), max(unit.n_restarts, _gained(numbers))),
        unit.n_restarts,
        unit.exec_main_start or unit.active_enter,
        now=down,
        gave_up=unit.active_state == "failed",
    )


def _by_container(evidence: Evidence) -> Restarts | None:
    container = evidence.container
    if container is None or container.restart_count is None:
        return None
    window = evidence.limit(LOOP, "seconds")
    numbers = [
        one.restart_count
        for one in evidence.every(ContainerState)
        if one.restart_count is not None and one.id == container.id and (evidence.ago(one.at) or 0.0) <= window
    ]
    ended = container.status in ("exited", "dead") and bool(container.exit_code)
    return Restarts(
        _gained(numbers),
        container.restart_count,
        container.started_at,
        now=container.status == "restarting",
        gave_up=ended and container.restart_policy not in ("", "no"),
    )


def _by_events(evidence: Evidence) -> Restarts | None:
    """Of a target that nobody counts for; a process that hands over to another while it runs did not crash."""
    events = [
        event for event in evidence.every(Event) if event.what == "restarted" and "handed over" not in event.detail
    ]
    recent = [event for event in events if (evidence.ago(event.at) or 0.0) <= evidence.limit(LOOP, "seconds")]
    return Restarts(len(recent), None, recent[-1].at) if recent else None


def _first_restart(evidence: Evidence) -> datetime | None:
    window = evidence.limit(LOOP, "seconds")
    lines = [line.at for line in evidence.lines_of("systemd", window) if "N_RESTARTS" in line.fields]
    events = [
        one.at for one in evidence.every(Event) if one.what == "restarted" and (evidence.ago(one.at) or 0) <= window
    ]
    return min([*lines, *events], default=None)


def _ends(evidence: Evidence, seen: Restarts) -> Iterator[str]:
    """How it ends each time."""
    unit, container = evidence.unit, evidence.container
    if unit is not None:
        if words := exit_words(unit.exec_main_code, unit.exec_main_status):
            yield f"last end: {words}"
        elif said := lastwords.manager(evidence, "process exited", 600.0):
            yield said[-1]
        if unit.restart:
            yield f"Restart={unit.restart}, RestartSec={seconds(unit.restart_seconds)}; NRestarts is {seen.total}"
    elif container is not None:
        if container.exit_code is not None:
            yield f"last exit code {container.exit_code}"
        yield f"restart policy {container.restart_policy or 'no'}; counted {seen.total} restarts"
    else:
        ends = [
            event.detail for event in evidence.every(Event) if event.what in ("restarted", "exited") and event.detail
        ]
        yield from ends[-1:]
    yield from lastwords.own(evidence)


# -- down


def not_running(evidence: Evidence) -> Iterator[Claim]:
    """The target has no process, and was not seen to fail at its start."""
    target = evidence.target
    if target is None or evidence.running:
        return
    found = _unit_down(evidence, evidence.unit) or _container_down(evidence, evidence.container)
    if found is None and target.state == "gone":
        found = evidence.finding(DOWN, "info", f"it has ended: {target.reason or 'no reason is known'}", view="logs")
    if found is not None:
        yield found


def _unit_down(evidence: Evidence, unit: UnitState | None) -> Finding | None:
    if unit is None or unit.active_state not in ("failed", "inactive"):
        return None
    words = exit_words(unit.exec_main_code, unit.exec_main_status)
    told = [f"ActiveState={unit.active_state}, Result={unit.result or 'unknown'}"]
    told += [f"last end: {words}"] if words else []
    start = f"{remedies.systemctl(evidence)} start {remedies.word(unit.name)}"
    if unit.active_state == "failed":
        ran = _lasted(unit.exec_main_start, unit.exec_main_exit)
        title = f"failed: {words or unit.result}" + (f" after {seconds(ran)}" if ran is not None else "")
        fix = f"{remedies.logs(evidence)}; then {start}"
        told += lastwords.own(evidence)
        return evidence.finding(
            DOWN, "critical", title, evidence=tuple(told), fix=fix, view="logs", since=unit.inactive_enter
        )
    if unit.triggered_by:
        names = ", ".join(unit.triggered_by[:3])
        return evidence.finding(DOWN, "info", f"not running: started by {names} on demand", evidence=tuple(told))
    since = f" since {clock(unit.inactive_enter)}" if unit.inactive_enter else ""
    return evidence.finding(
        DOWN, "info", f"not running{since}: nothing failed", evidence=tuple(told), fix=start, since=unit.inactive_enter
    )


def _container_down(evidence: Evidence, container: ContainerState | None) -> Finding | None:
    if container is None or container.status in ("", "running", "created"):
        return None
    name = remedies.word(remedies.container_name(evidence))
    ran = _lasted(container.started_at, container.finished_at)
    if container.status == "paused":
        command = remedies.control(evidence)
        fix = f"{command} unpause {name}" if command else "let it go on"
        return evidence.finding(DOWN, "info", "the container is paused", fix=fix)
    failed = bool(container.exit_code)
    title = f"the container has {container.status}"
    title += f" with code {container.exit_code}" if container.exit_code is not None else ""
    title += f" after {seconds(ran)}" if ran is not None else ""
    told = [container.error] if container.error else []
    return evidence.finding(
        DOWN,
        "critical" if failed else "info",
        title,
        evidence=(*told, *(lastwords.own(evidence) if failed else ())),
        fix="; then ".join(line for line in (remedies.logs(evidence), remedies.start(evidence)) if line),
        view="logs",
        since=container.finished_at,
    )


def _lasted(start: datetime | None, end: datetime | None) -> float | None:
    if start is None or end is None or end < start:
        return None
    return (end - start).total_seconds()
