"""The container's state from its engine, else from the engine's files, else from the cgroup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.collectors import Unavailable
from gotriage.errors import NoSuchTarget
from gotriage.host import clock, containerd, engine_api, engine_parse, engines, kubernetes, users
from gotriage.host.engine_api import Daemons
from gotriage.host.pidns import PidView
from gotriage.records.base import Why
from gotriage.records.service import ContainerState
from gotriage.records.stream import Gap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.host import Host
    from gotriage.host.engine_api import Endpoint
    from gotriage.records import Record
    from gotriage.target.model import Target

ROOT: Final = "run gotriage as root (sudo)"
PAUSE: Final = 30.0
"""Seconds without a question after the engine did not answer."""
_LOST: Final = {
    "files": "the engine's live state: status, restarts, health",
    "cgroup": "the container's name, image, limits, exit code and restarts",
}


class ContainerCollector:
    """`ContainerState`, with the PID as we count."""

    backend = "engine API"

    def __init__(self, host: Host, target: Target) -> None:
        """Raises Unavailable when the target is in no container."""
        if target.container is None:
            raise Unavailable("the target is in no container")
        self._host, self._target = host, target
        self._view = PidView(host)
        self._daemons = Daemons()
        self._quiet_until = 0.0
        self._problem = ""
        self._told: ContainerState | None = None

    def close(self) -> None:
        """Nothing is held: each question is a connection of its own."""

    def collect(self) -> Iterator[Record]:
        """One `ContainerState`, and a gap while it is not the engine's own word."""
        reference = self._target.container
        if reference is None:
            return
        known = ContainerState(at=clock.now(), engine=reference.engine, id=reference.id, name=reference.name)
        state, problem = self._look(known)
        if problem:
            lost = _LOST.get(state.source if state else "cgroup", "")
            denied = problem.endswith(engine_api.DENIED)
            yield Gap(
                at=clock.now(),
                source="container.engine",
                reason=problem,
                lost=lost,
                remedy=ROOT if denied else _remedy(known.engine, self._target.user_uid),
                permission=denied,
            )
        if state is not None:
            self.backend = {"api": "engine API", "files": "state files", "cgroup": "cgroup"}.get(state.source, "")
            yield self._in_pod(self._ours(self._by_ctr(state)))

    def _by_ctr(self, state: ContainerState) -> ContainerState:
        """With what only containerd itself knows; asked once, since none of it changes."""
        if state.engine not in ("containerd", "") or state.source == "api":
            return state
        if self._told is None or self._told.id != state.id:
            self._told = containerd.asked(self._host, state, engine_api.TIMEOUT)
        told = self._told
        fields = {name: getattr(told, name) for name in containerd.FILLED if not getattr(state, name)}
        return engine_parse.changed(state, **fields)

    def _in_pod(self, state: ContainerState) -> ContainerState:
        """With the pod that it is in, from whatever tells of it, and how often the kubelet started it."""
        main = self._target.main
        pod = kubernetes.merged(state.pod, kubernetes.by_cgroup(self._target.cgroup or ""))
        if main is not None and state.source != "api" and (pod is None or not pod.name):
            pod = kubernetes.merged(pod, kubernetes.inside(self._host, main.pid))
        if pod is None:
            return state
        path, count = kubernetes.log_file(self._host, pod) or ("", None)
        if count is None or (state.restart_count is not None and state.engine != "docker"):
            count = state.restart_count  # but the kubelet lets docker restart none
        return engine_parse.changed(state, pod=pod, restart_count=count, log_path=state.log_path or path)

    def _look(self, known: ContainerState) -> tuple[ContainerState | None, str]:
        """The state from the best source, and why it was not the engine."""
        if clock.monotonic() < self._quiet_until:
            state, _ = self._once(known, None)
            return state, self._problem
        problem = ""
        for endpoint in self._endpoints(known.engine):
            state, problem = self._once(known, endpoint)
            if state is not None and state.source == "api":
                return state, ""
        if self._target.user_uid is None:  # a user's own container is none of the system's engine
            problem = problem or next(iter(engine_api.refused(self._host, known.engine)), "")
        state, gone = self._once(known, None)
        if state is None:
            return None, problem or gone
        if problem:
            self._quiet_until, self._problem = clock.monotonic() + PAUSE, problem
        return state, problem

    def _once(self, known: ContainerState, endpoint: Endpoint | None) -> tuple[ContainerState | None, str]:
        try:
            return engines.look(self._host, known, endpoint, self._daemons, engine_api.TIMEOUT)
        except NoSuchTarget as error:
            return None, str(error)

    def _endpoints(self, engine: str) -> list[Endpoint]:
        """Of the engine; of the user who runs the container, where one does."""
        owner, found = self._target.user_uid, engine_api.endpoints(self._host)
        if owner is not None:
            found = [endpoint for endpoint in found if f"/run/user/{owner}/" in str(endpoint.path)]
        return [endpoint for endpoint in found if engine in ("", endpoint.engine)]

    def _ours(self, state: ContainerState) -> ContainerState:
        """Its PID as we count, and only while the process is in the container's cgroup."""
        main = self._target.main
        if main is not None and not state.id_map:
            state = engine_parse.changed(state, id_map=users.first_extent(self._host, main.pid))
        if main is not None and state.source != "api":
            return engine_parse.changed(state, pid=main.pid, status="running")
        pid, _ = engines.main_pid(self._host, state, self._view, self._target.pids)
        if pid is None and state.source != "api" and state.status in ("", "running"):
            why = Why("the engine's state file tells of a process that is no longer there")
            return engine_parse.changed(state, pid=None, status="", unknown={"status": why})
        return engine_parse.changed(state, pid=pid)


def _remedy(engine: str, user: int | None) -> str:
    if user is not None:
        return f"as uid {user}: systemctl --user start {engine}.socket" if engine in ("docker", "podman") else ""
    return {"docker": "systemctl status docker", "podman": "systemctl start podman.socket"}.get(engine, "")
