"""Netlink messages taken apart (netlink(7)): lengths are the kernel's, and checked all the same."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def messages(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Type, start and end of each message's content (struct nlmsghdr)."""
    at, end = 0, len(data)
    while at + 16 <= end:
        length, kind = struct.unpack_from("=IH", data, at)
        if length < 16 or at + length > end:
            return
        yield kind, at + 16, at + length
        at += (length + 3) & ~3


def attributes(data: bytes, at: int, end: int) -> dict[int, bytes]:
    """The attributes between two places by type, without the flags of the type (struct nlattr)."""
    found = {}
    while at + 4 <= end:
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4 or at + length > end:
            break
        found[kind & 0x3FFF] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found
