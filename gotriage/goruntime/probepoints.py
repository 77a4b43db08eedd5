"""Where a Go function may be probed: its beginning and its ends, at places that are surely instructions of this build.

A breakpoint inside an instruction ends the program. Here it can stand at three kinds of places only:

- the entry of a function by the function table;
- the instruction behind the check for stack space, which follows the entry in a form that the compiler always gives it
  (cmd/internal/obj/x86/obj6.go, stacksplit) and that is compared byte by byte;
- the RET instructions. The table of stack depths (pcsp) changes at instructions only, and says 0 behind the entry
  exactly where the frame has been given back: at RET, or at the call of morestack, which begins with other bytes.

What is at these places in the file must be in the process's memory too: another breakpoint there is somebody else's.

The kernel has most instructions stepped by the processor behind a breakpoint: two traps, some 14 us on a virtual
machine. PUSH and conditional jumps it carries out itself (arch/x86/kernel/uprobes.c, push_setup_xol_ops since Linux
4.16, branch_setup_xol_ops): one trap, below 1 us. Hence the start of a function is probed at such an instruction.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from gotriage.goruntime.elf import ElfError
from gotriage.goruntime.memory import Unreadable
from gotriage.goruntime.pcvalue import runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gotriage.goruntime.image import Image
    from gotriage.goruntime.pclntab import Pclntab

MAX_NAMES: Final = 256
"""Functions that are looked for at once."""
MAX_ENDS: Final = 64
"""Places where one function returns; one with more has no ends here."""
MAX_TABLE: Final = 256 * 1024
"""Bytes of one function's table of stack depths."""
SEEN: Final = 32
"""Bytes from a function's entry that hold the check for stack space."""
LONGEST_END: Final = 33
"""A RET and what may stand before it: so that it does not end at a 32-byte boundary (amd64 only)."""
RET_ARM64: Final = (0xD65F03C0).to_bytes(4, "little")
_CHECK = re.compile(
    rb"(?:\x49\x3b\x66\x10"  # cmp 0x10(%r14),%rsp: g.stackguard0 is at 16 (runtime2.go, g)
    rb"|(?:\x4c\x8d\x64\x24.|\x4c\x8d\xa4\x24.{4})\x4d\x3b\x66\x10)"  # lea -n(%rsp),%r12; cmp 0x10(%r14),%r12
    rb"(?P<jump>\x76.|\x0f\x86.{4})"  # jbe to the call of morestack
    rb"(?P<push>\x55\x48\x89\xe5)?",  # push %rbp; mov %rsp,%rbp: since Go 1.21
    re.DOTALL,
)
_RETURN = re.compile(
    rb"(?:\x90|\x66\x90|\x0f\x1f\x00|\x0f\x1f\x40\x00|\x66?\x0f\x1f\x44\x00\x00|\x0f\x1f\x80\x00{4}"
    rb"|\x66?\x0f\x1f\x84\x00{5})*\xc3"  # asm6.go, nop: what fills gaps
)


class Place(msgspec.Struct, frozen=True, array_like=True):
    """An instruction that may be probed.

    Attributes:
        address: in the process.
        offset: in the file.
        code: its first byte, in both.
        stepped: the kernel lets the processor step it, which costs a second trap.
        on_retry: it is passed again when the stack was too small: a pass whose flags say so (CF or ZF) is not a call.
    """

    address: int
    offset: int
    code: int
    stepped: bool = True
    on_retry: bool = False


class Point(msgspec.Struct, frozen=True, array_like=True):
    """A function: where it starts and where it ends.

    Attributes:
        start: None when it cannot be probed; `refused` says why.
        ends: its RETs, all of them; none where they are not known for sure.
        refused: "not linked", "inlined", or words.
    """

    name: str
    start: Place | None = None
    ends: tuple[Place, ...] = ()
    refused: str = ""


class ProbePoints(msgspec.Struct, frozen=True, array_like=True):
    """The functions asked for, in that order.

    Attributes:
        path: the file that they are in, as its mapping names it.
        region: the mapping, as /proc/PID/map_files names it; "" when the file is the main program.
        goid: offset of the goroutine's id in a g.
    """

    arch: str
    go_version: str
    path: str
    region: str
    goid: int
    points: tuple[Point, ...]


def find(image: Image, goid: int, names: Sequence[str]) -> ProbePoints:
    """Where these functions may be probed."""
    table = image.functions.tables[0]
    text = table.entry(0)
    region = next((r for r in table.binary.regions if r.start <= text < r.end), None)
    return ProbePoints(
        arch=image.arch,
        go_version=image.go_version,
        path=table.binary.path,
        region="" if not image.in_library or region is None else f"{region.start:x}-{region.end:x}",
        goid=goid,
        points=tuple(_point(image, table, name) for name in names[:MAX_NAMES]),
    )


def _point(image: Image, table: Pclntab, name: str) -> Point:
    number = image.functions.by_name(name)
    if number is None:
        return Point(name, refused="inlined" if image.functions.has_name(name) else "not linked")
    if number >= table.count:
        return Point(name, refused="it belongs to a plugin")
    if image.arch not in ("amd64", "arm64"):
        return Point(name, refused=f"probes are not made for {image.arch}")
    try:
        start = _start(table, number, image.arch)
        return Point(name, start, _ends(table, number, image.arch))
    except (Unreadable, ElfError) as error:
        return Point(name, refused=str(error))


def _start(table: Pclntab, number: int, arch: str) -> Place:
    entry = table.entry(number)
    if arch == "amd64":
        code = table.binary.some(entry, min(SEEN, table.end(number) - entry))
        match = _CHECK.match(code)
        if match is not None and match["push"]:
            at, pcsp = entry + match.start("push"), table.record(number).pcsp
            if table.value(pcsp, number, at) == 0 and table.value(pcsp, number, at + 1) == 8:
                return _place(table, at, 1, stepped=False)
        elif match is not None:
            return _place(table, entry + match.start("jump"), 1, stepped=False, on_retry=True)
    return _place(table, entry, 1 if arch == "amd64" else 4)


def _ends(table: Pclntab, number: int, arch: str) -> tuple[Place, ...]:
    entry, pcsp = table.entry(number), table.record(number).pcsp
    size, pctab = table.end(number) - entry, table.module.pctab
    if not 0 < pcsp < pctab.length:
        return ()
    data = table.binary.some(pctab.address + pcsp, min(MAX_TABLE, pctab.length - pcsp))
    found: list[Place] = []
    framed = False
    for distance, depth in runs(data, size, table.quantum):
        framed = framed or depth != 0
        at = _return(table, entry + distance, arch) if framed and depth == 0 else None
        if at is not None:
            found.append(_place(table, at, 1 if arch == "amd64" else 4, stepped=arch == "amd64"))
            if len(found) > MAX_ENDS:
                return ()
    return tuple(found)


def _return(table: Pclntab, at: int, arch: str) -> int | None:
    """The RET with which these instructions begin, None for others."""
    code = table.binary.some(at, LONGEST_END)
    if arch == "arm64":
        return at if code.startswith(RET_ARM64) else None
    match = _RETURN.match(code)
    return at + match.end() - 1 if match is not None else None


def _place(table: Pclntab, address: int, width: int, *, stepped: bool = True, on_retry: bool = False) -> Place:
    """The place, when memory has there what the file has. Raises Unreadable, ElfError."""
    binary = table.binary
    offset = binary.elf.offset_of(address - binary.bias)
    on_disk = binary.elf.some(offset, width) if binary.on_disk else b""
    if len(on_disk) != width:
        raise Unreadable("its file cannot be read")
    in_memory = binary.memory.read(address, width)
    if in_memory != on_disk:
        foreign = in_memory[:1] == b"\xcc"
        raise Unreadable("another tool has a breakpoint there" if foreign else "its code was changed in memory")
    return Place(address, offset, on_disk[0], stepped, on_retry)
