"""The linker's record of a Go module (runtime.moduledata): found by the word in it that points to the function table.

Layout: Go's src/runtime/symtab.go, type moduledata, of 1.18 to 1.27, on 64-bit machines. Up to `noptrbss` all of them
agree; 1.20 put covctrs before `gofunc` (go:func.*, the base of function data), 1.27 three words of types and itabs.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from gotriage.goruntime.binaries import Binary
    from gotriage.goruntime.pclntab import Header

PREFIX: Final = 256
"""Bytes up to and with enoptrbss."""
SIZE: Final = 1024
"""Bytes that are read of it; the largest one has 600."""
MAX_HITS: Final = 64
GOFUNC: Final = {(1, 18): 304, (1, 19): 304, (1, 27): 344} | {(1, minor): 320 for minor in range(20, 27)}
"""Offset of gofunc by Go version."""
GOFUNC_GUESSES: Final = (344, 320, 304, 352, 328, 336, 360, 368, 376)
"""Where it is looked for in an unknown version; what is there is checked."""
_WORDS = struct.Struct("<32Q")


class Slice(NamedTuple):
    """A Go slice of the module: address, and length in elements."""

    address: int
    length: int


@dataclass(frozen=True, slots=True)
class GoModule:
    """A module: the program, a plugin, or a library; all numbers are addresses in the process but for `bias`.

    Attributes:
        address: of its moduledata; `pclntab`: of the function table's header.
        text, etext, minpc, maxpc: its code; noptrdata to enoptrbss: its variables.
        gofunc: base of function data, 0 when it could not be found: then inlined calls are not known.
        bias: what is added to an address of the file to have the one in the process.
        names, units, files, pctab, functions, ftab: parts of the function table (funcnametab, cutab, filetab, pctab,
            pclntable, ftab), lengths in elements.
        path: the file.
    """

    address: int
    pclntab: int
    text: int
    etext: int
    minpc: int
    maxpc: int
    noptrdata: int
    enoptrdata: int
    data: int
    edata: int
    bss: int
    ebss: int
    noptrbss: int
    enoptrbss: int
    gofunc: int
    bias: int
    names: Slice
    units: Slice
    files: Slice
    pctab: Slice
    functions: Slice
    ftab: Slice
    path: str = ""


def find(binary: Binary, headers: dict[int, Header]) -> tuple[int, Header, bytes] | None:
    """The moduledata of one of these function tables (by their run-time addresses): where it is, of which table, and
    its bytes; None when there is none that fits."""
    wanted = np.array(list(headers), dtype=np.uint64)
    hits = 0
    for start, data in binary.written():
        words = np.frombuffer(data, dtype="<u8", count=len(data) // 8)
        for at in np.flatnonzero(np.isin(words, wanted)):
            hits += 1
            if hits > MAX_HITS:
                return None
            where, head = start + 8 * int(at), headers[int(words[at])]
            found = binary.some(where, SIZE)
            if len(found) >= PREFIX and fits(found, head, int(words[at])):
                return where, head, found
    return None


def fits(found: bytes, header: Header, address: int) -> bool:
    """Whether these bytes are the moduledata of that table: its slices must be the parts that the header names."""
    words = _WORDS.unpack_from(found)
    offsets = (header.names, header.units, header.files, header.pctab, header.functions)
    ends = (*offsets[1:], header.limit)
    for word, offset, end in zip(range(1, 14, 3), offsets, ends, strict=True):
        if words[word] != address + offset or words[word + 1] > end - offset:
            return False
    if words[16] != address + header.functions or words[17] != header.nfunc + 1:
        return False
    if words[14] < header.ftab_size:
        return False
    minpc, maxpc, text, etext = words[20:24]
    pairs = zip(words[24:32:2], words[25:32:2], strict=True)
    return text <= minpc < maxpc <= etext < 1 << 63 and etext - text < 1 << 32 and all(a <= b for a, b in pairs)


def parse(where: int, found: bytes, binary: Binary, gofunc: int) -> GoModule:
    """The module of bytes that fit."""
    w = _WORDS.unpack_from(found)
    names, files, pctab, functions, ftab = (Slice(w[at], w[at + 1]) for at in (1, 7, 10, 13, 16))
    units = Slice(w[4], (w[7] - w[4]) // 4)  # its own length counts bytes in some versions, elements in others
    return GoModule(
        address=where, pclntab=w[0], minpc=w[20], maxpc=w[21], text=w[22], etext=w[23], noptrdata=w[24],
        enoptrdata=w[25], data=w[26], edata=w[27], bss=w[28], ebss=w[29], noptrbss=w[30], enoptrbss=w[31],
        gofunc=gofunc, bias=binary.bias, names=names, units=units, files=files, pctab=pctab, functions=functions,
        ftab=ftab, path=binary.path,
    )  # fmt: skip


def gofunc_candidates(found: bytes, version: tuple[int, int] | None) -> list[int]:
    """Addresses that may be the base of function data, the likeliest first."""
    offsets = list(GOFUNC_GUESSES)
    if version in GOFUNC:
        offsets.insert(0, GOFUNC[version])
    values = [int.from_bytes(found[at : at + 8], "little") for at in offsets if at + 8 <= len(found)]
    return list(dict.fromkeys(value for value in values if 0 < value < 1 << 63))


def linked(found: bytes, addresses: set[int]) -> int | None:
    """The module that this one's `next` points to: the last word, from typemap on, that is a known moduledata.

    The place of `next` moves with every version, but nothing else in the record refers to another one.
    """
    for at in range(PREFIX, len(found) - 7, 8):
        value = int.from_bytes(found[at : at + 8], "little")
        if value in addresses:
            return value
    return None
