"""What to type: the exact lines that change a limit, by the kind of the target."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gotriage.rules.evidence import Evidence

ENGINES = ("docker", "podman", "containerd", "cri-o", "lxc", "nspawn")
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+=,-]+")


def word(text: str) -> str:
    """A word for the shell, quoted where it must be: names come from outside. One that reads as an option is none."""
    quoted = text if _PLAIN.fullmatch(text) else "'" + text.replace("'", "'\\''") + "'"
    return f"-- {quoted}" if text.startswith("-") else quoted


def systemctl(evidence: Evidence) -> str:
    """`systemctl`, of the user's manager where the unit is one of its."""
    return "systemctl --user" if evidence.unit is not None and evidence.unit.user_manager else "systemctl"


def unit_name(evidence: Evidence) -> str:
    """The unit of the target, "" where it has none that could be changed (a container's scope has an engine)."""
    return evidence.unit.name if evidence.unit is not None and not engine(evidence) else ""


def engine(evidence: Evidence) -> str:
    """The command of the container engine, "" when the target is no container, or one of an engine unknown to us.

    The name may come out of somebody else's recording, and is typed as a command.
    """
    if evidence.container is not None and evidence.container.engine:
        name = evidence.container.engine
    else:
        name = (evidence.target.engine or "") if evidence.target and evidence.target.container_id else ""
    return name if name in ENGINES else ""


def container_name(evidence: Evidence) -> str:
    """The container's name, else its short id; a name that would read as an option is none."""
    name, short = "", ""
    if evidence.container is not None:
        name, short = evidence.container.name, evidence.container.id[:12]
    elif evidence.target is not None:
        name, short = evidence.target.container_name or "", (evidence.target.container_id or "")[:12]
    return (short if name.startswith("-") else name or short).lstrip("-")


def drop_in(evidence: Evidence, line: str, was: str = "") -> str:
    """The line of a unit's [Service] section and the commands that make it count."""
    name, control = word(unit_name(evidence)), systemctl(evidence)
    now = f" (now {was})" if was else ""
    return f"{control} edit {name}: under [Service] {line}{now}; then {control} restart {name}"


def keep(evidence: Evidence, *, line: str, option: str, otherwise: str, was: str = "") -> str:
    """How to change a limit for good: a unit's line, a container's option, or the words for a bare process."""
    if unit_name(evidence):
        return drop_in(evidence, line, was)
    if command := control(evidence):
        return f"{command} run {option} … (a container keeps what it was made with: make it anew)"
    if engine(evidence):
        return f"make the container anew with {option} (docker's word; yours in its specification)"
    return otherwise


def restart(evidence: Evidence) -> str:
    """The command that restarts the target."""
    if name := unit_name(evidence):
        return f"{systemctl(evidence)} restart {word(name)}"
    return _of_container(evidence, RESTARTS) or "restart it"


def logs(evidence: Evidence) -> str:
    """The command that shows the target's log."""
    if name := unit_name(evidence):
        return f"journalctl {'--user ' if systemctl(evidence) != 'systemctl' else ''}-u {word(name)} -n 50"
    return _of_container(evidence, LOGS) or "its log"


def start(evidence: Evidence) -> str:
    """The command that starts the container, "" where none of this machine does."""
    return _of_container(evidence, STARTS)


def inspect(evidence: Evidence) -> str:
    """The command that shows all that is known of the container, "" where there is none."""
    return _of_container(evidence, INSPECTS)


POD = "pod"
RESTARTS = {
    "docker": "docker restart {name}",
    "podman": "podman restart {name}",
    "lxc": "lxc-stop -n {name}; lxc-start -n {name}",
    "nspawn": "machinectl reboot {name}",
    POD: "kubectl -n {namespace} delete pod {pod} (what made it makes it anew)",
}
LOGS = {
    "docker": "docker logs --tail 50 {name}",
    "podman": "podman logs --tail 50 {name}",
    "containerd": "crictl logs --tail 50 {id}",
    "cri-o": "crictl logs --tail 50 {id}",
    "nspawn": "journalctl -M {name} -n 50",
    POD: "kubectl -n {namespace} logs {pod} -c {container} --tail 50",
}
STARTS = {
    "docker": "docker start {name}",
    "podman": "podman start {name}",
    "lxc": "lxc-start -n {name}",
    "nspawn": "machinectl start {name}",
}
INSPECTS = {
    "docker": "docker inspect {name}",
    "podman": "podman inspect {name}",
    "containerd": "crictl inspect {id}",
    "cri-o": "crictl inspect {id}",
    "lxc": "lxc-info -n {name}",
    "nspawn": "machinectl status {name}",
    POD: "kubectl -n {namespace} describe pod {pod}",
}
"""What each engine's own command is, and for a container of a pod, which the kubelet looks after, kubectl's."""


def control(evidence: Evidence) -> str:
    """The command of an engine that changes running containers: docker or podman, "" for others."""
    name = engine(evidence)
    return name if name in ("docker", "podman") and not in_pod(evidence) else ""


def in_pod(evidence: Evidence) -> bool:
    """Whether the kubelet looks after the container: what is changed behind its back does not last."""
    pod = evidence.container.pod if evidence.container is not None else None
    return pod is not None and bool(pod.namespace and pod.name)


def _of_container(evidence: Evidence, commands: dict[str, str]) -> str:
    box = evidence.container
    short = box.id[:12] if box is not None else (evidence.target.container_id or "")[:12] if evidence.target else ""
    words = {"name": container_name(evidence), "id": short}
    line = commands.get(engine(evidence), "")
    if box is not None and box.pod is not None and in_pod(evidence):
        words |= {"namespace": box.pod.namespace, "pod": box.pod.name, "container": box.pod.container or box.name}
        line = commands.get(POD, "")
    return line.format(**{key: word(text) for key, text in words.items()})


def round_up(size: int) -> str:
    """A size for a unit file or an engine, in whole MiB or GiB: 300000000 -> "512M"."""
    mib = max(1, -(-size >> 20))
    power = 1 << (mib - 1).bit_length()
    return f"{power >> 10}G" if power >= 1024 else f"{power}M"
