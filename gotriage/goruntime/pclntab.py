"""The function table of a Go module (pclntab): what code belongs to which function, file and line.

Format: Go's src/runtime/symtab.go (pcHeader, functab), runtime2.go (_func), symtabinl.go (inlinedCall) and
cmd/link/internal/ld/pcln.go. Two forms: that of Go 1.18 and 1.19, and that of Go 1.20 to 1.27. The table lies in a
file that may be hostile: every offset and length is bounded, and what is damaged has no name rather than a wrong one.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from gotriage.goruntime.memory import Unreadable
from gotriage.goruntime.pcvalue import look_up
from gotriage.goruntime.refusals import DamagedTables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from gotriage.goruntime.binaries import Binary
    from gotriage.goruntime.elf import Elf, Section
    from gotriage.goruntime.moduledata import GoModule

MAGIC_118: Final = 0xFFFFFFF0
MAGIC_120: Final = 0xFFFFFFF1
OLD_MAGICS: Final = {0xFFFFFFFA: "Go 1.16 or 1.17", 0xFFFFFFFB: "Go 1.15 or older"}
"""internal/abi/symtab.go, PCLnTabMagic."""
HEADER: Final = 72
MAX_FUNCTIONS: Final = 2_000_000
"""Kubernetes' largest program has some 150,000."""
MAX_SCAN: Final = 1 << 30
SCAN_CHUNK: Final = 4 * 1024 * 1024
MAX_CANDIDATES: Final = 64
MAX_NAME: Final = 16 * 1024
MAX_INLINED: Final = 256
"""Calls inlined into each other at one place."""
INLINE_TREE: Final = 3
"""FUNCDATA_InlTree (internal/abi/symtab.go)."""
INLINE_INDEX: Final = 2
"""PCDATA_InlTreeIndex."""
NOTHING: Final = 0xFFFFFFFF

_HEADER = struct.Struct("<IBBBBQQQQQQQQ")


class Header(NamedTuple):
    """The table's head: offsets of its parts from its beginning; `limit`: what it can reach at most.

    `form`: 118 or 120, the Go version that brought it. `quantum`: shortest instruction of the machine, bytes.
    """

    form: int
    quantum: int
    nfunc: int
    names: int
    units: int
    files: int
    pctab: int
    functions: int
    limit: int

    @property
    def ftab_size(self) -> int:
        """Bytes of the table of functions: a pair for each one, and where the last one ends."""
        return 8 * self.nfunc + 4


def header(data: bytes, limit: int, *, any_magic: bool = False) -> Header | None:
    """The head of a table that has `limit` bytes of room; None when it is none.

    any_magic: also one whose magic was changed, as obfuscators do; all else must be right.
    """
    if len(data) < HEADER:
        return None
    magic, pad1, pad2, quantum, pointer, count, files, _, names, units, filetab, pctab, functions = _HEADER.unpack_from(
        data
    )
    if magic not in (MAGIC_118, MAGIC_120) and not any_magic:
        return None
    if pad1 or pad2 or quantum not in (1, 2, 4) or pointer != 8:
        return None
    if not 0 < count <= MAX_FUNCTIONS or files >= 1 << 32:
        return None
    if not HEADER <= names <= units <= filetab <= pctab <= functions <= limit - 8 * count - 4:
        return None
    form = 118 if magic == MAGIC_118 else 120
    return Header(form, quantum, count, names, units, filetab, pctab, functions, limit)


def of_section(elf: Elf) -> dict[int, Header]:
    """The table of the section that is named so: its address in the file (not in the process) to its head.

    Externally linked PIE programs up to Go 1.25 have no such section, others no section headers at all.
    """
    section = _section(elf)
    if section is None:
        return {}
    room = min(section.size, elf.size - section.offset)
    found = header(elf.some(section.offset, HEADER), room)
    return {section.addr: found} if found is not None else {}


def _section(elf: Elf) -> Section | None:
    return elf.section(".gopclntab") or elf.section(".data.rel.ro.gopclntab")


def scanned(elf: Elf, *, any_magic: bool = False) -> dict[int, Header]:
    """All that look like tables in the segments of a file, as `of_section`; at most 64, in the first GiB."""
    result: dict[int, Header] = {}
    room = MAX_SCAN
    for segment in sorted(elf.loads, key=lambda s: s.flags & 1):  # code last: few linkers put tables there
        size = min(segment.filesz, elf.size - segment.offset, room)
        room -= max(size, 0)
        for at in _magics(elf, segment.offset, size, any_magic=any_magic):
            found = header(elf.some(segment.offset + at, HEADER), size - at, any_magic=any_magic)
            if found is not None:
                result.setdefault(segment.vaddr + at, found)
                if len(result) == MAX_CANDIDATES:
                    return result
    return result


def old_form(elf: Elf) -> str:
    """The version of a table that is older than those read here, "" when there is none."""
    section = _section(elf)
    head = elf.some(section.offset, 8) if section else b""
    return OLD_MAGICS.get(int.from_bytes(head[:4], "little"), "") if head[4:6] == b"\0\0" else ""


def _magics(elf: Elf, offset: int, size: int, *, any_magic: bool) -> Iterator[int]:
    """Offsets in a piece of the file where a head may begin: aligned to 8, as the linker places it."""
    for start in range(0, size, SCAN_CHUNK):
        data = elf.some(offset + start, min(SCAN_CHUNK, size - start))
        words = np.frombuffer(data, dtype="<u8", count=len(data) // 8)
        high = words >> np.uint64(32)
        fits = (high & np.uint64(0xFF00FFFF)) == np.uint64(0x08000000)
        if not any_magic:
            fits &= (words & np.uint64(0xFFFFFFFE)) == np.uint64(MAGIC_118)
        for at in np.flatnonzero(fits):
            yield start + 8 * int(at)
        if len(data) < SCAN_CHUNK:
            return


class Record(NamedTuple):
    """A function's own record (_func): offsets into the parts of the table."""

    name: int
    pcsp: int
    pcfile: int
    pcln: int
    pcdata: int
    unit: int
    id: int
    flags: int
    funcdata: int
    at: int
    """Address of the offsets behind the record: `pcdata` of them to pctab, then `funcdata` of them to gofunc."""


class Inlined(NamedTuple):
    """A call that was inlined: the called function, and the place of the call as a distance from the outer entry."""

    name: int
    id: int
    call: int


class Pclntab:
    """The function table of one module; functions are numbered from 0 by address.

    entries: addresses of the functions and, one more, where the last one ends.
    """

    def __init__(self, binary: Binary, module: GoModule, head: Header) -> None:
        """Raises DamagedTables, Unreadable."""
        self.binary = binary
        self.module = module
        self.quantum = head.quantum
        self.count = head.nfunc
        self._record = struct.Struct("<iiiIIIIIIBBBB" if head.form == 118 else "<iiiIIIIIIiBBBB")
        self._old = head.form == 118
        self._inline = struct.Struct("<hBxiiii" if self._old else "<Bxxxiii")
        raw = np.frombuffer(binary.read(module.ftab.address, head.ftab_size), dtype="<u4")
        offsets = raw[::2].astype(np.uint64)
        self.entries: NDArray[np.uint64] = offsets + np.uint64(module.text)
        self._at = raw[1::2].copy()
        if np.any(offsets[1:] < offsets[:-1]):
            raise DamagedTables(f"the function table of {module.path} is not in order")
        if int(self.entries[0]) != module.minpc or int(self.entries[-1]) != module.maxpc:
            raise DamagedTables(f"the function table of {module.path} does not cover its code")
        if int(self._at.max()) > module.functions.length - self._record.size:
            raise DamagedTables(f"the function table of {module.path} leads out of itself")

    def entry(self, number: int) -> int:
        """The address of a function's first instruction."""
        return int(self.entries[number])

    def end(self, number: int) -> int:
        """The address behind a function: where the next one begins."""
        return int(self.entries[number + 1])

    def record(self, number: int) -> Record:
        """A function's record. Raises Unreadable."""
        address = self.module.functions.address + int(self._at[number])
        data = self.binary.read(address, self._record.size)
        fields = self._record.unpack(data)
        _, name, _, _, pcsp, pcfile, pcln, pcdata, unit = fields[:9]
        id_, flags, _, funcdata = fields[-4:]
        return Record(name, pcsp, pcfile, pcln, pcdata, unit, id_, flags, funcdata, address + self._record.size)

    def fields(self, offset: int, kind: str) -> NDArray[np.uint32]:
        """One field of all records: `offset` bytes into them, of numpy type `kind`; the table is read in pieces."""
        result = np.zeros(self.count, dtype=np.uint32)
        order = np.argsort(self._at, kind="stable")
        where = self._at[order].astype(np.int64) + offset
        width = np.dtype(kind).itemsize
        step = 4 * 1024 * 1024
        for start in range(0, self.module.functions.length, step):
            low, high = np.searchsorted(where, [start, start + step])
            if low == high:
                continue
            size = min(step + 4, self.module.functions.length - start)
            data = np.frombuffer(self.binary.some(self.module.functions.address + start, size), dtype=np.uint8)
            at = where[low:high] - start
            whole = at + width <= len(data)
            at = at[whole]
            value = np.zeros(len(at), dtype=np.uint32)
            for byte in range(width):
                value |= data[at + byte].astype(np.uint32) << np.uint32(8 * byte)
            result[order[low:high][whole]] = value
        return result

    def name_offsets(self) -> NDArray[np.uint32]:
        """Of every function, where its name stands in the table of names."""
        return self.fields(4, "<u4")

    def ids(self) -> NDArray[np.uint32]:
        """Of every function, its funcID."""
        return self.fields(self._record.size - 4, "u1")

    def name(self, offset: int) -> str:
        """The name at an offset of the table of names, "" for a damaged one."""
        return self._string(self.module.names.address, self.module.names.length, offset)

    def _string(self, base: int, length: int, offset: int) -> str:
        if not 0 <= offset < length:
            return ""
        for size in (256, MAX_NAME):
            data = self.binary.some(base + offset, min(size, length - offset))
            end = data.find(b"\0")
            if end >= 0:
                return data[:end].decode("utf-8", "replace")
        return ""

    def value(self, table: int, number: int, pc: int) -> int:
        """What a table of program counters (an offset into pctab) says of an address inside the function; -1: nothing.

        Offset 0 stands for no table (src/runtime/symtab.go, pcvalue).
        """
        pctab = self.module.pctab
        if not 0 < table < pctab.length:
            return -1
        address, room = pctab.address + table, pctab.length - table
        return look_up(lambda size: self.binary.some(address, min(size, room)), pc - self.entry(number), self.quantum)

    def place(self, record: Record, number: int, pc: int) -> tuple[str, int]:
        """File and line of an instruction; "?" and 0 when the table does not say (as Go prints it)."""
        file, line = self.value(record.pcfile, number, pc), self.value(record.pcln, number, pc)
        if file < 0 or line < 0:
            return "?", 0
        unit = record.unit + file
        if unit >= self.module.units.length:
            return "?", 0
        data = self.binary.some(self.module.units.address + 4 * unit, 4)
        offset = int.from_bytes(data, "little") if len(data) == 4 else NOTHING
        return self._string(self.module.files.address, self.module.files.length, offset) or "?", line

    def inline_tree(self, record: Record, gofunc: int | None = None) -> int:
        """The address of the function's table of inlined calls, 0 for none."""
        base = self.module.gofunc if gofunc is None else gofunc
        if not base or record.funcdata <= INLINE_TREE or record.pcdata <= INLINE_INDEX or record.pcdata > 64:
            return 0
        data = self.binary.some(record.at + 4 * (record.pcdata + INLINE_TREE), 4)
        offset = int.from_bytes(data, "little") if len(data) == 4 else NOTHING
        return base + offset if offset != NOTHING else 0

    def inline_index(self, record: Record, number: int, pc: int) -> int:
        """Which entry of the inline tree an instruction belongs to, -1 for none: the function's own code."""
        data = self.binary.some(record.at + 4 * INLINE_INDEX, 4)
        return self.value(int.from_bytes(data, "little"), number, pc) if len(data) == 4 else -1

    def inlined(self, tree: int, index: int) -> Inlined | None:
        """An entry of an inline tree; None where it cannot be read."""
        if not 0 <= index < 1 << 20:
            return None
        data = self.binary.some(tree + index * self._inline.size, self._inline.size)
        if len(data) != self._inline.size:
            return None
        fields = self._inline.unpack(data)
        if self._old:
            return Inlined(fields[4], fields[1], fields[5])
        return Inlined(fields[1], fields[0], fields[2])

    def gofunc_fits(self, gofunc: int, samples: int = 8) -> bool | None:
        """Whether an address is the base of function data: the inline trees found by it must make sense.

        None when the first functions have no inline trees (built without optimisation).
        """
        good = 0
        for number in range(min(self.count, 4096)):
            try:
                record = self.record(number)
            except Unreadable:
                continue
            tree = self.inline_tree(record, gofunc)
            if not tree:
                continue
            call = self.inlined(tree, 0)
            size = self.end(number) - self.entry(number)
            if call is None or not 0 <= call.call < size or not self.name(call.name):
                return False
            good += 1
            if good >= samples:
                return True
        return True if good else None
