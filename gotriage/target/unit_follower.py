"""Finds the processes of a systemd unit again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError, NotPermitted
from gotriage.host import cgroup_names, clock, engines, systemd, unit_props
from gotriage.host.cgroup_tree import CgroupTree, group_of
from gotriage.host.dbus import BusRefused, BusUnreachable
from gotriage.host.deadline import Deadline
from gotriage.records.text import clean
from gotriage.target.model import ContainerRef, Sighting
from gotriage.target.reasons import why_down

if TYPE_CHECKING:
    from gotriage.host import Host
    from gotriage.host.pidns import PidView
    from gotriage.host.systemd import Manager, Variant
    from gotriage.target.model import Target

PATIENCE: Final = 0.5
"""Seconds that one question may take once we are attached: the agent asks in its loop."""
PAUSE: Final = 30.0
"""Seconds without questions after a manager did not answer."""
SUPERVISORS: Final = ("conmon", "systemd-nspawn")
"""Main processes of units that run a container: podman's (also quadlet's) and nspawn's."""
_RUNNING = ("active", "reloading", "refreshing", "deactivating")


class UnitFollower:
    """The manager's word about the unit, and its cgroup's members.

    Attributes:
        group: cgroup of the unit in our paths, "" when not known.
        exec_path: the first ExecStart's executable.
        container: the container that the unit runs, None for none.
    """

    returns = True

    def __init__(
        self, host: Host, manager: Manager | None, unit: str, view: PidView, *, uid: int | None = None, group: str = ""
    ) -> None:
        self._host = host
        self._manager = manager
        self._unit = unit
        self._view = view
        self._uid = manager.uid if manager else uid
        self._tree = CgroupTree(host)
        self._root = self._tree.root_of_view()
        self._path = ""
        self._key: tuple[object, ...] = ()
        self._last: Sighting | None = None
        self._quiet_until = clock.monotonic() + PAUSE if manager is None else 0.0
        self.group = group
        self.exec_path = ""
        self.container: ContainerRef | None = None

    def close(self) -> None:
        """Hang up."""
        if self._manager:
            self._manager.close()
            self._manager = None

    def members(self, target: Target) -> tuple[int, ...]:
        """The processes of the unit's cgroup and of those below it, the main one first."""
        group = self.group or self._group_of_main(target)
        pids = self._tree.pids(group) if group else []
        main = target.pid
        if main is None:
            return tuple(pids)
        return (main, *(pid for pid in pids if pid != main))

    def main(self, target: Target) -> Sighting | None:
        """systemd's word; the oldest process of the cgroup where systemd has none or does not answer."""
        if clock.monotonic() < self._quiet_until:
            return self.from_group(target)
        try:
            sighting = self._by_manager(target)
            target.container = self.container or target.container
            return sighting
        except (BusUnreachable, BusRefused, NotPermitted):
            self.close()
            self._quiet_until = clock.monotonic() + PAUSE
            return self.from_group(target)

    def _by_manager(self, target: Target) -> Sighting:
        if self._manager is None:
            deadline = Deadline(2 * PATIENCE)
            self._manager = systemd.Manager.open(self._host, self._uid, deadline)
            self._path = ""
        manager = self._manager
        self._path = self._path or manager.load(self._unit)
        changed = manager.property(self._path, "Unit", "StateChangeTimestampMonotonic", PATIENCE)
        main = manager.property(self._path, "Service", "MainPID", PATIENCE) if self._is_service else 0
        if self._last is not None and (changed, main) == self._key and self._holds(self._last, target):
            return self._last
        self._last = self._sighting(manager.properties(self._path, self._unit))
        self._key = (changed, main)
        return self._last

    @staticmethod
    def _holds(last: Sighting, target: Target) -> bool:
        """Nothing moved: it is still down, or the same process still runs."""
        return last.pid is None or (target.main is not None and target.main.pid == last.pid and target.main.alive())

    @property
    def _is_service(self) -> bool:
        return self._unit.endswith(".service")

    def _sighting(self, properties: dict[str, Variant]) -> Sighting:
        group = str(properties.get("ControlGroup", ("s", ""))[1])
        self.group = self._root.rstrip("/") + group if group else ""
        self.exec_path = _executable(properties) or self.exec_path
        pids = self._tree.pids(self.group) if self.group else []
        state = unit_props.from_bus(properties, user=self._uid is not None)
        if state.main_pid:
            ours = self._view.to_ours(state.main_pid, pids)
            if ours is not None and self._trusted(ours):
                return Sighting(self._behind(ours, pids))
        error = properties.get("LoadError", ("(ss)", ("", "")))[1]
        reason = why_down(state, clean(str(error[1]), 200) if isinstance(error, tuple) else "")
        if state.main_pid:
            reason = f"systemd's main process {state.main_pid} is not to be seen from here; {reason}"
        if pids and state.active_state in _RUNNING and state.sub_state not in ("exited", "dead"):
            return Sighting(self._oldest(pids, self._control_pid(properties)), reason)
        return Sighting(None, reason)

    def _behind(self, main: int, pids: list[int]) -> int:
        """A unit that runs a container has the engine's supervisor as its main process: the service is behind it."""
        try:
            supervises = self._host.proc.stat(main).comm in SUPERVISORS
        except (GotriageError, OSError, ValueError):
            return main
        first, owner = engines.payload(self._host, pids, self._root) if supervises else (None, None)
        if first is None or owner is None:
            return main
        name = engines.name_of(self._host, owner.id) if owner.id else ""
        self.container = ContainerRef(owner.engine, owner.id, name) if owner.id else None
        return first

    def _control_pid(self, properties: dict[str, Variant]) -> int | None:
        """The process of ExecStartPre=, ExecReload= and the like: not the service's own."""
        control = properties.get("ControlPID", ("u", 0))[1]
        return self._view.to_ours(control) if control else None

    def _trusted(self, pid: int) -> bool:
        """A user manager may only point at processes of its own user's slice."""
        if self._uid is None:
            return True
        try:
            path = group_of(self._host, pid) or "/"
        except (GotriageError, OSError):
            return False
        inside = cgroup_names.below(path, self._root) or ""
        return inside.startswith(f"/user.slice/user-{self._uid}.slice/")

    def from_group(self, target: Target) -> Sighting:
        """The oldest process of the unit's cgroup, with no manager to ask."""
        if not self.group:
            found = self._tree.named(self._unit, self._root)
            fitting = [path for path in found if cgroup_names.owner(path, self._root).uid == self._uid]
            self.group = fitting[0] if len(fitting) == 1 else ""
        pids = self._tree.pids(self.group) if self.group else []
        if target.main is not None and target.main.pid in pids and target.main.alive():
            return Sighting(target.main.pid)
        oldest = self._oldest(pids, None)
        return Sighting(oldest, "" if oldest else "no process in the unit's cgroup; systemd does not answer")

    def _oldest(self, pids: list[int], but: int | None) -> int | None:
        """The process that started first; a zombie is none."""
        found: list[tuple[int, int]] = []
        for pid in pids:
            try:
                stat = self._host.proc.stat(pid)
            except (GotriageError, OSError, ValueError):
                continue
            if pid != but and stat.state not in "ZX":
                found.append((stat.start_ticks, pid))
        return min(found)[1] if found else None

    def _group_of_main(self, target: Target) -> str:
        if target.pid is None:
            return ""
        try:
            path = group_of(self._host, target.pid) or "/"
        except (GotriageError, OSError):
            return ""
        owner = cgroup_names.owner(path, self._root)
        return owner.top if owner.unit == self._unit else ""


def _executable(properties: dict[str, Variant]) -> str:
    """The first ExecStart's path, of a(sasbttttuii)."""
    commands = properties.get("ExecStart", ("", []))[1]
    return str(commands[0][0]) if isinstance(commands, list) and commands else ""
