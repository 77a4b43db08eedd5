"""What a Go program asks of the system around it: the least kernel of each Go version, and its time zone database."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gotriage.goruntime.elf import Elf

KERNELS: Final = (((1, 24), (3, 2)), ((1, 19), (2, 6, 32)), ((1, 0), (2, 6, 23)))
"""From this Go version on, this kernel: https://go.dev/wiki/Linux."""
KERNELS_OF: Final = {"loong64": (5, 19), "mips64le": (4, 8)}
"""GOARCH to a higher need, from the same page."""
ZONE_FOLDERS: Final = ("/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/usr/lib/locale/TZ")
ZONE_FOLDERS_NEW: Final = (*ZONE_FOLDERS, "/etc/zoneinfo")
"""time/zoneinfo_unix.go, platformZoneSources; the last one since Go 1.21."""

_GO: Final = re.compile(r"go(\d{1,3})\.(\d{1,3})")
_RELEASE: Final = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?")
_EMBEDDED: Final = b"time/tzdata.loadFromEmbeddedTZData"
_LOADS: Final = b"time.LoadLocation\0"
_ROOTED: Final = b"/src/runtime/proc.go\0"
"""A file of the runtime, in the table of files: what stands before it is the GOROOT that the linker wrote."""
_PIECE: Final = 1 << 20
_OVERLAP: Final = 4096
MOST_TABLE: Final = 128 << 20
"""Bytes of a function table that are searched; that of a very large program has 40 MB."""


def go_version(text: str) -> tuple[int, int] | None:
    """(1, 24) of "go1.24.3"; None of what has no such version ("devel ...")."""
    match = _GO.search(text)
    return (int(match[1]), int(match[2])) if match else None


def release(text: str) -> tuple[int, ...] | None:
    """(6, 1, 90) of "6.1.90-1-amd64"; None when it is no release."""
    match = _RELEASE.match(text)
    return tuple(int(part) for part in match.groups() if part is not None) if match else None


def least_kernel(version: str, arch: str) -> tuple[int, ...] | None:
    """The least kernel that a program of that Go version and GOARCH runs on; None when the version is not known."""
    known = go_version(version)
    if known is None:
        return None
    base = next(kernel for since, kernel in KERNELS if known >= since)
    return max(base, KERNELS_OF.get(arch, base))


def zone_folders(version: str) -> tuple[str, ...]:
    """Where the time package looks for zones, in its order."""
    known = go_version(version)
    return ZONE_FOLDERS if known is not None and known < (1, 21) else ZONE_FOLDERS_NEW


@dataclass(frozen=True, slots=True)
class Zones:
    """What the executable says: it embeds time/tzdata, it can load zones by name, its default GOROOT ("" for none)."""

    embedded: bool
    loads: bool
    goroot: str


def zones(elf: Elf) -> Zones | None:
    """Searched in the names of the function table (.gopclntab), which strip(1) leaves; None without that section.

    Raises ElfError, OSError.
    """
    table = next((section for section in elf.sections if section.name.endswith("gopclntab")), None)
    if table is None:
        return None
    embedded = loads = False
    goroot, before = "", b""
    at, end = table.offset, table.offset + min(table.size, MOST_TABLE)
    while at < end and not (embedded and loads and goroot):
        piece = os.pread(elf.fd, min(_PIECE, end - at), at)
        if not piece:
            break
        at += len(piece)
        text = before + piece
        embedded = embedded or _EMBEDDED in text
        loads = loads or _LOADS in text
        goroot = goroot or _root(text)
        before = text[-_OVERLAP:]
    return Zones(embedded, loads, goroot)


def _root(text: bytes) -> str:
    place = text.find(_ROOTED)
    if place < 0:
        return ""
    start = text.rfind(b"\0", max(0, place - 1024), place) + 1
    path = text[start:place]
    return path.decode("utf-8", "replace") if path.startswith(b"/") else ""
