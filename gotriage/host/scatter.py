"""Many pieces of one place, each into its own place of ours, by few system calls: readv(2) and its like.

A call takes up to 1,024 pieces and puts each where it is wanted, so that a million small ones need about a thousand
calls and no copy. A piece that cannot be read ends the call; the next one goes on behind it.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    U64 = NDArray[np.uint64]
    I64 = NDArray[np.int64]
    Call = Callable[[int, int, int, int], int]

MOST_PIECES: Final = 1024
"""UIO_MAXIOV of include/uapi/linux/uio.h: for either side of a call."""
MOST_BYTES: Final = 16 * 1024 * 1024
"""Bytes of a call beyond which no further piece joins it."""
MOST_OF_A_PIECE: Final = 1 << 30
"""Longest piece, bytes; a call ends silently at 2 GiB (MAX_RW_COUNT of include/linux/fs.h)."""
RUN: Final = 128
"""Pieces that are merged at most."""

_IOVEC: Final = np.dtype([("base", np.uint64), ("size", np.uint64)])
"""struct iovec on a 64-bit machine."""


def read_many(
    addresses: U64,
    sizes: I64 | int,
    call: Call,
    at_once: int,
    gap: int,
    wanted: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.uint8], I64, NDArray[np.bool_]]:
    """The bytes of all pieces one after the other as asked for, the n + 1 offsets in them, and which were read whole.

    Pieces are read in order of address, those with at most `gap` bytes between them in one go. `call(here, count,
    there, runs)` reads what `runs` iovecs at `there` name into the `count` iovecs at `here`, and gives the number of
    bytes up to the first that could not be read; `at_once` is how many runs it takes. Pieces that are not `wanted` have
    their place, and are not read. Bytes of a piece that was not read whole are zero.
    """
    addresses = np.ascontiguousarray(addresses, np.uint64)
    sizes = np.broadcast_to(np.asarray(sizes, np.int64), addresses.shape)
    whole = (sizes >= 0) & (sizes <= MOST_OF_A_PIECE)
    sizes = np.where(whole, sizes, 0)
    offsets = np.zeros(len(addresses) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    data = np.zeros(int(offsets[-1]), np.uint8)
    if wanted is not None:
        whole &= wanted
    used = np.flatnonzero(whole & (sizes > 0))
    if len(used):
        plan = _planned(addresses, sizes, offsets, data, used, gap)
        for piece in _carry_out(plan, call, at_once):
            whole[piece] = False
            data[offsets[piece] : offsets[piece + 1]] = 0
    return data, offsets, whole


@dataclass(slots=True)
class _Plan:
    """What is read: entries by address, each into one place of ours; runs of entries, each one iovec of theirs.

    Attributes:
        here: an iovec for each entry; `ends`: bytes up to each one's end, n + 1 numbers.
        address: where each entry lies on the other side.
        owner: index of the piece that an entry is; -1 for what lies between two pieces.
        there: an iovec for each run; `first`: its first entry, n + 1 numbers.
        nowhere: what is between two pieces goes here.
    """

    here: NDArray[np.void]
    ends: I64
    address: U64
    owner: I64
    there: NDArray[np.void]
    first: I64
    nowhere: NDArray[np.uint8]


def _planned(addresses: U64, sizes: I64, offsets: I64, data: NDArray[np.uint8], used: I64, gap: int) -> _Plan:
    """Sort, merge neighbours, and lay out the iovecs of both sides, for the pieces with these numbers."""
    if len(used) > 1 and not bool(np.all(addresses[used[1:]] >= addresses[used[:-1]])):
        used = used[np.argsort(addresses[used], kind="stable")]
    start, size = addresses[used], sizes[used].astype(np.uint64)
    end = start + size
    joined = np.zeros(len(used), bool)  # with the one before
    if len(used) > 1:
        joined[1:] = (start[1:] >= end[:-1]) & (start[1:] - end[:-1] <= np.uint64(gap)) & (end[:-1] >= start[:-1])
        joined[::RUN] = False
    if not joined.any():
        return _each_alone(start, size, offsets[:-1][used].astype(np.uint64) + np.uint64(data.ctypes.data), used)
    between = np.zeros(len(used), np.uint64)
    between[:-1] = np.where(joined[1:], start[1:] - end[:-1], 0)

    nowhere = np.empty(max(gap, 1), np.uint8)
    entry_size = np.stack((size, between), axis=1).ravel()
    kept = np.flatnonzero(entry_size)
    here = np.empty(len(entry_size), _IOVEC)
    here["base"][0::2] = offsets[:-1][used].astype(np.uint64) + np.uint64(data.ctypes.data)
    here["base"][1::2] = nowhere.ctypes.data
    here["size"] = entry_size
    owner = np.full(len(entry_size), -1, np.int64)
    owner[0::2] = used
    ends = np.zeros(len(kept) + 1, np.int64)
    np.cumsum(entry_size[kept], out=ends[1:])

    begins = np.flatnonzero(~joined)
    lasts = np.append(begins[1:], len(used)) - 1
    there = np.empty(len(begins), _IOVEC)
    there["base"] = start[begins]
    there["size"] = end[lasts] - start[begins]
    first = np.append(np.searchsorted(kept, begins * 2), len(kept)).astype(np.int64)
    address = np.stack((start, end), axis=1).ravel()[kept]
    return _Plan(np.ascontiguousarray(here[kept]), ends, address, owner[kept], there, first, nowhere)


def _each_alone(address: U64, size: U64, place: U64, used: I64) -> _Plan:
    """The plan when no two pieces are neighbours: an iovec on either side for each."""
    here, there = np.empty(len(used), _IOVEC), np.empty(len(used), _IOVEC)
    here["base"], there["base"] = place, address
    here["size"] = there["size"] = size
    ends = np.zeros(len(used) + 1, np.int64)
    np.cumsum(size, out=ends[1:])
    return _Plan(here, ends, address, used, there, np.arange(len(used) + 1), np.zeros(0, np.uint8))


def _carry_out(plan: _Plan, call: Call, at_once: int) -> list[int]:
    """Read all; the pieces that could not be. One call for as many runs as fit."""
    here_at, there_at, step = plan.here.ctypes.data, plan.there.ctypes.data, _IOVEC.itemsize
    first, ends = plan.first, plan.ends
    bad: list[int] = []
    run, runs = 0, len(plan.there)
    while run < runs:
        entry = int(first[run])
        most = int(np.searchsorted(first, entry + MOST_PIECES, side="right")) - 1
        filled = int(np.searchsorted(ends[first[run : most + 1]], ends[entry] + MOST_BYTES)) + run
        until = min(most, max(filled, run + 1), run + at_once)
        wanted = int(ends[first[until]] - ends[entry])
        count = int(first[until]) - entry
        got = call(here_at + entry * step, count, there_at + run * step, until - run)
        if got == wanted:
            run = until
            continue
        entry = int(np.searchsorted(ends, ends[entry] + got, side="right")) - 1
        if plan.owner[entry] >= 0:
            bad.append(int(plan.owner[entry]))
        run = _behind(plan, entry)
    return bad


def _behind(plan: _Plan, entry: int) -> int:
    """The run to go on with behind an entry that cannot be read; the rest of its own, if there is any."""
    run = int(np.searchsorted(plan.first, entry, side="right")) - 1
    if entry + 1 == plan.first[run + 1]:
        return run + 1
    there = plan.there[run]
    start = plan.address[entry + 1]
    there["size"] = there["base"] + there["size"] - start
    there["base"] = start
    plan.first[run] = entry + 1
    return run


_preadv = ctypes.CDLL(None, use_errno=True).preadv64
_preadv.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64)
_preadv.restype = ctypes.c_ssize_t


def of_file(fd: int) -> Call:
    """Reads pieces of a file, for `read_many` with one run at once; their addresses are offsets in it."""

    def call(here: int, count: int, there: int, runs: int) -> int:  # noqa: ARG001  # one at once
        got = int(_preadv(fd, here, count, ctypes.c_int64.from_address(there).value))
        if got < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return got

    return call
