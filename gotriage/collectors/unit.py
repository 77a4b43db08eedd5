"""The unit's state from its manager over D-Bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.collectors import Unavailable
from gotriage.errors import NotPermitted
from gotriage.host import clock, systemd, unit_props
from gotriage.host.dbus import BusRefused, BusUnreachable
from gotriage.host.deadline import Deadline
from gotriage.host.pidns import PidView

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.host import Host
    from gotriage.host.systemd import Manager
    from gotriage.records import Record
    from gotriage.records.service import UnitState
    from gotriage.target.model import Target

FULL_EVERY: Final = 20.0
"""Seconds between two looks at all 400 properties while the few that tell of changes stay the same: a full look costs
10 milliseconds, the few cost 2."""
PATIENCE: Final = 3.0
"""Seconds for one look: less than the deadline of the source."""


class UnitCollector:
    """`UnitState` by org.freedesktop.systemd1; one connection, kept."""

    backend = "D-Bus"

    def __init__(self, host: Host, target: Target) -> None:
        """Raises Unavailable when the target belongs to no unit, or no systemd runs."""
        if not target.unit:
            raise Unavailable("the target belongs to no systemd unit")
        if not systemd.booted(host):
            raise Unavailable("systemd does not run here")
        self._host, self._target, self._unit = host, target, target.unit
        self._view = PidView(host)
        self._manager: Manager | None = None
        self._path = ""
        self._key: tuple[object, ...] = ()
        self._full_at = 0.0
        self._state: UnitState | None = None

    def close(self) -> None:
        """Hang up."""
        if self._manager:
            self._manager.close()
            self._manager = None

    def collect(self) -> Iterator[Record]:
        """One `UnitState`. Raises Unavailable when the manager cannot be asked."""
        try:
            yield self._look()
        except (BusUnreachable, BusRefused, NotPermitted) as error:
            self.close()
            raise Unavailable(f"systemd cannot be asked: {error}") from error

    def _look(self) -> UnitState:
        if self._manager is None:
            self._manager = systemd.Manager.open(self._host, self._target.user_uid, Deadline(PATIENCE))
            self.backend = self._manager.via
            self._path = self._manager.load(self._unit)
        key = self._changes(self._manager)
        if self._state is not None and key == self._key and clock.monotonic() - self._full_at < FULL_EVERY:
            return unit_props.again(self._state)
        found = self._manager.properties(self._path, self._unit)
        self._key, self._full_at = key, clock.monotonic()
        self._state = unit_props.from_bus(found, user=self._target.user_uid is not None, pid=self._ours)
        return self._state

    def _changes(self, manager: Manager) -> tuple[object, ...]:
        """What moves when anything of interest does."""
        wanted = [("Unit", "StateChangeTimestampMonotonic")]
        if self._unit.endswith(".service"):
            wanted += [("Service", "MainPID"), ("Service", "StatusText")]
        return tuple(manager.property(self._path, interface, name) for interface, name in wanted)

    def _ours(self, pid: int) -> int | None:
        return self._view.to_ours(pid, self._target.pids)
