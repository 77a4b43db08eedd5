"""Where the target's cgroup has little memory left, and gotriage runs in it, gotriage moves out or says so."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gotriage.host import citizen, clock
from gotriage.host.own_group import OwnGroup, crowded
from gotriage.records.stream import Gap

if TYPE_CHECKING:
    from gotriage.agent.output import Output
    from gotriage.host import Host


class Crowd:
    """Makes room at most once.

    `launcher` is the PID of the launcher, whose other children come along; None for an agent that has none.
    """

    def __init__(self, host: Host, output: Output, launcher: int | None = None) -> None:
        self._host, self._output, self._launcher = host, output, launcher
        self._group: OwnGroup | None = None

    def make_room(self, pid: int | None) -> None:
        """Leave the target's memory cgroup when it is short of memory; the launcher's other processes come along."""
        crowd = crowded(self._host, pid) if pid is not None and self._group is None else None
        if crowd is None:
            return
        try:
            group = OwnGroup(crowd)
            self._group = group
            group.enter(self._family())
        except OSError as error:
            self._output.write(
                Gap(
                    at=clock.now(),
                    source="agent.memory",
                    reason=f"gotriage runs inside the target's memory limit, of which {crowd.left >> 20} MiB are left, "
                    f"and cannot leave it ({error.strerror})",
                    lost="room: the kernel ends gotriage first when the memory is used up",
                    remedy="run gotriage on the host instead of inside the container",
                )
            )

    def leave(self) -> None:
        """Go back, so that the group can be removed."""
        if self._group is not None:
            self._group.leave()

    def _family(self) -> list[int]:
        """This agent, and the front beside it."""
        if self._launcher is None:
            return [os.getpid()]
        return sorted({os.getpid(), *citizen.children(self._launcher)})
