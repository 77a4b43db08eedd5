"""Lines out of a file of zstd frames and plain text, told apart by their first bytes; bounded and checked.

Format: RFC 8878. A frame that says its size is given out only when its checksum has held. The tail of a frame without
a size (`gotriage agent | zstd`) is given out as far as it goes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import zstandard

from gotriage.errors import BadRecording
from gotriage.session.stream import MAX_LINE, Lines

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"\x28\xb5\x2f\xfd"
"""RFC 8878, 3.1.1: magic number of a frame."""
SKIPPABLE = b"\x2a\x4d\x18"
"""RFC 8878, 3.1.2: bytes 1 to 3 of a skippable frame's magic number; byte 0 is 0x50 to 0x5f."""
MAX_WINDOW = 64 * 1024 * 1024
"""Largest memory that a frame may ask for, bytes; level 3 uses 2 MiB."""
MAX_TOTAL = 4 * 1024 * 1024 * 1024
"""Most that one file may unpack to, bytes: weeks of a busy service, and an end for a bomb."""
HOLD = 16 * 1024 * 1024
"""How much of a frame of unknown size is kept back until it can be checked."""
PIECE = 1024
"""Bytes given to the unpacker at once: four bytes can become 128 KiB (an RLE block), so this makes 32 MiB at most."""
READ = 256 * 1024


class Cut(Exception):
    """The file ends inside a line or a frame."""


class Damaged(Exception):
    """What follows is not what was written; the text says how that was noticed."""


class Foreign(Damaged):
    """What follows bears no sign of ever having been a part of a recording."""


class _Input:
    """Bytes of a file descriptor with a look ahead."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._data = b""

    def peek(self, size: int) -> bytes:
        while len(self._data) < size:
            more = os.read(self._fd, READ)
            if not more:
                break
            self._data += more
        return self._data[:size]

    def take(self, size: int) -> bytes:
        """At most `size` bytes, b"" at the end."""
        if not self._data:
            self._data = os.read(self._fd, READ)
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def give_back(self, data: bytes) -> None:
        self._data = data + self._data


def lines(fd: int) -> Iterator[bytes]:
    """Every whole line of the file. Raises Cut, Damaged or BadRecording (a line or file beyond the bounds)."""
    source = _Input(fd)
    split = Lines()
    total = 0
    while start := source.peek(4):
        if start[:1] in b"{ \t\r\n":
            parts = _plain(source)
        elif start == MAGIC:
            parts = _frame(source)
        elif len(start) == 4 and 0x50 <= start[0] <= 0x5F and start[1:] == SKIPPABLE:
            parts = _skipped(source)
        elif len(start) < 4 and (MAGIC.startswith(start) or 0x50 <= start[0] <= 0x5F):
            raise Cut
        elif sum(one != other for one, other in zip(start, MAGIC, strict=False)) == 1:
            raise Damaged("the sign that a frame begins with is damaged")
        else:
            raise Foreign("neither text nor a zstd frame follows")
        for part in parts:
            total += len(part)
            if total > MAX_TOTAL:
                raise BadRecording(f"unpacks to more than {MAX_TOTAL >> 30} GiB")
            yield from split.feed(part)
        if split.rest and source.peek(1):
            raise Damaged("a line does not end where its frame does")
    if split.rest:
        raise Cut


def _plain(source: _Input) -> Iterator[bytes]:
    """One line as it stands, newline included where there is one."""
    size = 0
    while piece := source.take(READ):
        line, newline, rest = piece.partition(b"\n")
        size += len(line)
        if size > MAX_LINE:
            raise BadRecording(f"a line is longer than {MAX_LINE >> 20} MiB")
        if newline:
            source.give_back(rest)
            yield line + newline
            return
        yield line


def _skipped(source: _Input) -> Iterator[bytes]:
    """Pass over a skippable frame."""
    head = source.peek(8)
    if len(head) < 8:
        raise Cut
    left = 8 + int.from_bytes(head[4:8], "little")
    while left:
        taken = source.take(left)
        if not taken:
            raise Cut
        left -= len(taken)
    yield b""


def _frame(source: _Input) -> Iterator[bytes]:
    """What a frame unpacks to; in one piece, and only when it is whole, where its header says its size."""
    sized = _is_sized(source)
    unpack = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).decompressobj()
    held: list[bytes] = []
    size = 0
    while not unpack.eof:
        piece = source.take(PIECE)
        if not piece:
            if not sized:
                yield b"".join(held)
            raise Cut
        try:
            out = unpack.decompress(piece)
        except zstandard.ZstdError as error:
            raise Damaged(_words(error)) from None
        held.append(out)
        size += len(out)
        if size > HOLD:
            if sized and size > 2 * MAX_LINE:
                raise BadRecording(f"a frame unpacks to more than {2 * MAX_LINE >> 20} MiB")
            if not sized:
                yield b"".join(held)
                held, size = [], 0
    source.give_back(unpack.unused_data)
    yield b"".join(held)


def _is_sized(source: _Input) -> bool:
    head = source.peek(18)
    try:
        parameters = zstandard.get_frame_parameters(head)
    except zstandard.ZstdError as error:
        if len(head) < 18:
            raise Cut from None
        raise Damaged(_words(error)) from None
    return parameters.content_size != zstandard.CONTENTSIZE_UNKNOWN


def _words(error: zstandard.ZstdError) -> str:
    """The library's reason without its prefix."""
    return str(error).rpartition(": ")[2] or "zstd cannot unpack it"
