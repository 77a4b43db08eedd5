"""The target as a record."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Literal

from gotriage.errors import GotriageError, NotPermitted, TargetGone
from gotriage.goruntime import buildinfo
from gotriage.host import clock
from gotriage.host.proc import Proc
from gotriage.records.base import Why
from gotriage.records.exits import signal_name
from gotriage.records.target import CoreBrief, GoBrief, TargetState
from gotriage.records.text import clean

if TYPE_CHECKING:
    from gotriage.goruntime.corefacts import CoreFacts
    from gotriage.host import Host
    from gotriage.target.model import Target


def state_of(target: Target) -> TargetState:
    """Who the target is right now. Cheap: the executable's build info is read once for each file that it runs."""
    host, pid = target.host, target.pid
    unknown: dict[str, Why] = {}
    comm = exe = ""
    started = go = None
    if target.core is not None:
        comm, exe = clean(target.core.facts.command, 64), clean(target.core.facts.program, 4096)
        go = target.go
    if target.main is not None and pid is not None:
        started = target.main.started_at
        try:
            comm = clean(host.proc.stat(pid).comm, 64)
            exe = clean(host.proc.link(pid, "exe"), 4096)
        except (GotriageError, OSError, ValueError):
            pass  # it has ended, or is another user's: the build info says so below
        _note_build_info(target, pid)
        go = target.go
        if target.go_unknown:
            unknown["go"] = target.go_unknown
    return TargetState(
        at=clock.now(),
        unknown=unknown,
        spec=target.spec,
        name=target.name,
        state=_state(target),
        generation=target.generation,
        pid=pid,
        pids=target.pids,
        started_at=started,
        comm=comm,
        exe=exe,
        unit=target.unit,
        container_id=target.container.id if target.container else None,
        container_name=(target.container.name or None) if target.container else None,
        engine=(target.container.engine or None) if target.container else None,
        cgroup=target.cgroup,
        host=clean(os.uname().nodename, 64),
        boot_id=_boot_id(str(host.proc.root)),
        reason="" if target.main else clean(target.reason, 500),
        go=go,
        core=_core_brief(target.core.facts) if target.core is not None else None,
    )


def _state(target: Target) -> Literal["running", "stopped", "gone", "core"]:
    if target.core is not None:
        return "core"
    return "running" if target.main else ("gone" if target.spec.kind == "pid" else "stopped")


def _core_brief(facts: CoreFacts) -> CoreBrief:
    return CoreBrief(
        made=clock.from_epoch(facts.made),
        signal=signal_name(facts.signal) if facts.signal else "",
        pid=facts.pid or None,
        command=clean(facts.command, 200),
        threads=facts.threads,
    )


def _note_build_info(target: Target, pid: int) -> None:
    """Read the build info, unless that of this very file is known."""
    if target.image is not None and target.image == target.go_of:
        return
    target.go = target.go_unknown = None
    target.go_of = target.image
    try:
        target.go = go_brief(target.host, pid)
    except NotPermitted as error:
        target.go_unknown = Why(str(error), "run gotriage as root (sudo)", permission=True)
    except (GotriageError, OSError, ValueError) as error:
        target.go_unknown = Why(clean(str(error), 300))


def go_brief(host: Host, pid: int) -> GoBrief | None:
    """The build info of the process's executable in a few words; None when it is no Go program.

    Raises TargetGone, NotPermitted, OSError, ElfError.
    """
    try:
        info = buildinfo.read(host.proc.path(pid, "exe"))
    except PermissionError as error:
        raise NotPermitted(f"the executable of process {pid} may not be read") from error
    except (FileNotFoundError, ProcessLookupError) as error:
        raise TargetGone(f"process {pid} has no executable") from error
    if info is None:
        return None
    return GoBrief(
        version=clean(info.go_version, 64),
        module=clean(info.main.path if info.main else info.path, 300),
        vcs_revision=clean(info.vcs_revision, 64),
        vcs_modified=info.vcs_modified,
    )


@functools.lru_cache(maxsize=8)
def _boot_id(proc: str) -> str:
    """random(4); it ties start times to one boot."""
    try:
        return clean(Proc(proc).text("sys", "kernel", "random", "boot_id").strip(), 64)
    except (GotriageError, OSError):
        return ""
