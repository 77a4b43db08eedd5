"""From what the user asked for to a target, and to keep it right afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.errors import UsageError
from gotriage.host.deadline import Deadline
from gotriage.target.follow import refresh
from gotriage.target.model import Target
from gotriage.target.pinning import release

if TYPE_CHECKING:
    from gotriage.host import Host
    from gotriage.records.target import TargetSpec
    from gotriage.target.by_core import CoreFiles

PATIENCE: Final = 2.8
"""Seconds for all of it, however many buses and engines hang."""


def resolve(spec: TargetSpec, host: Host, files: CoreFiles | None = None) -> Target:
    """Find the target and pin its main process; a unit or container that is down is a target without one.

    Raises UsageError, NoSuchTarget (with near matches), AmbiguousTarget, TargetError (a kernel thread, a zombie),
    MissingFacility (no systemd, no engine), NotPermitted, and for a core file what the reader of it raises. Takes 3
    seconds at most, but for a core file, which may have to be unpacked. The caller ends with `release`.
    `files`: the core file, where it was opened before root was given away.
    """
    deadline = Deadline(PATIENCE)
    if spec.kind == "pid":
        from gotriage.target import by_pid

        return by_pid.attach(spec, host)
    if spec.kind == "unit":
        from gotriage.target import by_unit

        return by_unit.attach(spec, host, deadline)
    if spec.kind == "container":
        from gotriage.target import by_container

        return by_container.attach(spec, host, deadline)
    if spec.kind == "core":
        from gotriage.target import by_core

        return by_core.attach(spec, host, files)
    if spec.kind == "none":
        return Target(spec, host, name="")
    raise UsageError(f"no such kind of target: {spec.kind}")


__all__ = ["refresh", "release", "resolve"]
