"""The overview: whose numbers they are, and how the last run ended while the next one runs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from gotriage.records.base import Why
from gotriage.records.logs import LogLine, LogLines
from gotriage.records.process import CgroupSample, HostSample, Pressure
from gotriage.records.service import UnitState
from gotriage.records.target import Event
from gotriage.ui.lastexit import newest_end
from gotriage.ui.spans import text_of
from gotriage.ui.tabs.overview import page

from tests.ui import made

if TYPE_CHECKING:
    from gotriage.session.store import Session

V1 = Why("cgroup v1 keeps no pressure (PSI) of a group", "boot with systemd.unified_cgroup_hierarchy=1")
LATER = made.START + timedelta(seconds=200)


def shown(session: Session, width: int = 118, height: int = 20) -> list[str]:
    return [text_of(line.spans).rstrip() for line in page(made.front(session), width, height)]


def hybrid(**more) -> Session:
    """v1 counts in another group than the target's own, with others in it."""
    session = made.session(5)
    names = ("cpu_pressure", "memory_pressure", "io_pressure")
    given = {"version": 1, "path": "/lab", "memory_working_set_bytes": 317 << 20, "memory_others": 41}
    session.feed(CgroupSample(at=LATER, unknown=dict.fromkeys(names, V1), **{**given, **more}))
    return session


def test_the_cgroup_is_the_target_s_own_and_what_is_counted_elsewhere_is_named():
    lines = shown(hybrid())
    (own,) = [line for line in lines if line.startswith("cgroup  ")]
    assert own.split() == ["cgroup", made.CGROUP]
    (counted,) = [line for line in lines if line.startswith("counted in")]
    assert "/lab  v1  shared with 41 others  no CPU quota  no memory limit" in counted
    (memory,) = [line for line in lines if line.startswith("cgroup mem")]
    assert memory.split()[2:4] == ["317M", "shared"]


def test_a_cgroup_of_its_own_is_one_line():
    lines = shown(made.session(5))
    (own,) = [line for line in lines if line.startswith("cgroup  ")]
    assert f"{made.CGROUP}  v2  2 CPUs  512M" in own
    assert not [line for line in lines if line.startswith("counted in") or "shared" in line]


def test_the_machine_s_pressure_stands_in_for_the_cgroup_s():
    session = hybrid()
    session.feed(HostSample(at=LATER, cpus=8, cpu_pressure=Pressure(some_avg10=7.5)))
    lines = shown(session)
    (cpu,) = [line for line in lines if line.startswith("CPU wait")]
    assert cpu.split()[2:5] == ["7.5", "%", "machine"]
    (memory,) = [line for line in lines if line.startswith("mem wait")]
    assert "machine" not in memory
    assert any(line.startswith("– CPU wait, mem wait, I/O wait") for line in lines)


@pytest.mark.parametrize("width", [79, 118])
def test_the_reason_for_what_is_not_there_stands_whole(width):
    session = hybrid()
    session.feed(HostSample(at=LATER, cpus=8, cpu_pressure=Pressure(some_avg10=7.5)))
    lines = shown(session, width)
    assert max(map(len, lines)) <= width
    (first,) = [place for place, line in enumerate(lines) if line.startswith("– CPU wait, mem wait, I/O wait")]
    assert " ".join(" ".join(lines[first : first + 3]).split()).endswith(f"{V1.reason} → {V1.remedy}")


def test_the_cgroup_s_own_pressure_comes_first():
    session = made.session(5)
    session.feed(HostSample(at=LATER, cpus=8, cpu_pressure=Pressure(some_avg10=99.0)))
    (cpu,) = [line for line in shown(session) if line.startswith("CPU wait")]
    assert cpu.split()[2:4] == ["12", "%"]


# -- the last exit


def unit(second: int, **more) -> UnitState:
    return UnitState(
        at=made.START + timedelta(seconds=second), name=made.NAME, active_state="active", sub_state="running", **more
    )


def last_exit(*records) -> str:
    session = made.session(2)
    for record in records:
        session.feed(record)
    return next((line for line in shown(session) if line.startswith("last exit")), "")


def test_the_last_exit_stays_when_the_service_runs_again():
    ended = made.START + timedelta(seconds=150)
    seen = last_exit(unit(151, exec_main_exit=ended, exec_main_code=1, exec_main_status=2), unit(160, n_restarts=3))
    assert "exited, status 2 at" in seen
    assert "3 restarts by systemd" in seen


@pytest.mark.parametrize(
    ("what", "detail", "words"),
    [
        ("exited", "pid 41: exited, status 2: failed: result exit-code", "exited, status 2"),
        ("restarted", "pid 41 -> 42: killed by SIGKILL", "killed by SIGKILL"),
    ],
)
def test_the_last_exit_as_it_was_seen(what, detail, words):
    event = Event(at=made.START + timedelta(seconds=150), what=what, detail=detail)
    assert f"{words} at" in last_exit(event, unit(160, n_restarts=1))


def test_a_hand_over_is_no_exit():
    event = Event(at=LATER, what="restarted", detail="pid 41 -> 42, handed over while the old one runs")
    assert last_exit(event, unit(201)) == ""


def test_an_exit_before_the_first_look_is_in_the_journal():
    line = LogLine(
        at=made.START - timedelta(seconds=9),
        source="journal",
        message=f"{made.NAME}: Main process exited, code=exited, status=2/INVALIDARGUMENT",
        kind="systemd",
        fields={"EXIT_CODE": "exited", "EXIT_STATUS": "2"},
    )
    assert "exited, status 2 at" in last_exit(LogLines(at=made.START, rows=(line,)))


@pytest.mark.parametrize(("result", "shown"), [("exit-code", False), ("oom-kill", True), ("watchdog", True)])
def test_systemd_s_result_is_told_where_it_says_more(result, shown):
    ended = made.START + timedelta(seconds=150)
    seen = last_exit(unit(151, exec_main_exit=ended, exec_main_code=2, exec_main_status=9, result=result))
    assert "killed by SIGKILL at" in seen
    assert (f"result {result}" in seen) is shown


def test_one_end_told_twice_is_told_in_systemd_s_time():
    ended = made.START + timedelta(seconds=150)
    session = made.session(2)
    session.feed(unit(151, exec_main_exit=ended, exec_main_code=1, exec_main_status=2, result="exit-code"))
    session.feed(Event(at=ended + timedelta(seconds=1), what="restarted", detail="pid 1 -> 2: exited, status 2"))
    end = newest_end(made.front(session))
    assert end is not None
    assert (end.at, end.result) == (ended, "exit-code")
