"""Why a unit or a container is down, in one line."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from gotriage.records.exits import exit_words
from gotriage.records.service import ContainerState, UnitState
from gotriage.target import container_follower
from gotriage.target.reasons import gave_up, why_down

AT = datetime(2026, 11, 23, tzinfo=UTC)


def unit(**fields):
    defaults = {"load_state": "loaded", "active_state": "failed", "sub_state": "failed", "result": "exit-code"}
    return UnitState(at=AT, name="x.service", **(defaults | fields))


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        (1, 3, "exited, status 3"),
        (1, 203, "exited, status 203/EXEC"),
        (2, 9, "killed by SIGKILL"),
        (3, 6, "killed by SIGABRT, core dumped"),
        (2, 250, "killed by signal 250"),
        (0, 0, ""),
        (None, None, ""),
    ],
)
def test_how_a_process_ended(code, status, words):
    assert exit_words(code, status) == words


def test_units():
    assert why_down(unit(exec_main_code=1, exec_main_status=2)) == (
        "failed: result exit-code; main process exited, status 2"
    )
    looped = unit(exec_main_code=1, exec_main_status=2, restart="always", n_restarts=4, start_limit_burst=5)
    assert why_down(looped).endswith("restarted 4 times, then start request repeated too quickly")
    waiting = unit(active_state="activating", sub_state="auto-restart", n_restarts=1)
    assert why_down(waiting).endswith("restarted once, the next start is due")
    first = unit(active_state="activating", sub_state="auto-restart", n_restarts=0)
    assert why_down(first).endswith("; a restart is due")
    assert why_down(unit(load_state="masked")) == "masked"
    assert why_down(unit(load_state="bad-setting"), "Exec format error") == (
        "the unit file has errors: Exec format error"
    )
    idle = unit(active_state="inactive", sub_state="dead", result="success", condition_result=False)
    assert why_down(idle) == "inactive (dead): a condition of the unit is not met"


def test_giving_up_needs_restarts_and_a_used_up_burst():
    assert gave_up(unit(result="start-limit-hit"))
    assert not gave_up(unit(restart="no", n_restarts=9, start_limit_burst=5))
    assert not gave_up(unit(restart="always", n_restarts=2, start_limit_burst=5))
    assert not gave_up(unit(restart="always", n_restarts=0, start_limit_burst=1))
    assert not gave_up(unit(restart="always", n_restarts=9, start_limit_burst=5, active_state="active"))


def container(**fields):
    return ContainerState(at=AT, engine="docker", id="1" * 64, **fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"source": "api", "status": "created", "exit_code": 0}, "created"),
        ({"source": "api", "status": "exited", "exit_code": 1}, "exited: status 1"),
        (
            {"source": "api", "status": "exited", "exit_code": 137, "oom_killed": True, "restart_count": 3},
            "exited: status 137 (SIGKILL); killed for lack of memory (OOMKilled); restarted 3 times",
        ),
        ({"source": "api", "status": "created", "exit_code": 127, "error": "no such file"}, "created: no such file"),
        ({"source": "files", "status": "running", "pid": 7}, "none of its processes is left"),
        ({"source": "files"}, "it does not run"),
    ],
)
def test_containers(fields, words):
    assert container_follower.why_down(container(**fields)) == words
