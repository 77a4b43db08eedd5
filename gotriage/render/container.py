"""The target's container as titled lists of names and values: for `show container` and for its tab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.records.service import ContainerState
from gotriage.records.target import TargetState
from gotriage.render import sections as parts
from gotriage.render import units
from gotriage.render.text import wrap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.service import ContainerMount
    from gotriage.session.store import Session

Pairs = list[tuple[str, str]]
SOURCES: Final = {
    "api": "its engine",
    "files": "the engine's state files",
    "cgroup": "the cgroup alone",
}
UNTOLD: Final = "not told by state files"
NO_SHELL: Final = ("/bin/sh", "no such file")
"""What an engine says of a check that needs a shell, where the image has none."""
IN_NONE: Final = "the target is in no container that its cgroup tells of"


def lines(session: Session, width: int | None) -> Iterator[str]:
    """The page as plain text."""
    state, target = session.latest(ContainerState), session.latest(TargetState)
    if state is None:
        if target is not None and target.container_id is None and target.core is None:
            yield IN_NONE
        return
    for label, text in problems(state):
        yield from parts.plain(parts.labelled(f"▲ {label}", text or units.UNKNOWN, width))
        yield ""
    for title, pairs in sections(state):
        if any(value for _, value in pairs):
            yield title
            column = max(len(label) for label, value in pairs if value)
            for label, value in pairs:
                for number, line in enumerate(wrap(value, (width or parts.NO_WIDTH) - column - 4)):
                    if value:
                        yield f"  {'' if number else label:<{column}}  {line}".rstrip()
            yield ""


def sections(state: ContainerState) -> Iterator[tuple[str, Pairs]]:
    """Titles and their lists; an empty value is left out by who shows it."""
    yield "Container", _container(state)
    yield "Pod", _pod(state)
    yield "Started with", _start(state)
    yield "Limits", _limits(state)
    yield f"Mounts ({len(state.mounts)})", [_place(mount) for mount in state.mounts]
    yield "Network", _network(state)
    yield "Log", _log(state)
    yield "Security", _security(state)
    yield f"Labels ({len(state.labels)})", sorted(state.labels.items())


def problems(state: ContainerState) -> Iterator[tuple[str, str]]:
    """What is wrong with it, in the engine's words: a word, and more."""
    if state.health == "unhealthy":
        times = f"failed {state.health_failing} times in a row: " if state.health_failing else ""
        hint = ""
        if all(word in state.health_output for word in NO_SHELL):
            hint = " (the image has no shell: such a check can never succeed; CMD runs a program without one)"
        yield "unhealthy", f"{times}{state.health_output}{hint}"
    if state.oom_killed:
        yield "OOMKilled", "the kernel killed it for lack of memory"
    if state.error:
        yield "error", state.error
    if state.status in ("restarting", "dead", "paused"):
        yield state.status, f"status {state.exit_code}" if state.exit_code is not None else ""


def _container(state: ContainerState) -> Pairs:
    status = state.status or "not known"
    if state.status not in ("running", "paused", "") and state.exit_code is not None:
        status += f", status {state.exit_code}"
    begun = f" since {units.timestamp(state.started_at)}" if state.started_at and state.status == "running" else ""
    ended = f" at {units.timestamp(state.finished_at)}" if state.finished_at and state.status == "exited" else ""
    told = state.source == "api"
    policy = state.restart_policy or ("no" if told else f"({UNTOLD})" if state.engine in ("podman", "docker") else "")
    return [
        ("name", f"{state.name}  {state.id[:12]}" if state.name and state.name != state.id else state.id[:64]),
        ("engine", f"{state.engine or 'not known'}, as told by {SOURCES.get(state.source, state.source)}"),
        ("status", status + begun + ended),
        ("restarts", str(state.restart_count) if state.restart_count is not None else ""),
        ("restart policy", policy),
        ("health", _health(state)),
        ("created", units.timestamp(state.created_at) if state.created_at else ""),
        ("runtime", state.runtime),
    ]


def _health(state: ContainerState) -> str:
    if not state.health:
        return ""
    return f"{state.health}, checked by {state.health_test}" if state.health_test else state.health


def _pod(state: ContainerState) -> Pairs:
    pod = state.pod
    if pod is None:
        return []
    return [
        ("namespace", pod.namespace),
        ("pod", pod.name),
        ("container", pod.container),
        ("uid", pod.uid),
        ("QoS class", pod.qos),
        ("told by", pod.told_by),
    ]


def _start(state: ContainerState) -> Pairs:
    return [
        ("image", state.image),
        ("image id", state.image_id[:19]),
        ("command", " ".join(state.command)),
        ("directory", state.working_directory),
        ("user", state.user or ("root (none is set)" if state.command else "")),
    ]


def _limits(state: ContainerState) -> Pairs:
    known = state.source == "api" or (state.source == "files" and bool(state.command))
    memory = units.size(state.memory_limit_bytes) if state.memory_limit_bytes is not None else "none"
    cpu = f"{state.cpu_quota:g}" if state.cpu_quota is not None else "none"
    own = [
        ("memory", memory if known else ""),
        ("CPUs", cpu if known else ""),
        ("PIDs", (str(state.pids_limit) if state.pids_limit is not None else "none") if known else ""),
    ]
    return own + [(name, _sized(word)) for name, word in state.limits.items()]


def _sized(word: str) -> str:
    number, _, unit = word.partition(" ")
    return units.size(int(number)) if unit == "bytes" and number.isdigit() else word


def _place(mount: ContainerMount) -> tuple[str, str]:
    words = [mount.kind, mount.name or mount.source, "read-only" if mount.read_only else ""]
    if mount.kind == "tmpfs":
        words.append(mount.options)
    return mount.destination, "  ".join(word for word in words if word)


def _network(state: ContainerState) -> Pairs:
    return [
        ("mode", state.network_mode),
        ("networks", "\n".join(state.networks)),
        ("ports", "\n".join(state.ports)),
    ]


def _log(state: ContainerState) -> Pairs:
    options = ", ".join(f"{key}={value}" for key, value in state.log_options.items())
    return [("driver", state.log_driver), ("file", state.log_path), ("options", options)]


def _security(state: ContainerState) -> Pairs:
    yes = "yes: every capability and device of the host"
    return [
        ("root", _either(state.read_only_root, "read-only", "writable")),
        ("privileged", _either(state.privileged, yes, "no")),
        ("capabilities", " ".join(word.replace("CAP_", "") for word in state.capabilities)),
        ("options", ", ".join(state.security_options)),
        ("shared", ", ".join(state.shared_namespaces)),
        ("uid map", state.id_map),
    ]


def _either(flag: bool | None, yes: str, no: str) -> str:
    """One of two words; none where it is not known."""
    return "" if flag is None else yes if flag else no
