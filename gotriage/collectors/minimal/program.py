"""What the executable itself asks for: Go version, C library, least kernel, time zones inside."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gotriage.goruntime import buildinfo, surroundings
from gotriage.goruntime.elf import Elf, ElfError

if TYPE_CHECKING:
    from gotriage.goruntime.surroundings import Zones
    from gotriage.host.inroot import InRoot

NT_GNU_ABI_TAG: Final = 1
"""A note whose payload is the system (0 is Linux) and the least kernel, as three numbers (glibc, csu/abi-note.c)."""


@dataclass(frozen=True, slots=True)
class Program:
    """The facts of one executable file.

    Attributes:
        go_version: "" when it is no Go program. `arch` is its GOARCH.
        abi_kernel: the least kernel that the C library it was linked with asks for; None without such a note.
        interpreter: the loader, "" for a static program.
        zones: None when it cannot be told.
    """

    go_version: str = ""
    arch: str = ""
    abi_kernel: tuple[int, ...] | None = None
    interpreter: str = ""
    zones: Zones | None = None

    @property
    def least_kernel(self) -> tuple[int, ...] | None:
        """What Go and the C library ask for together."""
        known = [least for least in (surroundings.least_kernel(self.go_version, self.arch), self.abi_kernel) if least]
        return max(known, default=None)


def abi_kernel(elf: Elf) -> tuple[int, ...] | None:
    """The least kernel of the note. Raises ElfError."""
    for note in elf.notes:
        if note.owner == "GNU" and note.type == NT_GNU_ABI_TAG and len(note.desc) >= 16:
            system, *version = struct.unpack_from(elf.endian + "IIII", note.desc)
            return tuple(version) if system == 0 else None
    return None


def read(path: str) -> Program:
    """The facts of /proc/PID/exe. Raises OSError, ElfError."""
    with Elf(path) as elf:
        info = buildinfo.read(elf)
        settings = info.settings if info is not None else {}
        return Program(
            go_version=info.go_version if info is not None else "",
            arch=settings.get("GOARCH", ""),
            abi_kernel=abi_kernel(elf),
            interpreter=elf.interpreter,
            zones=surroundings.zones(elf) if info is not None else None,
        )


def loader_needs(root: InRoot, path: str) -> tuple[int, ...] | None:
    """The least kernel of the loader in the target's root; None when it says none. Raises OSError without one."""
    with root.opened(path) as fd:
        try:
            with Elf(fd) as elf:
                return abi_kernel(elf)
        except ElfError:
            return None


def identity(path: str) -> tuple[int, int, int]:
    """Device, inode, time of change: an equal one needs no second reading. Raises OSError."""
    facts = os.stat(path)
    return facts.st_dev, facts.st_ino, facts.st_mtime_ns
