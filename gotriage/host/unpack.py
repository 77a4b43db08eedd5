"""A compressed file as a plain one, unpacked into a file without a name: it goes when it is closed."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Final

import zstandard

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK: Final = 1024 * 1024
MAX_SIZE: Final = 1 << 40
"""Longest content, bytes; blocks of zeros take no room."""
MAX_WINDOW: Final = 128 * 1024 * 1024
"""Memory that a file may ask for: what zstd allows without --long."""
SPARE: Final = 512 * 1024 * 1024
"""Bytes that are left free in the file system."""
PLACE: Final = "/var/tmp"
"""On disk, for large files (file-hierarchy(7)); /tmp is often memory."""

ZSTD: Final = b"\x28\xb5\x2f\xfd"
_OTHERS: Final = {
    b"\x04\x22\x4d\x18": ("lz4", "lz4 -d"),
    b"\xfd7zXZ\0": ("xz", "xz -dk"),
    b"\x1f\x8b": ("gzip", "gzip -dk"),
    b"BZh": ("bzip2", "bzip2 -dk"),
}


class Unpackable(ValueError):
    """It cannot be unpacked here; the text says why, and what to do."""


def plain(fd: int, name: str, most: int = MAX_SIZE, place: str = PLACE) -> int:
    """A descriptor of the content of a file: a new one of the same file when that is not compressed.

    Raises Unpackable, OSError.
    """
    head = os.pread(fd, 6, 0)
    for magic, (kind, command) in _OTHERS.items():
        if head.startswith(magic):
            raise Unpackable(f"compressed with {kind}: unpack it first: {command} {name}")
    if not head.startswith(ZSTD):
        return os.dup(fd)
    with tempfile.TemporaryFile(dir=place) as file:
        _fill(file.fileno(), _blocks(fd), most, place)
        return os.dup(file.fileno())


def head(fd: int, size: int) -> bytes:
    """The first bytes of the content of a file; of the file itself where it cannot be unpacked. Raises OSError."""
    plain = os.pread(fd, size, 0)
    if not plain.startswith(ZSTD):
        return plain
    packed = os.pread(fd, BLOCK, 0)
    try:
        reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).stream_reader(packed, read_across_frames=True)
        return reader.read(size)
    except zstandard.ZstdError:
        return plain


def _blocks(fd: int) -> Iterator[bytes]:
    """The content, piece by piece; frames one after the other."""
    with os.fdopen(os.dup(fd), "rb") as packed:
        packed.seek(0)
        reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).stream_reader(packed, read_across_frames=True)
        try:
            while data := reader.read(BLOCK):
                yield data
        except zstandard.ZstdError as error:
            raise Unpackable(f"damaged: {str(error).rpartition(': ')[2]}") from error


def _fill(fd: int, blocks: Iterator[bytes], most: int, place: str) -> None:
    """Write the blocks, holes for zeros, while there is room."""
    size = 0
    for data in blocks:
        if size + len(data) > most:
            raise Unpackable(f"longer than {most} bytes when unpacked")
        if data.count(0) != len(data):
            facts = os.fstatvfs(fd)
            if facts.f_bavail * facts.f_frsize < SPARE + len(data):
                raise Unpackable(f"too little room in {place} to unpack it; unpack it elsewhere first: zstd -d")
            at = 0
            while at < len(data):
                at += os.pwrite(fd, data[at:], size + at)
        size += len(data)
    os.ftruncate(fd, size)
