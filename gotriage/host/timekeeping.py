"""How well this machine keeps time, and whether its random numbers are ready; asked of the kernel, changed nothing."""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError
from gotriage.host.forked import in_child, join_namespace

if TYPE_CHECKING:
    from gotriage.host import Host

TIME_ERROR: Final = 5
STA_UNSYNC: Final = 0x0040
STA_NANO: Final = 0x2000
"""include/uapi/linux/timex.h."""
_TIMEX: Final = struct.Struct("@Illlli")
"""The beginning of that header's struct timex: modes, offset, freq, maxerror, esterror, status."""
UNAME26: Final = 0x0020000
"""include/uapi/linux/personality.h: uname(2) tells 2.6.(60 + minor) instead (kernel/sys.c, override_release)."""
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Clock:
    """What adjtimex(2) says. Seconds: `offset` that is being corrected, `most_error` and `likely_error` by estimate."""

    synchronised: bool
    offset: float
    most_error: float
    likely_error: float


def parse_timex(data: bytes, state: int) -> Clock:
    """A struct timex, and what the call returned. Raises struct.error."""
    _, offset, _, most, likely, status = _TIMEX.unpack_from(data)
    scale = 1e9 if status & STA_NANO else 1e6
    return Clock(state != TIME_ERROR and not status & STA_UNSYNC, offset / scale, most / 1e6, likely / 1e6)


def clock_state() -> Clock | None:
    """Now; None where the kernel does not say. Needs no privilege: no mode is set, so nothing is adjusted."""
    buffer = ctypes.create_string_buffer(512)
    state = int(_libc.adjtimex(buffer))
    return None if state < 0 else parse_timex(buffer.raw, state)


def clock_source(host: Host) -> str:
    """The clock that gettimeofday is read from, "" where it is not told."""
    try:
        with (host.sys / "devices/system/clocksource/clocksource0/current_clocksource").open("rb") as file:
            return file.read(64).decode("ascii", "replace").strip()
    except OSError:
        return ""


def random_ready() -> bool | None:
    """Whether getrandom(2) answers without waiting; None where there is no such call (before Linux 3.17)."""
    try:
        os.getrandom(1, os.GRND_NONBLOCK)
    except BlockingIOError:
        return False
    except (OSError, AttributeError):
        return None
    return True


def kernel_release(host: Host, pid: int) -> tuple[str, bool]:
    """The release as uname(2) tells it to the process, and whether its personality makes it an older one."""
    try:
        told = host.proc.text("sys", "kernel", "osrelease").strip()
    except (GotriageError, OSError):
        told = os.uname().release
    try:
        disguised = bool(int(host.proc.text(pid, "personality"), 16) & UNAME26)
    except (GotriageError, OSError, ValueError):
        disguised = False
    minor = told.split(".")[1] if told.count(".") else ""
    if not disguised or not minor.isdigit():
        return told, False
    return f"2.6.{60 + int(minor)}", True


def host_name(host: Host, pid: int) -> str:
    """The host name in the UTS namespace of the process. Raises OSError, TimeoutError, GotriageError."""
    if host.proc.link(pid, "ns", "uts") == host.proc.link("self", "ns", "uts"):
        return os.uname().nodename
    path = host.proc.path(pid, "ns", "uts")

    def inside() -> bytes:
        join_namespace(path)
        return os.fsencode(os.uname().nodename)

    return os.fsdecode(in_child(inside, 2.0))
