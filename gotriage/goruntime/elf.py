"""A small reader of ELF files: headers, segments, sections, dynamic section, notes, strings. Nothing is loaded or run.

Layouts are those of elf(5) and the System V gABI. The file may be hostile: every count, size and offset is bounded,
and reads go through pread(2), never mmap(2): a file that is cut while it is mapped would end us by SIGBUS.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.errors import GotriageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

WINDOW: Final = 16 * 1024
"""The file is read in aligned windows of this many bytes, each once."""
MAX_WINDOWS: Final = 256
MAX_SEGMENTS: Final = 4096
MAX_SECTIONS: Final = 16_384
MAX_DYNAMIC: Final = 8192
MAX_NOTES: Final = 512
MAX_NOTE_BYTES: Final = 1024 * 1024
MAX_SPAN: Final = 1024 * 1024
MAX_STRING: Final = 64 * 1024

_ENCODING: Final = sys.getfilesystemencoding()

ET_EXEC, ET_DYN, ET_CORE = 2, 3, 4
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE = 1, 2, 3, 4
PF_X, PF_W, PF_R = 1, 2, 4
SHT_SYMTAB, SHT_NOTE, SHT_NOBITS = 2, 7, 8
DT_NULL, DT_NEEDED, DT_STRTAB, DT_STRSZ, DT_SONAME, DT_RPATH, DT_FLAGS, DT_RUNPATH = 0, 1, 5, 10, 14, 15, 30, 29
DT_VERDEF, DT_VERDEFNUM, DT_VERNEED, DT_VERNEEDNUM = 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF
DT_FLAGS_1, DT_AUXILIARY, DT_FILTER = 0x6FFFFFFB, 0x7FFFFFFD, 0x7FFFFFFF
DF_1_NODEFLIB, DF_1_PIE = 0x00000800, 0x08000000

MACHINES: Final = {
    2: "sparc", 3: "i386", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm", 43: "sparc64",
    62: "x86_64", 183: "aarch64", 243: "riscv64", 258: "loongarch64",
}  # fmt: skip
"""e_machine to the name that uname(1) and Linux distributions use (elf.h)."""


class ElfError(GotriageError):
    """The file is cut, damaged or hostile; the text says where."""


class NotElf(ElfError):
    """The file does not begin with the ELF magic."""


class Segment(NamedTuple):
    """A program header; offsets, addresses and sizes in bytes."""

    type: int
    flags: int
    offset: int
    vaddr: int
    filesz: int
    memsz: int


@dataclass(frozen=True, slots=True)
class Section:
    """A section header; offsets, addresses and sizes in bytes."""

    name: str
    type: int
    flags: int
    addr: int
    offset: int
    size: int
    link: int


@dataclass(frozen=True, slots=True)
class Note:
    """A note: where it stands (section name, or "" when found by a segment), owner, type and payload."""

    section: str
    owner: str
    type: int
    desc: bytes


class Elf:
    """An ELF file, open for reading; a context manager.

    Raises NotElf or ElfError from the constructor, ElfError from every access that leads out of the file, and OSError
    when the file cannot be opened or read.
    """

    def __init__(self, source: int | str | os.PathLike[str]) -> None:
        """Open a path, or read a descriptor that stays the caller's."""
        self._own = not isinstance(source, int)
        self.fd = (
            source
            if isinstance(source, int)
            else os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        )
        self._windows: dict[int, bytes] = {}
        try:
            self._read_header()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Elf:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what the constructor opened."""
        if self._own and self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _read_header(self) -> None:
        facts = os.fstat(self.fd)
        if not stat.S_ISREG(facts.st_mode):
            raise NotElf("not a regular file")
        self.size = facts.st_size
        self._parse_header(self._window(0))

    def _parse_header(self, head: bytes) -> None:
        if head[:4] != b"\x7fELF":
            raise NotElf("not an ELF file")
        if len(head) < 52:
            raise ElfError("ELF header is cut")
        self.elf_class = {1: 32, 2: 64}.get(head[4], 0)
        self.endian = {1: "<", 2: ">"}.get(head[5], "")
        if not self.elf_class or not self.endian:
            raise ElfError("ELF header with an unknown class or byte order")
        if self.elf_class == 64:
            layout = struct.Struct(self.endian + "HHIQQQIHHHHHH")
        else:
            layout = struct.Struct(self.endian + "HHIIIIIHHHHHH")
        if len(head) < 16 + layout.size:
            raise ElfError("ELF header is cut")
        f = layout.unpack_from(head, 16)
        self.type, self.machine, self.version, self.entry, self._phoff, self._shoff, self.flags = f[:7]
        self._phentsize, self._phnum, self._shentsize, self._shnum, self._shstrndx = f[8:13]
        self._word = struct.Struct(self.endian + ("Q" if self.elf_class == 64 else "I"))

    @property
    def machine_name(self) -> str:
        """The machine as uname(1) names it, "machine N" for others."""
        return MACHINES.get(self.machine, f"machine {self.machine}")

    # Reading

    def _window(self, number: int) -> bytes:
        data = self._windows.get(number)
        if data is None:
            data = os.pread(self.fd, WINDOW, number * WINDOW)
            if len(self._windows) >= MAX_WINDOWS:
                self._windows.clear()
            self._windows[number] = data
        return data

    def some(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from a file offset; fewer at the end of the file."""
        if not 0 <= offset < 1 << 62 or size <= 0:
            return b""
        number, start = divmod(offset, WINDOW)
        if start + size <= WINDOW:
            return self._window(number)[start : start + size]
        return os.pread(self.fd, size, offset)

    def at(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes from a file offset. Raises ElfError when the file is shorter."""
        data = self.some(offset, size)
        if len(data) != size:
            raise ElfError(f"the file ends before offset {offset + size}")
        return data

    def string(self, offset: int, limit: int = MAX_STRING) -> str:
        """The NUL-terminated string at a file offset, bytes as in os.fsdecode. Raises ElfError when it has no end."""
        if not 0 <= offset < self.size:
            raise ElfError(f"a string at offset {offset} is outside the file")
        number, start = divmod(offset, WINDOW)
        window = self._windows.get(number) or self._window(number)
        end = window.find(b"\0", start)
        if end >= 0:
            return window[start:end].decode(_ENCODING, "surrogateescape")
        return self._long_string(offset, limit)

    def _long_string(self, offset: int, limit: int) -> str:
        """A string that crosses windows."""
        parts: list[bytes] = []
        taken = 0
        while taken < limit:
            number, start = divmod(offset + taken, WINDOW)
            window = self._window(number)
            end = window.find(b"\0", start)
            if end >= 0:
                return os.fsdecode(b"".join(parts) + window[start:end])
            if len(window) <= start:
                break
            parts.append(window[start:])
            taken += len(window) - start
        raise ElfError(f"the string at offset {offset} has no end")

    def offset_of(self, vaddr: int) -> int:
        """The file offset of an address. Raises ElfError when no segment holds it."""
        for segment in self.loads:
            if segment.vaddr <= vaddr < segment.vaddr + segment.filesz:
                return segment.offset + vaddr - segment.vaddr
        raise ElfError(f"address {vaddr:#x} is in no segment of the file")

    # Tables

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The program headers, in order."""
        size = 56 if self.elf_class == 64 else 32
        if not self._phnum:
            return ()
        if self._phentsize != size:
            raise ElfError(f"program headers of {self._phentsize} bytes, not {size}")
        if self._phnum > MAX_SEGMENTS:
            raise ElfError(f"{self._phnum} program headers, more than {MAX_SEGMENTS}")
        data = self.at(self._phoff, size * self._phnum)
        if self.elf_class == 64:
            rows = struct.iter_unpack(self.endian + "IIQQQQQQ", data)
            return tuple([Segment(t, fl, off, va, fs, ms) for t, fl, off, va, _, fs, ms, _ in rows])
        rows = struct.iter_unpack(self.endian + "IIIIIIII", data)
        return tuple([Segment(t, fl, off, va, fs, ms) for t, off, va, _, fs, ms, fl, _ in rows])

    @cached_property
    def loads(self) -> tuple[Segment, ...]:
        """The PT_LOAD segments."""
        return tuple(segment for segment in self.segments if segment.type == PT_LOAD)

    @cached_property
    def _raw_sections(self) -> list[tuple[int, ...]]:
        """name, type, flags, addr, offset, size, link, info, align, entsize of each; empty when there is no table."""
        size, count = (64, self._shnum) if self.elf_class == 64 else (40, self._shnum)
        if not self._shoff:
            return []
        if self._shentsize != size:
            raise ElfError(f"section headers of {self._shentsize} bytes, not {size}")
        layout = self.endian + ("IIQQQQIIQQ" if self.elf_class == 64 else "IIIIIIIIII")
        if not count:  # more than 0xff00 sections: the count stands in the first one (elf(5))
            count = struct.unpack(layout, self.at(self._shoff, size))[5]
        if count > MAX_SECTIONS:
            raise ElfError(f"{count} section headers, more than {MAX_SECTIONS}")
        return list(struct.iter_unpack(layout, self.at(self._shoff, size * count)))

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """The section headers with their names, in order; empty for a file without the table."""
        raw = self._raw_sections
        names = b""
        if self._shstrndx < len(raw):
            row = raw[self._shstrndx]
            names = self.some(row[4], min(row[5], 4 << 20))
        return tuple(Section(_name(names, r[0]), *r[1:7]) for r in raw)

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return next((section for section in self.sections if section.name == name), None)

    @cached_property
    def has_symbols(self) -> bool:
        """Whether there is a symbol table (.symtab): false for a stripped file."""
        return any(row[1] == SHT_SYMTAB for row in self._raw_sections)

    @cached_property
    def dynamic(self) -> tuple[tuple[int, int], ...]:
        """The dynamic section as (tag, value), up to DT_NULL; empty for a static file."""
        segment = next((s for s in self.segments if s.type == PT_DYNAMIC), None)
        if segment is None:
            return ()
        layout = struct.Struct(self.endian + ("qQ" if self.elf_class == 64 else "iI"))
        count = min(segment.filesz // layout.size, MAX_DYNAMIC)
        entries: list[tuple[int, int]] = list(
            layout.iter_unpack(self.at(segment.offset, count * layout.size) if count else b"")
        )
        tags = [tag for tag, _ in entries]
        return tuple(entries[: tags.index(DT_NULL)] if DT_NULL in tags else entries)

    @cached_property
    def tags(self) -> dict[int, int]:
        """Tag to value of the dynamic section; of equal tags the last one, as the loaders take it."""
        return dict(self.dynamic)

    @cached_property
    def _strings(self) -> int:
        """File offset of the dynamic string table."""
        if DT_STRTAB not in self.tags:
            raise ElfError("a dynamic section without a string table")
        return self.offset_of(self.tags[DT_STRTAB])

    def dynamic_string(self, index: int) -> str:
        """A string of the dynamic string table. Raises ElfError when it is out of bounds."""
        if not 0 <= index < self.tags.get(DT_STRSZ, 1 << 62):
            raise ElfError(f"string {index} is outside the dynamic string table")
        return self.string(self._strings + index)

    def dynamic_names(self, indexes: Collection[int]) -> dict[int, str]:
        """Many strings of the dynamic string table at once, by index: they are neighbours, and read as one piece."""
        if not indexes:
            return {}
        low, high = min(indexes), max(indexes)
        if high - low > MAX_SPAN or high >= self.tags.get(DT_STRSZ, 1 << 62):
            return {index: self.dynamic_string(index) for index in indexes}
        data = self.some(self._strings + low, high - low + 256)
        found = {}
        for index in set(indexes):
            end = data.find(b"\0", index - low)
            text = (
                data[index - low : end].decode(_ENCODING, "surrogateescape") if end >= 0 else self.dynamic_string(index)
            )
            found[index] = text
        return found

    def dynamic_strings(self, tag: int) -> tuple[str, ...]:
        """The strings of every entry with that tag, in order."""
        indexes = [value for found, value in self.dynamic if found == tag]
        names = self.dynamic_names(indexes)
        return tuple([names[index] for index in indexes])

    @cached_property
    def interpreter(self) -> str:
        """The program interpreter (PT_INTERP), "" when there is none."""
        segment = next((s for s in self.segments if s.type == PT_INTERP), None)
        if segment is None or not segment.filesz:
            return ""
        return os.fsdecode(self.at(segment.offset, min(segment.filesz, 4096)).partition(b"\0")[0])

    @cached_property
    def notes(self) -> tuple[Note, ...]:
        """The notes of all note sections, or of the note segments when there is no section table."""
        places = [(s.name, s.offset, s.size) for s in self.sections if s.type == SHT_NOTE]
        if not places:
            places = [("", s.offset, s.filesz) for s in self.segments if s.type == PT_NOTE]
        found: list[Note] = []
        for name, offset, size in places[:MAX_NOTES]:
            found += self._notes_in(name, self.some(offset, min(size, MAX_NOTE_BYTES)))
            if len(found) >= MAX_NOTES:
                break
        return tuple(found[:MAX_NOTES])

    def _notes_in(self, section: str, data: bytes) -> Iterator[Note]:
        """Notes with 4-byte alignment, 8 for .note.gnu.property in 64-bit files (its payload is padded so)."""
        at, end, left = 0, len(data), MAX_NOTES
        while at + 12 <= end and left:
            name_size, desc_size, kind = struct.unpack_from(self.endian + "III", data, at)
            desc_at = at + 12 + (name_size + 3 & ~3)
            if desc_at + desc_size > end:
                return
            owner = data[at + 12 : at + 12 + name_size].rstrip(b"\0").decode("utf-8", "replace")
            yield Note(section, owner, kind, data[desc_at : desc_at + desc_size])
            at = desc_at + (desc_size + 3 & ~3)
            left -= 1

    def word(self, data: bytes, at: int = 0) -> int:
        """An address-sized unsigned number."""
        value: int = self._word.unpack_from(data, at)[0]
        return value


def _name(names: bytes, at: int) -> str:
    end = names.find(b"\0", at)
    return names[at : end if end >= 0 else at].decode("utf-8", "replace")
