"""The limits that a unit's manager has configured: Limit*, TasksMax, Memory*, CPUQuota (systemd.exec(5),
systemd.resource-control(5))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError
from gotriage.host import systemd, unit_props
from gotriage.host.deadline import Deadline

if TYPE_CHECKING:
    from gotriage.host import Host

PATIENCE: Final = 2.0
"""Seconds that the manager has to answer."""


def configured(host: Host, unit: str, uid: int | None) -> dict[str, int | None]:
    """Property to value, None for infinity; empty when no manager can be asked. `uid` owns a user manager.

    Limit* in the unit of setrlimit(2), Memory* in bytes, CPUQuotaPerSecUSec in microseconds of CPU a second.
    """
    if not systemd.booted(host):
        return {}
    try:
        manager = systemd.Manager.open(host, uid, Deadline(PATIENCE))
    except (GotriageError, OSError):
        return {}
    try:
        found = manager.properties(manager.load(unit), unit)
    except (GotriageError, OSError):
        return {}
    finally:
        manager.close()
    return unit_props.from_bus(found, user=uid is not None).limits
