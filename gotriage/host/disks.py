"""Names of block devices by their numbers."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def disk_name(sys: Path, device: int) -> str:
    """The name of a device as the kernel numbers it (MKDEV of include/linux/kdev_t.h); its numbers when it has none."""
    number = f"{device >> 20}:{device & 0xFFFFF}"
    with suppress(OSError):
        return os.path.basename(os.readlink(sys / "dev" / "block" / number))
    return number
