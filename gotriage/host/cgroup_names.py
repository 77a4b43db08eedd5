"""Whose process is it? The unit and the container that a cgroup path names.

Sources: systemd's src/basic/cgroup-util.c (252), and the paths that engines make: docker-ID.scope, libpod-ID.scope,
cri-containerd-ID.scope, crio-ID.scope, /docker/ID, kubepods/.../ID, lxc.payload.NAME, machine-NAME.scope.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_PARTS: Final = 64
"""Components looked at; the kernel's default depth limit is far below."""

UNIT_NAME: Final = re.compile(
    r"^[A-Za-z0-9:_.\\@-]{1,245}\.(?:service|scope|socket|mount|swap|slice|timer|path|target|automount|device)$"
)
"""Characters of unit names: systemd.unit(5)."""
_HEX: Final = re.compile(r"^(?:(?P<by>[a-z-]+?)-)?(?P<id>[0-9a-f]{64})(?:\.scope)?$")
_USER_MANAGER: Final = re.compile(r"^user@(\d{1,10})\.service$")
_MACHINE: Final = re.compile(r"^machine-(?P<name>.+)\.scope$")
_NSPAWN: Final = re.compile(r"^systemd-nspawn@(?P<name>.+)\.service$")

_BY_PREFIX: Final = {
    "docker": "docker",
    "libpod": "podman",
    "libpod-payload": "podman",
    "cri-containerd": "containerd",
    "nerdctl": "containerd",
    "containerd": "containerd",
    "crio": "cri-o",
}
_BY_PARENT: Final = {"docker": "docker", "libpod_parent": "podman", "actions_job": "docker"}


@dataclass(frozen=True, slots=True)
class Owner:
    """What a cgroup path tells.

    Attributes:
        unit: the systemd unit, "" for a login session, a container's own scope, or none.
        uid: owner of the user manager that runs the unit, None for a system unit.
        session: the process belongs to a login session (session-N.scope).
        engine, id: the container; engine "" when the path does not tell it.
        top: the path up to and including the container's or the unit's own component.
    """

    unit: str = ""
    uid: int | None = None
    session: bool = False
    engine: str = ""
    id: str = ""
    top: str = ""


def owner(path: str, root: str = "/") -> Owner:
    """The owner by a cgroup path; `root` is where the looking systemd's own tree begins."""
    inside = below(path, root)
    if inside is None:
        return Owner()
    parts = inside.strip("/").split("/")[:MAX_PARTS]
    prefix = root.rstrip("/")
    at, engine, name = _container(parts)
    unit, uid, unit_at, session = _unit(parts)
    if at is None:
        top = _top(prefix, parts, unit_at) if unit else ""
        return Owner(unit=unit, uid=uid, session=session, top=top)
    own_scope = unit_at is not None and (unit_at >= at or unit.endswith(".scope"))
    return Owner(unit="" if own_scope else unit, uid=uid, engine=engine, id=name, top=_top(prefix, parts, at))


def below(path: str, root: str) -> str | None:
    """The path as seen from `root`, or None when it is not below it."""
    root = root.rstrip("/")
    if path == root or not root:
        return path or "/"
    return path[len(root) :] if path.startswith(root + "/") else None


def _top(prefix: str, parts: list[str], at: int | None) -> str:
    return "/".join((prefix, *parts[: (at or 0) + 1]))


def _container(parts: list[str]) -> tuple[int | None, str, str]:
    """Place, engine and id of the outermost container."""
    for place, part in enumerate(parts):
        parent = parts[place - 1] if place else ""
        if match := _HEX.match(part.rpartition(":")[2]):
            by = match["by"] or part.rpartition(":")[0].rpartition(":")[2]
            if by.endswith("conmon"):
                return None, "", ""
            return place, _BY_PREFIX.get(by) or _BY_PARENT.get(parent, ""), match["id"]
        if part.startswith("lxc.payload."):
            return place, "lxc", part[len("lxc.payload.") :]
        if parent in ("lxc", "lxc.payload"):
            return place, "lxc", part
        if (match := _MACHINE.match(part)) and not match["name"].startswith("qemu"):
            return place, "nspawn", unescaped(match["name"])
        if part == "payload" and parent.endswith(".service"):
            named = _NSPAWN.match(parent)
            return place, "nspawn", unescaped(named["name"]) if named else ""
    return None, "", ""


def _unit(parts: list[str]) -> tuple[str, int | None, int | None, bool]:
    """Unit, owner of its user manager, its place, and whether it is a login session."""
    place = _after_slices(parts, 0)
    if place is None:
        return "", None, None, False
    name = _unescaped_group(parts[place])
    manager = _USER_MANAGER.match(name)
    if manager:
        inner = _after_slices(parts, place + 1)
        if inner is None or parts[inner] == "init.scope":
            return name, None, place, False
        return _unescaped_group(parts[inner]), int(manager[1]), inner, False
    if name.startswith("session-") and name.endswith(".scope"):
        return "", None, None, True
    return name, None, place, False


def _after_slices(parts: list[str], start: int) -> int | None:
    """The first component that is no slice, if it is a unit's."""
    for place in range(start, len(parts)):
        if not parts[place].endswith(".slice"):
            return place if UNIT_NAME.match(_unescaped_group(parts[place])) else None
    return None


def _unescaped_group(name: str) -> str:
    """systemd puts `_` before names that cgroupfs would take for its own files (cg_unescape)."""
    return name[1:] if name.startswith("_") else name


_ESCAPE: Final = re.compile(r"\\x([0-9a-f]{2})")


def unescaped(name: str) -> str:
    r"""A name out of a unit name: `-` was `/`, `\xNN` a byte (systemd-escape(1)); slashes stay dashes here."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), name)
