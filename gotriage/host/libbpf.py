"""Prebuilt BPF programs, loaded by the system's libbpf: an object file's programs, maps, ring buffers, attachments.

    with Object(probes.object_bytes("syscalls"), "syscalls", constants={"timed": 1}) as loaded:
        link = loaded.attach("enter")
        keys, values = loaded.map("calls").items(KEY, VALUE)

Everything is a file descriptor of this process: nothing is pinned, so the kernel undoes it all when the process ends,
however that ends. Errors: MissingFacility (no libbpf, no BTF), NotPermitted, OSError with the verifier's last words.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from gotriage.errors import MissingFacility
from gotriage.host.libbpf_api import (
    SAMPLE_FUNCTION,
    OpenOptions,
    PerfEventOptions,
    UprobeOptions,
    check,
    check_pointer,
    failure,
    forget_log,
    library,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import DTypeLike, NDArray

PER_CPU: Final = frozenset({5, 6, 10, 21})
"""BPF_MAP_TYPE_PERCPU_HASH, _PERCPU_ARRAY, _LRU_PERCPU_HASH, _PERCPU_CGROUP_STORAGE (include/uapi/linux/bpf.h)."""
DATASEC: Final = 15
"""BTF_KIND_DATASEC (include/uapi/linux/btf.h)."""
CHUNK: Final = 512
"""Entries of a map read by one system call."""
KERNEL_BTF: Final = Path("/sys/kernel/btf/vmlinux")
UPROBES: Final = Path("/sys/bus/event_source/devices/uprobe/type")


class Object:
    """One object file with its programs, in the kernel until `close`.

    Args:
        data: the file.
        name: what its maps are called by other tools.
        constants: initial values of its `const volatile` variables, whole numbers or the bytes as they lie.
        programs: the functions to load; None is all of them.
        sizes: entries of maps, where not as in the source.
        kernel_functions: for fentry and tp_btf programs: the kernel function or tracepoint, where not as in the source.
        attach_types: bpf_attach_type of programs, where not as their section says (UPROBE_MULTI).
    """

    def __init__(
        self,
        data: bytes,
        name: str,
        *,
        constants: Mapping[str, int | bytes] | None = None,
        programs: Collection[str] | None = None,
        sizes: Mapping[str, int] | None = None,
        kernel_functions: Mapping[str, str] | None = None,
        attach_types: Mapping[str, int] | None = None,
    ) -> None:
        self.name = name
        self._lib = library()
        if not KERNEL_BTF.exists():
            raise MissingFacility("the running kernel has no type information (CONFIG_DEBUG_INFO_BTF)")
        self._links: list[Link] = []
        self._rings: list[Ring] = []
        self._maps: dict[str, Map] = {}
        forget_log()
        options = OpenOptions(ctypes.sizeof(OpenOptions), name.encode())
        opened = self._lib.bpf_object__open_mem(data, len(data), ctypes.byref(options))
        self._object: int | None = check_pointer(opened, f"BPF object {name}")
        try:
            self._programs = self._listed()
            self._prepare(constants or {}, programs, sizes or {}, kernel_functions or {})
            for program, kind in (attach_types or {}).items():
                done = self._lib.bpf_program__set_expected_attach_type(self._program(program), kind)
                check(done, f"BPF program {program}")
            check(self._lib.bpf_object__load(self._object), f"loading BPF object {name}")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Detach and free everything; may be called twice."""
        while self._links:
            self._links.pop().close()
        while self._rings:
            self._rings.pop().close()
        if self._object is not None:
            self._lib.bpf_object__close(self._object)
            self._object = None

    # -- before it is loaded

    def _listed(self) -> dict[str, int]:
        found: dict[str, int] = {}
        at: int | None = None
        while at := self._lib.bpf_object__next_program(self._object, at):
            found[self._lib.bpf_program__name(at).decode()] = at
        return found

    def _prepare(
        self,
        constants: Mapping[str, int | bytes],
        programs: Collection[str] | None,
        sizes: Mapping[str, int],
        kernel_functions: Mapping[str, str],
    ) -> None:
        for name in programs if programs is not None else ():
            self._program(name)
        for name, program in self._programs.items():
            if programs is not None:
                wanted = name in programs
                check(self._lib.bpf_program__set_autoload(program, wanted), f"BPF program {name}")
        for name, function in kernel_functions.items():
            done = self._lib.bpf_program__set_attach_target(self._program(name), 0, function.encode())
            check(done, f"BPF program {name} at {function}")
        for name, entries in sizes.items():
            check(self._lib.bpf_map__set_max_entries(self._map(name), entries), f"BPF map {name}")
        if constants:
            self._set(constants)

    def _set(self, constants: Mapping[str, int | bytes]) -> None:
        """Write the constants over their initial values, where the object's own type information says they lie."""
        places = self._constants()
        size = ctypes.c_size_t()
        start = self._lib.bpf_map__initial_value(self._map(".rodata"), ctypes.byref(size))
        check_pointer(start, "constants of the BPF object")
        for name, value in constants.items():
            offset, length = places[name]
            data = value if isinstance(value, bytes) else (value & (1 << 8 * length) - 1).to_bytes(length, "little")
            if len(data) > length or offset + length > size.value:
                raise ValueError(f"{name} has {length} bytes, {len(data)} were given")
            ctypes.memmove(start + offset, data, len(data))

    def _constants(self) -> dict[str, tuple[int, int]]:
        """Name to offset and size in .rodata (btf_type of kind DATASEC, followed by its btf_var_secinfo)."""
        btf = check_pointer(self._lib.bpf_object__btf(self._object), "type information of the BPF object")
        section = check(self._lib.btf__find_by_name_kind(btf, b".rodata", DATASEC), "constants of the BPF object")
        at = check_pointer(self._lib.btf__type_by_id(btf, section), "constants of the BPF object")
        count = struct.unpack("=III", ctypes.string_at(at, 12))[1] & 0xFFFF
        found: dict[str, tuple[int, int]] = {}
        for kind, offset, size in struct.iter_unpack("=III", ctypes.string_at(at + 12, 12 * count)):
            variable = check_pointer(self._lib.btf__type_by_id(btf, kind), "a constant of the BPF object")
            (name,) = struct.unpack("=I", ctypes.string_at(variable, 4))
            found[self._lib.btf__name_by_offset(btf, name).decode()] = (offset, size)
        return found

    # -- what is in it

    def _program(self, name: str) -> int:
        if name not in self._programs:
            raise KeyError(f"BPF object {self.name} has no program {name}")
        return self._programs[name]

    def _map(self, name: str) -> int:
        found = self._lib.bpf_object__find_map_by_name(self._object, name.encode())
        if not found:
            raise KeyError(f"BPF object {self.name} has no map {name}")
        return int(found)

    @property
    def programs(self) -> Sequence[str]:
        """The names of its programs."""
        return tuple(self._programs)

    def program_fd(self, name: str) -> int:
        """The descriptor of a loaded program; it stays the object's."""
        return check(self._lib.bpf_program__fd(self._program(name)), f"BPF program {name}")

    def map(self, name: str) -> Map:
        """The map of that name; it lives as long as the object."""
        if name not in self._maps:
            self._maps[name] = Map(name, self._map(name))
        return self._maps[name]

    def ring(self, name: str) -> Ring:
        """The ring buffer of that name; it lives as long as the object."""
        ring = Ring(self.map(name))
        self._rings.append(ring)
        return ring

    # -- attachments: each undone by `Link.close`, and by `close` of the object

    def attach(self, program: str) -> Link:
        """Attach it where its section in the source says."""
        forget_log()
        return self._linked(self._lib.bpf_program__attach(self._program(program)), program)

    def attach_raw_tracepoint(self, program: str, name: str) -> Link:
        """Attach it to a raw tracepoint, such as "sys_enter"."""
        forget_log()
        link = self._lib.bpf_program__attach_raw_tracepoint(self._program(program), name.encode())
        return self._linked(link, f"{program} at raw tracepoint {name}")

    def attach_tracepoint(self, program: str, category: str, name: str) -> Link:
        """Attach it to a classic tracepoint, as tracefs lists them under events/."""
        forget_log()
        link = self._lib.bpf_program__attach_tracepoint(self._program(program), category.encode(), name.encode())
        return self._linked(link, f"{program} at tracepoint {category}:{name}")

    def attach_uprobe(self, program: str, pid: int, path: str, offset: int, *, cookie: int = 0) -> Link:
        """Attach it to an instruction of one process's file: `offset` is the place in the file, in bytes.

        Whoever calls has checked that an instruction begins there. Only entries: a return probe rewrites the return
        address on the stack, which Go's own unwinder and stack growth take for damage.
        """
        if not UPROBES.exists():  # else libbpf would write to tracefs' uprobe_events, which outlive us
            raise MissingFacility("the kernel has no perf events for user probes (CONFIG_UPROBE_EVENTS, Linux 4.17)")
        forget_log()
        options = UprobeOptions(ctypes.sizeof(UprobeOptions), 0, cookie)
        link = self._lib.bpf_program__attach_uprobe_opts(
            self._program(program), pid, path.encode("utf-8", "surrogateescape"), offset, ctypes.byref(options)
        )
        return self._linked(link, f"{program} at {path} offset {offset:#x}")

    def attach_perf_event(self, program: str, fd: int, *, cookie: int = 0) -> Link:
        """Attach it to an open perf event, which then belongs to the link: closing the link closes it too."""
        forget_log()
        options = PerfEventOptions(ctypes.sizeof(PerfEventOptions), cookie)
        link = self._lib.bpf_program__attach_perf_event_opts(self._program(program), fd, ctypes.byref(options))
        return self._linked(link, f"{program} at a perf event")

    def _linked(self, pointer: int | None, what: str) -> Link:
        self._links = [link for link in self._links if not link.closed]
        link = Link(check_pointer(pointer, f"attaching {what}"))
        self._links.append(link)
        return link


class Link:
    """One program at one place, until `close`."""

    def __init__(self, pointer: int) -> None:
        self._pointer: int | None = pointer

    @property
    def closed(self) -> bool:
        """Whether it is detached."""
        return self._pointer is None

    def close(self) -> None:
        """Detach; may be called twice."""
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            library().bpf_link__destroy(pointer)


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
        per_cpu = self._lib.bpf_map__type(pointer) in PER_CPU
        self.cpus: int = cpus() if per_cpu else 1
        self.value_size: int = (self.declared_size + 7) // 8 * 8 if per_cpu else self.declared_size

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
        if self.cpus > 1 and len(value) == self.declared_size:
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

    def items(self, key: DTypeLike, value: DTypeLike) -> tuple[NDArray[Any], NDArray[Any]]:
        """All entries as arrays of these types; per-CPU maps give one row of values a key (see `summed`)."""
        keys, values = self._read()
        kind = np.dtype(value)
        if kind.itemsize > self.value_size or np.dtype(key).itemsize != self.key_size:
            raise ValueError(f"BPF map {self.name} has keys of {self.key_size} and values of {self.value_size} bytes")
        count = len(keys) // self.key_size
        cells = np.frombuffer(values, np.uint8).reshape(count, self.cpus, self.value_size)
        typed = np.ascontiguousarray(cells[:, :, : kind.itemsize]).view(kind).reshape(count, self.cpus)
        return np.frombuffer(keys, key), typed if self.cpus > 1 else typed.reshape(count)

    def _read(self) -> tuple[bytes, bytes]:
        """All keys, all values; at most as many as the map can hold, also while it is written to."""
        room = self.value_size * self.cpus
        keys, values = ctypes.create_string_buffer(CHUNK * self.key_size), ctypes.create_string_buffer(CHUNK * room)
        token = ctypes.create_string_buffer(max(8, self.key_size))
        got_keys: list[bytes] = []
        got_values: list[bytes] = []
        first, seen = True, 0
        while seen < self.entries:
            count = ctypes.c_uint32(CHUNK)
            result = self._lib.bpf_map_lookup_batch(
                self.fd, None if first else token, token, keys, values, ctypes.byref(count), None
            )
            if result < 0 and result != -errno.ENOENT:
                if first and -result in (errno.EINVAL, errno.ENOSPC, 524):  # not for this kind of map, by this kernel
                    return self._one_by_one()
                raise failure(-result, f"BPF map {self.name}")
            first, seen = False, seen + count.value
            got_keys.append(keys.raw[: count.value * self.key_size])
            got_values.append(values.raw[: count.value * room])
            if result < 0:
                break
        return b"".join(got_keys), b"".join(got_values)

    def _one_by_one(self) -> tuple[bytes, bytes]:
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
