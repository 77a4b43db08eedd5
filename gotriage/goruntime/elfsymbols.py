"""Functions of an ELF file by address, from its symbol tables: for code that is not Go's, and has no other names.

Layout: elf(5). The file may be hostile: tables are bounded, and a name that cannot be read is none.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime.elf import PF_X, SHT_SYMTAB, ElfError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gotriage.goruntime.elf import Elf, Section

SHT_DYNSYM: Final = 11
MAX_TABLE: Final = 64 * 1024 * 1024
"""Bytes of a symbol table that are read; those of the largest browsers have 40 MB."""
MAX_NAME: Final = 4096
FUNCTIONS: Final = (2, 10)
"""STT_FUNC, STT_GNU_IFUNC."""
GLOBAL: Final = 1
MISSES: Final = 256
"""Symbols before an address that are looked at: a long function may hold others, as labels of assembly do."""


class ElfSymbols:
    """The functions of one file, by its own addresses."""

    def __init__(self, elf: Elf) -> None:
        """Of an open file, which stays the caller's; read at once. No table is no function, and no error."""
        self._elf = elf
        self._loads = [(s.offset, s.offset + s.filesz, s.vaddr) for s in elf.loads if s.flags & PF_X] or [
            (s.offset, s.offset + s.filesz, s.vaddr) for s in elf.loads
        ]
        parts = []
        with suppress(ElfError):
            parts = [self._read(section) for section in elf.sections if section.type in (SHT_SYMTAB, SHT_DYNSYM)]
        table = np.concatenate(parts) if parts else np.zeros((0, 4), np.uint64)
        table = table[np.lexsort((table[:, 3], table[:, 0]))]  # of symbols at one address the best is the last
        self._starts, self._ends, self._names = table[:, 0], table[:, 0] + table[:, 1], table[:, 2]

    def _read(self, section: Section) -> NDArray[np.uint64]:
        """Address, size, file offset of the name, and rank of each function of a table."""
        wide, order = self._elf.elf_class == 64, self._elf.endian
        fields = (
            [("name", "u4"), ("info", "u1"), ("other", "u1"), ("at", "u2"), ("value", "u8"), ("size", "u8")]
            if wide
            else [("name", "u4"), ("value", "u4"), ("size", "u4"), ("info", "u1"), ("other", "u1"), ("at", "u2")]
        )
        kind = np.dtype([(name, order + form) for name, form in fields])
        data = self._elf.some(section.offset, min(section.size, MAX_TABLE))
        rows = np.frombuffer(data, kind, len(data) // kind.itemsize)
        rows = rows[np.isin(rows["info"] & 15, FUNCTIONS) & (rows["at"] != 0) & (rows["value"] != 0)]
        found = np.zeros((len(rows), 4), np.uint64)
        if not 0 <= section.link < len(self._elf.sections):
            return found[:0]
        strings = self._elf.sections[section.link]
        rows = rows[rows["name"] < strings.size]
        found = found[: len(rows)]
        found[:, 0], found[:, 1] = rows["value"], rows["size"]
        found[:, 2] = rows["name"].astype(np.uint64) + np.uint64(strings.offset)
        found[:, 3] = (rows["info"] >> 4) == GLOBAL
        return found

    def __len__(self) -> int:
        return len(self._starts)

    def at_offset(self, offset: int) -> str:
        """The function that holds a place of the file, "" for none."""
        for start, end, address in self._loads:
            if start <= offset < end:
                return self.at(address + offset - start)
        return ""

    def at(self, address: int) -> str:
        """The function that holds an address as the file counts them, "" for none."""
        last = int(np.searchsorted(self._starts, np.uint64(address), side="right")) - 1
        for place in range(last, max(last - MISSES, -1), -1):
            if address < int(self._ends[place]) or (place == last and self._ends[place] == self._starts[place]):
                try:
                    return self._elf.string(int(self._names[place]), MAX_NAME)
                except ElfError:
                    return ""
        return ""
