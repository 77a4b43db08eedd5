"""Build info of Go programs: version, modules and settings, read from the file as `go version -m` does.

Formats: Go's src/debug/buildinfo/buildinfo.go and src/runtime/debug/mod.go (Go 1.27); the pointer form is that of Go
1.13 to 1.17, the inline form that of Go 1.18 and later.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gotriage.goruntime.elf import PF_W, PF_X, Elf, ElfError, NotElf

if TYPE_CHECKING:
    import os

MAGIC: Final = b"\xff Go buildinf:"
ALIGN: Final = 16
HEADER: Final = 32
"""Bytes of the blob's header; the inline strings follow it."""
MAX_SCAN: Final = 16 * 1024 * 1024
"""How far a data segment is searched for the blob, bytes; the linker puts it near the beginning."""
CHUNK: Final = 1024 * 1024
MAX_TEXT: Final = 16 * 1024 * 1024
"""Longest module text, bytes; that of Kubernetes has 30 KB."""


@dataclass(frozen=True, slots=True)
class Module:
    """A module as runtime/debug.Module has it; `replace` is what a replace directive put in its place."""

    path: str
    version: str = ""
    sum: str = ""
    replace: Module | None = None


@dataclass(frozen=True, slots=True)
class BuildInfo:
    """What a Go program says of its own build (runtime/debug.BuildInfo).

    `path` is the package path of main, `main` its module (None when built without modules), `settings` the build
    settings by key: -ldflags, -race, CGO_ENABLED, GOAMD64, vcs.revision, vcs.time, vcs.modified ...
    """

    go_version: str
    path: str = ""
    main: Module | None = None
    deps: tuple[Module, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def vcs_revision(self) -> str:
        """The full revision the program was built from, "" when it says none."""
        return self.settings.get("vcs.revision", "")

    @property
    def vcs_modified(self) -> bool | None:
        """Whether the working tree had changes; None when it says nothing."""
        return {"true": True, "false": False}.get(self.settings.get("vcs.modified", ""))


def read(source: int | str | os.PathLike[str] | Elf) -> BuildInfo | None:
    """The build info of an executable: a path, a descriptor or an open `Elf`; None when it is no Go program.

    Raises ElfError for a cut or damaged file, OSError when it cannot be read. Reads a few pages, not the file.
    """
    if isinstance(source, Elf):
        return _read(source)
    try:
        elf = Elf(source)
    except NotElf:
        return None
    with elf:
        return _read(elf)


def _read(elf: Elf) -> BuildInfo | None:
    at = _find(elf)
    if at is None:
        return None
    header = elf.at(at, HEADER)
    if header[15] & 2:
        version, next_at = _inline(elf, at + HEADER)
        text, _ = _inline(elf, next_at)
    else:
        version, text = _by_pointers(elf, header)
    if not version:
        return None
    return parse(version.decode("utf-8", "replace"), unframed(text))


def _find(elf: Elf) -> int | None:
    """File offset of the blob: in section .go.buildinfo, else in a writable data segment (of PIE it is the second)."""
    section = elf.section(".go.buildinfo")
    if section is not None:
        return _scan(elf, section.offset, section.size, section.addr)
    for segment in elf.loads:
        if segment.flags & (PF_W | PF_X) == PF_W:
            found = _scan(elf, segment.offset, segment.filesz, segment.vaddr)
            if found is not None:
                return found
    return None


def _scan(elf: Elf, offset: int, size: int, addr: int) -> int | None:
    """The magic at an aligned address in a piece of the file."""
    size = min(size, MAX_SCAN)
    done = 0
    while done < size:
        data = elf.some(offset + done, min(CHUNK, size - done))
        found = data.find(MAGIC)
        while found >= 0:
            if (addr + done + found) % ALIGN == 0:
                return offset + done + found
            found = data.find(MAGIC, found + 1)
        if len(data) < CHUNK:
            return None
        done += CHUNK - ALIGN  # the magic may lie across two chunks
    return None


def _inline(elf: Elf, at: int) -> tuple[bytes, int]:
    """A string with its length as an unsigned varint before it, and the offset after it."""
    size = shift = 0
    for byte in elf.some(at, 10):
        at += 1
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    else:
        raise ElfError("Go build info: the length of a string is cut")
    return _bounded(elf, at, size), at + size


def _bounded(elf: Elf, at: int, size: int) -> bytes:
    if size > MAX_TEXT or at + size > elf.size:
        raise ElfError(f"Go build info: a string of {size} bytes does not fit in the file")
    return elf.at(at, size) if size else b""


def _by_pointers(elf: Elf, header: bytes) -> tuple[bytes, bytes]:
    """Version and module text behind two pointers to Go string headers (before Go 1.18)."""
    size = header[14]
    if size not in (4, 8):
        raise ElfError(f"Go build info: pointers of {size} bytes")
    order = "big" if header[15] & 1 else "little"

    def string(pointer: int) -> bytes:
        if not pointer:
            return b""
        head = elf.at(elf.offset_of(pointer), 2 * size)
        data, length = (int.from_bytes(head[i : i + size], order) for i in (0, size))  # type: ignore[arg-type]
        return _bounded(elf, elf.offset_of(data), length) if length else b""

    first, second = (int.from_bytes(header[i : i + size], order) for i in (16, 16 + size))  # type: ignore[arg-type]
    return string(first), string(second)


def unframed(text: bytes) -> str:
    """The module text without the 16-byte marks around it; "" when they are not there."""
    if len(text) < 33 or text[-17:-16] != b"\n":
        return ""
    return text[16:-16].decode("utf-8", "replace")


def parse(go_version: str, text: str) -> BuildInfo:
    """Parse the module text: lines of tab-separated fields that begin with path, mod, dep, => or build."""
    path, settings = "", {}
    main: Module | None = None
    deps: list[Module] = []
    for line in text.split("\n"):
        kind, _, rest = line.partition("\t")
        if kind == "path":
            path = rest
        elif kind == "mod":
            main = _module(rest)
        elif kind == "dep":
            deps.append(_module(rest))
        elif kind == "=>":
            if deps:
                deps[-1] = _replaced(deps[-1], rest)
            elif main:
                main = _replaced(main, rest)
        elif kind == "build":
            key, value = _setting(rest)
            settings[key] = value
    return BuildInfo(go_version, path, main, tuple(deps), settings)


def _module(rest: str) -> Module:
    fields = (*rest.split("\t"), "", "")
    return Module(fields[0], fields[1], fields[2])


def _replaced(module: Module, rest: str) -> Module:
    return Module(module.path, module.version, module.sum, _module(rest))


def _setting(rest: str) -> tuple[str, str]:
    """`key=value`, either of them quoted as by Go's strconv.Quote where it holds spaces, quotes or `=`."""
    quoted = _QUOTED.match(rest)
    if quoted:
        key, rest = unquoted(quoted[0]), rest[quoted.end() :].removeprefix("=")
    else:
        key, _, rest = rest.partition("=")
    return key, unquoted(rest)


_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`')
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))")
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def unquoted(text: str) -> str:
    """A Go string literal as its value (strconv.Unquote); any other text as it is."""
    if len(text) < 2 or not _QUOTED.fullmatch(text):
        return text
    if text[0] == "`":
        return text[1:-1]
    return _ESCAPE.sub(_escape, text[1:-1])


def _escape(match: re.Match[str]) -> str:
    hexadecimal, octal = match[1] or match[2] or match[3], match[4]
    if hexadecimal or octal:
        code = int(hexadecimal, 16) if hexadecimal else int(octal, 8)
        return chr(code) if code < 0x110000 else "\ufffd"
    return _PLAIN.get(match[5], match[5])
