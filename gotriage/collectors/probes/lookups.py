"""What events and totals need that is known elsewhere: times, functions, files, mappings, disks; remembered a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError
from gotriage.goruntime.naming import is_standard
from gotriage.host import clock, disks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from gotriage.collectors.probes.scope import Scope
    from gotriage.goruntime.report import Frame
    from gotriage.host.proc import Mapping

KEPT: Final = 20_000
"""Addresses whose names are remembered."""
MAPPINGS_LAST: Final = 2.0
"""Seconds."""


class Lookups:
    """For one run."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._frames: dict[int, tuple[str, ...]] = {}
        self._mappings: Sequence[Mapping] = ()
        self._mappings_at = -MAPPINGS_LAST
        self._disks: dict[int, str] = {}
        self._offset = 0.0
        self.look()

    def look(self) -> None:
        """A new look begins: the clocks may have been set."""
        self._offset = clock.now().timestamp() - clock.monotonic()

    def wall(self, at: int) -> datetime:
        """Nanoseconds of CLOCK_MONOTONIC as time of day, to the microsecond."""
        return clock.from_epoch(round(self._offset + at / 1e9, 6))

    def frames(self, pcs: Sequence[int]) -> Sequence[Sequence[str]]:
        """Names of functions at return addresses."""
        new = [pc for pc in dict.fromkeys(pcs) if pc not in self._frames]
        if new:
            if len(self._frames) > KEPT:
                self._frames.clear()
            found = self._scope.frames(new)
            names = [tuple(frame.function for frame in frames) for frames in found]
            self._frames.update(zip(new, names, strict=False))
        return [self._frames.get(pc, ()) for pc in pcs]

    def places(self, pcs: Sequence[int], *, exact: bool) -> Sequence[str]:
        """The function at each address that the program's text has there, with file and line."""
        return [_place(frames) for frames in self._scope.frames(list(pcs), exact=exact)]

    def caller(self, stack: Sequence[str]) -> str:
        """The innermost function that is not of the standard library; the outermost where there is none."""
        go = self._scope.target.go
        module = go.module if go is not None else ""
        own = next((name for name in stack if "." in name and not is_standard(name, module)), "")
        return own or next((name for name in reversed(stack) if not name.startswith("runtime.")), "")

    def path(self, pid: int, fd: int, name: str) -> str:
        """The file behind a descriptor, when its last part is that name."""
        try:
            link = self._scope.host.proc.link(pid, "fd", fd)
        except (GotriageError, OSError):
            return name
        return link if link.removesuffix(" (deleted)").rpartition("/")[2] == name or not name else name

    def mappings(self) -> Sequence[Mapping]:
        """Of the main process."""
        pid = self._scope.target.pid
        if pid is not None and clock.monotonic() - self._mappings_at > MAPPINGS_LAST:
            self._mappings_at = clock.monotonic()
            try:
                self._mappings = self._scope.host.proc.maps(pid)
            except (GotriageError, OSError, ValueError):
                self._mappings = ()
        return self._mappings

    def disk(self, device: int) -> str:
        """A disk by its number."""
        if device not in self._disks and len(self._disks) < 1000:
            self._disks[device] = disks.disk_name(self._scope.host.sys, device)
        return self._disks.get(device, str(device))


def _place(frames: Sequence[Frame]) -> str:
    if not frames:
        return ""
    inner = frames[0]
    return f"{frames[-1].function} {inner.file.rpartition('/')[2]}:{inner.line}" if inner.file else inner.function
