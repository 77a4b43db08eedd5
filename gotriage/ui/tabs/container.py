"""The target's container: how it fares, what it was started with, what it may use, the pod that it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gotriage.records.service import ContainerState
from gotriage.render import units
from gotriage.ui.detail import beside, row_page, section
from gotriage.ui.page_tab import PageTab
from gotriage.ui.spans import PageLine, labelled
from gotriage.ui.state import note, nothing_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gotriage.records.service import ContainerMount
    from gotriage.ui.tab import Hint

WIDE = 150
LABEL = 16
Pairs = list[tuple[str, str]]
SOURCES = {
    "api": "its engine",
    "files": "the engine's state files",
    "cgroup": "the cgroup alone",
}
COMMANDS = {
    "podman": "podman inspect {container}",
    "containerd": "ctr -n k8s.io containers info {container}",
    "cri-o": "crictl inspect {container}",
    "lxc": "lxc-info -n {container}",
    "nspawn": "machinectl show {container}",
}
UNTOLD = "not told by state files"
NO_SHELL = ("/bin/sh", "no such file")
"""What an engine says of a check that needs a shell, where the image has none."""


class ContainerTab(PageTab):
    """One page of sections; Enter shows everything that is known, nothing cut."""

    every: ClassVar[float] = 1.0
    hints: ClassVar[Sequence[Hint]] = (("⏎", "everything"), ("y", "copy"))

    def lines(self, width: int) -> Sequence[PageLine]:
        """The whole page; why there is none."""
        state, target = self.front.session.latest(ContainerState), self.front.target
        if state is not None:
            lacks = note(self.front, self.view.sources, width)
            lines = page(state, width)
            return [PageLine(lacks), PageLine(), *lines] if lacks else lines
        if target is not None and target.container_id is None:
            return list(_in_none())
        return nothing_page(self.front, self.view, width)

    def keys(self) -> Sequence[Hint]:
        """Nothing can be opened or copied where there is no container."""
        return self.hints if self.front.session.latest(ContainerState) is not None else ()

    def command(self) -> str:
        """What shows the same in a shell."""
        engine = self.front.target.engine if self.front.target is not None else None
        return COMMANDS.get(engine or "", self.view.command)

    def detail(self) -> tuple[str, Callable[[int], Sequence[PageLine]]] | None:
        """The whole record."""
        state = self.front.session.latest(ContainerState)
        if state is None:
            return None
        return state.name or state.id[:12], lambda width: row_page(state, (), width)


def _in_none() -> Iterator[PageLine]:
    yield PageLine()
    yield PageLine((("– ", "dim"), ("Container", "strong"), ("   the target is in none that its cgroup tells of", "")))


def page(state: ContainerState, width: int) -> list[PageLine]:
    """All sections; two columns of them on a wide terminal."""
    half = width if width < WIDE else (width - 3) // 2
    left = [*_some("Container", _container(state), half), *_some("Pod", _pod(state), half)]
    left += [*_some("Started with", _start(state), half), *_some("Limits", _limits(state), half)]
    right = _some(f"Mounts ({len(state.mounts)})", [_place(mount) for mount in state.mounts], half, column=28)
    right += [*_some("Network", _network(state), half), *_some("Log", _log(state), half)]
    right += _some("Security", _security(state), half)
    right += _some(f"Labels ({len(state.labels)})", sorted(state.labels.items()), half, column=40)
    problems = list(_problems(state, width))
    return [*problems, *left, *right] if width < WIDE else [*problems, *beside(left, right, half)]


def _some(title: str, pairs: Pairs, width: int, *, column: int = LABEL) -> list[PageLine]:
    column = min(column, 2 + max((len(label) for label, value in pairs if value), default=column))
    return list(section(title, pairs, width, column=max(column, LABEL))) if any(value for _, value in pairs) else []


def _problems(state: ContainerState, width: int) -> Iterator[PageLine]:
    """What is wrong with it, in the engine's words."""
    said: list[tuple[str, str]] = []
    if state.health == "unhealthy":
        times = f"failed {state.health_failing} times in a row: " if state.health_failing else ""
        hint = ""
        if all(word in state.health_output for word in NO_SHELL):
            hint = " (the image has no shell: such a check can never succeed; CMD runs a program without one)"
        said.append(("unhealthy", f"{times}{state.health_output}{hint}"))
    if state.oom_killed:
        said.append(("OOMKilled", "the kernel killed it for lack of memory"))
    if state.error:
        said.append(("error", state.error))
    if state.status in ("restarting", "dead", "paused"):
        said.append((state.status, f"status {state.exit_code}" if state.exit_code is not None else ""))
    for label, text in said:
        for spans in labelled(f"▲ {label}", text or "–", width, role="warning", indent=0, column=LABEL + 2):
            yield PageLine(spans, ("problem", label))
    if said:
        yield PageLine()


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
    known = state.source in ("api", "files")
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
