"""Maps and ring buffers of loaded BPF programs: what they have counted, as numpy arrays, and their events."""

from __future__ import annotations

import ctypes
import errno
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gotriage.host.libbpf_api import SAMPLE_FUNCTION, check, check_pointer, failure, forget_log, library

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import DTypeLike, NDArray

PER_CPU: Final = frozenset({5, 6, 10, 21})
"""BPF_MAP_TYPE_PERCPU_HASH, _PERCPU_ARRAY, _LRU_PERCPU_HASH, _PERCPU_CGROUP_STORAGE (include/uapi/linux/bpf.h)."""
CHUNK: Final = 512
"""Entries of a map read by one system call."""


class Map:
    """A map; made by `Object.map`.

    Attributes:
        cpus: values that each key has: one a possible CPU in per-CPU maps, otherwise 1.
        value_size: bytes of one value, padded to 8 in per-CPU maps as the kernel gives them.
    """

    def __init__(self, name: str, pointer: int) -> None:
        self.name = name
        self._lib = library()
        self.fd: int = check(self._lib.bpf_map__fd(pointer), f"BPF map {name}")
        self.key_size: int = self._lib.bpf_map__key_size(pointer)
        self.entries: int = self._lib.bpf_map__max_entries(pointer)
        self.declared_size: int = self._lib.bpf_map__value_size(pointer)
        self.per_cpu: bool = self._lib.bpf_map__type(pointer) in PER_CPU
        self.cpus: int = cpus() if self.per_cpu else 1
        self.value_size: int = (self.declared_size + 7) // 8 * 8 if self.per_cpu else self.declared_size

    def lookup(self, key: bytes) -> bytes | None:
        """The value, or in per-CPU maps all of them one after the other; None when the key is not there."""
        self._fits(key)
        value = ctypes.create_string_buffer(self.value_size * self.cpus)
        result = self._lib.bpf_map_lookup_elem(self.fd, key, value)
        if result == -errno.ENOENT:
            return None
        check(result, f"BPF map {self.name}")
        return value.raw

    def update(self, key: bytes, value: bytes, *, flags: int = 0) -> None:
        """Set a value; per-CPU maps take one for all CPUs, or all of them one after the other."""
        self._fits(key)
        if self.per_cpu and len(value) == self.declared_size:
            value = value.ljust(self.value_size, b"\0") * self.cpus
        if len(value) != self.value_size * self.cpus:
            raise ValueError(f"a value of BPF map {self.name} has {self.value_size} bytes, {len(value)} were given")
        check(self._lib.bpf_map_update_elem(self.fd, key, value, flags), f"BPF map {self.name}")

    def delete(self, key: bytes) -> bool:
        """Take an entry out; whether it was there."""
        self._fits(key)
        result = self._lib.bpf_map_delete_elem(self.fd, key)
        if result == -errno.ENOENT:
            return False
        check(result, f"BPF map {self.name}")
        return True

    def _fits(self, key: bytes) -> None:
        if len(key) != self.key_size:
            raise ValueError(f"a key of BPF map {self.name} has {self.key_size} bytes, {len(key)} were given")

    def items(self, key: DTypeLike, value: DTypeLike, *, take: bool = False) -> tuple[NDArray[Any], NDArray[Any]]:
        """All entries as arrays of these types; per-CPU maps give one row of values a key (see `summed`).

        `take` (hash maps only): they are taken out of the map; what is added to one at that very moment may be lost.
        """
        keys, values = self._read(take=take)
        kind = np.dtype(value)
        if kind.itemsize > self.value_size or np.dtype(key).itemsize != self.key_size:
            raise ValueError(f"BPF map {self.name} has keys of {self.key_size} and values of {self.value_size} bytes")
        count = len(keys) // self.key_size
        cells = np.frombuffer(values, np.uint8).reshape(count, self.cpus, self.value_size)
        typed = np.ascontiguousarray(cells[:, :, : kind.itemsize]).view(kind).reshape(count, self.cpus)
        return np.frombuffer(keys, key), typed if self.per_cpu else typed.reshape(count)

    def _read(self, *, take: bool) -> tuple[bytes, bytes]:
        """All keys, all values; at most as many as the map can hold, also while it is written to."""
        look = self._lib.bpf_map_lookup_and_delete_batch if take else self._lib.bpf_map_lookup_batch
        room = self.value_size * self.cpus
        keys, values = ctypes.create_string_buffer(CHUNK * self.key_size), ctypes.create_string_buffer(CHUNK * room)
        token = ctypes.create_string_buffer(max(8, self.key_size))
        got_keys: list[bytes] = []
        got_values: list[bytes] = []
        first, seen = True, 0
        while seen < self.entries:
            count = ctypes.c_uint32(CHUNK)
            result = look(self.fd, None if first else token, token, keys, values, ctypes.byref(count), None)
            if result < 0 and result != -errno.ENOENT:
                if first and -result in (errno.EINVAL, errno.ENOSPC, 524):  # not for this kind of map, by this kernel
                    return self._one_by_one(take=take)
                raise failure(-result, f"BPF map {self.name}")
            first, seen = False, seen + count.value
            got_keys.append(keys.raw[: count.value * self.key_size])
            got_values.append(values.raw[: count.value * room])
            if result < 0:
                break
        return b"".join(got_keys), b"".join(got_values)

    def _one_by_one(self, *, take: bool) -> tuple[bytes, bytes]:
        keys: list[bytes] = []
        values: list[bytes] = []
        following = ctypes.create_string_buffer(self.key_size)
        key: bytes | None = None
        for _ in range(self.entries):
            if self._lib.bpf_map_get_next_key(self.fd, key, following) < 0:
                break
            key = following.raw
            value = self.lookup(key)
            if value is not None:
                keys.append(key)
                values.append(value)
        for taken in keys if take else ():
            self.delete(taken)
        return b"".join(keys), b"".join(values)


class Ring:
    """A ring buffer of events; made by `Object.ring`."""

    def __init__(self, source: Map) -> None:
        self._lib = library()
        self._events: list[bytes] = []
        self._limit = 0
        self._function = SAMPLE_FUNCTION(self._take)
        forget_log()
        made = self._lib.ring_buffer__new(source.fd, self._function, None, None)
        self._ring: int | None = check_pointer(made, f"BPF ring buffer {source.name}")

    def _take(self, _: int | None, data: int, size: int) -> int:
        self._events.append(ctypes.string_at(data, size))
        return -errno.ECANCELED if len(self._events) >= self._limit else 0

    @property
    def fd(self) -> int:
        """A descriptor that is readable (poll(2)) while there are events."""
        assert self._ring is not None
        return int(self._lib.ring_buffer__epoll_fd(self._ring))

    def consume(self, limit: int = 100_000) -> list[bytes]:
        """The events that are there now, the oldest first, at most `limit`; it does not wait."""
        assert self._ring is not None
        self._events, self._limit = [], limit
        result = self._lib.ring_buffer__consume(self._ring)
        if result < 0 and result != -errno.ECANCELED:
            raise failure(-result, "BPF ring buffer")
        return self._events

    def close(self) -> None:
        """Let go of it; may be called twice."""
        ring, self._ring = self._ring, None
        if ring is not None:
            self._lib.ring_buffer__free(ring)


def cpus() -> int:
    """Possible CPUs: how many values a key has in per-CPU maps."""
    return check(library().libbpf_num_possible_cpus(), "the number of CPUs")


def summed(values: NDArray[Any], largest: Collection[str] = ()) -> NDArray[Any]:
    """Per-CPU values added up over the CPUs, field by field; of the fields named `largest`, the largest one."""
    if values.dtype.names is None:
        total: NDArray[Any] = values.sum(axis=1, dtype=values.dtype)
        return total
    result = np.empty(len(values), values.dtype)
    for name in values.dtype.names:
        column = values[name]
        result[name] = column.max(axis=1) if name in largest else column.sum(axis=1, dtype=column.dtype)
    return result
