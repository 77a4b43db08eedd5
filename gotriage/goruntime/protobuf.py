"""The little of protocol buffers that a pprof profile needs: encoding of varints, strings and nested messages.

Format: protobuf.dev/programming-guides/encoding. Nothing here decodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

VARINT, BYTES = 0, 2
"""Wire types."""
_MASK = (1 << 64) - 1


def varint(value: int) -> bytes:
    """Base 128, least significant group first; a negative number as its 64-bit two's complement."""
    value &= _MASK
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def number(field: int, value: int) -> bytes:
    """An integer field; nothing for 0, which is the default (proto3)."""
    return varint(field << 3 | VARINT) + varint(value) if value else b""


def blob(field: int, data: bytes) -> bytes:
    """A string or a nested message, also an empty one."""
    return varint(field << 3 | BYTES) + varint(len(data)) + data


def packed(field: int, values: Iterable[int]) -> bytes:
    """A packed repeated integer field."""
    return blob(field, b"".join(map(varint, values)))
