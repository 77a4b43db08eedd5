"""Containers of every engine, from the best source that answers: the engine, its state files, the cgroups.

Every question has a deadline, and engines are asked side by side: one that hangs costs its deadline once.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError, NoSuchTarget
from gotriage.host import cgroup_names, clock, engine_api, engine_files, kubernetes
from gotriage.host.cgroup_tree import CgroupTree, group_of
from gotriage.host.engine_api import Daemons, Endpoint, EngineRefused, EngineSilent
from gotriage.records.service import ContainerState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gotriage.host import Host
    from gotriage.host.deadline import Deadline
    from gotriage.host.pidns import PidView


@dataclass(frozen=True, slots=True)
class Survey:
    """All containers that are known here, each once, what was silent and why, and where we may not look."""

    containers: tuple[ContainerState, ...] = ()
    silent: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    """Container id to the endpoint that told of it."""


def survey(host: Host, deadline: Deadline) -> Survey:
    """Ask everybody, within the deadline; never raises."""
    answers, silent, refused = _ask_all(host, deadline)
    found: dict[str, ContainerState] = {}
    endpoints: dict[str, Endpoint] = {}
    for endpoint, states in answers:
        for state in states:
            if state.id and state.id not in found:
                found[state.id], endpoints[state.id] = state, endpoint
    system = frozenset(endpoint.engine for endpoint, _ in answers if "/run/user/" not in str(endpoint.path))
    for state in engine_files.containers(host, skip=system):
        found.setdefault(state.id, state)
    for state in from_cgroups(host):
        found.setdefault(state.id, state)
    refused += engine_api.refused(host) + engine_files.refused(host)
    return Survey(tuple(found.values()), tuple(silent), tuple(refused), endpoints)


MAX_ASKED: Final = 8
"""Endpoints asked side by side."""
HEX_ID: Final = 64
"""Length of the ids of docker, podman and CRI."""


def _ask_all(
    host: Host, deadline: Deadline
) -> tuple[list[tuple[Endpoint, list[ContainerState]]], list[str], list[str]]:
    """The answers, who was silent and why, and who refused."""
    asked = engine_api.endpoints(host)[:MAX_ASKED]
    alive = engine_api.running(host, {endpoint.engine for endpoint in asked})
    silent = [engine_api.off(engine) for engine in dict.fromkeys(e.engine for e in asked if e.engine not in alive)]
    asked = [endpoint for endpoint in asked if endpoint.engine in alive]
    if not asked:
        return [], silent, []
    timeout = deadline.left(engine_api.TIMEOUT)
    pool = ThreadPoolExecutor(len(asked), thread_name_prefix="engine")
    tasks = {pool.submit(engine_api.containers, endpoint, timeout): endpoint for endpoint in asked}
    done, late = wait(tasks, timeout + 0.1)
    pool.shutdown(wait=False, cancel_futures=True)
    answers, refused = [], []
    for task in done:
        error = task.exception()
        if error is None:
            answers.append((tasks[task], task.result()))
        elif isinstance(error, EngineRefused):
            refused.append(str(error))
        elif isinstance(error, GotriageError):
            silent.append(str(error))
        else:
            raise error
    silent += [f"{tasks[task].engine}: {tasks[task].path} does not answer in time" for task in late]
    return sorted(answers, key=lambda answer: asked.index(answer[0])), silent, refused


def look(
    host: Host, known: ContainerState, endpoint: Endpoint | None, daemons: Daemons, timeout: float
) -> tuple[ContainerState, str]:
    """The container again, from its engine or else from files, else the cgroup; and why it was not the engine.

    Raises NoSuchTarget when the engine says that it is gone and nothing of it runs.
    """
    problem = ""
    if endpoint is not None:
        try:
            if not daemons.alive(host, endpoint.engine):
                raise EngineSilent(engine_api.off(endpoint.engine))
            return engine_api.inspect(endpoint, known.id, timeout), ""
        except EngineSilent as error:
            problem = str(error)
    for state in engine_files.containers(host, only=known.id):
        if state.id == known.id and known.engine in ("", state.engine):
            return state, problem
    for state in from_cgroups(host):
        if state.id == known.id:
            return state, problem
    raise NoSuchTarget(problem or f"container {known.id[:12]} is gone")


def from_cgroups(host: Host) -> list[ContainerState]:
    """The running containers that cgroups name, without names and states."""
    root = CgroupTree(host).root_of_view()
    found: dict[str, ContainerState] = {}
    for pid in host.proc.pids():
        try:
            owner = cgroup_names.owner(group_of(host, pid) or "/", root)
        except (GotriageError, OSError):
            continue
        if owner.id and owner.id not in found:
            name = owner.id if owner.engine in ("lxc", "nspawn") else ""
            found[owner.id] = ContainerState(
                at=clock.now(), engine=owner.engine, id=owner.id, name=name, source="cgroup", status="running"
            )
    links = kubernetes.log_links(host) if found else {}
    return [engine_files.with_pod(state, links.get(name)) for name, state in found.items()]


def name_of(host: Host, name: str) -> str:
    """The name of the container with that id, by the engines' files alone; "" when they do not tell."""
    if len(name) != HEX_ID:
        return name  # LXC and nspawn know no other id
    return next((state.name for state in engine_files.containers(host, only=name) if state.name), "")


def payload(host: Host, pids: Iterable[int], root: str) -> tuple[int | None, cgroup_names.Owner]:
    """The first process of the container among these processes of a unit, and whose it is; None without one."""
    inside: dict[str, list[int]] = {}
    owners: dict[str, cgroup_names.Owner] = {}
    for pid in pids:
        try:
            owner = cgroup_names.owner(group_of(host, pid) or "/", root)
        except (GotriageError, OSError):
            continue
        if owner.engine:
            inside.setdefault(owner.top, []).append(pid)
            owners[owner.top] = owner
    if len(inside) != 1:
        return None, cgroup_names.Owner()
    ((top, members),) = inside.items()
    return init_of(host, members), owners[top]


def holds(host: Host, pid: int, state: ContainerState, root: str = "/") -> bool:
    """Whether the process's cgroup is that of the container: state files outlive what they tell of."""
    try:
        path = group_of(host, pid) or "/"
    except (GotriageError, OSError):
        return False
    owner = cgroup_names.owner(path, root)
    if owner.engine == "nspawn" and not owner.id:
        return state.engine == "nspawn"  # the path of a container in a unit of its own does not tell its name
    return owner.id == state.id or (len(state.id) == HEX_ID and state.id in path)


def group_by_id(host: Host, name: str, root: str, tree: CgroupTree) -> tuple[str, list[int]]:
    """The container's cgroup and its processes (ours), by its id alone; "" and none when nothing runs."""
    for pid in host.proc.pids():
        try:
            owner = cgroup_names.owner(group_of(host, pid) or "/", root)
        except (GotriageError, OSError):
            continue
        if owner.id == name:
            return owner.top, tree.pids(owner.top)
    return "", []


def init_of(host: Host, pids: Iterable[int]) -> int | None:
    """The container's first process: number 1 of the outermost PID namespace there is, else the oldest."""
    ranked: list[tuple[int, int, int, int]] = []
    for pid in pids:
        try:
            stat = host.proc.stat(pid)
            numbers = host.proc.status(pid).get("NSpid", "").split()
        except (GotriageError, OSError, ValueError):
            continue
        if stat.state not in "ZX":
            first = len(numbers) > 1 and numbers[-1] == "1"
            ranked.append((0 if first else 1, len(numbers), stat.start_ticks, pid))
    return min(ranked)[-1] if ranked else None


def main_pid(host: Host, state: ContainerState, view: PidView, first: Iterable[int] = ()) -> tuple[int | None, str]:
    """Our PID of the container's first process and the container's cgroup; a stale PID is none.

    `first` are PIDs of ours that are likely to be it.
    """
    tree = CgroupTree(host)
    root = tree.root_of_view()
    if state.pid:
        ours = view.to_ours(state.pid, first)
        if ours is not None and (holds(host, ours, state, root) or _free(host, ours, state)):
            owner = cgroup_names.owner(group_of(host, ours) or "/", root)
            return ours, owner.top if owner.id else ""
    if state.status in ("exited", "created", "dead", "stopped", "configured") and state.source == "api":
        return None, ""
    group, pids = group_by_id(host, state.id, root, tree)
    return init_of(host, pids), group


def _free(host: Host, pid: int, state: ContainerState) -> bool:
    """A container that has no cgroup of its own (podman --cgroups=disabled): believed while its engine says so."""
    return state.source == "api" and state.engine == "podman" and pid in host.proc.pids()
