"""What container engines leave on disk, for when they do not answer: docker, podman, CRI-O, containerd, LXC, nspawn.

Files outlive their containers: a PID from here counts only when its cgroup holds the container's id. All are read
below `host.view`, links resolved inside it. Rootless engines keep theirs in the homes of their users, who may write
there what they like: the system's come first, and no PID is believed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gotriage.host import clock, engine_details, engine_parse, kubernetes, machines
from gotriage.host.engine_details import mapping
from gotriage.host.inroot import InRoot
from gotriage.records.service import ContainerState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gotriage.host import Host
    from gotriage.records.service import Pod


@dataclass(frozen=True, slots=True)
class Place:
    """Where an engine of the system, or of one user, keeps its files: folders of docker's and podman's."""

    docker: str = "/var/lib/docker/containers"
    storage: str = "/var/lib/containers/storage"
    run: str = "/run/containers/storage"
    exits: str = "/run/libpod/exits"


SYSTEM: Final = Place()
TASKS: Final = ("/run/containerd/io.containerd.runtime.v2.task", "/run/k3s/containerd/io.containerd.runtime.v2.task")
CRI: Final = (
    "/var/lib/containerd/io.containerd.grpc.v1.cri/containers",
    "/var/lib/rancher/k3s/agent/containerd/io.containerd.grpc.v1.cri/containers",
)
PASSWD: Final = "/etc/passwd"
MAX_HOMES: Final = 100
LEAST_UID: Final = 1000
MAX_CONTAINERS: Final = 2000
MAX_FILE: Final = 4 * 1024 * 1024
_ID: Final = re.compile(r"^[0-9a-f]{64}$")


def containers(host: Host, *, skip: frozenset[str] = frozenset(), only: str = "") -> list[ContainerState]:
    """All containers that state files tell of, except those of the engines in `skip` (they have answered).

    With `only` just the one of that id.
    """
    try:
        root = InRoot(str(host.view))
    except OSError:
        return []
    found: list[ContainerState] = []
    with root:
        for place in (SYSTEM, *_homes(root)):
            if place is not SYSTEM or "docker" not in skip:
                found += _docker(root, place, only)
            if place is not SYSTEM or "podman" not in skip:
                found += _storage(root, place, only)
        found += [state for state in _tasks(root, only) if state.engine not in skip]
        found += machines.lxc(root)
        found += machines.nspawn(root)
    return _named(host, [state for state in found if only in ("", state.id)])


def _named(host: Host, states: list[ContainerState]) -> list[ContainerState]:
    """The same; those that no label names get the pod that the kubelet's log files name."""
    lacking = [state for state in states if state.pod is None and _ID.match(state.id)]
    links = kubernetes.log_links(host) if lacking else {}
    return [with_pod(state, links.get(state.id)) for state in states] if links else states


def with_pod(state: ContainerState, pod: Pod | None) -> ContainerState:
    """The same with that pod, and its names as labels, where it has none."""
    if pod is None or state.pod is not None:
        return state
    labels = kubernetes.labels_of(pod) | state.labels
    return engine_parse.changed(state, pod=pod, labels=labels, name=state.name or pod.container)


def _homes(root: InRoot) -> list[Place]:
    """Where users' own engines keep their files, by the homes of /etc/passwd.

    The folders are the defaults of docker's rootless mode and of containers-storage.conf(5).
    """
    try:
        lines = root.read(PASSWD, 1024 * 1024).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        fields = line.split(":")
        if len(fields) < 6 or not (fields[2].isascii() and fields[2].isdigit()) or not fields[5].startswith("/"):
            continue
        uid, share = int(fields[2]), f"{fields[5].rstrip('/')}/.local/share"
        if uid >= LEAST_UID and (root.exists(f"{share}/containers/storage") or root.exists(f"{share}/docker")):
            run = f"/run/user/{uid}"
            exits = f"{run}/libpod/tmp/exits"
            storage = f"{share}/containers/storage"
            found.append(Place(f"{share}/docker/containers", storage, f"{run}/containers", exits))
    return found[:MAX_HOMES]


def refused(host: Host) -> list[str]:
    """The folders of state files that are there and that we may not look into."""
    try:
        root = InRoot(str(host.view))
    except OSError:
        return []
    found = []
    with root:
        for folder in (SYSTEM.docker, SYSTEM.storage, *TASKS, machines.LXC):
            try:
                root.names(folder, 1)
            except PermissionError:
                found.append(f"{folder}: permission denied")
            except OSError:
                continue
    return found


def _docker(root: InRoot, place: Place, only: str) -> Iterator[ContainerState]:
    for name in [only] if only else _names(root, place.docker):
        if not _ID.match(name):
            continue
        config = mapping(_json(root, f"{place.docker}/{name}/config.v2.json"))
        if config:
            limits = mapping(_json(root, f"{place.docker}/{name}/hostconfig.json"))
            yield engine_parse.with_source(engine_parse.inspected("docker", config, limits), "files")


def _storage(root: InRoot, place: Place, only: str) -> Iterator[ContainerState]:
    """containers/storage keeps one folder a storage driver: overlay-containers, vfs-containers ..."""
    for folder in _names(root, place.storage):
        rows = _json(root, f"{place.storage}/{folder}/containers.json") if folder.endswith("-containers") else None
        for row in rows[:MAX_CONTAINERS] if isinstance(rows, list) else ():
            name = str(row.get("id", "")) if isinstance(row, dict) else ""
            if _ID.match(name) and only in ("", name):
                yield _stored(root, place, folder, name, row)


def _stored(root: InRoot, place: Place, folder: str, name: str, row: dict[str, Any]) -> ContainerState:
    spec = mapping(_json(root, f"{place.storage}/{folder}/{name}/userdata/config.json"))
    run = f"{place.run}/{folder}/{name}"
    state = engine_parse.stored(row, spec, _number(root, f"{run}/userdata/pidfile"))
    log = f"{place.storage}/{folder}/{name}/userdata/ctr.log"
    logged = root.exists(log)
    code = _number(root, f"{place.exits}/{name}")
    health = mapping(_json(root, f"{run}/healthcheck.log"))
    return engine_parse.changed(
        state,
        exit_code=code,
        log_path=log if logged else "",
        log_driver="k8s-file" if logged else "",
        **(engine_details.of_health(health) if health else {}),
    )


def _tasks(root: InRoot, only: str) -> Iterator[ContainerState]:
    """containerd's tasks, with what its CRI plugin notes of them; then what that notes of those that ended."""
    told = set()
    for base in TASKS:
        for namespace in _names(root, base):
            for name in _names(root, f"{base}/{namespace}"):
                if only not in ("", name):
                    continue
                spec = _json(root, f"{base}/{namespace}/{name}/config.json")
                pid = _number(root, f"{base}/{namespace}/{name}/init.pid")
                state = engine_parse.task(namespace, name, mapping(spec), pid)
                status = next((found for folder in CRI if (found := _status(root, folder, name))), {})
                told.add(name)
                yield engine_parse.changed(state, **engine_parse.cri_status(status)) if status else state
    for folder in CRI:
        for name in [only] if only else _names(root, folder):
            if _ID.match(name) and name not in told and (status := _status(root, folder, name)):
                yield ContainerState(
                    at=clock.now(), engine="containerd", id=name, source="files", **engine_parse.cri_status(status)
                )


def _status(root: InRoot, folder: str, name: str) -> Mapping[str, Any]:
    return mapping(_json(root, f"{folder}/{name}/status"))


def _names(root: InRoot, folder: str) -> list[str]:
    try:
        return root.names(folder, MAX_CONTAINERS)
    except OSError:
        return []


def _json(root: InRoot, path: str) -> object:
    """A JSON file; None when it is not there, too long or damaged."""
    try:
        decoded: object = json.loads(root.read(path, MAX_FILE))
    except (OSError, ValueError, RecursionError):
        return None
    return decoded


def _number(root: InRoot, path: str) -> int | None:
    try:
        text = root.read(path, 64).strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and len(text) < 12 else None
