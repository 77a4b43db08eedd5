"""How the last run ended, also while the next one runs: systemd forgets it at the start, the session does not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from gotriage.records.exits import DUMPED, EXITED, KILLED, exit_words
from gotriage.records.service import ContainerState, UnitState
from gotriage.records.target import Event
from gotriage.render import units

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gotriage.ui.front import Front
    from gotriage.ui.spans import Span

CODES = {"exited": EXITED, "killed": KILLED, "dumped": DUMPED}
"""EXIT_CODE= of the journal to CLD_* of waitid(2)."""
SAID = ("", "success", "exit-code", "signal", "core-dump")
"""Results of systemd that say no more than the status or signal beside them."""
NEAR = timedelta(seconds=3)
"""An end is seen by us a moment after systemd notes it: so near they are one."""
LOOKED_AT = 50
"""Newest lines of systemd among which the end of a run before ours is sought."""


@dataclass(frozen=True, slots=True)
class End:
    """The end of a run: when, how in words, whether it was a failure, and systemd's result where that says more."""

    at: datetime
    words: str
    bad: bool
    result: str = ""


def last_exit(front: Front) -> list[Span]:
    """How the last run ended and how often systemd or the engine has restarted it; empty when nothing has ended."""
    unit, box = front.unit, front.container
    spans: list[Span] = []
    if (end := newest_end(front)) is not None:
        role = "critical" if end.bad else "dim"
        result = f"  result {end.result}" if end.result not in SAID else ""
        spans = [(f"{end.words} at {units.timestamp(end.at)}", role), (result, role), ("  ", "")]
    if unit is not None and unit.n_restarts:
        return [*spans, (f"{units.counted(unit.n_restarts, 'restart')} by systemd", "warning")]
    if unit is None and box is not None and box.restart_count:
        return [*spans, (f"{units.counted(box.restart_count, 'restart')} by {box.engine}", "warning")]
    return spans


def newest_end(front: Front) -> End | None:
    """The newest of what systemd, the engine, our own watching and the journal tell."""
    told = [end for end in (_by_unit(front), _by_container(front)) if end is not None]
    seen = _by_events(front)
    if seen is not None and all(seen.at - end.at > NEAR for end in told):
        told.append(seen)
    return max(told, key=lambda end: end.at) if told else _by_log(front)


def _by_unit(front: Front) -> End | None:
    unit = front.unit
    if unit is None:
        return None
    for one in reversed(front.session.series(UnitState)):
        if one.name == unit.name and one.exec_main_exit is not None:
            words = exit_words(one.exec_main_code, one.exec_main_status) or "ended"
            bad = bool(one.exec_main_status) or one.exec_main_code in (KILLED, DUMPED)
            return End(one.exec_main_exit, words, bad, one.result)
    return None


def _by_container(front: Front) -> End | None:
    """An engine gives the code of the run before only until the next one starts."""
    box = front.container
    if box is None:
        return None
    for one in reversed(front.session.series(ContainerState)):
        ended = one.id == box.id and one.status != "running"
        if ended and one.finished_at is not None and one.exit_code is not None:
            return End(one.finished_at, f"exited, status {one.exit_code}", bool(one.exit_code))
    return None


def _by_events(front: Front) -> End | None:
    """The end as we saw it: "pid 7: exited, status 2", "pid 7 -> 9: killed by SIGKILL"."""
    for event in reversed(front.session.series(Event)):
        words = event.detail.partition(": ")[2].partition(": ")[0]
        if event.what in ("exited", "restarted") and words.startswith(("exited, ", "killed by ")):
            return End(event.at, words, words != "exited, status 0")
    return None


def _by_log(front: Front) -> End | None:
    """What systemd wrote to the journal about the end of the main process."""
    for line in reversed(list(_systemd_lines(front))):
        code, status = CODES.get(line[1]), line[2]
        if code is not None and status.isdigit() and (words := exit_words(code, int(status))):
            return End(line[0], words, code != EXITED or status != "0")
    return None


def _systemd_lines(front: Front) -> Iterator[tuple[datetime, str, str]]:
    if front.unit is None:
        return
    for line in front.session.logs.of_kind("systemd", front.session.moment, most=LOOKED_AT):
        if "ain process exited" in line.message:
            yield line.at, line.fields.get("EXIT_CODE", ""), line.fields.get("EXIT_STATUS", "")
