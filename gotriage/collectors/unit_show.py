"""The unit's state by `systemctl show`: the fall-back where D-Bus cannot be spoken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.collectors import Unavailable
from gotriage.host import privilege, systemd, tools, unit_props
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.target.model import Target

TIMEOUT: Final = 3.0
MAX_OUTPUT: Final = 1024 * 1024


class UnitShowCollector:
    """`UnitState` from the text of `systemctl show`."""

    backend = "systemctl show"

    def __init__(self, host: Host, target: Target) -> None:
        """Raises Unavailable when the target belongs to no unit, or systemctl would ask another systemd."""
        if not target.unit:
            raise Unavailable("the target belongs to no systemd unit")
        if not systemd.booted(host):
            raise Unavailable("systemd does not run here")
        if host.root_pid is not None:
            raise Unavailable("systemctl asks this machine's own systemd, not the one of --root-pid")
        if tools.find("systemctl") is None:
            raise Unavailable("systemctl is not installed")
        self._unit, self._uid = target.unit, target.user_uid
        self._time_style = ["--timestamp=us+utc"]

    def close(self) -> None:
        """Nothing is held."""

    def collect(self) -> Iterator[Record]:
        """One `UnitState`. Raises Unavailable when systemctl gives none in time."""
        result = self._run()
        if result.status != 0 and self._time_style and "timestamp" in result.err:
            self._time_style = []  # before systemd 248; TZ=UTC gives whole seconds in UTC
            result = self._run()
        if result.timed_out:
            raise Unavailable(f"systemctl show does not answer within {TIMEOUT:.0f} s")
        if result.status != 0 or b"LoadState=" not in result.out:
            raise Unavailable(f"systemctl show: {clean(result.err.strip(), 300) or f'status {result.status}'}")
        yield unit_props.from_show(result.out.decode("utf-8", "replace"), user=self._uid is not None)

    def _run(self) -> tools.Result:
        words = ["systemctl", "show", *self._time_style, "-p", ",".join(unit_props.WANTED), *self._whose()]
        return tools.run([*words, "--", self._unit], timeout=TIMEOUT, limit=MAX_OUTPUT)

    def _whose(self) -> list[str]:
        """A user's manager is reached by its name on the machine `.host` (systemctl(1), --machine)."""
        if self._uid is None:
            return []
        if not privilege.is_root():
            return ["--user"]
        return ["--user", f"--machine={systemd.user_name(self._uid)}@.host"]
