"""The kernel's ring buffer, record by record (Documentation/ABI/testing/dev-kmsg)."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gotriage.errors import NotPermitted
from gotriage.host import clock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

MAX_RECORD = 8192
"""The kernel gives a record of at most this size (PRINTK_MESSAGE_MAX is smaller); a shorter buffer gives EINVAL."""


@dataclass(frozen=True, slots=True)
class KernelLine:
    """One record: syslog level 0..7, sequence number, wall time worked out from the monotonic stamp, text."""

    level: int
    sequence: int
    at: datetime
    text: str


def parse_record(data: bytes, boot: float) -> KernelLine | None:
    """Parse "prio,sequence,microseconds,flags[,...];text\\n KEY=value ..."; None when it is no such record.

    `boot` is the start of the machine in seconds since the epoch.
    """
    head, semicolon, body = data.partition(b";")
    fields = head.split(b",")
    if not semicolon or len(fields) < 3 or not all(field.isdigit() for field in fields[:3]):
        return None
    text = body.partition(b"\n")[0].decode("utf-8", "replace")
    return KernelLine(int(fields[0]) & 7, int(fields[1]), clock.from_epoch(boot + int(fields[2]) / 1e6), text)


class KernelLog:
    """/dev/kmsg, from the oldest record that the kernel still has. Raises NotPermitted or OSError at construction."""

    def __init__(self, path: str = "/dev/kmsg") -> None:
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError as error:
            raise NotPermitted(f"{path}: permission denied; run gotriage as root (sudo)") from error
        self._boot = clock.boot_epoch()
        self.lost = 0
        """How many times the kernel overwrote records before they were read."""

    def read(self, limit: int = 20_000) -> Iterator[KernelLine]:
        """At most `limit` records that came since the last read."""
        for _ in range(limit):
            try:
                data = os.read(self._fd, MAX_RECORD)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.EPIPE:  # overwritten: the next read goes on with the oldest that is left
                    self.lost += 1
                    continue
                raise
            if not data:
                return
            line = parse_record(data, self._boot)
            if line is not None:
                yield line

    def close(self) -> None:
        """Let go of the device."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
