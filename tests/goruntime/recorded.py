"""A live process's memory copied once, so that it can be damaged and read again without the process."""

from __future__ import annotations

import os
from contextlib import closing, suppress

import numpy as np
from gotriage.goruntime.live import LiveMemory
from gotriage.goruntime.memory import Unreadable

PAGE = 4096
MOST = 64 << 20
"""Bytes of a region that are copied; the rest counts as not there."""
LONGEST = 1 << 30
"""As of the real thing (scatter.MOST_OF_A_PIECE)."""


class Recorded:
    """The memory (memory.Memory). `write` damages it until `restore`; `flips`: chance of a damaged bit in each read.

    Attributes:
        served: bytes that have been read.
        file: a descriptor of another program's file than the recorded one, None for that.
    """

    live = True
    arch = "amd64"

    def __init__(self, pid, rng):
        self.pid, self.rng, self.served, self.flips, self.file = pid, rng, 0, 0.0, None
        self._undo = []
        with closing(LiveMemory(pid)) as memory:
            self._regions, self._data = [], []
            for region in memory.regions():
                data = self._copied(memory, region)
                if data:
                    self._regions.append(region._replace(end=region.start + len(data)))
                    self._data.append(data)
            self._exe = memory.executable()
        self._starts = np.array([region.start for region in self._regions], np.uint64)

    @staticmethod
    def _copied(memory, region):
        """What can be read of a region, from its beginning on; memory that was never touched is zeros."""
        if "r" not in region.perms or region.path.startswith("[v"):
            return None
        size = min(region.end - region.start, MOST)
        with suppress(Unreadable):
            return bytearray(memory.read(region.start, size))
        return None

    # -- damage

    def write(self, address, data):
        """Put other bytes there, as far as there is memory."""
        at = self._find(address)
        if at is not None:
            number, offset = at
            before = bytes(self._data[number][offset : offset + len(data)])
            self._undo.append((number, offset, before))
            self._data[number][offset : offset + len(before)] = data[: len(before)]

    def restore(self):
        """As it was recorded."""
        for number, offset, before in reversed(self._undo):
            self._data[number][offset : offset + len(before)] = before
        self._undo.clear()
        self.flips, self.file = 0.0, None

    def writable(self):
        """Places that the program may write to, as (start, end)."""
        return [(region.start, region.end) for region in self._regions if "w" in region.perms]

    # -- Memory

    def regions(self):
        return tuple(self._regions)

    def _find(self, address):
        if not 0 <= address < 1 << 64:
            return None
        number = int(np.searchsorted(self._starts, np.uint64(address), side="right")) - 1
        if number < 0 or address >= self._regions[number].end:
            return None
        return number, address - self._regions[number].start

    def _bytes(self, address, size):
        at = self._find(address)
        if at is None or size < 0 or at[1] + size > len(self._data[at[0]]):
            return None
        data = self._data[at[0]][at[1] : at[1] + size]
        self.served += size
        if self.flips and size and self.rng.random() < self.flips:
            data[self.rng.randrange(size)] ^= 1 << self.rng.randrange(8)
        return data

    def read(self, address, size):
        buffer = bytearray(min(max(size, 0), LONGEST))  # the real one takes its memory before it looks
        data = self._bytes(address, size) if size > 0 else b""
        if data is None:
            raise Unreadable(f"no memory at {address:#x}")
        buffer[: len(data)] = data
        return bytes(buffer)

    def read_many(self, addresses, sizes):
        sizes = np.broadcast_to(np.asarray(sizes, np.int64), addresses.shape)
        good = (sizes >= 0) & (sizes <= LONGEST)
        sizes = np.where(good, sizes, 0)
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        data = np.zeros(int(offsets[-1]), np.uint8)
        for n, (address, size) in enumerate(zip(addresses.tolist(), sizes.tolist(), strict=True)):
            found = self._bytes(address, size) if size else b""
            if found is None:
                good[n] = False
            elif size:
                data[offsets[n] : offsets[n + 1]] = np.frombuffer(found, np.uint8)
        return data, offsets, good

    def executable(self):
        return os.dup(self._exe if self.file is None else self.file)

    def file_of(self, region):
        return self.executable()

    def close(self):
        """It is used again."""
