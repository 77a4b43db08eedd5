"""Who the target is, link by link: unit, container, cgroup, process, build, and how the last run ended."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from gotriage.records.environment import Environment
from gotriage.records.process import CgroupSample, ProcessSample
from gotriage.records.service import ContainerState, UnitState
from gotriage.records.target import TargetState
from gotriage.render import units
from gotriage.ui.spans import PageLine, cut_spans, fit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.ui.front import Front
    from gotriage.ui.spans import Span

LABEL = 11
CLD_KILLED, CLD_DUMPED = 2, 3
"""waitid(2): how a child ended, as systemd gives it in ExecMainCode."""


def chain(front: Front, width: int) -> Iterator[PageLine]:
    """One line a link; what the target does not have is left out."""
    links = (
        ("unit", _unit(front), UnitState),
        ("container", _container(front), ContainerState),
        ("cgroup", _cgroup(front), CgroupSample),
        ("process", _process(front), TargetState),
        ("build", _build(front), Environment),
        ("last exit", _last_exit(front), UnitState),
    )
    for label, spans, kind in links:
        if spans:
            yield PageLine(cut_spans(((fit(label, LABEL), "label"), *spans), width), (kind, label))


def _unit(front: Front) -> list[Span]:
    unit = front.unit
    if unit is None:
        return []
    state = f"{unit.active_state} ({unit.sub_state})" if unit.sub_state else unit.active_state
    role = {"active": "good", "failed": "critical"}.get(unit.active_state, "warning")
    spans: list[Span] = [(unit.name, "strong"), ("  ", ""), (state, role)]
    facts = [unit.unit_file_state, f"Restart={unit.restart}" if unit.restart else "", unit.description]
    if unit.need_daemon_reload:
        spans.append(("  changed on disk: systemctl daemon-reload", "warning"))
    return [*spans, *[(f"  {fact}", "dim") for fact in facts if fact]]


def _container(front: Front) -> list[Span]:
    box = front.container
    if box is None:
        return []
    role = "good" if box.status == "running" else "critical"
    spans: list[Span] = [(box.name or box.id[:12], "strong"), ("  ", ""), (box.status or "state not known", role)]
    facts = [box.engine, box.image, box.id[:12] if box.name else "", f"health {box.health}" if box.health else ""]
    if box.oom_killed:
        spans.append(("  killed for memory", "critical"))
    return [*spans, *[(f"  {fact}", "dim") for fact in facts if fact]]


def _cgroup(front: Front) -> list[Span]:
    sample, target = front.session.latest(CgroupSample), front.target
    path = sample.path if sample is not None else (target.cgroup if target is not None else None)
    if not path:
        return []
    spans: list[Span] = [(path, "")]
    if sample is not None:
        quota = f"{sample.cpu_quota:g} CPUs" if sample.cpu_quota is not None else "no CPU quota"
        memory = units.size(sample.memory_limit_bytes) if sample.memory_limit_bytes is not None else "no memory limit"
        spans.append((f"  v{sample.version}  {quota}  {memory}", "dim"))
        if sample.oom_kills:
            spans.append((f"  {sample.oom_kills} OOM kills", "critical"))
    return spans


def _process(front: Front) -> list[Span]:
    target = front.target
    if target is None:
        return []
    if target.state != "running":
        return [(f"none: {target.state}", "critical"), (f"  {target.reason}", "")]
    sample, given = front.session.latest(ProcessSample), front.session.latest(Environment)
    spans: list[Span] = [(f"pid {target.pid}", "strong"), (f"  {target.exe or target.comm}", "")]
    if given is not None and given.user:
        spans.append((f"  as {given.user}", "dim"))
    if sample is not None and sample.processes > 1:
        spans.append((f"  {sample.processes} processes", "dim"))
    if sample is not None and sample.tracer_pid:
        spans.append((f"  traced by {sample.tracer_name or sample.tracer_pid}", "warning"))
    if target.generation > 1:
        spans.append((f"  start {target.generation} that was seen", "warning"))
    return spans


def _build(front: Front) -> list[Span]:
    target = front.target
    if target is None or (target.go is None and not target.exe):
        return []
    if target.go is None:
        why = target.unknown.get("go")
        return [(f"Go build info not readable: {why.reason}" if why is not None else "not a Go program", "dim")]
    go = target.go
    spans: list[Span] = [(go.version, "strong"), (f"  {go.module}", "")]
    if go.vcs_revision:
        spans.append((f"  rev {go.vcs_revision[:12]}", "dim"))
    if go.vcs_modified:
        spans.append(("  built from changed files", "warning"))
    return spans


def _last_exit(front: Front) -> list[Span]:
    unit, box = front.unit, front.container
    restarts: list[Span] = []
    if unit is not None and unit.n_restarts:
        restarts = [(f"{unit.n_restarts} restarts by systemd", "warning")]
    if unit is not None and unit.exec_main_exit is not None:
        role = "critical" if unit.exec_main_status else "dim"
        said = f"{exit_words(unit.exec_main_code, unit.exec_main_status)} at {units.timestamp(unit.exec_main_exit)}"
        result = f"  result {unit.result}" if unit.result and unit.result != "success" else ""
        return [(said, role), (result, role), ("  ", ""), *restarts]
    if box is not None and box.finished_at is not None and box.exit_code is not None:
        role = "critical" if box.exit_code else "dim"
        return [(f"status {box.exit_code} at {units.timestamp(box.finished_at)}", role)]
    return restarts


def exit_words(code: int | None, status: int | None) -> str:
    """How a process ended: "status 2", or "killed by SIGKILL"."""
    if status is None:
        return "ended"
    if code in (CLD_KILLED, CLD_DUMPED):
        try:
            name = signal.Signals(status).name
        except ValueError:
            name = f"signal {status}"
        return f"killed by {name}" + (", core dumped" if code == CLD_DUMPED else "")
    return f"status {status}"
