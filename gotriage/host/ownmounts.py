"""A mount namespace of our own for helpers that expect files where this machine has none. Nobody else sees it."""

from __future__ import annotations

import ctypes
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

CLONE_NEWNS: Final = 0x00020000
MS_REC_PRIVATE: Final = 0x4000 | (1 << 18)
"""include/uapi/linux/sched.h, mount.h."""
TRACING: Final = Path("/sys/kernel/tracing")
MODULES: Final = Path("/lib/modules")
SOURCES: Final = Path("/usr/src")
_HEADERS: Final = re.compile(r"linux-headers-([0-9]+\.[0-9]+\S*)")
_libc = ctypes.CDLL(None, use_errno=True)


def _private() -> bool:
    """Leave the mount namespace that we share with others; whether that was permitted."""
    if _libc.unshare(CLONE_NEWNS) != 0:
        return False
    return bool(_libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC_PRIVATE), None) == 0)


def _mount(kind: str, where: Path) -> bool:
    return bool(_libc.mount(kind.encode(), str(where).encode(), kind.encode(), ctypes.c_ulong(0), None) == 0)


def own_tracefs() -> None:
    """Tracefs at its usual place, for this process and those that it starts, where it is not mounted."""
    if not (TRACING / "events").is_dir() and _private():
        _mount("tracefs", TRACING)


def headers() -> str | None:
    """The release of the kernel headers that are installed: of the running kernel, else the newest; None for none."""
    release = os.uname().release
    if (MODULES / release / "build/include/linux/kconfig.h").exists() or (
        MODULES / release / "source/include/linux/kconfig.h"
    ).exists():
        return release
    found: list[tuple[tuple[int, ...], str]] = []
    with suppress(OSError):
        for folder in SOURCES.iterdir():
            match = _HEADERS.fullmatch(folder.name)
            if match and (folder / "include/generated/autoconf.h").exists() and _common(folder) is not None:
                found.append((tuple(map(int, re.findall(r"\d+", match[1])[:3])), match[1]))
    return max(found)[1] if found else None


def _common(folder: Path) -> Path | None:
    """Where the headers are that all architectures share: the folder itself, or a second one (Debian)."""
    if (folder / "include/linux/kconfig.h").exists():
        return folder
    stem = folder.name.rpartition("-")[0]
    other = folder.with_name(f"{stem}-common")
    return other if (other / "include/linux/kconfig.h").exists() else None


def own_headers() -> None:
    """The installed headers where BCC looks for those of the running kernel; needs `own_tracefs` to have been tried."""
    release, found = os.uname().release, headers()
    if found is None or found == release or not _private():
        return
    folder = SOURCES / f"linux-headers-{found}"
    common = _common(folder)
    if common is None or not _mount("tmpfs", MODULES):
        return
    place = MODULES / release
    place.mkdir()
    (place / "build").symlink_to(folder)
    (place / "source").symlink_to(common)
