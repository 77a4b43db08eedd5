"""Core files: of real processes, and made to measure."""

from __future__ import annotations

import os
import resource
import struct
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PT_LOAD, PT_NOTE = 1, 4


def note(kind: int, data: bytes, owner: bytes = b"CORE\0") -> bytes:
    """A note, padded."""
    pad = -len(owner) % 4
    return struct.pack("<III", len(owner), len(data), kind) + owner + bytes(pad) + data + bytes(-len(data) % 4)


def prstatus(tid: int, registers: dict[int, int], count: int = 27, signal: int = 0) -> bytes:
    """NT_PRSTATUS; registers by number."""
    data = bytearray(112 + count * 8 + 8)
    struct.pack_into("<h", data, 12, signal)
    struct.pack_into("<i", data, 32, tid)
    for number, value in registers.items():
        struct.pack_into("<Q", data, 112 + number * 8, value)
    return note(1, bytes(data))


def prpsinfo(pid: int, arguments: bytes) -> bytes:
    """NT_PRPSINFO."""
    return note(3, struct.pack("<4xIQIIiiii16s80s", 0, 0, 0, 0, pid, 0, 0, 0, b"name", arguments))


def files(rows: list[tuple[int, int, int, bytes]]) -> bytes:
    """NT_FILE; offsets in bytes."""
    data = struct.pack("<QQ", len(rows), 4096)
    for start, end, offset, _ in rows:
        data += struct.pack("<QQQ", start, end, offset // 4096)
    return note(0x46494C45, data + b"".join(name + b"\0" for *_, name in rows))


@dataclass
class Made:
    """A core file: (address, bytes in it, size in memory, flags) of each segment, and its notes."""

    segments: list[tuple[int, bytes, int, int]] = field(default_factory=list)
    notes: bytes = b""
    machine: int = 62
    many: bool = False
    """The number of segments stands in a section header."""

    def bytes(self) -> bytes:
        count = len(self.segments) + 1
        at = 64 + 56 * count + 64
        headers = struct.pack("<IIQQQQQQ", PT_NOTE, 4, at, 0, 0, len(self.notes), 0, 4)
        body = self.notes
        for address, data, size, flags in self.segments:
            headers += struct.pack("<IIQQQQQQ", PT_LOAD, flags, at + len(body), address, 0, len(data), size, 4096)
            body += data
        section = struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, count, 0, 0)
        shown = 0xFFFF if self.many else count
        head = struct.pack(
            "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 4, self.machine, 1, 0, 64, at - 64, 0, 64, 56, shown, 64, 1, 0
        )
        return head + headers + section + body

    def write(self, path: Path) -> str:
        path.write_bytes(self.bytes())
        return str(path)


def of_gcore(pid: int, folder: Path) -> str:
    """A core file by gdb's gcore, of a process that goes on."""
    subprocess.run(["gcore", "-o", str(folder / "core"), str(pid)], check=True, capture_output=True, timeout=120)
    return str(folder / f"core.{pid}")


def cores_come_as_files() -> bool:
    """Whether the kernel writes them into the working directory."""
    with open("/proc/sys/kernel/core_pattern") as file:
        return not file.read().startswith(("|", "/"))


def allow_cores() -> None:
    """In a child, before exec."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


def of_crash(program: str, arguments: list[str], folder: Path) -> tuple[str, int]:
    """The core file that the kernel writes of a Go program that gets SIGQUIT, with GOTRACEBACK=crash; and its PID."""
    with subprocess.Popen(
        [program, *arguments],
        cwd=folder,
        env={**os.environ, "GOTRACEBACK": "crash"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=allow_cores,
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(3)
        process.stderr.read()
        process.wait(60)
    (core,) = folder.glob("core*")
    return str(core), process.pid
