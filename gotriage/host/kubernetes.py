"""Which pod a container belongs to: by labels, by the names of the kubelet's log files, by its cgroup.

Sources: the kubelet's pkg/kubelet/cm/cgroup_manager_linux.go and qos_container_manager_linux.go (cgroup names),
pkg/kubelet/kuberuntime/legacy.go (/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log) and helpers.go
(/var/log/pods/NAMESPACE_POD_UID/CONTAINER/RESTARTS.log), pkg/kubelet/types/labels.go.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from gotriage.errors import GotriageError
from gotriage.host.inroot import InRoot
from gotriage.records.service import Pod
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gotriage.host import Host

NAMESPACE: Final = "io.kubernetes.pod.namespace"
POD: Final = "io.kubernetes.pod.name"
CONTAINER: Final = "io.kubernetes.container.name"
UID: Final = "io.kubernetes.pod.uid"
RESTARTS: Final = "io.kubernetes.container.restartCount"
POD_LOGS: Final = "/var/log/pods"
ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_LOG: Final = re.compile(r"(\d{1,9})\.log")
LOG_LINKS: Final = "/var/log/containers"
MAX_LINKS: Final = 10_000

_LINK: Final = re.compile(
    r"(?P<pod>[a-z0-9.-]{1,253})_(?P<namespace>[a-z0-9-]{1,63})_(?P<container>[a-z0-9-]{1,63})-(?P<id>[0-9a-f]{64})\.log"
)
"""Kubernetes' names are DNS labels and subdomains (RFC 1123): without underscores."""
_POD_GROUP: Final = re.compile(
    r"(?:^|[/-])pod(?P<uid>[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?(?:/|$)"
)
"""A static pod's uid is a hash of 32 digits; systemd's names have `_` where the uid has `-`."""


def by_labels(labels: Mapping[str, str]) -> Pod | None:
    """The pod that labels name; None without any."""
    names = (labels.get(key, "") for key in (NAMESPACE, POD, CONTAINER, UID))
    namespace, name, container, uid = names
    return Pod(namespace, name, container, uid, told_by="labels") if name else None


def by_cgroup(path: str) -> Pod | None:
    """The pod's uid and class of service; None when the path is not one of the kubelet's."""
    match = _POD_GROUP.search(path)
    if match is None or "kubepods" not in path:
        return None
    head = path[: match.start()]
    qos = next((word for word in ("burstable", "besteffort") if word in head), "guaranteed")
    return Pod(uid=match["uid"].replace("_", "-"), qos=qos, told_by="cgroup")


def by_link(name: str) -> tuple[str, Pod] | None:
    """The container's id and its pod from a name in /var/log/containers."""
    match = _LINK.fullmatch(name)
    if match is None:
        return None
    return match["id"], Pod(match["namespace"], match["pod"], match["container"], told_by="log files")


def log_links(host: Host) -> dict[str, Pod]:
    """Container id to its pod, as the kubelet's links in /var/log/containers name them; empty where there are none."""
    try:
        with InRoot(str(host.view)) as root:
            names = root.names(LOG_LINKS, MAX_LINKS)
    except OSError:
        return {}
    return dict(found for name in names if (found := by_link(name)) is not None)


def log_file(host: Host, pod: Pod) -> tuple[str, int] | None:
    """The container's newest log file, and how often the kubelet started it anew: the file's number.

    None when there is none, or nothing that we may look at.
    """
    names = (pod.namespace, pod.name, pod.container)
    if not all(names) or any("/" in name or ".." in name for name in names):
        return None
    begin = f"{pod.namespace}_{pod.name}_{pod.uid}"
    try:
        with InRoot(str(host.view)) as root:
            folder = next((name for name in root.names(POD_LOGS, MAX_LINKS) if name.startswith(begin)), "")
            numbers = [_LOG.fullmatch(name) for name in root.names(f"{POD_LOGS}/{folder}/{pod.container}", 1000)]
    except OSError:
        return None
    newest = max((int(match[1]) for match in numbers if match), default=None)
    return (f"{POD_LOGS}/{folder}/{pod.container}/{newest}.log", newest) if newest is not None else None


def inside(host: Host, pid: int) -> Pod | None:
    """The pod of a process by what the kubelet puts into its root, where neither engine nor cgroup tells.

    The namespace of its service account's token (Kubernetes' documentation, "Accessing the API from a Pod"), and the
    host name, which is the pod's name unless its specification gives another.
    """
    try:
        with InRoot(host.proc.path(pid, "root")) as root:
            namespace = root.read(f"{ACCOUNT}/namespace", 256).decode("utf-8", "replace").strip()
            name = root.read("/etc/hostname", 256).decode("utf-8", "replace").strip()
    except (GotriageError, OSError):
        return None
    return Pod(clean(namespace, 63), clean(name, 253), told_by="the target's own files") if namespace else None


def merged(*pods: Pod | None) -> Pod | None:
    """What the first tell, completed by the later ones where they do not speak of another pod."""
    known = [pod for pod in pods if pod is not None]
    if not known:
        return None
    first, *others = known
    for other in others:
        if first.uid and other.uid and first.uid != other.uid:
            continue
        fields = ("namespace", "name", "container", "uid", "qos")
        lacking = {field: getattr(other, field) for field in fields if not getattr(first, field)}
        first = msgspec.structs.replace(first, **lacking)
    return first


def path_of(pod: Pod | None) -> str:
    """NAMESPACE/POD/CONTAINER, as `--container` takes it; "" when not all of it is known."""
    names = (pod.namespace, pod.name, pod.container) if pod is not None else ()
    return "/".join(names) if names and all(names) else ""


def labels_of(pod: Pod) -> dict[str, str]:
    """The pod as the labels that the kubelet would have put there."""
    pairs = ((NAMESPACE, pod.namespace), (POD, pod.name), (CONTAINER, pod.container), (UID, pod.uid))
    return {key: clean(value, 256) for key, value in pairs if value}
