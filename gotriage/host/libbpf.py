"""Prebuilt BPF programs, loaded by the system's libbpf: an object file's programs, maps, ring buffers, attachments.

    with Object(probes.object_bytes("syscalls"), "syscalls", constants={"timed": 1}) as loaded:
        link = loaded.attach("enter")
        keys, values = loaded.map("calls").items(KEY, VALUE)

Everything is a file descriptor of this process: nothing is pinned, so the kernel undoes it all when the process ends,
however that ends. Errors: MissingFacility (no libbpf, no BTF), NotPermitted, OSError with the verifier's last words.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from gotriage.errors import MissingFacility
from gotriage.host.bpfmaps import Map, Ring, cpus, summed
from gotriage.host.libbpf_api import (
    OpenOptions,
    PerfEventOptions,
    UprobeOptions,
    check,
    check_pointer,
    forget_log,
    library,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["Link", "Map", "Object", "Ring", "cpus", "summed"]

DATASEC: Final = 15
"""BTF_KIND_DATASEC (include/uapi/linux/btf.h)."""
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

    def detach(self) -> None:
        """Take all its programs off, the last attached first; they stay loaded."""
        while self._links:
            self._links.pop().close()

    def close(self) -> None:
        """Detach and free everything; may be called twice."""
        self.detach()
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
        places = self._variables(".rodata")
        size = ctypes.c_size_t()
        start = self._lib.bpf_map__initial_value(self._map(".rodata"), ctypes.byref(size))
        check_pointer(start, "constants of the BPF object")
        for name, value in constants.items():
            offset, length = places[name]
            data = _sized(name, value, length)
            if offset + length > size.value:
                raise ValueError(f"{name} lies beyond the constants")
            ctypes.memmove(start + offset, data, len(data))

    def _variables(self, section: str) -> dict[str, tuple[int, int]]:
        """Name to offset and size in a section (btf_type of kind DATASEC, followed by its btf_var_secinfo)."""
        btf = check_pointer(self._lib.bpf_object__btf(self._object), "type information of the BPF object")
        number = self._lib.btf__find_by_name_kind(btf, section.encode(), DATASEC)
        if number < 0:
            return {}
        at = check_pointer(self._lib.btf__type_by_id(btf, number), "variables of the BPF object")
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

    def set(self, name: str, value: int | bytes) -> None:
        """Set a variable of the loaded programs, in .bss or .data; only who alone writes that section may."""
        for section in (".bss", ".data"):
            place = self._variables(section).get(name)
            if place is not None:
                offset, length = place
                whole = self.map(section)
                data, zero = _sized(name, value, length), bytes(4)
                old = whole.lookup(zero) or b""
                whole.update(zero, old[:offset] + data.ljust(length, b"\0") + old[offset + length :])
                return
        raise KeyError(f"BPF object {self.name} has no variable {name}")

    def iterate(self, program: str) -> bytes:
        """What an iterator program ("iter/...") writes, run once now."""
        forget_log()
        what = f"running {program}"
        link = Link(check_pointer(self._lib.bpf_program__attach_iter(self._program(program), None), what))
        try:
            reader = link.iterator(what)
        finally:
            link.close()
        try:
            parts = []
            while data := os.read(reader, 1 << 20):
                parts.append(data)
            return b"".join(parts)
        finally:
            os.close(reader)

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

    def iterator(self, what: str) -> int:
        """A new descriptor to read from, of the link of an iterator program."""
        result = library().bpf_iter_create(library().bpf_link__fd(self._pointer))
        return check(result if result >= 0 else -(ctypes.get_errno() or -result), what)

    def close(self) -> None:
        """Detach; may be called twice."""
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            library().bpf_link__destroy(pointer)


def _sized(name: str, value: int | bytes, length: int) -> bytes:
    data = value if isinstance(value, bytes) else (value & (1 << 8 * length) - 1).to_bytes(length, "little")
    if len(data) > length:
        raise ValueError(f"{name} has {length} bytes, {len(data)} were given")
    return data
