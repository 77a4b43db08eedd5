"""Who the target is, link by link: unit, container, cgroup, process, build, and how the last run ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.records.environment import Environment
from gotriage.records.process import CgroupSample, ProcessSample
from gotriage.records.service import ContainerState, UnitState
from gotriage.records.target import TargetState
from gotriage.render import units
from gotriage.ui.lastexit import last_exit
from gotriage.ui.spans import PageLine, cut_spans, fit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.ui.front import Front
    from gotriage.ui.spans import Span

LABEL = 11


def chain(front: Front, width: int) -> Iterator[PageLine]:
    """One line a link; what the target does not have is left out."""
    links = (
        ("unit", _unit(front), UnitState),
        ("container", _container(front), ContainerState),
        ("cgroup", _cgroup(front), CgroupSample),
        ("counted in", _elsewhere(front), CgroupSample),
        ("process", _process(front), TargetState),
        ("build", _build(front), Environment),
        ("last exit", last_exit(front), UnitState),
    )
    for label, spans, kind in links:
        if spans:
            yield PageLine(cut_spans(((fit(label, LABEL), "label"), *spans), width), (kind, label))


def _unit(front: Front) -> list[Span]:
    unit = front.unit
    if unit is None:
        return []
    more = unit.sub_state if unit.sub_state != unit.active_state else ""
    state = f"{unit.active_state} ({more})" if more else unit.active_state
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
    pod = f"pod {box.pod.namespace}/{box.pod.name}" if box.pod is not None and box.pod.name else ""
    health = f"health {box.health}" if box.health else ""
    facts = [box.engine, pod, health, box.image, box.id[:12] if box.name else ""]
    if box.oom_killed:
        spans.append(("  killed for memory", "critical"))
    return [*spans, *[(f"  {fact}", "dim") for fact in facts if fact]]


def _own_group(front: Front) -> str:
    """The target's own cgroup; where it is in the root of the unified hierarchy, the one that is counted."""
    own, sample = front.target.cgroup if front.target is not None else None, front.session.latest(CgroupSample)
    return own if own and own != "/" else sample.path if sample is not None else ""


def _cgroup(front: Front) -> list[Span]:
    """The target's own cgroup, with what holds for it when it is the one that is counted."""
    path, sample = _own_group(front), front.session.latest(CgroupSample)
    if not path:
        return []
    return [(path, ""), *(_counted(sample) if sample is not None and sample.path == path else ())]


def _elsewhere(front: Front) -> list[Span]:
    """The group whose memory is counted, where that is not the target's own: a v1 group that it lies in with others."""
    path, sample = _own_group(front), front.session.latest(CgroupSample)
    if sample is None or sample.path in ("", path):
        return []
    return [(sample.path, ""), *_counted(sample)]


def _counted(sample: CgroupSample) -> list[Span]:
    quota = f"{sample.cpu_quota:g} CPUs" if sample.cpu_quota is not None else "no CPU quota"
    memory = units.size(sample.memory_limit_bytes) if sample.memory_limit_bytes is not None else "no memory limit"
    spans: list[Span] = [(f"  v{sample.version}", "dim")]
    if sample.memory_others:
        spans.append((f"  shared with {units.counted(sample.memory_others, 'other')}", "warning"))
    spans.append((f"  {quota}  {memory}", "dim"))
    if sample.oom_kills:
        spans.append((f"  {units.counted(sample.oom_kills, 'OOM kill')}", "critical"))
    return spans


def _process(front: Front) -> list[Span]:
    target = front.target
    if target is None:
        return []
    if target.core is not None:
        core = target.core
        was = f"was pid {core.pid}" if core.pid is not None else "gone"
        return [(was, "strong"), (f"  {core.command or target.exe}", ""), (f"  {core.threads} threads", "dim")]
    if target.state != "running":
        return [(f"none: {target.state}", "critical"), (f"  {target.reason}", "")]
    sample, given = front.session.latest(ProcessSample), front.session.latest(Environment)
    spans: list[Span] = [(f"pid {target.pid}", "strong"), (f"  {target.exe or target.comm}", "")]
    if given is not None and given.user:
        here = f" ({given.uid[1]} here)" if given.uid_inside is not None and len(given.uid) > 1 else ""
        spans.append((f"  as {given.user}{here}", "dim"))
    if sample is not None and sample.processes > 1:
        spans.append((f"  {sample.processes} processes", "dim"))
    if sample is not None and sample.tracer_pid:
        spans.append((f"  traced by {sample.tracer_name or sample.tracer_pid}", "warning"))
    if target.generation > 1:
        spans.append((f"  {units.counted(target.generation - 1, 'restart')} seen", "warning"))
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
