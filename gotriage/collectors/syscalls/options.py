"""What a start may ask for, and whether the target can be looked at at all."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Final

from gotriage.collectors import Unavailable, check_options
from gotriage.errors import GotriageError, NoSuchTarget, UsageError
from gotriage.records.syscalls import LEVELS
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gotriage.host import Host
    from gotriage.records.syscalls import Level
    from gotriage.target.model import Target

USUAL: Final[Level] = "latency"
LARGEST_TAG: Final = 1 << 32
"""The auxiliary vector (getauxval(3)) begins with a small number; 32-bit programs have two numbers there."""


def level_of(options: Mapping[str, str]) -> Level:
    """How much to measure. Raises UsageError."""
    check_options(options, "syscalls", level="|".join(LEVELS))
    wanted = options.get("level", USUAL)
    for level in LEVELS:
        if level == wanted:
            return level
    raise UsageError(f"no level {clean(wanted, 40)!r}; there are {', '.join(LEVELS)}")


def check_target(host: Host, target: Target) -> int:
    """The main process. Raises NoSuchTarget, and Unavailable for programs whose calls have other numbers."""
    pid = target.pid
    if pid is None:
        raise NoSuchTarget("nothing of the target runs")
    try:
        first = host.proc.read(pid, "auxv", limit=8)
    except (GotriageError, OSError):
        return pid
    if int.from_bytes(first, "little") > LARGEST_TAG:
        raise Unavailable(f"a 32-bit program on {platform.machine()}: its system calls have other numbers", lost=True)
    return pid
