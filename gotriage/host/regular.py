"""Open a regular file, and nothing else: whatever a path from a strange file names, it is not started or drained."""

from __future__ import annotations

import os

from gotriage.host.inroot import readable


def opened(path: str) -> int:
    """A descriptor of a regular file, for reading. Raises OSError (EINVAL when it is none)."""
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return readable(place, path)
    finally:
        os.close(place)
