"""How an ELF file is linked: the few facts that decide how it is loaded, as values."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeVar

from gotriage.goruntime.elf import (
    DF_1_PIE,
    DT_FLAGS_1,
    DT_NEEDED,
    DT_RPATH,
    DT_RUNPATH,
    DT_SONAME,
    DT_VERDEF,
    DT_VERDEFNUM,
    DT_VERNEED,
    DT_VERNEEDNUM,
    ET_DYN,
    WINDOW,
    Elf,
    ElfError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

Linkage = Literal["static", "static-pie", "dynamic", "dynamic-pie"]

NT_GNU_BUILD_ID: Final = 3
NT_GO_BUILD_ID: Final = 4
MAX_VERSIONS: Final = 20_000
"""Version definitions or needs read of one file; libc.so.6 has about 50."""
MAX_TABLE: Final = 1024 * 1024
"""Longest version table, bytes."""
VER_FLG_WEAK: Final = 2
_LINKED_OUTSIDE: Final = {".eh_frame", ".init_array", ".comment", ".ctors"}
"""Sections that come with C objects: Go's own linker writes none of them."""


@dataclass(frozen=True, slots=True)
class Facts:
    """How a file is linked. `stripped`: no symbol table; `go_build_id` is "" for programs that are not Go."""

    elf_class: int
    machine: str
    type: int
    linkage: Linkage
    interpreter: str
    soname: str
    needed: tuple[str, ...]
    rpath: str | None
    runpath: str | None
    stripped: bool
    build_id: str
    go_build_id: str


class Need(NamedTuple):
    """A symbol version that a file asks of a library; weak ones may be absent."""

    library: str
    version: str
    weak: bool


def facts(elf: Elf) -> Facts:
    """The facts of an open file. Raises ElfError when it is damaged."""
    build_id = go_build_id = ""
    for note in elf.notes:
        if note.owner == "GNU" and note.type == NT_GNU_BUILD_ID:
            build_id = build_id or note.desc[:64].hex()
        elif note.owner == "Go" and note.type == NT_GO_BUILD_ID:
            go_build_id = go_build_id or note.desc[:512].decode("utf-8", "replace")
    return Facts(
        elf_class=elf.elf_class,
        machine=elf.machine_name,
        type=elf.type,
        linkage=linkage(elf),
        interpreter=elf.interpreter,
        soname=_one(elf, DT_SONAME) or "",
        needed=elf.dynamic_strings(DT_NEEDED),
        rpath=_one(elf, DT_RPATH),
        runpath=_one(elf, DT_RUNPATH),
        stripped=not elf.has_symbols,
        build_id=build_id,
        go_build_id=go_build_id,
    )


def _one(elf: Elf, tag: int) -> str | None:
    return elf.dynamic_string(elf.tags[tag]) if tag in elf.tags else None


def linkage(elf: Elf) -> Linkage:
    """Static or dynamic, position-independent or not. A shared object without an interpreter counts as dynamic."""
    if elf.interpreter:
        return "dynamic-pie" if elf.type == ET_DYN else "dynamic"
    if elf.type == ET_DYN:
        return "static-pie" if elf.tags.get(DT_FLAGS_1, 0) & DF_1_PIE or not elf.dynamic else "dynamic"
    return "dynamic" if DT_NEEDED in elf.tags else "static"


def uses_cgo(elf: Elf, cgo_enabled: str) -> bool | None:
    """Whether a Go program contains C code, None when it cannot be told; `cgo_enabled` is its CGO_ENABLED setting.

    CGO_ENABLED=1 only allows it. A dynamic program that needs libraries has it, and so has one that the C compiler
    linked, which Go does for cgo alone.
    """
    if cgo_enabled == "0":
        return False
    if DT_NEEDED in elf.tags:
        return True
    if not elf.sections:
        return None
    return any(section.name in _LINKED_OUTSIDE for section in elf.sections)


def versions_defined(elf: Elf) -> frozenset[str] | None:
    """The symbol versions that a library defines (.gnu.version_d), None when it has no such table."""
    if DT_VERDEF not in elf.tags:
        return None
    return frozenset(elf.dynamic_names(_walk(elf, DT_VERDEF, DT_VERDEFNUM, _defined)).values())


def versions_needed(elf: Elf) -> tuple[Need, ...]:
    """The symbol versions that a file asks for (.gnu.version_r), by library."""
    if DT_VERNEED not in elf.tags:
        return ()
    rows = _walk(elf, DT_VERNEED, DT_VERNEEDNUM, _needed)
    text = elf.dynamic_names([row[0] for row in rows] + [row[1] for row in rows])
    return tuple([Need(text[file], text[name], bool(flags & VER_FLG_WEAK)) for file, name, flags in rows])


T = TypeVar("T")


def _walk(elf: Elf, tag: int, count_tag: int, read: Callable[[bytes, str, int], list[T]]) -> list[T]:
    """Read a version table: from a first piece of the file, from a larger one when the table leads out of that."""
    offset, count = elf.offset_of(elf.tags[tag]), min(elf.tags.get(count_tag, 0), MAX_VERSIONS)
    for size in (WINDOW, MAX_TABLE):
        try:
            return read(elf.some(offset, size), elf.endian, count)
        except struct.error:
            continue
    raise ElfError("a version table leads out of the file")


def _defined(data: bytes, endian: str, count: int) -> list[int]:
    """String index of each definition's own name: its first auxiliary entry (the others name its parents)."""
    layout, word = struct.Struct(endian + "4xHH4xII"), struct.Struct(endian + "I")
    found: list[int] = []
    at = 0
    for _ in range(count):
        _, names, aux, step = layout.unpack_from(data, at)
        if names:
            found += word.unpack_from(data, at + aux)
        if not step:
            break
        at += step
    return found


def _needed(data: bytes, endian: str, count: int) -> list[tuple[int, int, int]]:
    """String index of library and version, and the flags, of each need."""
    layout, inner = struct.Struct(endian + "2xHIII"), struct.Struct(endian + "4xH2xII")
    found: list[tuple[int, int, int]] = []
    at = 0
    for _ in range(count):
        names, file, aux, step = layout.unpack_from(data, at)
        place = at + aux
        for _ in range(names):
            flags, name, following = inner.unpack_from(data, place)
            found.append((file, name, flags))
            if not following or len(found) >= MAX_VERSIONS:
                break
            place += following
        if not step or len(found) >= MAX_VERSIONS:
            break
        at += step
    return found
