"""Containers of LXC and systemd-nspawn, from their files.

Sources: lxc.container.conf(5), lxc(7); machine_save of systemd's src/machine/machine.c (/run/systemd/machines/NAME),
systemd.nspawn(5).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gotriage.host import clock
from gotriage.records.secrets import mask_line
from gotriage.records.service import ContainerMount, ContainerState
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.host.inroot import InRoot

LXC: Final = "/var/lib/lxc"
MACHINES: Final = "/run/systemd/machines"
NSPAWN: Final = ("/etc/systemd/nspawn", "/run/systemd/nspawn")
MAX_CONTAINERS: Final = 2000
MAX_FILE: Final = 256 * 1024
MAX_LINES: Final = 2000
_NETWORKS: Final = {"none": "host", "empty": "none"}
"""lxc.net.[i].type: `none` shares the host's network, `empty` is a loopback alone."""
_SIZE: Final = re.compile(r"(\d{1,18})([KMGT]?)")
_UNITS: Final = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def lxc(root: InRoot) -> Iterator[ContainerState]:
    """The containers that have a configuration in /var/lib/lxc."""
    for name in _names(root, LXC):
        text = _read(root, f"{LXC}/{name}/config")
        if text is not None:
            fields = parse_lxc(text)
            shown = clean(name, 256)
            yield ContainerState(at=clock.now(), engine="lxc", id=shown, name=shown, source="files", **fields)


def parse_lxc(text: str) -> dict[str, Any]:
    """Fields of ContainerState from a configuration; included files are not read."""
    pairs = [(key, value) for key, value in _pairs(text) if key.startswith("lxc.")]
    first = dict(reversed(pairs))
    mounts = [_lxc_mount(value) for key, value in pairs if key == "lxc.mount.entry"]
    dropped = [f"-{word}" for key, value in pairs if key == "lxc.cap.drop" for word in value.split()]
    maps = [value.split() for key, value in pairs if key == "lxc.idmap"]
    network = first.get("lxc.net.0.type", "")
    keys = ("lxc.cgroup2.memory.max", "lxc.cgroup.memory.limit_in_bytes")
    return {
        "image": first.get("lxc.rootfs.path", "")[:512],
        "command": tuple(mask_line(first.get("lxc.init.cmd", "")).split()[:200]),
        "restart_policy": "started at boot" if first.get("lxc.start.auto") == "1" else "",
        "network_mode": _NETWORKS.get(network, network)[:64],
        "memory_limit_bytes": next((size for key in keys if (size := _size(first.get(key, "")))), None),
        "pids_limit": _size(first.get("lxc.cgroup2.pids.max", "")),
        "log_path": first.get("lxc.console.logfile", "")[:4096],
        "mounts": tuple(mount for mount in mounts if mount is not None)[:200],
        "capabilities": tuple(dropped[:100]),
        "id_map": next((":".join(row[1:4]) for row in maps if len(row) == 4 and row[0] == "u"), ""),
    }


def _lxc_mount(value: str) -> ContainerMount | None:
    """An entry in the form of fstab(5); the target is below the container's root."""
    words = value.split()
    if len(words) < 4:
        return None
    options = words[3].split(",")
    kind = "bind" if "bind" in options or "rbind" in options else words[2]
    return ContainerMount(
        destination="/" + words[1].lstrip("/")[:4000],
        kind=kind[:64],
        source=words[0][:4096],
        read_only="ro" in options,
        options=words[3][:256],
    )


def nspawn(root: InRoot) -> Iterator[ContainerState]:
    """The containers that are registered with systemd-machined."""
    for name in _names(root, MACHINES):
        if name.startswith((".", "unit:")):
            continue
        fields = parse_machine(_read(root, f"{MACHINES}/{name}") or "")
        if fields is None:
            continue
        shown = clean(name, 256)
        given = next((text for folder in NSPAWN if (text := _read(root, f"{folder}/{name}.nspawn"))), "")
        fields |= parse_nspawn(given)
        yield ContainerState(at=clock.now(), engine="nspawn", id=shown, name=shown, source="files", **fields)


def parse_machine(text: str) -> dict[str, Any] | None:
    """Fields of ContainerState from a file of systemd-machined; None when it is no container's."""
    fields = dict(_pairs(text))
    if fields.get("CLASS") != "container":
        return None
    leader, begun = fields.get("LEADER", ""), fields.get("REALTIME", "")
    found: dict[str, Any] = {"pid": int(leader) if _digits(leader) else None, "image": fields.get("ROOT", "")[:512]}
    if _digits(begun):
        found["started_at"] = clock.from_epoch(int(begun) / 1e6)
    if fields.get("SERVICE"):
        found["runtime"] = fields["SERVICE"][:64]
    return found


def parse_nspawn(text: str) -> dict[str, Any]:
    """Fields of ContainerState from a .nspawn file."""
    pairs = _pairs(text)
    first = dict(reversed(pairs))
    mounts = [
        ContainerMount(destination=target, kind="bind", source=source, read_only=key == "BindReadOnly")
        for key, value in pairs
        if key in ("Bind", "BindReadOnly")
        for source, _, target in [value.partition(":")]
        for target in [target.partition(":")[0] or source]
    ]
    private = first.get("Private", "") or first.get("VirtualEthernet", "")
    fields = {
        "command": tuple(mask_line(first.get("Parameters", "")).split()[:200]),
        "user": first.get("User", "")[:256],
        "network_mode": {"yes": "private", "no": "host"}.get(private, ""),
        "mounts": tuple(mounts[:200]),
    }
    return {key: value for key, value in fields.items() if value}


def _pairs(text: str) -> list[tuple[str, str]]:
    """The lines KEY=VALUE, cleaned; comments and sections left out."""
    found = []
    for line in text.splitlines()[:MAX_LINES]:
        key, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith("#"):
            found.append((clean(key.strip(), 128), clean(value.strip(), 4096)))
    return found


def _size(text: str) -> int | None:
    match = _SIZE.fullmatch(text.strip())
    return int(match[1]) << _UNITS[match[2]] if match else None


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < len(text) < 18


def _names(root: InRoot, folder: str) -> list[str]:
    try:
        return root.names(folder, MAX_CONTAINERS)
    except OSError:
        return []


def _read(root: InRoot, path: str) -> str | None:
    try:
        return root.read(path, MAX_FILE).decode("utf-8", "replace")
    except OSError:
        return None
