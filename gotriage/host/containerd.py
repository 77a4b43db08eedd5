"""What containerd itself knows of a container: asked by its own `ctr`, for what its state files do not hold.

Sources: containerd 1.6's cmd/ctr/commands/containers (info prints containers.Container as JSON),
pkg/cri/store/container (the extension io.cri-containerd.container.metadata).
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any, Final

from gotriage.errors import GotriageError
from gotriage.host import engine_parse, kubernetes, tools
from gotriage.host.engine_details import mapping, text
from gotriage.host.engine_files import CRI, TASKS
from gotriage.host.inroot import InRoot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gotriage.host import Host
    from gotriage.records.service import ContainerState

SOCKETS: Final = ("/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock")
"""In the order of engine_files.TASKS and CRI."""
OF_SPEC: Final = (
    "command",
    "working_directory",
    "user",
    "mounts",
    "limits",
    "capabilities",
    "shared_namespaces",
    "read_only_root",
    "memory_limit_bytes",
    "cpu_quota",
    "pids_limit",
)
"""Fields of ContainerState that the container's specification tells."""
FILLED: Final = ("labels", "image", "name", "created_at", "runtime", "pod", "restart_count", "log_path", *OF_SPEC)
"""All that an answer may fill where state files did not."""
KUBERNETES: Final = "k8s.io"
"""The namespace of the CRI plugin (pkg/cri/constants)."""
MAX_ANSWER: Final = 4 * 1024 * 1024
METADATA: Final = "io.cri-containerd.container.metadata"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
"""containerd's identifiers (pkg/identifiers): none can be taken for an option."""


def asked(host: Host, state: ContainerState, timeout: float) -> ContainerState:
    """The state with what `ctr containers info` adds; as it is when nobody answers within `timeout` seconds."""
    place = _place(host, state.id)
    if place is None:
        return state
    socket, namespace = place
    words = ["ctr", "-a", socket, "-n", namespace, "--connect-timeout", "1s", "containers", "info", state.id]
    try:
        done = tools.run(words, timeout=timeout, limit=MAX_ANSWER)
        found: object = json.loads(done.out) if not done.status and not done.timed_out else None
    except (GotriageError, OSError, ValueError, RecursionError):
        return state
    return with_info(state, found) if isinstance(found, dict) else state


def _place(host: Host, name: str) -> tuple[str, str] | None:
    """The socket of the containerd that has the container, and its namespace there."""
    if not _NAME.fullmatch(name):
        return None
    try:
        with InRoot(str(host.view)) as root:
            for socket, folder in zip(SOCKETS, TASKS, strict=True):
                spaces = root.names(folder, 1000) if root.exists(folder) else []
                for space in spaces:
                    if _NAME.fullmatch(space) and root.exists(f"{folder}/{space}/{name}") and root.exists(socket):
                        return str(host.at(socket)), space
            for socket, folder in zip(SOCKETS, CRI, strict=True):  # one that ended has no task any more
                if root.exists(f"{folder}/{name}") and root.exists(socket):
                    return str(host.at(socket)), KUBERNETES
    except OSError:
        return None
    return None


def with_info(state: ContainerState, found: Mapping[str, Any]) -> ContainerState:
    """The state with image, labels, name and, for the kubelet's containers, attempt and log file."""
    labels = engine_parse.labels(found.get("Labels")) | state.labels
    metadata = _metadata(mapping(mapping(found.get("Extensions")).get(METADATA)).get("value"))
    config = mapping(metadata.get("Config"))
    attempt = mapping(config.get("metadata")).get("attempt", 0)
    image = text(mapping(config.get("image")).get("user_specified_image"), 512) or text(found.get("Image"), 512)
    more: dict[str, Any] = {
        "labels": labels,
        "image": state.image or image,
        "name": state.name or labels.get("nerdctl/name", "") or labels.get(kubernetes.CONTAINER, ""),
        "created_at": state.created_at or engine_parse.parse_time(found.get("CreatedAt")),
        "runtime": text(mapping(found.get("Runtime")).get("Name"), 64),
        "pod": kubernetes.merged(kubernetes.by_labels(labels), state.pod),
    }
    if metadata:
        more["restart_count"] = attempt if isinstance(attempt, int) and 0 <= attempt < 1 << 31 else None
        more["log_path"] = state.log_path or text(metadata.get("LogPath"), 4096)
    if not state.command:  # its state files are gone
        whole = engine_parse.task(KUBERNETES, state.id, mapping(found.get("Spec")), None)
        more |= {name: getattr(whole, name) for name in OF_SPEC}
    return engine_parse.changed(state, **more)


def _metadata(value: object) -> Mapping[str, Any]:
    """The CRI plugin's own notes: JSON, as base64 in the answer."""
    if not isinstance(value, str) or len(value) > MAX_ANSWER:
        return {}
    try:
        return mapping(mapping(json.loads(base64.b64decode(value))).get("Metadata"))
    except (ValueError, RecursionError):
        return {}
