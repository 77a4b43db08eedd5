"""Functions of shared libraries that a process calls: what its relocations name, and where the loader has bound them.

A breakpoint may stand at the first instruction of such a function alone. Where that is, the loader has written into the
process (System V gABI, JUMP_SLOT and GLOB_DAT relocations), which says more than the library's symbol table: it knows
of LD_PRELOAD, and of functions with several forms (IFUNC: memcpy). But what stands in a process's memory is its own
word, so an address counts only where the library's file itself says that a function begins there: by its symbols, or
by its unwind table (.eh_frame_hdr of the Linux Standard Base), and where file and memory have the same code.
"""

from __future__ import annotations

import platform
import struct
from bisect import bisect_right
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from gotriage.errors import GotriageError
from gotriage.goruntime.binaries import Binary, grouped, main_binary
from gotriage.goruntime.elf import ElfError
from gotriage.goruntime.memory import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from gotriage.goruntime.elf import Elf
    from gotriage.goruntime.memory import Memory, Region

MOST_FUNCTIONS: Final = 2000
MOST_LIBRARIES: Final = 200
MAX_TABLE: Final = 16 * 1024 * 1024
"""Bytes of a table of relocations, symbols or unwind entries that are read."""
MAX_NAME: Final = 4096
PT_GNU_EH_FRAME: Final = 0x6474E550
DT_PLTRELSZ, DT_SYMTAB, DT_RELA, DT_RELASZ, DT_PLTREL, DT_JMPREL = 2, 6, 7, 8, 20, 23
FUNC, IFUNC, NOTYPE = 2, 10, 0
OPTIONAL: Final = (2 << 4 | NOTYPE,)
"""Binding and type of what need not be there (__gmon_start__); a function has the type FUNC."""
SHT_SYMTAB, SHT_DYNSYM = 2, 11
BOUND: Final = {"amd64": (6, 7), "arm64": (1025, 1026)}
"""GLOB_DAT and JUMP_SLOT of each architecture."""
ENDBR64: Final = b"\xf3\x0f\x1e\xfa"
"""The mark of a place that may be jumped to (Intel CET). The instruction behind it is passed at each call too."""
CARRIED_OUT: Final = frozenset([*range(0x50, 0x58), 0x90, 0xE8, 0xE9, 0xEB])
"""First bytes of instructions that the kernel carries out itself behind a breakpoint, instead of having the processor
step them: PUSH, NOP, CALL, JMP (arch/x86/kernel/uprobes.c)."""
_RELA: Final = np.dtype([("at", "<u8"), ("kind", "<u4"), ("symbol", "<u4"), ("addend", "<i8")])
_SYMBOL: Final = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
_SEEN: Final = 16


class Import(NamedTuple):
    """A function that is called: its name, the library as its mapping names it, the place in the library's file.

    Attributes:
        region: the mapping that holds it, as /proc/PID/map_files names it.
        code: the byte at the place, in file and memory.
        stepped: behind a breakpoint there the processor has to step the instruction.
    """

    name: str
    path: str
    region: str
    offset: int
    code: int
    stepped: bool


class Imports(NamedTuple):
    """What was found. `refused`: functions that cannot be probed, and why; `reason`: why there are none at all."""

    functions: tuple[Import, ...] = ()
    refused: dict[str, str] = {}  # noqa: RUF012  # never written to
    reason: str = ""


def imports(memory: Memory, *, of_libraries: bool = False) -> Imports:
    """The functions that the main program calls, or also those that its libraries call of each other.

    Raises Unreadable, ElfError, TargetGone, NotPermitted, OSError when the program itself cannot be read.
    """
    groups = grouped(memory.regions())
    main = main_binary(memory, groups)
    libraries = _Libraries(memory, [group for group in groups if group != main.regions])
    try:
        if main.elf.elf_class != 64 or memory.arch not in BOUND:
            return Imports(reason=f"functions are found in 64-bit programs for amd64 and arm64, this is {memory.arch}")
        if not main.elf.dynamic or DT_SYMTAB not in main.elf.tags:
            return Imports(reason="it is linked statically: there are no dynamic symbols, and no library is mapped")
        slots = _slots(main)
        if of_libraries:
            for library in libraries.all():
                with suppress(ElfError, Unreadable):
                    slots.update(_slots(library))
        if not slots:
            return Imports(reason="it is linked dynamically, and calls no function of a library")
        return _resolved(memory, main, libraries, slots)
    finally:
        libraries.close()
        main.close()


def _slots(binary: Binary) -> dict[int, str]:
    """Run-time address of each pointer that the loader binds to a function, and the function's name."""
    elf, tags = binary.elf, binary.elf.tags
    found: dict[int, str] = {}
    if DT_SYMTAB not in tags:
        return {}
    places = [(tags.get(DT_RELA), tags.get(DT_RELASZ)), (tags.get(DT_JMPREL), tags.get(DT_PLTRELSZ))]
    tables = [_table(elf, elf.offset_of(at), size, _RELA) for at, size in places if at is not None and size is not None]
    rows = np.concatenate(tables) if tables else np.zeros(0, _RELA)
    rows = rows[np.isin(rows["kind"], BOUND[binary.memory.arch]) & (rows["symbol"] != 0)]
    if not len(rows):
        return {}
    most = int(rows["symbol"].max()) + 1
    symbols = _table(elf, elf.offset_of(tags[DT_SYMTAB]), most * _SYMBOL.itemsize, _SYMBOL)
    rows = rows[rows["symbol"] < len(symbols)]
    named = symbols[rows["symbol"]]
    wanted = (named["section"] == 0) & np.isin(named["info"] & 15, (FUNC, IFUNC, NOTYPE))
    wanted &= ~np.isin(named["info"], OPTIONAL)
    for row, symbol in zip(rows[wanted], named[wanted], strict=True):
        if len(found) >= 4 * MOST_FUNCTIONS:
            break
        with suppress(ElfError):
            found[binary.bias + int(row["at"])] = elf.dynamic_string(int(symbol["name"]))[:MAX_NAME]
    return found


def _table(elf: Elf, offset: int, size: int, kind: np.dtype[np.void]) -> NDArray[np.void]:
    data = elf.some(offset, min(size, MAX_TABLE))
    return np.frombuffer(data, kind, len(data) // kind.itemsize)


def _resolved(memory: Memory, main: Binary, libraries: _Libraries, slots: dict[int, str]) -> Imports:
    addresses = np.array(sorted(slots), np.uint64)
    data, _, whole = memory.read_many(addresses, 8)
    values = data.view("<u8").reshape(-1)
    functions: dict[tuple[str, int], Import] = {}
    refused: dict[str, str] = {}
    for address, value, read in zip(addresses.tolist(), values.tolist(), whole.tolist(), strict=True):
        name = slots[address]
        try:
            target = value if read and value and not _holds(main, value) else libraries.named(name)
            found = libraries.function(name, target)
        except (ElfError, Unreadable) as error:
            refused[name] = str(error)
            continue
        functions.setdefault((found.path, found.offset), found)
        if len(functions) >= MOST_FUNCTIONS:
            break
    for function in functions.values():
        refused.pop(function.name, None)
    reason = "" if functions else "none of the functions that it calls can be found in the libraries"
    return Imports(tuple(sorted(functions.values())), refused, reason)


def _holds(binary: Binary, address: int) -> bool:
    """The program's own stub, which binds the function at its first call."""
    return any(region.start <= address < region.end for region in binary.regions)


class _Libraries:
    """The mapped libraries, opened when they are needed."""

    def __init__(self, memory: Memory, groups: list[tuple[Region, ...]]) -> None:
        self._memory = memory
        self._groups = [g for g in groups[:MOST_LIBRARIES] if any("x" in region.perms for region in g)]
        self._spans = sorted((r.start, r.end, at) for at, group in enumerate(self._groups) for r in group)
        self._open: dict[int, Binary | None] = {}
        self._starts: dict[int, NDArray[np.uint64]] = {}
        self._names: dict[str, int] | None = None

    def close(self) -> None:
        for binary in self._open.values():
            if binary is not None:
                binary.close()
        self._open.clear()

    def all(self) -> Iterable[Binary]:
        """Those that can be read."""
        for number in range(len(self._groups)):
            if (binary := self._binary(number)) is not None:
                yield binary

    def _binary(self, number: int) -> Binary | None:
        if number not in self._open:
            self._open[number] = None
            group = self._groups[number]
            with suppress(GotriageError, OSError):
                self._open[number] = Binary(self._memory, group, self._memory.file_of(group[0]))
        return self._open[number]

    def named(self, name: str) -> int:
        """The run-time address of a function that is not bound yet. Raises Unreadable."""
        if self._names is None:
            self._names = {}
            for binary in self.all():
                with suppress(ElfError):
                    for other, value in _exported(binary.elf):
                        self._names.setdefault(other, binary.bias + value)
        if name not in self._names:
            raise Unreadable("it was not called so far, hence not bound: which form of it will be is not known")
        return self._names[name]

    def function(self, name: str, address: int) -> Import:
        """The function that begins there. Raises Unreadable, ElfError when none surely does."""
        at = bisect_right(self._spans, (address, 1 << 64, 0)) - 1
        if at < 0 or address >= self._spans[at][1]:
            raise Unreadable("it is bound to memory that is no file's, as clocks of the kernel are (vdso(7))")
        number = self._spans[at][2]
        binary = self._binary(number)
        if binary is None:
            raise Unreadable(f"{self._groups[number][0].path} cannot be read")
        if number not in self._starts:
            self._starts[number] = _starts(binary.elf)
        own, starts = np.uint64(address - binary.bias), self._starts[number]
        place = int(np.searchsorted(starts, own))
        if place >= len(starts) or starts[place] != own:
            raise Unreadable("no function of its library begins there")
        return self._placed(name, binary, address)

    def _placed(self, name: str, binary: Binary, address: int) -> Import:
        offset = binary.elf.offset_of(address - binary.bias)
        code = binary.elf.some(offset, _SEEN)
        if len(code) < _SEEN or self._memory.read(address, _SEEN) != code:
            raise Unreadable("its code in memory is not that of the file: another tool has a breakpoint there?")
        skipped = len(ENDBR64) if code.startswith(ENDBR64) and self._memory.arch == "amd64" else 0
        address, offset, code = address + skipped, offset + skipped, code[skipped:]
        region = next((r for r in binary.regions if r.start <= address < r.end and "x" in r.perms), None)
        if region is None:
            raise Unreadable("it is bound to memory that is no code")
        stepped = not (code[0] in CARRIED_OUT or (code[0] == 0x41 and code[1] in range(0x50, 0x58)))
        where = f"{region.start:x}-{region.end:x}"
        return Import(name, binary.path, where, offset, code[0], stepped or platform.machine() != "x86_64")


def _exported(elf: Elf) -> Iterable[tuple[str, int]]:
    """Name and address of each function that others may call, those of several forms left out."""
    for rows, strings in _symbols(elf, (SHT_DYNSYM,)):
        wanted = rows[(rows["info"] & 15 == FUNC) & (rows["section"] != 0) & (rows["info"] >> 4 != 0)]
        for row in wanted:
            with suppress(ElfError):
                yield elf.string(strings + int(row["name"]), MAX_NAME), int(row["value"])


def _symbols(elf: Elf, kinds: tuple[int, ...]) -> Iterable[tuple[NDArray[np.void], int]]:
    """Symbol tables, and where in the file their strings begin."""
    for section in elf.sections:
        if section.type in kinds and 0 <= section.link < len(elf.sections):
            yield _table(elf, section.offset, section.size, _SYMBOL), elf.sections[section.link].offset


def _starts(elf: Elf) -> NDArray[np.uint64]:
    """Where functions begin, by the file's own addresses, in order: by symbols and by the unwind table."""
    parts = [_unwound(elf)]
    for rows, _ in _symbols(elf, (SHT_SYMTAB, SHT_DYNSYM)):
        wanted = (rows["info"] & 15 == FUNC) & (rows["section"] != 0)
        parts.append(rows["value"][wanted].astype(np.uint64))
    return np.unique(np.concatenate(parts))


def _unwound(elf: Elf) -> NDArray[np.uint64]:
    """The search table of .eh_frame_hdr: version, three encodings, the frames' address, a count, then pairs.

    Only the encoding that linkers write is read: signed 4-byte numbers, relative to the table's own address.
    """
    nothing = np.zeros(0, np.uint64)
    segment = next((s for s in elf.segments if s.type == PT_GNU_EH_FRAME), None)
    if segment is None or segment.filesz < 12:
        return nothing
    data = elf.some(segment.offset, min(segment.filesz, MAX_TABLE))
    if len(data) < 12 or data[0] != 1 or data[2:4] != b"\x03\x3b" or data[1] & 0x0F not in (0x0B, 0x03):
        return nothing
    (count,) = struct.unpack_from("<I", data, 8)
    pairs = np.frombuffer(data, "<i4", min(count, (len(data) - 12) // 8) * 2, 12).reshape(-1, 2)
    starts: NDArray[np.uint64] = (pairs[:, 0].astype(np.int64) + segment.vaddr).astype(np.uint64)
    return starts
