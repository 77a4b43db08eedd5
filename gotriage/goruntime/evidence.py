"""What kind of program a file is, by evidence in it: which Go compiler, or why its runtime cannot be read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gotriage.goruntime.elf import MACHINES
from gotriage.goruntime.pclntab import old_form
from gotriage.goruntime.refusals import NotGo, UnsupportedGo

if TYPE_CHECKING:
    from gotriage.errors import GotriageError
    from gotriage.goruntime.buildinfo import BuildInfo
    from gotriage.goruntime.elf import Elf, Section

OLDEST: Final = (1, 18)
"""The first Go version whose tables are read."""
MACHINE_NAMES: Final = {62: "amd64", 183: "arm64"}
"""e_machine to GOARCH of the machines that are read."""
GO_SECTIONS: Final = (".gopclntab", ".go.buildinfo", ".note.go.buildid", ".data.rel.ro.gopclntab", ".gosymtab")
MAX_STRINGS: Final = 8 * 1024 * 1024
_VERSION = re.compile(r"go(\d{1,3})\.(\d{1,3})(?!\d)")


def version_of(text: str) -> tuple[int, int] | None:
    """(1, 27) of "go1.27.3", "devel go1.28-abcdef ..." and the like; None when it says no version."""
    match = _VERSION.search(text)
    return (int(match[1]), int(match[2])) if match else None


def claims_go(elf: Elf) -> bool:
    """Whether the file has a section of the Go linker, or no sections at all, so that it must be searched."""
    return not elf.sections or any(elf.section(name) for name in GO_SECTIONS)


def refused(elf: Elf, build: BuildInfo | None, path: str) -> GotriageError | None:
    """Why a file cannot be read, by its headers; None when nothing speaks against it."""
    what = f"{path} is {'a Go' if build or _go_sections(elf) else 'a'} program"
    kind = UnsupportedGo if build or _go_sections(elf) else NotGo
    if packed(elf):
        return UnsupportedGo(f"{path} is packed with UPX: its code is only unpacked in memory, without tables to go by")
    if elf.elf_class != 64:
        return kind(f"{what} for a 32-bit machine ({elf.machine_name}): only 64-bit Go programs can be read")
    if elf.endian != "<":
        return kind(f"{what} for a big-endian machine ({elf.machine_name}): only amd64 and arm64 can be read")
    if elf.machine not in MACHINE_NAMES:
        machine = MACHINES.get(elf.machine, elf.machine_name)
        return kind(f"{what} for {machine}: only amd64 and arm64 can be read")
    version = version_of(build.go_version) if build else None
    old = "" if version and version >= OLDEST else old_form(elf)
    if (build and version and version < OLDEST) or old:
        said = build.go_version if build and version else old
        return UnsupportedGo(f"{path} was built by {said}: goroutines can be read from Go 1.18 on")
    return None


def _go_sections(elf: Elf) -> bool:
    return any(elf.section(name) for name in GO_SECTIONS)


def packed(elf: Elf) -> bool:
    """Whether UPX packed it: its l_info stands behind the program headers, or its marks at the file's beginning."""
    head = elf.some(0, 1024)
    return b"UPX!" in head and not elf.sections


def other_compiler(elf: Elf) -> str:
    """The Go compiler of a program without the standard toolchain's tables: "gccgo", "TinyGo" or ""."""
    if elf.section(".go_export") or any(name.startswith("libgo.so") for name in elf.dynamic_strings(1)):
        return "gccgo"
    names = b"".join(
        elf.some(section.offset, min(section.size, MAX_STRINGS))
        for section in (elf.section(".strtab"), elf.section(".dynstr"))
        if section is not None
    )
    if b"\0tinygo_" in names:
        return "TinyGo"
    if b"\0__go_init_main\0" in names or b"\0__gccgo_personality_v0\0" in names:
        return "gccgo"
    if _mentions(elf, elf.section(".debug_str"), b"TinyGo\0"):
        return "TinyGo"
    return ""


def _mentions(elf: Elf, section: Section | None, text: bytes) -> bool:
    return section is not None and text in elf.some(section.offset, min(section.size, MAX_STRINGS))


def not_go(elf: Elf, path: str) -> NotGo:
    """The refusal of a program that has no tables of the standard Go toolchain."""
    compiler = other_compiler(elf)
    if compiler:
        return NotGo(f"{path} was built by {compiler}, whose runtime is another one: only the standard Go can be read")
    return NotGo(f"{path} is not a Go program")


def build_id(elf: Elf) -> str:
    """What tells this build from all others: Go's build ID, else the GNU one in hex, else ""."""
    found = {note.owner: note.desc for note in elf.notes if (note.owner, note.type) in {("Go", 4), ("GNU", 3)}}
    if found.get("Go"):
        return found["Go"].decode("utf-8", "replace")[:256]
    return found.get("GNU", b"").hex()[:128]
