"""A process's memory made from an ELF file alone, as the kernel would map it: for other machines and damaged files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from gotriage.goruntime.elf import Elf
from gotriage.goruntime.memory import Region, Unreadable

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096


class FileMemory:
    """Of a program without relocations: every segment lies where its header says."""

    pid = 4242
    live = False

    def __init__(self, path: Path, *, arch: str = "amd64", with_file: bool = True) -> None:
        """`with_file`: whether there is a file beside the memory."""
        self.path = path
        self.arch = arch
        self.with_file = with_file
        self.reads = 0
        self._data = path.read_bytes()
        with Elf(path) as elf:
            self._loads = elf.loads

    def regions(self):
        inode = self.path.stat().st_ino
        result = []
        for s in self._loads:
            start, end = s.vaddr & -PAGE, (s.vaddr + s.filesz + PAGE - 1) & -PAGE
            perms = "".join(letter if s.flags & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1))) + "p"
            if 0 <= start < end < 1 << 47:
                result.append(Region(start, end, perms, str(self.path), s.offset & -PAGE, inode))
        return tuple(sorted(result))

    def read(self, address, size):
        self.reads += 1
        for s in self._loads:
            low = s.vaddr & -PAGE
            if low <= address and address + size <= (s.vaddr + s.filesz + PAGE - 1) & -PAGE:
                at = (s.offset & -PAGE) + address - low
                data = self._data[at : at + size]
                return data.ljust(size, b"\0")
        raise Unreadable(f"no memory at {address:#x}")

    def read_many(self, addresses, sizes):
        sizes = np.broadcast_to(np.asarray(sizes, dtype=np.int64), addresses.shape)
        parts, good = [], []
        for address, size in zip(addresses.tolist(), sizes.tolist(), strict=True):
            try:
                parts.append(self.read(address, size))
                good.append(True)
            except Unreadable:
                parts.append(bytes(size))
                good.append(False)
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return np.frombuffer(b"".join(parts), dtype=np.uint8), offsets, np.array(good, dtype=np.bool_)

    def executable(self):
        if not self.with_file:
            raise Unreadable("no file was given")
        return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def file_of(self, region):
        return self.executable()

    def close(self):
        pass
