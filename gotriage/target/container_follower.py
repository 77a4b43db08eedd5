"""Finds the processes of a container again and again."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError, NoSuchTarget
from gotriage.host import cgroup_names, clock, engine_api, engine_files, engines, kubernetes
from gotriage.host.cgroup_tree import CgroupTree, group_of
from gotriage.host.engine_api import Daemons
from gotriage.records.exits import signal_name
from gotriage.target.model import ContainerRef, Sighting

if TYPE_CHECKING:
    from gotriage.host import Host
    from gotriage.host.engine_api import Endpoint
    from gotriage.host.pidns import PidView
    from gotriage.records.service import ContainerState
    from gotriage.target.model import Target

PATIENCE: Final = 0.5
"""Seconds that one question may take once we are attached: the agent asks in its loop."""
PAUSE: Final = 30.0
"""Seconds without questions after an engine did not answer."""


class ContainerFollower:
    """The engine's word about the container, and its cgroup's members.

    Attributes:
        state: what is known of it.
        group: its cgroup in our paths, "" when not known.
    """

    returns = True

    def __init__(
        self, host: Host, state: ContainerState, endpoint: Endpoint | None, view: PidView, *, by_name: bool
    ) -> None:
        self._host = host
        self._endpoint = endpoint
        self._view = view
        self._by_name = by_name
        self._tree = CgroupTree(host)
        self._root = self._tree.root_of_view()
        self._daemons = Daemons()
        self._quiet_until = 0.0
        self.state = state
        self.group = ""

    def close(self) -> None:
        """Nothing is held: each question is a connection of its own."""

    def members(self, target: Target) -> tuple[int, ...]:
        """The processes of the container's cgroup and of those below it, the main one first."""
        pids = self._tree.pids(self.group) if self.group else []
        main = target.pid
        if main is None:
            return tuple(pids)
        return (main, *(pid for pid in pids if pid != main))

    def main(self, target: Target, /) -> Sighting | None:
        """The engine's word, that of the state files, or the cgroup's."""
        asked = self._endpoint if clock.monotonic() >= self._quiet_until else None
        try:
            state, problem = engines.look(self._host, self.state, asked, self._daemons, PATIENCE)
        except NoSuchTarget as error:
            if following := self._next_of_pod(target, asked):
                return following
            if not (self._by_name and self._same_name(target)):
                return Sighting(None, f"the container was removed: {error}")
            state, problem = self.state, ""
        if problem:
            self._quiet_until = clock.monotonic() + PAUSE
        if state.source == "api" or not self.state.name:
            self.state = state
        seen = self.sighting(state)
        return (self._next_of_pod(target, asked) or seen) if seen.pid is None else seen

    def _next_of_pod(self, target: Target, endpoint: Endpoint | None) -> Sighting | None:
        """The kubelet restarts a container by making another one in its place: follow that one."""
        path = kubernetes.path_of(self.state.pod)
        if not (self._by_name and path):
            return None
        for state in self._all(endpoint):
            if state.id == self.state.id or kubernetes.path_of(state.pod) != path:
                continue
            pid, group = engines.main_pid(self._host, state, self._view)
            if pid is not None:
                self.state, self.group = state, group
                target.container = ContainerRef(state.engine, state.id, state.name)
                return Sighting(pid, "")
        return None

    def _all(self, endpoint: Endpoint | None) -> list[ContainerState]:
        """The containers that files and cgroups tell of, and the engine if it is asked."""
        found = engine_files.containers(self._host) + engines.from_cgroups(self._host)
        if endpoint is not None:
            with suppress(GotriageError):
                found += engine_api.containers(endpoint, PATIENCE)
        return found

    def _same_name(self, target: Target) -> bool:
        """The container was made anew under its name (compose does so): follow that one."""
        if self._endpoint is None:
            return False
        try:
            self.state = engine_api.inspect(self._endpoint, self.state.name, PATIENCE)
        except GotriageError:
            return False
        target.container = ContainerRef(self.state.engine, self.state.id, self.state.name)
        return True

    def sighting(self, state: ContainerState) -> Sighting:
        """The main process by a state; a PID that is not in the container's cgroup is none."""
        pid, group = engines.main_pid(self._host, state, self._view, self._tree.pids(self.group) if self.group else ())
        self.group = group or (self.group if pid is not None else "")
        return Sighting(pid, "" if pid is not None else why_down(state))

    def unit_of(self, pid: int) -> tuple[str | None, int | None]:
        """The unit that runs the container, when one does, and the owner of its user manager."""
        try:
            owner = cgroup_names.owner(group_of(self._host, pid) or "/", self._root)
        except (GotriageError, OSError):
            return None, None
        return owner.unit or None, owner.uid


def why_down(state: ContainerState) -> str:
    """Why a container has no process, in the engine's words."""
    if state.source != "api" and state.status in ("", "running", "paused"):
        return "none of its processes is left" if state.pid else "it does not run"
    words = state.status or "it does not run"
    details = []
    if state.status != "created" and state.exit_code is not None:
        by = f" ({signal_name(state.exit_code - 128)})" if 128 < state.exit_code < 193 else ""
        details.append(f"status {state.exit_code}{by}")
    if state.oom_killed:
        details.append("killed for lack of memory (OOMKilled)")
    if state.error:
        details.append(state.error)
    if state.restart_count:
        details.append(f"restarted {state.restart_count} times")
    return words + (": " + "; ".join(details) if details else "")
