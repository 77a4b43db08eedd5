"""BPF programs that filter packets and socket calls at a cgroup (bpf(2): BPF_PROG_QUERY; include/uapi/linux/bpf.h)."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

from gotriage.errors import GotriageError
from gotriage.host.bpf import command
from gotriage.records.text import clean

PROG_GET_FD_BY_ID, OBJ_GET_INFO_BY_FD, PROG_QUERY = 13, 15, 16
QUERY_EFFECTIVE: Final = 1
KINDS: Final = {
    "ingress": 0, "egress": 1, "socket": 2, "bind4": 8, "bind6": 9, "connect4": 10, "connect6": 11, "sendmsg4": 14,
    "sendmsg6": 15,
}  # fmt: skip
"""enum bpf_attach_type."""
MOST: Final = 64
INFO_SIZE, NAME_AT, NAME_SIZE = 128, 64, 16
"""struct bpf_prog_info: where the name is."""


def programs(folder: str) -> list[tuple[str, int, str]]:
    """(kind, id, name) of each program in force at the cgroup of that folder. Raises OSError, GotriageError."""
    group = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return [(kind, number, _name(number)) for kind, place in KINDS.items() for number in _ids(group, place)]
    finally:
        os.close(group)


def _ids(group: int, kind: int) -> list[int]:
    ids = (ctypes.c_uint32 * MOST)()
    attributes = ctypes.create_string_buffer(
        struct.pack("=IIIIQII", group, kind, QUERY_EFFECTIVE, 0, ctypes.addressof(ids), MOST, 0), 64
    )
    command(PROG_QUERY, attributes)
    number: int = struct.unpack_from("=I", attributes, 24)[0]
    return list(ids[: min(number, MOST)])


def _name(number: int) -> str:
    """The program's name, "" when it is not told."""
    try:
        program = command(PROG_GET_FD_BY_ID, ctypes.create_string_buffer(struct.pack("=II", number, 0), 16))
    except (OSError, GotriageError):
        return ""
    try:
        info = ctypes.create_string_buffer(INFO_SIZE)
        ask = struct.pack("=IIQ", program, INFO_SIZE, ctypes.addressof(info))
        command(OBJ_GET_INFO_BY_FD, ctypes.create_string_buffer(ask, 16))
        return clean(info.raw[NAME_AT : NAME_AT + NAME_SIZE].partition(b"\0")[0], 32)
    except (OSError, GotriageError):
        return ""
    finally:
        os.close(program)
