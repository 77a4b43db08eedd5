"""How the runtime of each Go version lies in memory: tables that were made from the toolchains themselves.

One file a minor version stands in layouts/; docs/layouts.md tells how it is made. Its first table is whole, the others
(other patch releases, other architectures) hold what differs. Where each number comes from is in the file: `source` of
a table (the DWARF of which build), `sources` of the lists (file below GOROOT).
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeVar

import msgspec

from gotriage.errors import GotriageError

FOLDER: Final = Path(__file__).with_name("layouts")
SCHEMA: Final = 1
HARMLESS: Final = frozenset(
    {"boringcrypto", "systemcrypto", "opensslcrypto", "strictfipsruntime", "nodwarf5", "regabi"}
)
"""GOEXPERIMENT settings that change no struct of the runtime (src/internal/goexperiment/flags.go, and vendors')."""
WIDTHS: Final = {
    "bool": 1, "u8": 1, "i8": 1, "u16": 2, "i16": 2, "u32": 4, "i32": 4, "f32": 4, "u64": 8, "i64": 8, "f64": 8,
    "ptr": 8, "c64": 8, "c128": 16, "string": 16, "iface": 16, "slice": 24,
}  # fmt: skip
"""Bytes of each kind of field; a "struct" has its own."""

Match = Literal["table", "near"]
"""A "table" was made from just this release, or from one with the same declarations; "near": from another patch release
of the same minor version."""


class UnknownVersion(GotriageError):
    """There is no table of that Go version, or it says no version at all; the text names it."""


class Version(NamedTuple):
    """A Go version as programs state it (runtime.buildVersion)."""

    minor: int
    """27 of go1.27.3."""
    patch: int
    pre: bool = False
    """A beta or release candidate, or one with an experiment that may move things."""

    @property
    def go(self) -> str:
        """As "1.27"."""
        return f"1.{self.minor}"


class Array(NamedTuple):
    """An array in a struct: where it begins, its elements, and the bytes from one to the next."""

    offset: int
    length: int
    stride: int


class Field(msgspec.Struct, frozen=True, array_like=True):
    """A field of a struct; `count` and `stride` are 0 unless it is an array, then `kind` is that of an element.

    Kinds: bool u8 i8 u16 i16 u32 i32 u64 i64 f32 f64, ptr (pointers, maps, channels, functions), string, slice, iface,
    struct. uintptr is u64, and so are guintptr and its like.
    """

    offset: int
    kind: str
    count: int = 0
    stride: int = 0


class Struct(msgspec.Struct, frozen=True, array_like=True):
    """Bytes in all, and the fields by path; the fields of an array's first element are `path[].field`."""

    size: int
    fields: dict[str, Field]


class Global(msgspec.Struct, frozen=True, array_like=True):
    """A variable: the kind of a field, or the struct that it is; its bytes."""

    kind: str
    size: int


Names = dict[str, int | None]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file; the first is whole. What is not in one is as in the first of its architecture, and what is
    not in that, as in the first of the file; a null takes a name away.

    Attributes:
        arch: GOARCH.
        patches: the patch releases that it was made from, each of them.
        declared: patch releases whose source declares the same as one of those.
        source: what it was made from.
        structs: by name; those of package runtime without "runtime.".
        globals: by name; as `structs`.
        constants: by name, those of package runtime without "runtime.".
        signatures: variable to function to offsets in the variable that it touches by RIP-relative operands.
        sources: file below GOROOT, by the name of the list.
    """

    arch: str
    patches: tuple[int, ...]
    source: str
    declared: tuple[int, ...] = ()
    structs: dict[str, Struct | None] = {}
    globals: dict[str, Global | None] = {}
    signatures: dict[str, dict[str, tuple[int, ...]] | None] = {}
    wait_reasons: tuple[str, ...] = ()
    g_status: Names = {}
    p_status: Names = {}
    func_ids: Names = {}
    func_flags: Names = {}
    pcdata: Names = {}
    funcdata: Names = {}
    size_classes: tuple[int, ...] = ()
    size_class_pages: tuple[int, ...] = ()
    pclntab_magic: int = 0
    constants: Names = {}
    sources: dict[str, str | None] = {}

    @property
    def releases(self) -> tuple[int, ...]:
        """The patch releases that it is of."""
        return self.patches + self.declared


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of layouts/. `tested`: programs of this version were read with it; `note` says what else is to know."""

    schema: int
    go: str
    tested: bool
    note: str
    tables: tuple[Table, ...]


T = TypeVar("T")


def _merged(*parts: dict[str, T | None]) -> dict[str, T]:
    together: dict[str, T | None] = {}
    for part in parts:
        together |= part
    return {name: value for name, value in together.items() if value is not None}


class Layout:
    """The runtime of one Go version on one architecture.

    Attributes:
        go: "1.27".
        arch: GOARCH.
        tested: programs of this version and architecture were read with these tables.
        untested_note: what to tell where they were not.
        wait_reasons: Go's words by number (g.waitreason).
        g_status: number by name without "_G" (idle, runnable ...); "scan" is a flag beside the others.
        p_status: number by name without "_P".
        func_ids: abi.FuncID by name: "wrapper", "goexit" ...
        func_flags: abi.FuncFlag: TOPFRAME, SPWRITE, ASM.
        pcdata: index of a PCDATA table by name: InlTreeIndex ...
        funcdata: index of a FUNCDATA table by name: InlTree ...
        size_classes: bytes of an object, by size class; class 0 are the large ones.
        size_class_pages: pages of a span, by size class.
        pclntab_magic: first four bytes of pclntab.
        constants: other numbers by name.
        globals: variables by name, those of package runtime without "runtime.".
        signatures: variable to function to the offsets in the variable that it touches (amd64 only).
    """

    def __init__(self, file: File, table: Table) -> None:
        base = file.tables[0]
        first = next(each for each in file.tables if each.arch == table.arch)
        chain = (base, first, table)
        self.go = file.go
        self.arch = table.arch
        self.source = table.source
        self.tested = file.tested and table.arch == base.arch
        self.untested_note = file.note if not file.tested else "" if self.tested else f"never run on {table.arch}"
        self.structs = _merged(*(each.structs for each in chain))
        self.globals = _merged(*(each.globals for each in chain))
        self.signatures = _merged(*(each.signatures for each in chain if each.arch == table.arch))
        self.constants = _merged(*(each.constants for each in chain))
        self.g_status = _merged(*(each.g_status for each in chain))
        self.p_status = _merged(*(each.p_status for each in chain))
        self.func_ids = _merged(*(each.func_ids for each in chain))
        self.func_flags = _merged(*(each.func_flags for each in chain))
        self.pcdata = _merged(*(each.pcdata for each in chain))
        self.funcdata = _merged(*(each.funcdata for each in chain))
        self.sources = _merged(*(each.sources for each in chain))
        self.wait_reasons = table.wait_reasons or first.wait_reasons or base.wait_reasons
        self.size_classes = table.size_classes or first.size_classes or base.size_classes
        self.size_class_pages = table.size_class_pages or first.size_class_pages or base.size_class_pages
        self.pclntab_magic = table.pclntab_magic or first.pclntab_magic or base.pclntab_magic

    def field(self, struct: str, path: str) -> Field:
        """Raises KeyError where this version has no such struct or field."""
        return self.structs[struct].fields[path]

    def offset(self, struct: str, path: str) -> int:
        """Bytes from the start of the struct. Raises KeyError where this version has no such field."""
        return self.structs[struct].fields[path].offset

    def has(self, struct: str, path: str) -> bool:
        """Whether this version has that field."""
        return struct in self.structs and path in self.structs[struct].fields

    def size(self, struct: str) -> int:
        """Bytes of a struct. Raises KeyError."""
        return self.structs[struct].size

    def array(self, struct: str, path: str = "[]") -> Array:
        """An array field; a variable that is an array itself (semtable) is the path "[]". Raises KeyError."""
        found = self.field(struct, path)
        if not found.stride:
            raise KeyError(f"{struct}.{path} is no array")
        return Array(found.offset, found.count, found.stride)

    def width(self, struct: str, path: str) -> int:
        """Bytes of a field, of an element where it is an array; 0 for a struct. Raises KeyError."""
        return WIDTHS.get(self.field(struct, path).kind, 0)


_VERSION: Final = re.compile(r"go1\.(\d{1,4})(?:\.(\d{1,6}))?((?:rc|beta|alpha)\d+)?(?![\w.])")
_EXPERIMENTS: Final = re.compile(r"\bX:(\S+)")


def parse(text: str) -> Version:
    """The version that a program states, as "go1.25.5 X:boringcrypto". Raises UnknownVersion.

    Development versions are refused: what they call go1.28 may lie in memory like neither 1.27 nor 1.28.
    """
    words = text[:256].strip()
    match = _VERSION.match(words)
    if match is None or "devel" in words:
        what = "a development version of Go" if "devel" in words else "no Go version that is known"
        raise UnknownVersion(f"{words[:64]!r} is {what}: there is no table of its layout")
    stated = _EXPERIMENTS.search(words)
    moving = set(stated[1].split(",")) - HARMLESS if stated else set()
    return Version(int(match[1]), int(match[2] or 0), pre=bool(match[3] or moving))


def known() -> tuple[str, ...]:
    """The minor versions that there are tables of, oldest first."""
    return tuple(sorted((path.stem[2:] for path in FOLDER.glob("go1.*.json")), key=lambda name: int(name[2:])))


def load(go_version: str, arch: str) -> tuple[Layout, Match]:
    """The layout of a version as a program states it; reads one file, once.

    Raises:
        UnknownVersion: no table of that minor version, or of that architecture.
    """
    version = parse(go_version)
    file = _file(version.go)
    fitting = [table for table in file.tables if table.arch == arch]
    if not fitting:
        raise UnknownVersion(f"there is no table of Go {version.go} on {arch}")
    table = min(fitting, key=lambda one: min((abs(patch - version.patch), -patch) for patch in one.releases))
    exact = version.patch in table.releases and not version.pre
    return Layout(file, table), "table" if exact else "near"


@lru_cache(maxsize=4)
def _file(go: str) -> File:
    path = FOLDER / f"go{go}.json"
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        first, *_, last = known()
        raise UnknownVersion(f"there is no table of Go {go}: there are those of {first} to {last}") from None
    file = msgspec.json.decode(text, type=File)
    if file.schema != SCHEMA or file.go != go or not file.tables:
        raise UnknownVersion(f"{path.name} is no table of Go {go}")
    return file
