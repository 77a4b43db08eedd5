"""SipHash-2-4 (Aumasson and Bernstein, 2012, "SipHash: a fast short-input PRF"): the hash of systemd's journal."""

from __future__ import annotations

import struct
from typing import Final

_ALL: Final = (1 << 64) - 1


def _left(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & _ALL


def _rounds(state: tuple[int, int, int, int], count: int) -> tuple[int, int, int, int]:
    a, b, c, d = state
    for _ in range(count):
        a, c = (a + b) & _ALL, (c + d) & _ALL
        b, d = _left(b, 13) ^ a, _left(d, 16) ^ c
        a, c = (_left(a, 32) + d) & _ALL, (c + b) & _ALL
        b, d = _left(b, 17) ^ c, _left(d, 21) ^ a
        c = _left(c, 32)
    return a, b, c, d


def siphash24(key: bytes, data: bytes) -> int:
    """The 64-bit hash of the data under a key of 16 bytes."""
    low, high = struct.unpack("<QQ", key)
    a, b = low ^ 0x736F6D6570736575, high ^ 0x646F72616E646F6D
    c, d = low ^ 0x6C7967656E657261, high ^ 0x7465646279746573
    whole = len(data) & ~7
    tail = data[whole:].ljust(7, b"\0") + bytes([len(data) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", data[:whole] + tail):
        a, b, c, d = _rounds((a, b, c, d ^ word), 2)
        a ^= word
    a, b, c, d = _rounds((a, b, c ^ 0xFF, d), 4)
    return a ^ b ^ c ^ d
