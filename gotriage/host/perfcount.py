"""Trace events of threads, only counted, by perf_event_open(2): no samples, no tool, next to no cost."""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gotriage.errors import MissingFacility, TargetGone
from gotriage.host.perfevents import DISABLE, ENABLE, refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

_CALLS: Final = {"x86_64": 298, "aarch64": 241}
_ATTR: Final = struct.Struct("=IIQQQQQIIQQQQIiQIHH")
"""perf_event_attr of include/uapi/linux/perf_event.h."""
TRACEPOINT: Final = 2
_DISABLED, _INHERIT = 1 << 0, 1 << 1
SET_FILTER: Final = 0x40082406
_CLOEXEC: Final = 8
MOST: Final = 4096
"""Threads that are counted one by one."""
_libc = ctypes.CDLL(None, use_errno=True)


class Counter:
    """How often one trace event happens in some threads and in those that they start; off until `switch`.

    Raises NotPermitted, MissingFacility, OSError.
    """

    def __init__(self, event: int, tids: Iterable[int], only: str = "") -> None:
        """`event` is its number in tracefs; `only` a filter on its fields, as "ret < 0"."""
        self._fds: list[int] = []
        try:
            for tid in list(tids)[:MOST]:
                with suppress(TargetGone):
                    self._fds.append(_open(event, tid))
            text = ctypes.create_string_buffer(only.encode())
            for fd in self._fds if only else ():
                if _libc.ioctl(ctypes.c_int(fd), ctypes.c_ulong(SET_FILTER), text) < 0:
                    code = ctypes.get_errno()
                    raise OSError(code, f"filter of a perf event: {os.strerror(code)}")
        except BaseException:
            self.close()
            raise

    def switch(self, *, on: bool) -> None:
        """Count, or pause."""
        for fd in self._fds:
            with suppress(OSError):
                fcntl.ioctl(fd, ENABLE if on else DISABLE, 0)

    def read(self) -> int:
        """How often since it was made."""
        return sum(int.from_bytes(os.read(fd, 8), "little") for fd in self._fds)

    def close(self) -> None:
        """Let go of the events; may be called twice."""
        while self._fds:
            os.close(self._fds.pop())


def _open(event: int, tid: int) -> int:
    number = _CALLS.get(platform.machine())
    if number is None:
        raise MissingFacility(f"perf_event_open(2) is not used on {platform.machine()}")
    attributes = _ATTR.pack(
        TRACEPOINT, _ATTR.size, event, 0, 0, 0, _DISABLED | _INHERIT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
    )
    fd: int = _libc.syscall(
        ctypes.c_long(number), attributes, ctypes.c_int(tid), ctypes.c_int(-1), ctypes.c_int(-1),
        ctypes.c_ulong(_CLOEXEC),
    )  # fmt: skip
    if fd < 0:
        raise refusal(ctypes.get_errno(), tid)
    return fd
