"""What container engines leave on disk, for when they do not answer: docker, podman, CRI-O, containerd, LXC, nspawn.

Files outlive their containers: a PID from here counts only when its cgroup holds the container's id. All are read
below `host.view`, links resolved inside it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from gotriage.host import clock, engine_parse
from gotriage.host.inroot import InRoot
from gotriage.records.service import ContainerState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.host import Host

DOCKER: Final = "/var/lib/docker/containers"
STORAGE: Final = "/var/lib/containers/storage"
STORAGE_RUN: Final = "/run/containers/storage"
EXITS: Final = "/run/libpod/exits"
TASKS: Final = ("/run/containerd/io.containerd.runtime.v2.task", "/run/k3s/containerd/io.containerd.runtime.v2.task")
LXC: Final = "/var/lib/lxc"
MACHINES: Final = "/run/systemd/machines"
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
        if "docker" not in skip:
            found += _docker(root, only)
        if "podman" not in skip:
            found += _storage(root, only)
        found += [state for state in _tasks(root, only) if state.engine not in skip]
        found += _lxc(root)
        found += _machines(root)
    return [state for state in found if only in ("", state.id)]


def refused(host: Host) -> list[str]:
    """The folders of state files that are there and that we may not look into."""
    try:
        root = InRoot(str(host.view))
    except OSError:
        return []
    found = []
    with root:
        for folder in (DOCKER, STORAGE, *TASKS, LXC):
            try:
                root.names(folder, 1)
            except PermissionError:
                found.append(f"{folder}: permission denied")
            except OSError:
                continue
    return found


def _docker(root: InRoot, only: str) -> Iterator[ContainerState]:
    for name in [only] if only else _names(root, DOCKER):
        if not _ID.match(name):
            continue
        config = _mapping(_json(root, f"{DOCKER}/{name}/config.v2.json"))
        if config:
            limits = _mapping(_json(root, f"{DOCKER}/{name}/hostconfig.json"))
            yield engine_parse.with_source(engine_parse.inspected("docker", config, limits), "files")


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _storage(root: InRoot, only: str) -> Iterator[ContainerState]:
    """containers/storage keeps one folder a storage driver: overlay-containers, vfs-containers ..."""
    for folder in _names(root, STORAGE):
        rows = _json(root, f"{STORAGE}/{folder}/containers.json") if folder.endswith("-containers") else None
        for row in rows[:MAX_CONTAINERS] if isinstance(rows, list) else ():
            name = str(row.get("id", "")) if isinstance(row, dict) else ""
            if _ID.match(name) and only in ("", name):
                yield _stored(root, folder, name, row)


def _stored(root: InRoot, folder: str, name: str, row: dict[str, Any]) -> ContainerState:
    spec = _json(root, f"{STORAGE}/{folder}/{name}/userdata/config.json")
    pid = _number(root, f"{STORAGE_RUN}/{folder}/{name}/userdata/pidfile")
    state = engine_parse.stored(row, _mapping(spec), pid)
    log = f"{STORAGE}/{folder}/{name}/userdata/ctr.log"
    logged = root.exists(log)
    code = _number(root, f"{EXITS}/{name}")
    return engine_parse.changed(
        state, exit_code=code, log_path=log if logged else "", log_driver="k8s-file" if logged else ""
    )


def _tasks(root: InRoot, only: str) -> Iterator[ContainerState]:
    for base in TASKS:
        for namespace in _names(root, base):
            for name in _names(root, f"{base}/{namespace}"):
                if only not in ("", name):
                    continue
                spec = _json(root, f"{base}/{namespace}/{name}/config.json")
                pid = _number(root, f"{base}/{namespace}/{name}/init.pid")
                yield engine_parse.task(namespace, name, _mapping(spec), pid)


def _lxc(root: InRoot) -> Iterator[ContainerState]:
    for name in _names(root, LXC):
        if root.exists(f"{LXC}/{name}/config"):
            yield ContainerState(at=clock.now(), engine="lxc", id=name, name=name, source="files")


def _machines(root: InRoot) -> Iterator[ContainerState]:
    for name in _names(root, MACHINES):
        if name.startswith((".", "unit:")):
            continue
        try:
            text = root.read(f"{MACHINES}/{name}", 65536).decode("utf-8", "replace")
        except OSError:
            continue
        kind, leader = engine_parse.machine(text)
        if kind == "container":
            yield ContainerState(at=clock.now(), engine="nspawn", id=name, name=name, source="files", pid=leader)


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
