"""What an ELF core file says: its segments, the mapped files, the threads with their registers, the command.

Formats: core(5), include/uapi/linux/elfcore.h, elf.h, fs/binfmt_elf.c (the kernel's writer) and gdb/linux-tdep.c (that
of gcore). The file may be hostile: every count and size is bounded.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from gotriage.errors import GotriageError
from gotriage.goruntime.live import arch_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

MAX_SEGMENTS: Final = 1 << 20
MAX_FILES: Final = 1 << 18
MAX_THREADS: Final = 100_000
MAX_NOTE_BYTES: Final = 512 * 1024 * 1024
"""All notes together; a thread's take about 4 KB, of which most is the state of its vector registers."""
MAX_NOTES: Final = 2_000_000

ET_CORE: Final = 4
PT_LOAD, PT_NOTE = 1, 4
PN_XNUM: Final = 0xFFFF
NT_PRSTATUS, NT_PRPSINFO, NT_AUXV, NT_FILE = 1, 3, 6, 0x46494C45
AT_PHDR, AT_ENTRY = 3, 9

_SEGMENT: Final = np.dtype(
    [("type", "<u4"), ("flags", "<u4"), ("offset", "<u8"), ("vaddr", "<u8"), ("paddr", "<u8"), ("filesz", "<u8"),
     ("memsz", "<u8"), ("align", "<u8")]
)  # fmt: skip
_REGISTERS: Final[dict[str, tuple[str, ...]]] = {
    "amd64": ("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi",
              "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs"),
    "arm64": (*(f"x{number}" for number in range(31)), "sp", "pc", "pstate"),
}  # fmt: skip
"""struct user_regs_struct of arch/x86/include/asm/user_64.h, struct user_pt_regs of arch/arm64/include/uapi/asm."""
_SP_PC_BP: Final = {"amd64": ("rsp", "rip", "rbp"), "arm64": ("sp", "pc", "x29")}
_PR_REG: Final = 112
"""Offset of the registers in struct elf_prstatus on a 64-bit machine."""


class BadCore(GotriageError):
    """The file is no core file that can be read, or what belongs to it is not there; the text says which."""


class Mapped(NamedTuple):
    """A mapped file (NT_FILE): [start, end), and where in the file it begins."""

    start: int
    end: int
    offset: int
    path: str


class Thread(NamedTuple):
    """A thread as it was: kernel thread id, stack pointer, program counter, frame pointer, all registers by name."""

    tid: int
    sp: int
    pc: int
    bp: int
    registers: dict[str, int]


@dataclass
class CoreFile:
    """A parsed core file.

    Attributes:
        arch: as GOARCH has it.
        segments: PT_LOAD as a structured array: flags, offset, vaddr, filesz, memsz; sorted by vaddr.
        files: NT_FILE, sorted.
        threads: the one that was killed first, if one was.
        pid, command, signal: None, "", 0 when not told.
        auxv: type to value.
        problems: what is wrong with it although it can be read, in words.
    """

    arch: str
    size: int
    segments: NDArray[np.void]
    files: tuple[Mapped, ...] = ()
    threads: list[Thread] = field(default_factory=list)
    pid: int | None = None
    command: str = ""
    signal: int = 0
    auxv: dict[int, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def registers_of(arch: str, data: bytes) -> dict[str, int]:
    """The general registers of NT_PRSTATUS's form by name; fewer when the data is cut."""
    names = _REGISTERS[arch]
    count = min(len(names), len(data) // 8)
    return dict(zip(names, struct.unpack_from(f"<{count}Q", data), strict=False))


def thread_of(arch: str, tid: int, data: bytes) -> Thread:
    """A thread from its general registers."""
    registers = registers_of(arch, data)
    sp, pc, bp = (registers.get(name, 0) for name in _SP_PC_BP[arch])
    return Thread(tid, sp, pc, bp, registers)


def parse(fd: int) -> CoreFile:
    """Parse an open core file. Raises BadCore, OSError."""
    size = os.fstat(fd).st_size
    head = os.pread(fd, 64, 0)
    if head[:4] != b"\x7fELF":
        raise BadCore("not an ELF core file")
    if len(head) < 64 or head[4] != 2 or head[5] != 1:
        raise BadCore("a core file of a 32-bit or big-endian machine: only 64-bit little-endian ones are read")
    kind, phoff, phentsize, phnum = (
        struct.unpack_from("<H", head, 16)[0],
        *struct.unpack_from("<Q", head, 32),
        *struct.unpack_from("<HH", head, 54),
    )
    if kind != ET_CORE:
        raise BadCore("an ELF file, but not a core file; a program is named with --exe")
    arch = arch_of(head)
    if arch not in _REGISTERS:
        raise BadCore(f"a core file of {arch}: only amd64 and arm64 are read")
    if phentsize != _SEGMENT.itemsize:
        raise BadCore(f"program headers of {phentsize} bytes, not {_SEGMENT.itemsize}")
    headers = _program_headers(fd, head, phoff, phnum)
    loads = headers[headers["type"] == PT_LOAD]
    core = CoreFile(arch, size, loads[np.argsort(loads["vaddr"], kind="stable")])
    for note in headers[headers["type"] == PT_NOTE][:16]:
        _notes(fd, int(note["offset"]), int(note["filesz"]), core)
    _clip(core)
    return core


def _program_headers(fd: int, head: bytes, phoff: int, phnum: int) -> NDArray[np.void]:
    if phnum == PN_XNUM:  # more than fit: the number stands in the first section header (elf(5))
        (shoff,) = struct.unpack_from("<Q", head, 40)
        section = os.pread(fd, 64, shoff) if shoff < 1 << 62 else b""
        if len(section) < 64:
            raise BadCore("the core file is cut: the number of its segments is missing")
        (phnum,) = struct.unpack_from("<I", section, 44)
    if phnum > MAX_SEGMENTS:
        raise BadCore(f"{phnum} segments, more than {MAX_SEGMENTS}")
    wanted = phnum * _SEGMENT.itemsize
    data = os.pread(fd, wanted, phoff) if wanted and phoff < 1 << 62 else b""
    if len(data) < wanted or not wanted:
        raise BadCore("the core file is cut: its table of segments is missing")
    return np.frombuffer(data, _SEGMENT)


def _clip(core: CoreFile) -> None:
    """No segment goes beyond the end of the file, or the address space."""
    segments = core.segments.copy()
    offset, filesz = segments["offset"].copy(), segments["filesz"].copy()
    there = np.minimum(filesz, np.where(offset < core.size, np.uint64(core.size) - np.minimum(offset, core.size), 0))
    missing = filesz - there
    if missing.any():
        core.problems.append(
            f"the core file is cut: of {np.count_nonzero(missing)} segments bytes are missing,"
            f" {int(missing.sum(dtype=np.float64))} in all"
        )
    room = np.uint64((1 << 64) - 1) - segments["vaddr"]
    segments["filesz"] = np.minimum(there, room)
    segments["memsz"] = np.minimum(np.maximum(segments["memsz"], segments["filesz"]), room)
    core.segments = segments


# -- notes


def _notes(fd: int, offset: int, size: int, core: CoreFile) -> None:
    if offset >= 1 << 62:
        return
    data = os.pread(fd, min(size, MAX_NOTE_BYTES), offset)
    if len(data) < size:
        core.problems.append("the core file is cut: not all notes are there")
    for kind, start, end in _each_note(data):
        if kind == NT_PRSTATUS and len(core.threads) < MAX_THREADS and end - start >= _PR_REG:
            _prstatus(data[start:end], core)
        elif kind == NT_PRPSINFO and core.pid is None and end - start >= 136:
            _prpsinfo(data[start:end], core)
        elif kind == NT_AUXV and not core.auxv:
            words = struct.iter_unpack("<QQ", data[start : start + min((end - start) & ~15, 4096)])
            core.auxv = dict(words)
        elif kind == NT_FILE and not core.files:
            core.files = tuple(sorted(_files(data[start:end])))


def _each_note(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Type, start and end of each note of the kernel's ("CORE"); gdb's have the same names."""
    at = 0
    for _ in range(MAX_NOTES):
        if at + 12 > len(data):
            return
        name_size, size, kind = struct.unpack_from("<III", data, at)
        start = at + 12 + (name_size + 3 & ~3)
        if start + size > len(data):
            return
        if data[at + 12 : at + 12 + min(name_size, 5)] == b"CORE\0":
            yield kind, start, start + size
        at = start + (size + 3 & ~3)


def _prstatus(data: bytes, core: CoreFile) -> None:
    (tid,) = struct.unpack_from("<i", data, 32)
    if not core.threads:
        (core.signal,) = struct.unpack_from("<h", data, 12)
    core.threads.append(thread_of(core.arch, tid, data[_PR_REG:]))


def _prpsinfo(data: bytes, core: CoreFile) -> None:
    (core.pid,) = struct.unpack_from("<i", data, 24)
    name, arguments = (data[at : at + size].partition(b"\0")[0] for at, size in ((40, 16), (56, 80)))
    core.command = (arguments.strip() or name).decode("utf-8", "replace")


def _files(data: bytes) -> Iterator[Mapped]:
    """Count, page size, then start, end and offset in pages of each; the names one after the other behind."""
    if len(data) < 16:
        return
    count, page = struct.unpack_from("<QQ", data)
    if count > MAX_FILES or 16 + count * 24 > len(data) or not 0 < page <= 1 << 30:
        return
    names = data[16 + count * 24 :].split(b"\0", count)
    rows = struct.iter_unpack("<QQQ", data[16 : 16 + count * 24])
    for (start, end, offset), name in zip(rows, names, strict=False):
        if start < end and offset < 1 << 52:
            yield Mapped(start, end, offset * page, os.fsdecode(name))
