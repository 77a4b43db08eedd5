"""The kernel's own type information: where a member lies in a structure of the running kernel.

Format: Documentation/bpf/btf.rst, include/uapi/linux/btf.h. Only what is asked for is decoded; one pass over the types
finds where each begins.
"""

from __future__ import annotations

import struct
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gotriage.errors import MissingFacility

if TYPE_CHECKING:
    from collections.abc import Iterable

MAGIC: Final = 0xEB9F
MAX_SIZE: Final = 64 * 1024 * 1024
STRUCT, UNION, TYPEDEF, FUNC = 4, 5, 8, 12
_FIXED: Final = {1: 4, 3: 12, 14: 4, 17: 4}
_EACH: Final = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
"""Bytes after the 12 of every type, by kind: fixed, and for each of its `vlen` parts."""
_SKIPPED: Final = frozenset((TYPEDEF, 9, 10, 11, 18))
"""Kinds that only point to another type: typedef, volatile, const, restrict, type tag."""


class Btf:
    """Types by name and their members. Raises MissingFacility when the data is no type information."""

    def __init__(self, data: bytes, names: Iterable[str]) -> None:
        """`names`: the structures and functions that will be asked for."""
        self._data = data
        try:
            magic, _, _, header, types, length, strings, size = struct.unpack_from("=HBBIIIII", data)
            if magic != MAGIC:
                raise ValueError("wrong magic number")
            self._types = header + types
            self._strings = data[header + strings : header + strings + size]
            self._ids: dict[tuple[str, int], int] = {}
            self._at = array("I", [0])
            self._index(self._types + length, {self._string(name): name for name in names})
        except (struct.error, ValueError, IndexError) as error:
            raise MissingFacility(f"the kernel's type information cannot be read: {error}") from error

    def _string(self, name: str) -> int:
        """Where a name stands among the strings; ValueError when no type can have it."""
        return self._strings.index(b"\0" + name.encode() + b"\0") + 1

    def _index(self, end: int, wanted: dict[int, str]) -> None:
        at, unpack, data, number = self._types, struct.Struct("=II").unpack_from, self._data, 0
        while at < end:
            self._at.append(at)
            number += 1
            name, info = unpack(data, at)
            kind = info >> 24 & 0x1F
            if name in wanted and kind in (STRUCT, FUNC):
                self._ids.setdefault((wanted[name], kind), number)
            at += 12 + _FIXED.get(kind, 0) + _EACH.get(kind, 0) * (info & 0xFFFF)

    def function(self, name: str) -> int:
        """The type id of a function. Raises MissingFacility."""
        return self._id(name, FUNC)

    def offset(self, structure: str, *members: str) -> int:
        """Where a member lies, bytes from the start; several names lead into structures that are members.

        Raises MissingFacility when this kernel has no such member.
        """
        number, total = self._id(structure, STRUCT), 0
        for member in members:
            found = self._member(number, self._name_offset(member), 0)
            if found is None:
                raise MissingFacility(f"this kernel's struct {structure} has no {member}")
            total, number = total + found[0], found[1]
        return total

    def _id(self, name: str, kind: int) -> int:
        try:
            return self._ids[name, kind]
        except KeyError:
            raise MissingFacility(f"the kernel's type information has no {name}") from None

    def _name_offset(self, name: str) -> int:
        try:
            return self._string(name)
        except ValueError:
            raise MissingFacility(f"the kernel's type information has no {name}") from None

    def _member(self, number: int, name: int, depth: int) -> tuple[int, int] | None:
        """Offset and type of a member, looked for in unnamed structures and unions, too."""
        at = self._at[self._resolved(number)]
        _, info, _ = struct.unpack_from("=III", self._data, at)
        if info >> 24 & 0x1F not in (STRUCT, UNION) or depth > 8:
            return None
        for place in range(info & 0xFFFF):
            own, kind, bits = struct.unpack_from("=III", self._data, at + 12 + 12 * place)
            offset = (bits & 0xFFFFFF if info >> 31 else bits) // 8
            if own == name:
                return offset, kind
            if own == 0 and (inner := self._member(kind, name, depth + 1)):
                return offset + inner[0], inner[1]
        return None

    def _resolved(self, number: int) -> int:
        """Past typedefs and qualifiers."""
        for _ in range(16):
            _, info, target = struct.unpack_from("=III", self._data, self._at[number])
            if info >> 24 & 0x1F not in _SKIPPED:
                break
            number = target
        return number


def of_kernel(sys: Path, names: Iterable[str]) -> Btf:
    """The running kernel's types. Raises MissingFacility where it has none (CONFIG_DEBUG_INFO_BTF)."""
    try:
        with Path(sys, "kernel/btf/vmlinux").open("rb") as file:
            return Btf(file.read(MAX_SIZE), names)
    except OSError as error:
        raise MissingFacility(f"the kernel offers no type information: {error.strerror}") from error


def has_tracepoint(sys: Path, name: str) -> bool:
    """Whether programs can be attached to that raw tracepoint with typed arguments (its btf_trace_ type is there)."""
    try:
        with Path(sys, "kernel/btf/vmlinux").open("rb") as file:
            return b"\0btf_trace_" + name.encode() + b"\0" in file.read(MAX_SIZE)
    except OSError:
        return False
