"""A systemd manager, the system's or a user's, asked over D-Bus: the bus first, then its private socket.

The private socket (/run/systemd/private) is what systemctl itself uses as root; it answers while the bus daemon is dead
or hangs. Interfaces: org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gotriage.errors import AS_ROOT, NotPermitted
from gotriage.host import privilege
from gotriage.host.dbus import Bus, BusHangs, BusRefused, BusUnreachable
from gotriage.host.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gotriage.host import Host

NAME: Final = "org.freedesktop.systemd1"
MANAGER: Final = f"{NAME}.Manager"
OBJECT: Final = "/org/freedesktop/systemd1"
PROPERTIES: Final = "org.freedesktop.DBus.Properties"
TIMEOUT: Final = 1.5
"""Seconds for one step with a manager: resolving stays below 3 s when the bus hangs."""
MAX_MANAGERS: Final = 200
"""User managers asked for a unit."""

Variant = tuple[str, Any]
"""A D-Bus variant as jeepney gives it: signature and value."""


@dataclass(frozen=True, slots=True)
class UnitLine:
    """One row of `systemctl list-units`."""

    name: str
    load: str
    active: str
    sub: str


def booted(host: Host) -> bool:
    """Whether systemd runs there (sd_booted(3)). Raises NotPermitted when we may not look (another process's root)."""
    path = host.at("/run/systemd/system")
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except PermissionError as error:
        raise NotPermitted(f"{path}: permission denied; {AS_ROOT}") from error
    except OSError:
        return False


class Manager:
    """A conversation with one manager. Its methods raise BusUnreachable, BusHangs or BusRefused."""

    def __init__(self, bus: Bus, via: str, uid: int | None) -> None:
        self._bus = bus
        self.via = via
        self.uid = uid

    @classmethod
    def open(cls, host: Host, uid: int | None = None, deadline: Deadline | None = None) -> Manager:
        """Connect to the system's manager, or to that of user `uid`.

        Raises BusUnreachable (BusHangs when it was a matter of time) or NotPermitted when no socket serves.
        """
        deadline = deadline or Deadline(2 * TIMEOUT)
        base = "/run" if uid is None else f"/run/user/{uid}"
        first = f"{base}/dbus/system_bus_socket" if uid is None else f"{base}/bus"
        ways = [("D-Bus", first, True), ("systemd's private socket", f"{base}/systemd/private", False)]
        problems: list[Exception] = []
        for via, path, daemon in ways:
            try:
                bus = Bus(host.at(path), timeout=deadline.left(TIMEOUT), daemon=daemon, uid=uid)
                manager = cls(bus, via, uid)
                manager.ping(deadline.left(TIMEOUT))
            except (BusUnreachable, BusRefused, NotPermitted) as error:
                problems.append(error)
                continue
            return manager
        if any(isinstance(problem, BusHangs) for problem in problems):
            raise BusHangs("; ".join(map(str, problems)))
        if all(isinstance(problem, NotPermitted) for problem in problems):
            raise NotPermitted(f"{problems[0]}; run gotriage as root (sudo)")
        raise BusUnreachable("; ".join(map(str, problems)))

    def close(self) -> None:
        """Hang up."""
        self._bus.close()

    def ping(self, timeout: float) -> None:
        """Let the manager itself answer: the bus may do so while the manager hangs."""
        self._bus.call(OBJECT, PROPERTIES, "Get", "ss", (MANAGER, "Version"), to=NAME, timeout=timeout)

    def load(self, unit: str) -> str:
        """The object path of a unit, loaded when it was not; an unknown unit has one too (LoadState not-found)."""
        return str(self._call("LoadUnit", "s", (unit,))[0])

    def properties(self, path: str, unit: str) -> dict[str, Variant]:
        """All properties of the unit and of its own kind (Service, Socket, Scope ...)."""
        kind = unit.rpartition(".")[2].capitalize()
        found = self._all(path, f"{NAME}.Unit")
        if kind not in ("Target", "Device"):
            found.update(self._all(path, f"{NAME}.{kind}"))
        return found

    def property(self, path: str, interface: str, name: str, timeout: float = TIMEOUT) -> object:
        """One property; `interface` is Unit, Service, Socket ..."""
        words = (f"{NAME}.{interface}", name)
        answer = self._bus.call(path, PROPERTIES, "Get", "ss", words, to=NAME, timeout=timeout)
        return answer[0][1]

    def units(self) -> list[UnitLine]:
        """All units that are loaded."""
        rows = self._call("ListUnits")[0]
        return [UnitLine(str(row[0]), str(row[2]), str(row[3]), str(row[4])) for row in rows]

    def unit_files(self) -> list[str]:
        """Names of all unit files, templates among them."""
        return [str(path).rpartition("/")[2] for path, _ in self._call("ListUnitFiles")[0]]

    def _all(self, path: str, interface: str) -> dict[str, Variant]:
        answer = self._bus.call(path, PROPERTIES, "GetAll", "s", (interface,), to=NAME, timeout=TIMEOUT)
        return dict(answer[0])

    def _call(self, member: str, signature: str = "", body: tuple[object, ...] = ()) -> tuple[Any, ...]:
        return self._bus.call(OBJECT, MANAGER, member, signature, body, to=NAME, timeout=TIMEOUT)


def user_managers(host: Host) -> list[int]:
    """Uids whose managers may have a `--user` unit: the invoking user's first, then, for root, everyone's."""
    own = invoking_uid()
    if not privilege.is_root():
        return [own]
    try:
        others = sorted(int(name) for name in os.listdir(host.at("/run/user")) if name.isascii() and name.isdigit())
    except OSError:
        others = []
    return ([own] if own in others else []) + [uid for uid in others[:MAX_MANAGERS] if uid != own]


def invoking_uid() -> int:
    """The user who typed the command, behind sudo too."""
    return privilege.invoker().uid


def user_name(uid: int) -> str:
    """The name of a user here, or its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


UNIT_FOLDERS: Final = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
"""Where unit files are, systemd.unit(5)."""


def files_on_disk(host: Host, folders: Iterable[str] = UNIT_FOLDERS) -> set[str]:
    """Names of unit files, read from the disk: for when no manager answers."""
    from gotriage.host.inroot import InRoot

    names: set[str] = set()
    try:
        with InRoot(str(host.view)) as root:
            for folder in folders:
                try:
                    names.update(root.names(folder))
                except OSError:
                    continue
    except OSError:
        return names
    return {name for name in names if not name.endswith((".wants", ".requires", ".d"))}
