"""Why a unit has no process, in systemd's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.records.exits import exit_words

if TYPE_CHECKING:
    from gotriage.records.service import UnitState

_NO_START = {"not-found": "there is no such unit file", "masked": "masked", "bad-setting": "the unit file has errors"}


def why_down(state: UnitState, load_error: str = "") -> str:
    """One line: state, result, how the last main process ended, and whether systemd gave up restarting it."""
    if state.load_state in _NO_START:
        return _NO_START[state.load_state] + (f": {load_error}" if load_error else "")
    words = state.active_state
    if state.sub_state and state.sub_state != words:
        words += f" ({state.sub_state})"
    details = []
    if state.result not in ("", "success"):
        details.append(f"result {state.result}")
    ended = exit_words(state.exec_main_code, state.exec_main_status)
    if ended and state.active_state != "active":
        details.append(f"main process {ended}")
    if state.condition_result is False:
        details.append("a condition of the unit is not met")
    if gave_up(state):
        details.append(f"restarted {_times(state)}, then start request repeated too quickly")
    elif state.sub_state == "auto-restart":
        details.append(f"restarted {_times(state)}, the next start is due" if state.n_restarts else "a restart is due")
    if state.triggered_by and state.active_state == "inactive":
        details.append(f"started by {', '.join(state.triggered_by[:3])}")
    return words + (": " + "; ".join(details) if details else "")


def _times(state: UnitState) -> str:
    return "once" if state.n_restarts == 1 else f"{state.n_restarts} times"


def gave_up(state: UnitState) -> bool:
    """Whether the start limit ended the restarts ("Start request repeated too quickly", systemd.unit(5)).

    systemd keeps the result of the last run, so the sign is a failed unit that restarts by itself and has used up its
    burst: the first start and `StartLimitBurst` - 1 restarts.
    """
    if state.result == "start-limit-hit":
        return True
    if state.active_state != "failed" or state.restart in ("", "no"):
        return False
    burst, restarts = state.start_limit_burst or 0, state.n_restarts or 0
    return burst > 0 and restarts >= burst - 1 and restarts > 0
