"""The bpf(2) system call as far as gotriage uses it itself: small iterator programs, assembled here, run on read.

An iterator program (Documentation/bpf/bpf_iterators.rst) is attached to nothing: it runs while its file is read, once
for each object, inside the kernel's verifier's bounds. Numbers: include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from typing import TYPE_CHECKING, Final

from gotriage.errors import MissingFacility, NotPermitted

if TYPE_CHECKING:
    from collections.abc import Sequence

_SYS_BPF: Final = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
PROG_LOAD, LINK_CREATE, ITER_CREATE = 5, 28, 33
TRACING, TRACE_ITER = 26, 28
UPROBE_MULTI: Final = 48
"""BPF_TRACE_UPROBE_MULTI: the attach type of programs at many places of a file, Linux 6.6."""
PROBE_READ_KERNEL, SEQ_WRITE, SKC_TO_TCP_SOCK, D_PATH, SOCK_FROM_FILE = 113, 127, 137, 147, 162
R0, R1, R2, R3, R4, R6, R7, R8, R9, FP = 0, 1, 2, 3, 4, 6, 7, 8, 9, 10
_SIZES: Final = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}

_libc = ctypes.CDLL(None, use_errno=True)


class Program:
    """Instructions in order (Documentation/bpf/standardization/instruction-set.rst), with jumps to named places."""

    def __init__(self) -> None:
        self._code: list[tuple[int, int, int, int, int]] = []
        self._jumps: dict[int, str] = {}
        self._places: dict[str, int] = {}

    def _add(self, opcode: int, to: int, source: int = 0, offset: int = 0, value: int = 0) -> None:
        self._code.append((opcode, to, source, offset, value))

    def load(self, to: int, source: int, offset: int, size: int = 8) -> None:
        """to = *(source + offset), `size` bytes."""
        self._add(0x61 | _SIZES[size], to, source, offset)

    def store(self, offset: int, source: int, size: int = 8) -> None:
        """*(frame + offset) = source, `size` bytes."""
        self._add(0x63 | _SIZES[size], FP, source, offset)

    def zero(self, offset: int, size: int = 8) -> None:
        """*(frame + offset) = 0."""
        self._add(0x62 | _SIZES[size], FP, 0, offset)

    def move(self, to: int, source: int) -> None:
        """to = source."""
        self._add(0xBF, to, source)

    def set(self, to: int, value: int) -> None:
        """to = value."""
        self._add(0xB7, to, value=value)

    def add(self, to: int, value: int) -> None:
        """to += value."""
        self._add(0x07, to, value=value)

    def add_register(self, to: int, source: int) -> None:
        """to += source."""
        self._add(0x0F, to, source)

    def shift(self, to: int, by: int) -> None:
        """to <<= by, or to the right when negative (unsigned)."""
        self._add(0x67 if by > 0 else 0x77, to, value=abs(by))

    def bit(self, to: int, number: int) -> None:
        """to = bit `number` (a register, modulo 64) of to."""
        self._add(0x7F, to, number)
        self._add(0x57, to, value=1)

    def keep(self, to: int, mask: int) -> None:
        """to &= mask."""
        self._add(0x57, to, value=mask)

    def load_frame(self, to: int, offset: int, size: int = 8) -> None:
        """to = *(frame + offset)."""
        self._add(0x61 | _SIZES[size], to, FP, offset)

    def subtract(self, to: int, source: int) -> None:
        """to -= source, 32 bits."""
        self._add(0x1C, to, source)

    def jump(self, condition: str, register: int, value: int, place: str) -> None:
        """Go to the place when register `condition` value: "==", "!=", ">" (unsigned) or "s<"."""
        self._jumps[len(self._code)] = place
        self._add({"==": 0x15, "!=": 0x55, ">": 0x25, "s<": 0xC5}[condition], register, value=value)

    def go(self, place: str) -> None:
        """Go to the place."""
        self._jumps[len(self._code)] = place
        self._add(0x05, 0)

    def place(self, name: str) -> None:
        """A place to go to."""
        self._places[name] = len(self._code)

    def call(self, helper: int) -> None:
        """Call a helper function: arguments in R1 to R5, result in R0; R6 to R9 stay."""
        self._add(0x85, 0, value=helper)

    def leave(self) -> None:
        """Return R0."""
        self._add(0x95, 0)

    def bytes(self) -> bytes:
        """The machine's form."""
        out = []
        for at, (opcode, to, source, offset, value) in enumerate(self._code):
            if at in self._jumps:
                distance = self._places[self._jumps[at]] - at - 1
                out.append(struct.pack("=BBhi", opcode, source << 4 | to, distance, value))
                continue
            out.append(struct.pack("=BBhi", opcode, source << 4 | to, offset, value))
        return b"".join(out)


def _bpf(command: int, attributes: bytes | ctypes.Array[ctypes.c_char]) -> int:
    number = _SYS_BPF.get(platform.machine())
    if number is None:
        raise MissingFacility(f"bpf(2) is not used on {platform.machine()}")
    result: int = _libc.syscall(
        ctypes.c_long(number), ctypes.c_int(command), attributes, ctypes.c_uint(len(attributes))
    )
    if result < 0:
        code = ctypes.get_errno()
        if code in (1, 13):
            raise NotPermitted(f"bpf: {os.strerror(code)}; run gotriage as root, or with CAP_BPF and CAP_PERFMON")
        raise OSError(code, f"bpf: {os.strerror(code)}")
    return result


def command(number: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    """bpf(2) with attributes that the kernel also writes to. Raises NotPermitted, MissingFacility or OSError."""
    return _bpf(number, attributes)


def load_iterator(program: Program, function: int) -> int:
    """Load an iterator program for the kernel function of that type id; its descriptor.

    Raises NotPermitted, OSError (with the verifier's last words), MissingFacility.
    """
    code = program.bytes()
    instructions, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(65536)

    def attempt(level: int) -> int:
        attributes = struct.pack(
            "=IIQQIIQII16sIIIIQIIQIII4x",
            TRACING, len(code) // 8, ctypes.addressof(instructions), ctypes.addressof(licence), level,
            len(log) if level else 0, ctypes.addressof(log) if level else 0, 0, 0, b"gotriage_fds", 0, TRACE_ITER,
            0, 0, 0, 0, 0, 0, 0, function, 0,
        )  # fmt: skip
        return _bpf(PROG_LOAD, attributes)

    try:
        return attempt(0)
    except OSError as error:
        try:
            return attempt(1)
        except OSError:
            words = log.value.decode("utf-8", "replace").strip().splitlines()[-3:]
            raise OSError(error.errno or 0, f"{error.strerror}: {' | '.join(words)}") from error


def run_iterator(program: int, pid: int) -> bytes:
    """What the program writes for the objects of one process (bpf_iter_link_info.task.pid, Linux 6.1).

    Raises NotPermitted, OSError.
    """
    info = ctypes.create_string_buffer(struct.pack("=III", 0, pid, 0), 12)
    link = _bpf(LINK_CREATE, struct.pack("=IIIIQI4x", program, 0, TRACE_ITER, 0, ctypes.addressof(info), 12))
    try:
        reader = _bpf(ITER_CREATE, struct.pack("=II", link, 0))
    finally:
        os.close(link)
    try:
        parts = []
        while data := os.read(reader, 1 << 20):
            parts.append(data)
        return b"".join(parts)
    finally:
        os.close(reader)


def link_uprobes(program: int, pid: int, path: str, places: Sequence[tuple[int, int]]) -> int:
    """Attach a program of type UPROBE_MULTI to places of a file, in that process only: file offset and cookie of each.

    The link's descriptor: closing it detaches from all of them. Raises NotPermitted, OSError.
    """
    name = ctypes.create_string_buffer(os.fsencode(path))
    offsets = (ctypes.c_uint64 * len(places))(*(offset for offset, _ in places))
    cookies = (ctypes.c_uint64 * len(places))(*(cookie for _, cookie in places))
    addresses = (ctypes.addressof(part) for part in (name, offsets, cookies))
    path_at, offsets_at, cookies_at = addresses
    return _bpf(
        LINK_CREATE,
        struct.pack(
            "=IIIIQQQQIII4x", program, 0, UPROBE_MULTI, 0, path_at, offsets_at, 0, cookies_at, len(places), 0, pid
        ),
    )
