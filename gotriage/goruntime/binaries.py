"""The ELF files that a process has mapped: each with its regions, its load bias, and its bytes at run-time addresses.

Bytes of mappings that cannot have changed come from the file, by pread(2): that does not touch the process, and a file
that is cut meanwhile gives a short read. All others, and those of a file that cannot be opened, come from memory.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime.elf import PF_W, PF_X, WINDOW, Elf, ElfError, NotElf
from gotriage.goruntime.memory import Region, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.goruntime.memory import Memory

MAX_REGIONS: Final = 4096
"""Mappings of one file that are looked at."""
BLOCK: Final = 64 * 1024
MAX_BLOCKS: Final = 512
CHUNK: Final = 4 * 1024 * 1024
MAX_OFFSET: Final = 1 << 62
MAX_WRITTEN: Final = 1 << 30
"""Bytes of variables that are searched; the data of real programs has a few MB."""


class MappedElf(Elf):
    """An ELF file as it stands in memory: headers and segments; there are no sections in it.

    Offsets are those of the file; what no region maps reads as a file that ends there.
    """

    def __init__(self, memory: Memory, regions: tuple[Region, ...]) -> None:
        """From the regions of one file. Raises NotElf when none of them shows its beginning."""
        self._memory = memory
        self._regions = regions
        super().__init__(-1)

    def _read_header(self) -> None:
        self.size = max((r.offset + r.end - r.start for r in self._regions), default=0)
        self._parse_header(self._window(0))
        self._shoff = 0

    def _window(self, number: int) -> bytes:
        data = self._windows.get(number)
        if data is None:
            data = self._windows[number] = self._piece(number * WINDOW, WINDOW)
        return data

    def some(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from a file offset."""
        return self._piece(offset, size) if 0 <= offset < 1 << 62 and size > 0 else b""

    def _piece(self, offset: int, size: int) -> bytes:
        parts: list[bytes] = []
        while size > 0:
            region = next((r for r in self._regions if r.offset <= offset < r.offset + r.end - r.start), None)
            if region is None:
                break
            address = region.start + offset - region.offset
            taken = min(size, region.end - address)
            try:
                parts.append(self._memory.read(address, taken))
            except Unreadable:
                break
            offset += taken
            size -= taken
        return b"".join(parts)


class Binary:
    """A mapped ELF file.

    Attributes:
        path: as the mapping names it.
        elf: its headers, from the file where there is one (`on_disk`), else from memory.
        bias: what is added to an address of the file to have the one in the process.
    """

    def __init__(self, memory: Memory, regions: tuple[Region, ...], fd: int | None) -> None:
        """Takes the descriptor. Raises ElfError, and Unreadable when the mappings fit no segment of the file."""
        self.memory = memory
        self.regions = regions[:MAX_REGIONS]
        self.path = regions[0].path if regions else ""
        self._fd = fd
        try:
            self.elf = MappedElf(memory, self.regions) if fd is None else Elf(fd)
            self.bias = self._find_bias()
        except BaseException:
            self.close()
            raise
        self._blocks: dict[tuple[int, int], bytes] = {}
        self._spans = sorted((r.start, r.end, r.start - r.offset if self._from_file(r) else None) for r in self.regions)
        self._starts = [start for start, _, _ in self._spans]

    @property
    def on_disk(self) -> bool:
        """Whether there is a file to read."""
        return self._fd is not None

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _find_bias(self) -> int:
        """From where the code lies; from any other segment when the code was moved away from the file."""
        loads = sorted(self.elf.loads, key=lambda s: not s.flags & PF_X)
        for segment in loads:
            for region in self.regions:
                if segment.flags & PF_X and "x" not in region.perms:
                    continue
                if region.offset <= segment.offset < region.offset + region.end - region.start:
                    return region.start - region.offset + segment.offset - segment.vaddr
        raise Unreadable(f"the mappings of {self.path or 'the program'} fit no segment of its file")

    def _from_file(self, region: Region) -> bool:
        """Neither writable now nor before: relocations write to what is read-only later (PT_GNU_RELRO)."""
        if not self.on_disk or "w" in region.perms or not region.path:
            return False
        low, high = region.start - self.bias, region.end - self.bias
        return not any(s.flags & PF_W and s.vaddr < high and low < s.vaddr + s.memsz for s in self.elf.loads)

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes at a run-time address. Raises Unreadable, TargetGone, NotPermitted."""
        if not 0 <= address < 1 << 64 or size < 0:
            raise Unreadable(f"no memory at {address:#x}")
        at = bisect_right(self._starts, address) - 1
        if at < 0 or address + size > self._spans[at][1]:
            return self.memory.read(address, size)
        number, offset = divmod(address - self._starts[at], BLOCK)
        if offset + size <= BLOCK:
            block = self._block(at, number)
            if block:
                return block[offset : offset + size]
        return self._direct(at, address, size)

    def _block(self, span: int, number: int) -> bytes:
        """A block of a span, b"" when a part of it is not there."""
        block = self._blocks.get((span, number))
        if block is None:
            if len(self._blocks) >= MAX_BLOCKS:
                self._blocks.clear()
            start, end, _ = self._spans[span]
            address = start + number * BLOCK
            try:
                block = self._direct(span, address, min(BLOCK, end - address))
            except Unreadable:
                block = b""
            self._blocks[span, number] = block
        return block

    def _direct(self, span: int, address: int, size: int) -> bytes:
        delta = self._spans[span][2]
        if delta is None or self._fd is None:
            return self.memory.read(address, size)
        if not 0 <= address - delta < MAX_OFFSET:
            raise Unreadable(f"{self.path} has no bytes for {address:#x}")
        try:
            data = os.pread(self._fd, size, address - delta)
        except OSError as error:
            raise Unreadable(f"{self.path} cannot be read: {error.strerror}") from error
        if len(data) != size:
            raise Unreadable(f"{self.path} ends before the bytes of {address:#x}")
        return data

    def some(self, address: int, size: int) -> bytes:
        """At most `size` bytes: down to none where the memory ends."""
        while size > 0:
            try:
                return self.read(address, size)
            except Unreadable:
                size = size // 2 if size > 1 else 0
        return b""

    def written(self) -> Iterator[tuple[int, bytes]]:
        """The parts that the program or the loader may have written, from memory, in chunks: address and bytes.

        Those that are writable now come first. What cannot be read is zero.
        """
        parts = [r for r in self.regions if "w" in r.perms]
        parts += [r for r in self.regions if r not in parts and "x" not in r.perms and not self._from_file(r)]
        room = MAX_WRITTEN
        for region in parts:
            room -= region.end - region.start
            if room < 0:
                return
            for start in range(region.start, region.end, CHUNK):
                end = min(start + CHUNK, region.end)
                at = np.arange(start, end, BLOCK, dtype=np.uint64)
                sizes = np.minimum(at + np.uint64(BLOCK), np.uint64(end)) - at
                data, _, _ = self.memory.read_many(at, sizes.astype(np.int64))
                yield start, data.tobytes()


def grouped(regions: tuple[Region, ...]) -> list[tuple[Region, ...]]:
    """The file mappings, file by file, in the order of their first addresses."""
    groups: dict[tuple[str, int], list[Region]] = {}
    for region in regions:
        if region.path.startswith("/"):
            groups.setdefault((region.path, region.inode), []).append(region)
    return [tuple(group) for group in groups.values()]


def main_binary(memory: Memory, groups: list[tuple[Region, ...]]) -> Binary:
    """The main program: its file, and the group of mappings that shows it.

    Raises Unreadable, ElfError, NotElf, OSError as they come.
    """
    try:
        fd = memory.executable()
    except (FileNotFoundError, Unreadable):
        return _without_file(memory, groups)
    try:
        group = _group_of(memory, fd, groups)
    except BaseException:
        os.close(fd)
        raise
    return Binary(memory, group, fd)


def _group_of(memory: Memory, fd: int, groups: list[tuple[Region, ...]]) -> tuple[Region, ...]:
    """By inode; an overlay file system may show another one there, hence else by the ELF header in memory."""
    inode = os.fstat(fd).st_ino
    head = os.pread(fd, 64, 0)
    same = [g for g in groups if g[0].inode == inode and inode]
    for group in same or groups:
        region = next((r for r in group if r.offset == 0), None)
        try:
            if region is not None and memory.read(region.start, len(head)) == head:
                return group
        except Unreadable:
            continue
    if same:
        return same[0]
    if head[:4] != b"\x7fELF":
        raise NotElf("not an ELF file")
    raise Unreadable("the program's file is mapped nowhere in it")


def _without_file(memory: Memory, groups: list[tuple[Region, ...]]) -> Binary:
    """The first mapped file that looks like a program rather than a library."""
    problem: Exception = Unreadable("no program is mapped, and there is no file of it")
    for group in groups:
        try:
            return Binary(memory, group, None)
        except (ElfError, Unreadable) as error:
            problem = error
    raise problem
