"""Which entries of the journal belong to a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gotriage.errors import GotriageError
from gotriage.host.journal import container_match, process_match, unit_match

if TYPE_CHECKING:
    from gotriage.host import Host
    from gotriage.host.journal import Match

MAX_PIDS = 64
"""Most processes whose own lines are matched; libsystemd looks each one up."""


class Scope(Protocol):
    """What of a target tells which entries are its own; `target.model.Target` has it."""

    @property
    def kind(self) -> str:
        """ "pid", "unit" or "container": what the user asked for."""

    @property
    def unit(self) -> str | None:
        """The systemd unit."""

    @property
    def user_uid(self) -> int | None:
        """Owner of the user manager that runs the unit, None for a system unit."""

    @property
    def container_id(self) -> str:
        """Full id of the container, "" when it is none."""

    @property
    def pids(self) -> tuple[int, ...]:
        """All processes."""


def match_of(host: Host, scope: Scope) -> Match:
    """A container by its id, a unit as `journalctl -u` does, a process by its service, else by PID and boot."""
    if scope.kind == "container" and scope.container_id:
        return container_match(scope.container_id)
    if scope.unit and (scope.kind == "unit" or _is_service(scope.unit)):
        return unit_match(scope.unit, scope.user_uid)
    if scope.container_id:
        return container_match(scope.container_id)
    boot = host.proc.text("sys", "kernel", "random", "boot_id").strip()
    return process_match(tuple(_as_seen(host, pid) for pid in scope.pids[:MAX_PIDS]), boot)


def _is_service(unit: str) -> bool:
    """Whether the unit says more than its process: not a login session and not the user manager itself."""
    return unit.endswith(".service") and not unit.startswith("user@")


def _as_seen(host: Host, pid: int) -> int:
    """The PID that the journal daemon of the view sees: with `--root-pid` that of its PID namespace (NSpid)."""
    if host.root_pid is None:
        return pid
    try:
        depth = len(host.proc.status(host.root_pid).get("NSpid", "").split())
        seen = host.proc.status(pid).get("NSpid", "").split()
    except (GotriageError, OSError):
        return pid
    return int(seen[depth - 1]) if 0 < depth <= len(seen) and seen[depth - 1].isdigit() else pid
