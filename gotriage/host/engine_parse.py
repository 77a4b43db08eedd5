"""What container engines say and store, as `ContainerState`: pure functions over their JSON.

Sources: the Docker Engine API 1.41 (GET /containers/ID/json), moby's container/container.go (config.v2.json),
containers/storage's containers.go (containers.json), the OCI runtime specification's config.json, the annotations of
containerd's CRI plugin (pkg/cri/annotations) and of CRI-O (pkg/annotations).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gotriage.host import clock, engine_details, kubernetes
from gotriage.host.engine_details import flag, mapping, text
from gotriage.records.secrets import mask_value
from gotriage.records.service import ContainerState
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_LABELS: Final = 100
MAX_TIME: Final = 1 << 62
"""Nanoseconds since 1970 that are believed."""
MAX_LABEL: Final = 1000
"""Longest label value kept, in characters."""

K8S_NAMESPACE: Final = kubernetes.NAMESPACE
K8S_POD: Final = kubernetes.POD
K8S_CONTAINER: Final = kubernetes.CONTAINER

_CRI: Final = {
    "io.kubernetes.cri.sandbox-namespace": K8S_NAMESPACE,
    "io.kubernetes.cri.sandbox-name": K8S_POD,
    "io.kubernetes.cri.container-name": K8S_CONTAINER,
    "io.kubernetes.cri.sandbox-uid": kubernetes.UID,
}
"""containerd's annotations, by the label that the kubelet uses."""


def inspected(engine: str, found: Mapping[str, Any], host_config: Mapping[str, Any] | None = None) -> ContainerState:
    """From an inspect answer, or from config.v2.json with its hostconfig.json; `source` is left to the caller."""
    state, config = mapping(found.get("State")), mapping(found.get("Config"))
    limits = host_config if host_config is not None else mapping(found.get("HostConfig"))
    log, policy = mapping(limits.get("LogConfig")), mapping(limits.get("RestartPolicy"))
    marks = labels(config.get("Labels"))
    return ContainerState(
        at=clock.now(),
        engine=engine,
        id=text(found.get("Id") or found.get("ID"), 128),
        name=text(found.get("Name"), 256).lstrip("/"),
        image=text(config.get("Image") or found.get("ImageName"), 512),
        status=text(state.get("Status"), 64) or _status(state),
        pid=_int(state.get("Pid")) or None,
        exit_code=_int(state.get("ExitCode")),
        oom_killed=flag(state.get("OOMKilled")),
        error=text(state.get("Error"), 1000),
        restart_count=_int(found.get("RestartCount")),
        restart_policy=_policy(policy),
        started_at=parse_time(state.get("StartedAt")),
        finished_at=parse_time(state.get("FinishedAt")),
        log_driver=text(log.get("Type"), 64),
        log_path=text(found.get("LogPath") or log.get("Path"), 4096),
        network_mode=text(limits.get("NetworkMode"), 256),
        memory_limit_bytes=_int(limits.get("Memory")) or None,
        cpu_quota=_cpus(limits),
        pids_limit=_positive(limits.get("PidsLimit")),
        labels=marks,
        health=text(mapping(state.get("Health") or state.get("Healthcheck")).get("Status"), 64),
        created_at=parse_time(found.get("Created")),
        pod=kubernetes.by_labels(marks),
        **engine_details.of_inspect(found, config, limits),
    )


def listed(engine: str, row: Mapping[str, Any]) -> ContainerState:
    """From one row of GET /containers/json."""
    names = row.get("Names")
    name = names[0] if isinstance(names, list) and names else ""
    marks = labels(row.get("Labels"))
    return ContainerState(
        at=clock.now(),
        engine=engine,
        id=text(row.get("Id"), 128),
        name=text(name, 256).lstrip("/"),
        image=text(row.get("Image"), 512),
        source="api",
        status=text(row.get("State"), 64),
        labels=marks,
        pod=kubernetes.by_labels(marks),
    )


def stored(row: Mapping[str, Any], spec: Mapping[str, Any], pid: int | None) -> ContainerState:
    """From a row of containers.json and the container's OCI spec: podman or CRI-O."""
    notes = labels(spec.get("annotations"))
    names = row.get("names")
    name = names[0] if isinstance(names, list) and names else ""
    image = re.search(r'"image-name":"([^"]{1,512})"', str(row.get("metadata", "")))
    return _from_spec(
        "cri-o" if "cri-o" in notes.get("io.container.manager", "") else "podman",
        text(row.get("id"), 128),
        text(name, 256),
        clean(image[1]) if image else "",
        notes,
        spec,
        pid,
    )


def task(namespace: str, name: str, spec: Mapping[str, Any], pid: int | None) -> ContainerState:
    """From the folder of a containerd task and its OCI spec; namespace moby is docker's."""
    notes = labels(spec.get("annotations"))
    for theirs, ours in _CRI.items():
        if theirs in notes:
            notes.setdefault(ours, notes[theirs])
    shown = notes.get("nerdctl/name") or notes.get(K8S_CONTAINER, "")
    image = notes.get("io.kubernetes.cri.image-name", "")
    engine = "docker" if namespace == "moby" else "containerd"
    return _from_spec(engine, clean(name, 128), shown, image, notes, spec, pid)


_ENDS: Final = ("Completed", "Error", "OOMKilled")
"""Reasons that say no more than the exit code does (containerd's pkg/cri/sbserver/helpers.go)."""


def cri_status(found: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of ContainerState from the file `status` of containerd's CRI plugin (store/container/status.go, v1)."""
    begun, ended = _nanoseconds(found.get("StartedAt")), _nanoseconds(found.get("FinishedAt"))
    created = _nanoseconds(found.get("CreatedAt"))
    reason, message = text(found.get("Reason"), 200), text(found.get("Message"), 800)
    failed = ended is not None
    return {
        "status": "exited" if failed else "running" if begun else "created" if created else "",
        "exit_code": _int(found.get("ExitCode")) if failed else None,
        "oom_killed": reason == "OOMKilled" if failed else None,
        "error": ": ".join(word for word in (reason, message) if word and word not in _ENDS),
        "created_at": created,
        "started_at": begun,
        "finished_at": ended,
    }


def _nanoseconds(value: object) -> datetime | None:
    """A time in nanoseconds since 1970; None for 0 and nonsense."""
    number = _positive(value)
    return datetime.fromtimestamp(number / 1e9, UTC) if number is not None and number < MAX_TIME else None


def changed(state: ContainerState, **fields: object) -> ContainerState:
    """The same with other values in some fields."""
    return msgspec.structs.replace(state, **fields)


def with_source(state: ContainerState, source: str) -> ContainerState:
    """The same with its source: "api", "files" or "cgroup"."""
    return changed(state, source=source)


def sandbox(state: ContainerState) -> bool:
    """The pause container that holds a pod's namespaces: nobody means that one."""
    marks = state.labels
    return (
        marks.get("io.kubernetes.docker.type") == "podsandbox"
        or marks.get("io.kubernetes.cri.container-type") == "sandbox"
        or marks.get("io.kubernetes.cri-o.ContainerType") == "sandbox"
        or marks.get(K8S_CONTAINER) == "POD"
    )


def _from_spec(
    engine: str, name: str, shown: str, image: str, notes: dict[str, str], spec: Mapping[str, Any], pid: int | None
) -> ContainerState:
    resources = mapping(mapping(spec.get("linux")).get("resources"))
    cpu = mapping(resources.get("cpu"))
    quota, period = _positive(cpu.get("quota")), _positive(cpu.get("period"))
    return ContainerState(
        at=clock.now(),
        engine=engine,
        id=name,
        name=shown,
        image=image,
        source="files",
        pid=pid,
        memory_limit_bytes=_positive(mapping(resources.get("memory")).get("limit")),
        cpu_quota=quota / period if quota and period else None,
        pids_limit=_positive(mapping(resources.get("pids")).get("limit")),
        labels=notes,
        pod=kubernetes.by_labels(notes),
        restart_count=_count(notes.get(kubernetes.RESTARTS, "")),
        created_at=parse_time(notes.get("io.kubernetes.cri-o.Created")),
        **engine_details.of_spec(spec),
    )


_TIME: Final = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$")


def parse_time(value: object) -> datetime | None:
    """An RFC 3339 time with up to nine digits of fraction; None for Go's zero time (year 1) and anything else."""
    match = _TIME.match(value) if isinstance(value, str) else None
    if not match or match[1].startswith("0001-"):
        return None
    try:
        base = datetime.fromisoformat(match[1] + (match[3] if match[3] != "Z" else "+00:00"))
    except ValueError:
        return None
    return base.replace(microsecond=int((match[2] or "0")[:6].ljust(6, "0"))).astimezone(UTC)


def labels(value: object) -> dict[str, str]:
    """Labels or annotations, cleaned and bounded; those of Kubernetes come first."""
    if not isinstance(value, dict):
        return {}
    pairs = sorted(value.items(), key=lambda pair: not str(pair[0]).startswith("io.kubernetes."))
    return {clean(str(key), 256): clean(mask_value(str(key), str(text)), MAX_LABEL) for key, text in pairs[:MAX_LABELS]}


def _status(state: Mapping[str, Any]) -> str:
    """The word that docker shows, from the flags of config.v2.json (moby's State.StateString)."""
    for name, word in (("Paused", "paused"), ("Restarting", "restarting"), ("Running", "running"), ("Dead", "dead")):
        if state.get(name):
            return word
    if "Running" not in state:
        return ""
    return "exited" if parse_time(state.get("StartedAt")) else "created"


def _policy(policy: Mapping[str, Any]) -> str:
    name, most = text(policy.get("Name"), 64), _int(policy.get("MaximumRetryCount"))
    return f"{name}:{most}" if most else name


def _cpus(limits: Mapping[str, Any]) -> float | None:
    nano = _positive(limits.get("NanoCpus"))
    if nano:
        return nano / 1e9
    quota = _positive(limits.get("CpuQuota"))
    return quota / (_positive(limits.get("CpuPeriod")) or 100_000) if quota else None


def _count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63 else None


def _positive(value: object) -> int | None:
    number = _int(value)
    return number if number is not None and number > 0 else None
