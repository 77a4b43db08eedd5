"""The Go program of a process, stripped or not: its build info, modules and functions, found in its mappings.

The main program; if that is none, the Go libraries (c-shared) that it has loaded. Plugins belong to the program whose
moduledata links to theirs.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError, NotPermitted, TargetGone
from gotriage.goruntime import buildinfo, evidence, moduledata, pclntab
from gotriage.goruntime.binaries import Binary, grouped, main_binary
from gotriage.goruntime.elf import Elf, ElfError, NotElf
from gotriage.goruntime.memory import Unreadable
from gotriage.goruntime.pclntab import Pclntab
from gotriage.goruntime.refusals import DamagedTables, NotGo, UnsupportedGo
from gotriage.goruntime.symbols import Functions

if TYPE_CHECKING:
    from gotriage.goruntime.buildinfo import BuildInfo
    from gotriage.goruntime.memory import Memory, Region
    from gotriage.goruntime.moduledata import GoModule

MAX_LIBRARIES: Final = 512
"""Mapped files that are looked at for plugins and Go libraries."""


@dataclass(frozen=True)
class Image:
    """A Go program in a process.

    Attributes:
        build: its build info, None when it has none (an obfuscated one).
        go_version: as in build info, "go1.27.3"; "" when it does not say.
        modules: the program first, then its plugins.
        functions: of all modules.
        stripped: the program's file has no symbol table.
        path: the file that holds the runtime: the program, or the Go library in a program of another language.
        build_id: tells this build from all others; "" when there is none.
        garbled: an obfuscator hashed its names: what they say is not what the source says.
        others: files of further Go runtimes in the same process, which are not read.
        arch: "amd64" or "arm64".
        in_library: the runtime is in a library that a program of another language has loaded.
    """

    build: BuildInfo | None
    go_version: str
    modules: tuple[GoModule, ...]
    functions: Functions
    stripped: bool
    path: str
    build_id: str = ""
    garbled: bool = False
    others: tuple[str, ...] = ()
    arch: str = "amd64"
    binaries: tuple[Binary, ...] = ()
    in_library: bool = False

    def close(self) -> None:
        """Let go of the files. Functions cannot be asked any more."""
        for binary in self.binaries:
            binary.close()


@dataclass
class _Found:
    """A mapped file with a Go module in it."""

    binary: Binary
    build: BuildInfo | None
    table: Pclntab
    raw: bytes
    """Of the moduledata."""
    odd_magic: bool


def find(memory: Memory) -> Image:
    """The Go program of a process.

    Raises NotGo, UnsupportedGo, DamagedTables, with the reason; Unreadable, NotPermitted, TargetGone.
    """
    groups = grouped(memory.regions())
    main = _main(memory, groups)
    found: list[_Found] = []
    opened: list[Binary] = [main]
    problems: list[GotriageError] = []
    try:
        own = _look_into(main)
        if own is not None:
            found.append(own)
        if own is None or main.elf.interpreter:
            found += _libraries(memory, groups, opened, problems)
        if not found:
            raise problems[0] if problems else evidence.not_go(main.elf, main.path)
        image = _image(found, memory.arch)
        image = replace(image, in_library=image.binaries[0] is not main)
    except ElfError as error:
        _close(opened)
        raise DamagedTables(f"{main.path}: {error}") from error
    except OSError as error:
        _close(opened)
        raise Unreadable(f"a file of process {memory.pid} cannot be read: {error.strerror}") from error
    except BaseException:
        _close(opened)
        raise
    _close([binary for binary in opened if binary not in image.binaries])
    return image


def _close(binaries: list[Binary]) -> None:
    for binary in binaries:
        binary.close()


def _main(memory: Memory, groups: list[tuple[Region, ...]]) -> Binary:
    """The main program, with every way that it cannot be had named."""
    if not groups:
        raise NotGo(f"process {memory.pid} has no program in memory: a kernel thread, or just beginning or ending")
    try:
        return main_binary(memory, groups)
    except NotElf as error:
        raise NotGo(f"the program of process {memory.pid} is no ELF file") from error
    except ElfError as error:
        raise DamagedTables(f"the program of process {memory.pid}: {error}") from error
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise NotPermitted(
                f"the program of process {memory.pid} cannot be opened: that takes root or the same user"
            ) from error
        if error.errno in (errno.ESRCH, errno.ENOENT):
            raise TargetGone(f"process {memory.pid} has ended") from error
        raise Unreadable(f"the program of process {memory.pid} cannot be read: {error.strerror}") from error
    except Unreadable as error:
        raise _unmapped(memory) or error from error


def _unmapped(memory: Memory) -> GotriageError | None:
    """Why the program's file is mapped nowhere: a packed one has unpacked itself into memory without a file."""
    try:
        fd = memory.executable()
    except (OSError, Unreadable):
        return None
    try:
        elf = Elf(fd)
        return evidence.refused(elf, None, f"the program of process {memory.pid}")
    except ElfError:
        return None
    finally:
        os.close(fd)


def _look_into(binary: Binary) -> _Found | None:
    """The Go module of a mapped file; None when it is not Go. Raises UnsupportedGo when it cannot be read."""
    elf = binary.elf
    try:
        build = buildinfo.read(elf)
    except ElfError:
        build = None
    problem = evidence.refused(elf, build, binary.path)
    if problem is not None and not isinstance(problem, NotGo):
        raise problem
    if problem is not None or not (build or evidence.claims_go(elf)):
        return None
    found, odd = _module(binary, searched=build is not None)
    if found is None:
        if build is not None and not evidence.other_compiler(elf):
            raise DamagedTables(
                f"{binary.path} was built by {build.go_version}, but its function table is not where a running Go "
                "program has it: it has just been started, or an obfuscator changed it"
            )
        return None
    where, head, raw = found
    version = evidence.version_of(build.go_version) if build else None
    module = moduledata.parse(where, raw, binary, 0)
    table = Pclntab(binary, module, head)
    table.module = replace(module, gofunc=_gofunc(table, raw, version))
    return _Found(binary, build, table, raw, odd)


def _gofunc(table: Pclntab, raw: bytes, version: tuple[int, int] | None) -> int:
    """The base of function data: where that Go version has it, or wherever it makes sense; 0 for nowhere."""
    candidates = moduledata.gofunc_candidates(raw, version)
    answers = {address: table.gofunc_fits(address) for address in candidates[:1]}
    if version in moduledata.GOFUNC and candidates and answers[candidates[0]] is not False:
        return candidates[0]
    return next((address for address in candidates if table.gofunc_fits(address)), 0)


def _module(binary: Binary, *, searched: bool) -> tuple[tuple[int, pclntab.Header, bytes] | None, bool]:
    """The moduledata that fits a function table: of the section, else of a search by the magic, else by the shape.

    Obfuscators change the magic. `searched`: it is known to be Go, so that the last one is worth its while.
    """
    elf = binary.elf
    for way in ("section", "magic", "shape") if searched else ("section", "magic"):
        headers = pclntab.of_section(elf) if way == "section" else pclntab.scanned(elf, any_magic=way == "shape")
        there = {address + binary.bias: head for address, head in headers.items() if address + binary.bias >= 0}
        found = moduledata.find(binary, there) if there else None
        if found is not None:
            return found, way == "shape"
    return None, False


def _libraries(
    memory: Memory, groups: list[tuple[Region, ...]], opened: list[Binary], problems: list[GotriageError]
) -> list[_Found]:
    """Go modules in other mapped files: plugins and c-shared libraries; why others could not be read to `problems`."""
    result: list[_Found] = []
    for group in groups[:MAX_LIBRARIES]:
        if group == opened[0].regions or not any("x" in region.perms for region in group):
            continue
        try:
            binary = _open(memory, group)
        except (ElfError, Unreadable):
            continue
        opened.append(binary)
        try:
            found = _look_into(binary)
        except (DamagedTables, UnsupportedGo) as error:
            problems.append(error)
        except (ElfError, Unreadable):
            continue
        else:
            result += [found] if found is not None else []
    return result


def _open(memory: Memory, group: tuple[Region, ...]) -> Binary:
    """By its file if that can be had: it shows the section headers too."""
    try:
        fd = memory.file_of(group[0])
    except (OSError, Unreadable):
        return Binary(memory, group, None)
    return Binary(memory, group, fd)


def _image(found: list[_Found], arch: str) -> Image:
    """The first runtime and the modules that it links to; the rest belongs to other runtimes."""
    by_address = {f.table.module.address: f for f in found}
    first = _head(found, set(by_address))
    chain: list[_Found] = []
    step: int | None = first.table.module.address
    while step is not None and by_address[step] not in chain:
        chain.append(by_address[step])
        step = moduledata.linked(chain[-1].raw, set(by_address) - {f.table.module.address for f in chain})
    main = chain[0]
    version = main.build.go_version if main.build else ""
    functions = Functions([f.table for f in chain], evidence.version_of(version))
    hashed = main.odd_magic or functions.by_name("runtime.gopark") is None
    return Image(
        build=main.build,
        go_version=version,
        modules=tuple(f.table.module for f in chain),
        functions=functions,
        stripped=not main.binary.elf.has_symbols,
        path=main.binary.path,
        build_id=evidence.build_id(main.binary.elf),
        garbled=hashed,
        others=tuple(f.binary.path for f in found if f not in chain),
        arch=evidence.MACHINE_NAMES.get(main.binary.elf.machine, arch),
        binaries=tuple(f.binary for f in chain),
    )


def _head(found: list[_Found], addresses: set[int]) -> _Found:
    """The program's own module, or that of a library that no other one links to."""
    targets = {moduledata.linked(f.raw, addresses - {f.table.module.address}) for f in found}
    return next((f for f in found if f.table.module.address not in targets), found[0])
