"""It does not start: the exec failed, a setting of the unit could not be applied, or it ends at once.

The exit statuses 200 to 245 are systemd's own, for what fails between fork and exec (systemd.exec(5), "Process Exit
Codes"). A program that ends within ten seconds with an error has not started either: it has not come to its work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.records.exits import EXITED, SYSTEMD_STATUS, exit_words
from gotriage.records.findings import Fine
from gotriage.records.units import seconds
from gotriage.rules import lastwords, remedies

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gotriage.records.findings import Finding
    from gotriage.records.service import ContainerState, UnitState
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

ID: Final = "start-failure"
DEFAULTS: Final = {ID: {"seconds": 10.0}}

EXEC: Final = 203
CAUSES: Final = {
    200: "its working directory cannot be entered (WorkingDirectory=)",
    201: "the scheduling priority cannot be set (Nice=)",
    202: "unwanted descriptors cannot be closed or moved",
    203: "the executable cannot be run: not there, not executable, no interpreter, or for another architecture",
    204: "not enough memory",
    205: "a resource limit cannot be set (Limit…=): higher than the hard limit and no right to raise it",
    206: "the OOM adjustment cannot be set (OOMScoreAdjust=)",
    207: "the signal mask cannot be set",
    208: "standard input cannot be set up (StandardInput=)",
    209: "standard output cannot be set up (StandardOutput=): the file or its folder",
    210: "the root directory cannot be entered (RootDirectory=, RootImage=)",
    211: "the I/O priority cannot be set (IOSchedulingClass=)",
    212: "the timer slack cannot be set (TimerSlackNSec=)",
    213: "the secure bits cannot be set (SecureBits=)",
    214: "the CPU scheduling policy cannot be set (CPUSchedulingPolicy=)",
    215: "the CPU affinity cannot be set (CPUAffinity=)",
    216: "its group cannot be found or taken (Group=, SupplementaryGroups=)",
    217: "its user cannot be found or taken (User=)",
    218: "capabilities cannot be dropped or kept (CapabilityBoundingSet=, AmbientCapabilities=)",
    219: "its cgroup cannot be set up",
    220: "no new session can be made",
    222: "standard error cannot be set up (StandardError=): the file or its folder",
    224: "PAM refused the session (PAMName=)",
    225: "its network namespace cannot be set up (PrivateNetwork=)",
    226: "its mount, UTS or IPC namespaces cannot be set up (ReadWritePaths=, PrivateTmp=, RootDirectory= …)",
    227: "NoNewPrivileges= cannot be set",
    228: "the system call filter cannot be set (SystemCallFilter=)",
    229: "the SELinux context cannot be set (SELinuxContext=)",
    230: "the execution domain cannot be set (Personality=)",
    231: "the AppArmor profile cannot be set (AppArmorProfile=)",
    232: "address families cannot be restricted (RestrictAddressFamilies=)",
    233: "its runtime directory cannot be made (RuntimeDirectory=)",
    235: "the owner of a directory cannot be changed",
    236: "the SMACK label cannot be set (SmackProcessLabel=)",
    237: "the kernel keyring cannot be set up",
    238: "its state directory cannot be made (StateDirectory=)",
    239: "its cache directory cannot be made (CacheDirectory=)",
    240: "its log directory cannot be made (LogsDirectory=)",
    241: "its configuration directory cannot be made (ConfigurationDirectory=)",
    242: "the NUMA policy cannot be set (NUMAPolicy=)",
    243: "its credentials cannot be loaded (LoadCredential=)",
    245: "the BPF restrictions cannot be set (RestrictFileSystems=)",
}
"""Status to what systemd could not do."""

RESULTS: Final = {
    "resources": "systemd lacked a resource for it: memory, descriptors, or a file of the unit",
    "protocol": "it did not keep to its Type=: no PID file, no main process, no READY=1",
    "timeout": "it did not become ready in time (TimeoutStartSec=, Type=)",
    "exec-condition": "ExecCondition= said no",
    "start-limit-hit": "started too often in too short a time (StartLimitBurst=)",
    "watchdog": "it did not send its keep-alive in time (WatchdogSec=)",
}
"""Result of systemd.service(5) to what it says about a start."""
LOADS: Final = {
    "not-found": "systemd knows no unit file of that name",
    "bad-setting": "systemd cannot read the unit file",
    "error": "systemd cannot load the unit",
    "masked": "the unit is masked: it cannot be started",
}


def start_failure(evidence: Evidence) -> Iterator[Claim]:
    """A unit or container that does not come up."""
    found = _unit(evidence, evidence.unit) or _container(evidence, evidence.container)
    if found is not None:
        yield found
    elif evidence.running and (evidence.unit is not None or evidence.container is not None):
        yield Fine(ID, "started")


# -- units


def _unit(evidence: Evidence, unit: UnitState | None) -> Finding | None:
    if unit is None or evidence.running:
        return None
    if cause := LOADS.get(unit.load_state):
        return _loads(evidence, unit, cause)
    if unit.active_state not in ("failed", "activating"):
        return _condition(evidence, unit)
    own = unit.exec_main_code == EXITED and unit.exec_main_status in SYSTEMD_STATUS
    if own and (_ran(unit) or 0.0) <= evidence.limit(ID, "seconds"):
        status = unit.exec_main_status or 0
        name, cause = SYSTEMD_STATUS[status], CAUSES.get(status, "it could not be set up")
        if status == EXEC and unit.exec_start:
            cause = f"{_program(unit)} cannot be run"
        return _finding(evidence, unit, f"status {status}/{name}: {cause}", status)
    if unit.active_state == "failed" and unit.result in ("resources", "protocol", "exec-condition", "start-limit-hit"):
        return _finding(evidence, unit, RESULTS[unit.result])
    if unit.result == "timeout" and (unit.active_enter is None or _never_active(unit)):
        return _finding(evidence, unit, RESULTS["timeout"])
    return _at_once(evidence, unit)


def _at_once(evidence: Evidence, unit: UnitState) -> Finding | None:
    """It ran, and ended within moments. Where it is tried again and again, crash-loop says so."""
    ran = _ran(unit)
    if (unit.n_restarts or 0) >= 2 or ran is None or ran > evidence.limit(ID, "seconds"):
        return None
    if not unit.exec_main_status or unit.result in ("success", "oom-kill"):
        return None
    words = exit_words(unit.exec_main_code, unit.exec_main_status)
    return _finding(evidence, unit, f"it ended {seconds(ran)} after its start: {words}")


def _ran(unit: UnitState) -> float | None:
    """Seconds from the start of the main process to its end."""
    if unit.exec_main_start is None or unit.exec_main_exit is None or unit.exec_main_exit < unit.exec_main_start:
        return None
    return (unit.exec_main_exit - unit.exec_main_start).total_seconds()


def _never_active(unit: UnitState) -> bool:
    start, active = unit.exec_main_start, unit.active_enter
    return start is not None and active is not None and active < start


def _finding(evidence: Evidence, unit: UnitState, title: str, status: int = 0) -> Finding:
    told = [f"ActiveState={unit.active_state} ({unit.sub_state}), Result={unit.result}"]
    told += lastwords.manager(evidence, "failed", 86400.0)
    if status == 0:
        told += lastwords.own(evidence)
    if status == EXEC:
        told.append(_seen(evidence, unit) or CAUSES[EXEC])
    if unit.exec_start and status in (0, EXEC):
        told.append(f"ExecStart={unit.exec_start[:200]}")
    return evidence.finding(
        ID, "critical", title, evidence=tuple(told), fix=_fix(evidence, unit, status), view="logs", since=_since(unit)
    )


def _fix(evidence: Evidence, unit: UnitState, status: int) -> str:
    control, name = remedies.systemctl(evidence), remedies.word(unit.name)
    if status == EXEC and unit.exec_start:
        path = remedies.word(_program(unit))
        return f"ls -l {path}; file {path}; then {control} edit --full {name} or put the file there"
    if status:
        return f"{control} cat {name}; mend the setting with {control} edit {name}, then {control} restart {name}"
    return f"{remedies.logs(evidence)}; then {control} restart {name}"


def _inspect(evidence: Evidence) -> str:
    """Its last words, and what the engine knows of it."""
    command = remedies.inspect(evidence)
    return f"{remedies.logs(evidence)}; {command}" if command else remedies.logs(evidence)


def _seen(evidence: Evidence, unit: UnitState) -> str:
    """What was met on looking at the executable: journald may lose the line of a child that ends at once."""
    gap = evidence.gap("libraries")
    return gap.reason if gap is not None and unit.exec_start and _program(unit) in gap.reason else ""


def _program(unit: UnitState) -> str:
    """The first word of ExecStart= without systemd's signs."""
    return unit.exec_start.split()[0].lstrip("-@:+!|")


def _since(unit: UnitState) -> datetime | None:
    return unit.exec_main_start or unit.state_change


def _loads(evidence: Evidence, unit: UnitState, cause: str) -> Finding:
    name = remedies.word(unit.name)
    fix = f"systemctl unmask {name}" if unit.load_state == "masked" else f"systemd-analyze verify {name}"
    path = (f"file: {unit.fragment_path}",) if unit.fragment_path else ()
    return evidence.finding(ID, "critical", cause, evidence=(f"LoadState={unit.load_state}", *path), fix=fix)


def _condition(evidence: Evidence, unit: UnitState) -> Finding | None:
    """A start that was skipped: systemd counts that as no failure."""
    if unit.active_state != "inactive" or unit.condition_result is not False:
        return None
    return evidence.finding(
        ID,
        "warning",
        "the last start was skipped: a condition of the unit does not hold (Condition…=)",
        evidence=("ConditionResult=no",),
        fix=f"{remedies.systemctl(evidence)} status {remedies.word(unit.name)} names the condition",
    )


# -- containers


def _container(evidence: Evidence, container: ContainerState | None) -> Finding | None:
    if container is None or evidence.running:
        return None
    ended = container.status in ("exited", "dead", "created") and container.exit_code
    ran = None
    if container.started_at is not None and container.finished_at is not None:
        ran = (container.finished_at - container.started_at).total_seconds()
    quick = ran is not None and 0 <= ran <= evidence.limit(ID, "seconds")
    if container.error:
        title = f"the engine could not start it: {container.error[:200]}"
    elif ended and quick and (container.restart_count or 0) < 2 and not container.oom_killed:
        title = f"it ended {seconds(ran)} after its start with code {container.exit_code}"
    else:
        return None
    code = {125: "the engine failed", 126: "the command cannot be run", 127: "the command is not there"}
    told = [f"status {container.status}, exit code {container.exit_code}"]
    told += [code[container.exit_code]] if container.exit_code in code else []
    return evidence.finding(
        ID,
        "critical",
        title,
        evidence=(*told, *lastwords.own(evidence)),
        fix=_inspect(evidence),
        view="logs",
        since=container.started_at,
    )
