"""ld.so.cache as glibc's loader reads it: formats of glibc's sysdeps/generic/dl-cache.h (2.36), old and new.

The new format begins with "glibc-ld.so.cache1.1", alone or behind a cache of the old format ("ld.so-1.7.0"). Entries
carry flags (which ABI), and either legacy hardware capability bits or the index of a glibc-hwcaps subdirectory.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from typing import Final

OLD_MAGIC: Final = b"ld.so-1.7.0\0"
NEW_MAGIC: Final = b"glibc-ld.so.cache1.1"
EXTENSION_MAGIC: Final = 0xEAA42174
TAG_GLIBC_HWCAPS: Final = 1
MAX_PATH: Final = 4096
MAX_CACHE: Final = 16 * 1024 * 1024
"""Longest cache that is read, bytes; that of a desktop with 4,000 libraries has 300 KB."""

ANY_ABI: Final = -1
_ABI: Final = {
    ("x86_64", 64): 0x0303, ("x86_64", 32): 0x0803, ("i386", 32): 0x0003, ("aarch64", 64): 0x0A03,
    ("s390x", 64): 0x0403, ("ppc64", 64): 0x0503, ("riscv64", 64): 0x1003, ("loongarch64", 64): 0x1203,
}  # fmt: skip
"""Machine and ELF class to _DL_CACHE_DEFAULT_ID (sysdeps/unix/sysv/linux/*/dl-cache.h)."""


def abi_of(machine: str, elf_class: int) -> int:
    """The flags that cache entries for this machine carry, ANY_ABI for machines not known here."""
    return _ABI.get((machine, elf_class), ANY_ABI)


CacheEntry = tuple[int, int, int, int, int]
"""ABI flags, where the name stands, where the path stands, OS version (unused), capability bits."""


@dataclass(frozen=True, slots=True)
class Cache:
    """The cache: name to entries, in the order of the file. Empty when the file is missing or not understood.

    `strings` is what the places in entries count in, `subdirectories` are those of glibc-hwcaps that entries number.
    """

    strings: bytes = b""
    entries: dict[bytes, list[CacheEntry]] = field(default_factory=dict)
    subdirectories: tuple[str, ...] = ()

    def lookup(self, name: str, abi: int, subdirectories: tuple[str, ...], legacy: int | None) -> str | None:
        """The path that the loader takes for a name (_dl_load_cache_lookup), None when the cache has none.

        `subdirectories` are the active ones of glibc-hwcaps, best first; `legacy` is the mask of legacy capability bits
        that this CPU has, None when the loader knows none any more (glibc 2.37).
        """
        plain: int | None = None
        best: tuple[int, int] | None = None
        for flags, _, path_at, _, hwcap in self.entries.get(os.fsencode(name), ()):
            if abi not in (ANY_ABI, flags):
                continue
            if hwcap >> 62 == 1:  # DL_CACHE_HWCAP_EXTENSION: the low half is an index
                rank = self._rank(hwcap & 0xFFFFFFFF, subdirectories)
                if rank is not None and (best is None or rank < best[0]):
                    best = (rank, path_at)
            elif plain is None and not hwcap & ~(legacy or 0):
                plain = path_at
        found = best[1] if best else plain
        return os.fsdecode(_string(self.strings, found)) or None if found is not None else None

    def _rank(self, index: int, active: tuple[str, ...]) -> int | None:
        name = self.subdirectories[index] if index < len(self.subdirectories) else ""
        return active.index(name) if name in active else None


def parse_cache(data: bytes) -> Cache:
    """Parse the file's bytes; damaged entries are left out, a foreign file gives an empty cache."""
    if data.startswith(OLD_MAGIC):
        count = min(struct.unpack_from("=I", data, 12)[0] if len(data) >= 16 else 0, len(data) // 12)
        end = 16 + 12 * count
        start = data.find(NEW_MAGIC, end, end + len(NEW_MAGIC) + 8)
        return _parse_new(data[start:]) if start >= 0 else _parse_old(data, count)
    return _parse_new(data) if data.startswith(NEW_MAGIC) else Cache()


def _parse_old(data: bytes, count: int) -> Cache:
    strings = data[16 + 12 * count :]
    entries: dict[bytes, list[CacheEntry]] = {}
    whole = data[16 : 16 + 12 * count]
    for flags, key, value in struct.iter_unpack("=iII", whole[: len(whole) // 12 * 12]):
        entries.setdefault(_string(strings, key), []).append((flags, key, value, 0, 0))
    return Cache(strings, entries)


def _parse_new(data: bytes) -> Cache:
    if len(data) < 48:
        return Cache()
    order = ">" if data[28] & 3 == 3 else "<" if data[28] & 3 == 2 else "="
    count, _, extension = struct.unpack_from(order + "II4xI", data, 20)
    count = min(count, (len(data) - 48) // 24)
    subdirectories = _subdirectories(data, extension, order)
    entries: dict[bytes, list[CacheEntry]] = {}
    find = data.find
    for row in struct.iter_unpack(order + "iIIIQ", data[48 : 48 + 24 * count]):
        key = row[1]
        entries.setdefault(data[key : find(b"\0", key, key + MAX_PATH)], []).append(row)
    return Cache(data, entries, tuple(subdirectories))


def _subdirectories(data: bytes, at: int, order: str) -> list[str]:
    """The names of glibc-hwcaps subdirectories that the extension area lists."""
    if not at or at + 8 > len(data):
        return []
    magic, count = struct.unpack_from(order + "II", data, at)
    if magic != EXTENSION_MAGIC:
        return []
    for i in range(min(count, 64)):
        if at + 24 + 16 * i > len(data):
            break
        tag, _, offset, size = struct.unpack_from(order + "IIII", data, at + 8 + 16 * i)
        if tag == TAG_GLIBC_HWCAPS and offset + size <= len(data):
            words = struct.unpack_from(f"{order}{min(size // 4, 1024)}I", data, offset)
            return [os.fsdecode(_string(data, word)) for word in words]
    return []


def _string(data: bytes, at: int) -> bytes:
    end = data.find(b"\0", at, at + MAX_PATH)
    return data[at:end] if end >= 0 else b""
