"""THE ONLY DOOR OUT: /proc, cgroups, files of the target, helpers, privilege, the clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gotriage.host.proc import Proc


@dataclass(slots=True)
class Host:
    """The machine as gotriage looks at it; tests give it other roots.

    Attributes:
        proc: the proc file system.
        sys: where /sys is mounted.
        view: the root in which names, units, journals and engines are looked up: "/" or, with `--root-pid N`,
            "/proc/N/root". It is trusted: a host inside a container, not the target.
    """

    proc: Proc = field(default_factory=Proc)
    sys: Path = Path("/sys")
    view: Path = Path("/")
    root_pid: int | None = None

    @staticmethod
    def of(root_pid: int | None) -> Host:
        """The host as process `root_pid` sees it, or as this process does."""
        if root_pid is None:
            return Host()
        return Host(view=Path(f"/proc/{root_pid}/root"), root_pid=root_pid)

    def at(self, path: str) -> Path:
        """A path of the host as an openable one."""
        return self.view / path.lstrip("/") if self.view != Path("/") else Path(path)
