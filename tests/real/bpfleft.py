"""What tracing leaves in a kernel: BPF objects, instances and events of tracefs, pinned files."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
import subprocess
from pathlib import Path
from typing import Final

_SYS_BPF: Final = {"x86_64": 321, "aarch64": 280}
_NEXT: Final = {"program": 11, "map": 12, "link": 31}
_PROG_FD, _INFO = 13, 15
_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    number = ctypes.c_long(_SYS_BPF[platform.machine()])
    return _libc.syscall(number, ctypes.c_int(command), buffer, ctypes.c_uint(len(attributes))), buffer.raw


def bpf_ids() -> frozenset[tuple[str, int]]:
    """Kind and id of every BPF program, map and link that there is."""
    found = set()
    for kind, command in _NEXT.items():
        at = 0
        while True:
            result, raw = _bpf(command, struct.pack("=IIII", at, 0, 0, 0))
            if result < 0:
                break
            (at,) = struct.unpack_from("=I", raw, 4)
            found.add((kind, at))
    return frozenset(found)


def _maps_of(program: int) -> list[int]:
    """The maps that a program uses, which it keeps alive."""
    fd, _ = _bpf(_PROG_FD, struct.pack("=IIII", program, 0, 0, 0))
    if fd < 0:
        return []
    try:
        maps = (ctypes.c_uint32 * 64)()
        info = ctypes.create_string_buffer(80)
        struct.pack_into("=IQ", info, 52, len(maps), ctypes.addressof(maps))
        result, _ = _bpf(_INFO, struct.pack("=IIQ", fd, len(info), ctypes.addressof(info)))
        return list(maps[: struct.unpack_from("=I", info, 52)[0]]) if result == 0 else []
    finally:
        os.close(fd)


def held_bpf() -> frozenset[tuple[str, int]]:
    """Those that a descriptor of some process holds."""
    words = {"prog_id": "program", "map_id": "map", "link_id": "link"}
    found = set()
    for folder in Path("/proc").glob("[0-9]*/fdinfo"):
        with contextlib.suppress(OSError):
            for entry in os.scandir(folder):
                with contextlib.suppress(OSError):
                    for line in Path(entry.path).read_text().splitlines():
                        word, _, number = line.partition(":")
                        if word in words:
                            found.add((words[word], int(number)))
    used = {("map", number) for kind, program in found if kind == "program" for number in _maps_of(program)}
    return frozenset(found | used)


_TRACEFS: Final = (
    'mount -t tracefs none "$0" && cd "$0" && for i in instances/*; do echo "instance ${i#instances/}"; done;'
    "for f in uprobe_events kprobe_events; do [ -e $f ] && cat $f; done; true"
)


def tracefs(folder: Path) -> list[str]:
    """Instances and probe events of tracefs, as lines; none where the kernel has no tracefs."""
    command = ["unshare", "-m", "sh", "-c", _TRACEFS, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return [line for line in done.stdout.splitlines() if line != "instance *"]


def pinned() -> frozenset[str]:
    """Everything below /sys/fs/bpf."""
    return frozenset(str(path) for path in Path("/sys/fs/bpf").glob("**/*"))
