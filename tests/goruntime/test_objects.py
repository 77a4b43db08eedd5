"""Objects that goroutines wait on, by what damaged memory may say about them."""

from __future__ import annotations

import numpy as np
import pytest
from gotriage.goruntime.memory import Unreadable
from gotriage.goruntime.objects import READER_SEMA, Needles, Objects
from gotriage.goruntime.waits import Waits


class Nothing:
    """Memory that cannot be read, and a layout that knows no WaitGroup."""

    def read(self, address: int, size: int) -> bytes:
        raise Unreadable(f"{size} bytes at {address:#x}")

    def has(self, *_: str) -> bool:
        return False


@pytest.mark.parametrize(
    ("semaphore", "kind", "address"),
    [
        (0x1000, "rwmutex", 0x1000 - READER_SEMA),
        (READER_SEMA, "semaphore", READER_SEMA),
        (9, "semaphore", 9),
        (1, "semaphore", 1),
    ],
)
def test_no_lock_begins_below_address_0(semaphore, kind, address):
    none = np.zeros(1, np.uint64)
    waits = Waits(none.copy(), np.array([semaphore], np.uint64), none.copy(), np.full(1, -1))
    objects = Objects(Nothing(), Nothing(), np.array([7], np.uint64), waits, {0: ["sync.(*RWMutex).RLock"]})
    (found,) = objects.build(np.zeros(0, np.int64), Needles(none[:0]), set(), {})
    assert (found.kind, found.address, found.ids) == (kind, address, (7,))
    assert objects.on.tolist() == [address]
