"""The pprof labels of goroutines (runtime/pprof/runtime.go and label.go; g.labels leads to them).

In older versions of Go g.labels is a *map[string]string: a map of up to eight entries is one bucket (runtime/map.go,
bmap), a larger one has 2^B of them. In newer ones it is a *LabelSet: a slice of (key, value). The layout tells which.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from gotriage.goruntime.memory import Unreadable

if TYPE_CHECKING:
    from gotriage.goruntime.layout import Layout
    from gotriage.goruntime.memory import Memory

MAX_LABELS: Final = 64
MAX_TEXT: Final = 256
"""Bytes of a key or a value."""
SLOTS: Final = 8
"""runtime/map.go, bucketCnt."""
BUCKET: Final = SLOTS + SLOTS * 16 + SLOTS * 16 + 8
"""tophash, keys, values (strings of 16 bytes each), overflow pointer."""
MIN_TOP_HASH: Final = 5
"""runtime/map.go, minTopHash: smaller ones mark empty slots."""


def read_labels(memory: Memory, layout: Layout, pointer: int) -> dict[str, str]:
    """The labels at g.labels; empty when there are none, or they cannot be read."""
    if not pointer:
        return {}
    try:
        sliced = any(layout.has("runtime/pprof.labelMap", path) for path in ("LabelSet", "Set"))
        pairs = _from_slice(memory, pointer) if sliced else _from_map(memory, pointer)
        return {_text(memory, *key): _text(memory, *value) for key, value in pairs[:MAX_LABELS]}
    except Unreadable:
        return {}


Header = tuple[int, int]
"""A string's pointer and length."""


def _from_slice(memory: Memory, pointer: int) -> list[tuple[Header, Header]]:
    place, length, capacity = struct.unpack("<QQQ", memory.read(pointer, 24))
    if not 0 < length <= capacity or length > 1 << 16:
        return []
    data = memory.read(place, 32 * min(length, MAX_LABELS))
    return [((k, kn), (v, vn)) for k, kn, v, vn in struct.iter_unpack("<QQQQ", data)]


def _from_map(memory: Memory, pointer: int) -> list[tuple[Header, Header]]:
    (head,) = struct.unpack("<Q", memory.read(pointer, 8))
    if not head:
        return []
    count, _, exponent, _, _, buckets = struct.unpack("<QBBHIQ", memory.read(head, 24))
    if not 0 < count <= 1 << 16 or exponent > 5 or not buckets:
        return []
    found: list[tuple[Header, Header]] = []
    for number in range(1 << exponent):
        place, steps = buckets + number * BUCKET, 0
        while place and steps < SLOTS and len(found) < MAX_LABELS:
            data = memory.read(place, BUCKET)
            found += _bucket(data)
            (place,) = struct.unpack_from("<Q", data, BUCKET - 8)
            steps += 1
    return found


def _bucket(data: bytes) -> list[tuple[Header, Header]]:
    keys = list(struct.iter_unpack("<QQ", data[SLOTS : SLOTS + SLOTS * 16]))
    values = list(struct.iter_unpack("<QQ", data[SLOTS + SLOTS * 16 : BUCKET - 8]))
    return [(keys[i], values[i]) for i in range(SLOTS) if data[i] >= MIN_TOP_HASH]


def _text(memory: Memory, pointer: int, length: int) -> str:
    if not length:
        return ""
    return memory.read(pointer, min(length, MAX_TEXT)).decode("utf-8", "replace")
