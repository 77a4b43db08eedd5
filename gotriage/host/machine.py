"""Which machine and which boot this is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.errors import GotriageError
from gotriage.records.text import clean

if TYPE_CHECKING:
    from gotriage.host import Host


def boot_id(host: Host) -> str:
    """/proc/sys/kernel/random/boot_id, "" where it cannot be read."""
    try:
        return clean(host.proc.text("sys", "kernel", "random", "boot_id").strip(), 64)
    except (GotriageError, OSError):
        return ""
