"""The dynamic section and the notes in readelf's words (`readelf -d`, `readelf -n` of GNU binutils 2.40)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.goruntime.elf import Elf, Note

Row = tuple[str, str, str]
"""Section, tag, value."""

MAX_ROWS: Final = 2000

_TEXT: Final = {
    1: ("NEEDED", "Shared library"), 14: ("SONAME", "Library soname"), 15: ("RPATH", "Library rpath"),
    29: ("RUNPATH", "Library runpath"), 0x7FFFFFFD: ("AUXILIARY", "Auxiliary library"),
    0x7FFFFFFF: ("FILTER", "Filter library"), 0x6FFFFEFC: ("AUDIT", "Audit library"),
    0x6FFFFEFB: ("DEPAUDIT", "Dependency audit library"),
}  # fmt: skip
_BYTES: Final = {
    2: "PLTRELSZ", 8: "RELASZ", 9: "RELAENT", 10: "STRSZ", 11: "SYMENT", 18: "RELSZ", 19: "RELENT",
    27: "INIT_ARRAYSZ", 28: "FINI_ARRAYSZ", 33: "PREINIT_ARRAYSZ", 35: "RELRSZ", 37: "RELRENT",
}  # fmt: skip
_COUNTS: Final = {
    0x6FFFFFF9: "RELACOUNT", 0x6FFFFFFA: "RELCOUNT", 0x6FFFFFFD: "VERDEFNUM", 0x6FFFFFFF: "VERNEEDNUM",
}  # fmt: skip
_ADDRESSES: Final = {
    3: "PLTGOT", 4: "HASH", 5: "STRTAB", 6: "SYMTAB", 7: "RELA", 12: "INIT", 13: "FINI", 16: "SYMBOLIC", 17: "REL",
    21: "DEBUG", 22: "TEXTREL", 23: "JMPREL", 25: "INIT_ARRAY", 26: "FINI_ARRAY", 32: "PREINIT_ARRAY", 36: "RELR",
    0x6FFFFEF5: "GNU_HASH", 0x6FFFFEF6: "TLSDESC_PLT", 0x6FFFFEF7: "TLSDESC_GOT", 0x6FFFFFF0: "VERSYM",
    0x6FFFFFFC: "VERDEF", 0x6FFFFFFE: "VERNEED",
}  # fmt: skip
_FLAGS: Final = ((1, "ORIGIN"), (2, "SYMBOLIC"), (4, "TEXTREL"), (8, "BIND_NOW"), (16, "STATIC_TLS"))
_FLAGS_1: Final = (
    (0x1, "NOW"), (0x2, "GLOBAL"), (0x4, "GROUP"), (0x8, "NODELETE"), (0x10, "LOADFLTR"), (0x20, "INITFIRST"),
    (0x40, "NOOPEN"), (0x80, "ORIGIN"), (0x100, "DIRECT"), (0x400, "INTERPOSE"), (0x800, "NODEFLIB"),
    (0x1000, "NODUMP"), (0x2000, "CONFALT"), (0x4000000, "STUB"), (0x8000000, "PIE"),
)  # fmt: skip
_OSES: Final = ("Linux", "Hurd", "Solaris", "FreeBSD", "NetBSD", "Syllable", "NaCl")
_X86_FEATURES: Final = ((1, "IBT"), (2, "SHSTK"), (4, "LAM_U48"), (8, "LAM_U57"))
_X86_LEVELS: Final = ((1, "x86-64-baseline"), (2, "x86-64-v2"), (4, "x86-64-v3"), (8, "x86-64-v4"))
_PROPERTIES: Final = {
    0xC0000002: ("x86 feature", _X86_FEATURES),
    0xC0008002: ("x86 ISA needed", _X86_LEVELS),
    0xC0010002: ("x86 ISA used", _X86_LEVELS),
}
"""GNU property types of the x86-64 psABI."""


def rows(elf: Elf) -> list[Row]:
    """All entries of the dynamic section without the final NULL, then all notes. Raises ElfError."""
    found = [_dynamic(elf, tag, value) for tag, value in elf.dynamic[:MAX_ROWS]]
    found += [_note(note, elf) for note in elf.notes]
    return found[:MAX_ROWS]


def _dynamic(elf: Elf, tag: int, value: int) -> Row:
    if tag in _TEXT:
        name, words = _TEXT[tag]
        return ".dynamic", name, f"{words}: [{elf.dynamic_string(value)}]"
    if tag in _BYTES:
        return ".dynamic", _BYTES[tag], f"{value} (bytes)"
    if tag in _COUNTS:
        return ".dynamic", _COUNTS[tag], str(value)
    if tag == 30:
        return ".dynamic", "FLAGS", _flags(value, _FLAGS, " ")
    if tag == 0x6FFFFFFB:
        return ".dynamic", "FLAGS_1", f"Flags: {_flags(value, _FLAGS_1, ' ')}"
    if tag == 20:
        return ".dynamic", "PLTREL", {7: "RELA", 17: "REL"}.get(value, hex(value))
    if tag == 24:
        return ".dynamic", "BIND_NOW", ""
    return ".dynamic", _ADDRESSES.get(tag, f"<unknown>: {tag:x}"), hex(value)


def _flags(value: int, names: tuple[tuple[int, str], ...], joint: str) -> str:
    words = [name for bit, name in names if value & bit]
    rest = value & ~sum(bit for bit, _ in names)
    return joint.join([*words, *([hex(rest)] if rest else [])])


def _note(note: Note, elf: Elf) -> Row:
    section = note.section or "notes"
    if note.owner == "GNU" and note.type == 3:
        return section, "NT_GNU_BUILD_ID", f"Build ID: {note.desc[:64].hex()}"
    if note.owner == "GNU" and note.type == 1 and len(note.desc) >= 16:
        system, *version = struct.unpack_from(elf.endian + "IIII", note.desc)
        name = _OSES[system] if system < len(_OSES) else f"Unknown {system}"
        return section, "NT_GNU_ABI_TAG", f"OS: {name}, ABI: {'.'.join(map(str, version))}"
    if note.owner == "GNU" and note.type == 4:
        return section, "NT_GNU_GOLD_VERSION", f"Version: {_text(note.desc)}"
    if note.owner == "GNU" and note.type == 5:
        return section, "NT_GNU_PROPERTY_TYPE_0", f"Properties: {', '.join(_properties(note.desc, elf))}"
    if note.owner == "Go" and note.type == 4:
        return section, "GO BUILDID", f"Go build ID: {_text(note.desc)}"
    if note.owner == "stapsdt" and note.type == 3:
        return section, "NT_STAPSDT", _probe(note.desc, elf)
    return section, f"{note.owner} {note.type:#010x}", note.desc[:32].hex(" ")


def _properties(desc: bytes, elf: Elf) -> Iterator[str]:
    at, step = 0, elf.elf_class // 8
    for _ in range(64):
        if at + 8 > len(desc):
            return
        kind, size = struct.unpack_from(elf.endian + "II", desc, at)
        name, bits = _PROPERTIES.get(kind, ("", ()))
        if name and size == 4 and at + 12 <= len(desc):
            yield f"{name}: {_flags(struct.unpack_from(elf.endian + 'I', desc, at + 8)[0], bits, ', ')}"
        else:
            yield f"<type {kind:#x} data: {desc[at + 8 : at + 8 + min(size, 32)].hex(' ')}>"
        at += 8 + -(-size // step) * step


def _probe(desc: bytes, elf: Elf) -> str:
    """A SystemTap probe: three addresses, then provider, name and arguments."""
    parts = desc[3 * elf.elf_class // 8 :].split(b"\0")
    provider, name = (*(part.decode("utf-8", "replace") for part in parts[:2]), "", "")[:2]
    return f"Provider: {provider}, Name: {name}"


def _text(desc: bytes) -> str:
    return desc[:512].rstrip(b"\0").decode("utf-8", "replace")
