"""Stacks made by hand, walked by tables made by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from gotriage.goruntime import unwind


class Functions:
    """Function n holds addresses 1000 n to 1000 n + 999; its frame has 8 n bytes, function 9 is the outermost."""

    def __init__(self):
        self.asked = 0

    def index(self, pcs):
        numbers = (pcs // np.uint64(1000)).astype(np.int64)
        return np.where((numbers > 0) & (numbers < 10), numbers, -1)

    def frame_sizes(self, pcs):
        self.asked += len(pcs)
        return self.index(pcs) * 8

    def flags(self, number):
        return unwind.TOPFRAME if number == 9 else 0


class Stacks:
    """The memory: 64 words from BASE + 512 n on for stack n."""

    arch = "amd64"
    BASE = 1 << 20

    def __init__(self, stacks):
        self.data = np.zeros((len(stacks), 64), np.uint64)
        for row, words in zip(self.data, stacks, strict=True):
            row[: len(words)] = words

    def read_many(self, addresses, sizes):
        rows = (addresses - np.uint64(self.BASE)) // np.uint64(512)
        data = np.concatenate([self.data[row][: size // 8] for row, size in zip(rows, sizes, strict=True)])
        return data.view(np.uint8), np.concatenate([[0], np.cumsum(sizes)]), np.ones(len(rows), bool)


def stack_of(functions):
    """Words of a stack: the frame of each function, then the return address into the next."""
    words = []
    for this, caller in itertools.pairwise(functions):
        words += [7] * this + [caller * 1000 + 5]
    return words + [7] * functions[-1]


def walked(chains, functions=None):
    stacks = Stacks([stack_of(chain) for chain in chains])
    sp = np.array([Stacks.BASE + 512 * n for n in range(len(chains))], np.uint64)
    pc = np.array([chain[0] * 1000 + 5 for chain in chains], np.uint64)
    result = unwind.walk(stacks, functions or Functions(), sp, pc, sp + np.uint64(512))
    return [tuple(pc // 1000 for pc in result.pcs[int(key)]) for key in result.key], result.complete.tolist()


CHAINS = [(1, 2, 9), (1, 2, 9), (3, 9), (1, 2, 3, 4, 5, 9), (2, 2, 2, 9), (9,), (1, 2, 9)]


@pytest.mark.parametrize("slots", [unwind.SLOTS, 1])
@pytest.mark.parametrize("batch", [unwind.BATCH_BYTES, 600])
def test_many_stacks_at_once(monkeypatch, slots, batch):
    """Also when different pcs have to share one place of the memo, and when few stacks are held at once."""
    if slots == 1:
        monkeypatch.setattr(unwind, "_SHIFT", np.uint64(63))
        monkeypatch.setattr(unwind, "SLOTS", 2)
    monkeypatch.setattr(unwind.batches, "__defaults__", (batch,))
    stacks, complete = walked(CHAINS)
    assert stacks == CHAINS
    assert all(complete)


def test_each_pc_is_looked_up_once():
    functions = Functions()
    walked([(1, 2, 9)] * 500 + [(1, 3, 9)] * 500, functions)
    assert functions.asked == 4


def test_what_leads_nowhere_is_not_complete():
    stacks, complete = walked([(1, 2, 3), (1, 2, 9)])
    assert stacks == [(1, 2, 3), (1, 2, 9)]
    assert complete == [False, True]


def test_pcs_outside_of_all_functions():
    steps = unwind.Steps(Functions())
    pcs = np.array([0, 5, 2005, 1 << 63, (1 << 64) - 1, 9001], np.uint64)
    for _ in range(2):
        frame, top = steps.of(pcs)
        assert frame.tolist() == [-1, -1, 2, -1, -1, 9]
        assert top.tolist() == [False, False, False, False, False, True]
