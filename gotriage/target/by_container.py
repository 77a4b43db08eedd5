"""A target given as a container: by id, unique prefix, name, or NAMESPACE/POD[/CONTAINER]; with the engine down too."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gotriage.errors import AmbiguousTarget, GotriageError, NoSuchTarget, NotPermitted, UsageError
from gotriage.host import engine_api, engine_parse, engines, kubernetes
from gotriage.host.pidns import PidView
from gotriage.records.text import clean
from gotriage.target import pinning
from gotriage.target.container_follower import ContainerFollower
from gotriage.target.follow import event
from gotriage.target.model import ContainerRef, Target
from gotriage.target.near import near_text

if TYPE_CHECKING:
    from gotriage.host import Host
    from gotriage.host.deadline import Deadline
    from gotriage.host.engines import Survey
    from gotriage.records.service import ContainerState
    from gotriage.records.target import TargetSpec

MAX_REFERENCE: Final = 600
MAX_LISTED: Final = 8
MAX_REFUSED: Final = 2
_HEX: Final = re.compile(r"^[0-9a-f]+$")
_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SCHEME: Final = re.compile(r"^(docker|podman|containerd|cri-o|lxc|nspawn)://(.+)$")


def attach(spec: TargetSpec, host: Host, deadline: Deadline) -> Target:
    """The container of that reference. Raises UsageError, NoSuchTarget, AmbiguousTarget, NotPermitted."""
    reference = spec.value.strip()
    if not reference or len(reference) > MAX_REFERENCE:
        raise UsageError("--container: give an id, a unique prefix, a name, or NAMESPACE/POD[/CONTAINER]")
    view = PidView(host)
    seen = engines.survey(host, deadline)
    state = chosen(reference, seen)
    endpoint = seen.endpoints.get(state.id)
    if endpoint is not None:
        try:
            state = engine_api.inspect(endpoint, state.id, deadline.left(engine_api.TIMEOUT))
        except GotriageError as error:
            seen = replace(seen, silent=(*seen.silent, str(error)))
    path = kubernetes.path_of(state.pod)
    by_name = reference.lstrip("/") == state.name or (bool(path) and path.startswith(reference.strip("/")))
    follower = ContainerFollower(host, state, endpoint, view, by_name=by_name)
    target = Target(spec, host, name=path or state.name or state.id[:12], follower=follower)
    target.container = ContainerRef(state.engine, state.id, state.name)
    _pinned(target, follower, seen)
    return target


def _pinned(target: Target, follower: ContainerFollower, seen: Survey) -> None:
    sighting = follower.sighting(follower.state)
    target.cgroup, target.reason = follower.group or None, sighting.reason
    if sighting.pid is not None:
        try:
            pinning.pin(target, sighting.pid)
            target.unit, target.user_uid = follower.unit_of(sighting.pid)
        except GotriageError as error:
            target.reason = str(error)
    unheard = (*seen.silent, *seen.refused[:MAX_REFUSED])
    if unheard and follower.state.source != "api":
        told = {"files": "its state files", "cgroup": "its cgroup alone"}.get(follower.state.source, "the cgroup")
        target.pending.append(event("note", f"{'; '.join(unheard)}: the container is known from {told}"))
    target.pids = follower.members(target)
    if target.user_uid is not None and target.user_uid == os.geteuid() and follower.state.engine == "podman":
        name = follower.state.name if _PLAIN.fullmatch(follower.state.name) else follower.state.id[:12]
        text = f"podman unshare gotriage --container {name}: sees memory, files and network of your own containers"
        target.pending.append(event("note", text))


def chosen(reference: str, seen: Survey) -> ContainerState:
    """The one container that the reference means.

    Raises NoSuchTarget with near matches, AmbiguousTarget; NotPermitted when no engine would tell us of any container.
    """
    candidates = list(seen.containers)
    shown = clean(reference, 120)
    if scheme := _SCHEME.match(reference):
        candidates = [state for state in candidates if state.engine == scheme[1]]
        reference = scheme[2]
    reference = reference.lstrip("/")
    if "/" in reference:
        return _in_pod(shown, reference, candidates)
    found = [state for state in candidates if reference in (state.id, state.name)]
    if len(found) > 1 and len(reference) == engines.HEX_ID:
        found = [state for state in found if state.id == reference]
    if not found and _HEX.match(reference):
        found = [state for state in candidates if state.id.startswith(reference)]
    if found:
        return _one(shown, found)
    if seen.refused and not seen.endpoints:
        where = "; ".join((*seen.refused[:MAX_REFUSED], *seen.silent))
        raise NotPermitted(f"no container {shown} as far as this user may look ({where}); run gotriage as root (sudo)")
    raise NoSuchTarget(_unknown(shown, candidates, seen))


def _one(shown: str, found: list[ContainerState]) -> ContainerState:
    if len(found) == 1:
        return found[0]
    names = ", ".join(_short(state) for state in found[:MAX_LISTED])
    more = f" and {len(found) - MAX_LISTED} more" if len(found) > MAX_LISTED else ""
    raise AmbiguousTarget(f"container {shown} fits {names}{more}; give more of the id, or ENGINE://NAME")


def _short(state: ContainerState) -> str:
    name = f" ({state.name})" if state.name and state.name != state.id else ""
    return f"{state.engine or 'container'}://{state.id[:20]}{name}"


def _in_pod(shown: str, reference: str, candidates: list[ContainerState]) -> ContainerState:
    """NAMESPACE/POD or NAMESPACE/POD/CONTAINER, by the labels that the kubelet puts on containers."""
    parts = reference.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise UsageError(f"--container {shown}: a Kubernetes container is NAMESPACE/POD or NAMESPACE/POD/CONTAINER")
    labelled = [state for state in candidates if engine_parse.K8S_POD in state.labels]
    pods = [state for state in labelled if not engine_parse.sandbox(state)]
    if not pods:
        raise NoSuchTarget(f"no pod {shown}: no container here has Kubernetes' labels; run gotriage on the pod's node")
    names = {_pod_path(state): state for state in pods}
    in_pod = [state for state in pods if _pod_path(state).rpartition("/")[0] == "/".join(parts[:2])]
    found = [state for state in in_pod if len(parts) == 2 or _pod_path(state) == reference]
    running = [state for state in found if state.status in ("running", "")] or found
    if not running:
        raise NoSuchTarget(f"no container {shown}{near_text(reference, names)}")
    if len(running) > 1:
        if len({_pod_path(state) for state in running}) == 1:  # an old one of that name is left beside the new one
            return _one(shown, running)
        listed = ", ".join(_pod_path(state) for state in running[:MAX_LISTED])
        raise AmbiguousTarget(f"{shown} fits {listed}; name one")
    return running[0]


def _pod_path(state: ContainerState) -> str:
    keys = (engine_parse.K8S_NAMESPACE, engine_parse.K8S_POD, engine_parse.K8S_CONTAINER)
    return "/".join(state.labels.get(key, "") for key in keys)


def _unknown(shown: str, candidates: list[ContainerState], seen: Survey) -> str:
    silent = f" ({'; '.join(seen.silent)})" if seen.silent else ""
    if not candidates:
        return f"no container {shown}: no engine here knows any{silent}"
    names = [state.name or state.id[:12] for state in candidates]
    return f"no container {shown}{near_text(shown, names)}{silent}"
