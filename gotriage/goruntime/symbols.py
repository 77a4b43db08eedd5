"""Functions of a Go program by address and by name, over all of its modules; frames as Go's stack traces have them.

What is shown and how it is named follows Go's src/runtime/traceback.go (traceback2, showfuncinfo, funcNameForPrint)
and symtabinl.go of 1.18 to 1.27; the file and version of each rule stand with it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime.memory import Unreadable
from gotriage.goruntime.pclntab import MAX_INLINED, Pclntab, Record
from gotriage.goruntime.refusals import DamagedTables
from gotriage.goruntime.report import Frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TOPFRAME, SPWRITE, ASM = 1, 2, 4
"""Function flags (internal/abi/symtab.go, FuncFlag)."""
MAX_MEMO: Final = 200_000
MAX_TEXT: Final = 16 * 1024 * 1024
"""Longest function whose code is read, bytes."""
MAX_NAMES: Final = 64 * 1024 * 1024
"""Bytes of a module's names that are searched; those of Kubernetes' largest program are 15 MB."""
MAX_RUNTIME_NAMES: Final = 100_000
"""The runtime has some 4,000 functions."""
MAX_SAME_NAME: Final = 16
MAX_PRINTED: Final = 4096
MAX_LETTERS: Final = 64 * 1024 * 1024
"""Of all frames that are kept."""
PANICS: Final = ("runtime.gopanic", "runtime.sigpanic", "runtime.panicwrap")
"""A wrapper that called one of these is shown (traceback.go, elideWrapperCalling)."""
ALWAYS: Final = frozenset({"runtime.runFinalizers", "runtime.runCleanups"})
"""Shown though they are not exported (traceback.go, showfuncinfo, from 1.25 on)."""
_RUNTIME = tuple(re.compile(rb"\0(%b[^\0]{1,1000})" % start) for start in (rb"runtime[./]", rb"internal/runtime/"))
"""Names of the runtime's functions. Each begins with fixed letters, so that the search is a quick one."""


class Functions:
    """The functions of all modules, numbered from 0: the program's first, by address in each."""

    def __init__(self, tables: Sequence[Pclntab], version: tuple[int, int] | None = None) -> None:
        """`version`: that of Go, as (1, 27): it decides how names are printed. Raises DamagedTables."""
        self.tables = tuple(tables)
        self._version = version
        counts = [table.count for table in self.tables]
        self._bases = [sum(counts[:at]) for at in range(len(counts))]
        self.count = sum(counts)
        ordered = sorted(zip(self._bases, self.tables, strict=True), key=lambda pair: int(pair[1].entries[0]))
        none = np.array([-1], dtype=np.int64)
        numbers = [(np.arange(base, base + table.count, dtype=np.int64), none) for base, table in ordered]
        self._numbers = np.concatenate([part for pair in numbers for part in pair])
        self._keys = np.concatenate([table.entries for _, table in ordered])
        if np.any(self._keys[1:] < self._keys[:-1]):
            raise DamagedTables("the code of two Go modules overlaps")
        self._frames: dict[tuple[int, bool, bool], tuple[Frame, ...]] = {}
        self._letters = 0
        self._known = np.zeros(0, dtype=np.uint64)
        self._sizes = np.zeros(0, dtype=np.int64)

    def _of(self, number: int) -> tuple[Pclntab, int]:
        if not 0 <= number < self.count:
            raise IndexError(number)
        at = bisect_right(self._bases, number) - 1
        return self.tables[at], number - self._bases[at]

    # By address

    def index(self, pcs: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The number of the function that holds each address, -1 for none."""
        at = np.searchsorted(self._keys, pcs.astype(np.uint64, copy=False), side="right") - 1
        found: NDArray[np.int64] = self._numbers[at]
        return np.where(at >= 0, found, np.int64(-1))

    def find(self, pc: int) -> int:
        """The number of the function that holds an address, -1 for none."""
        if not 0 <= pc < 1 << 64:
            return -1
        at = int(np.searchsorted(self._keys, np.uint64(pc), side="right")) - 1
        return int(self._numbers[at]) if at >= 0 else -1

    def is_entry(self, addresses: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether each address is the first instruction of a function."""
        addresses = addresses.astype(np.uint64, copy=False)
        at = np.searchsorted(self._keys, addresses, side="right") - 1
        result: NDArray[np.bool_] = (at >= 0) & (self._keys[at] == addresses) & (self._numbers[at] >= 0)
        return result

    def entry(self, number: int) -> int:
        """The address of its first instruction."""
        table, local = self._of(number)
        return table.entry(local)

    def end(self, number: int) -> int:
        """The address behind it."""
        table, local = self._of(number)
        return table.end(local)

    def record(self, number: int) -> Record:
        """Its record as the linker wrote it. Raises Unreadable."""
        table, local = self._of(number)
        return table.record(local)

    def func_id(self, number: int) -> int:
        """Its funcID (internal/abi/symtab.go); 0, a normal one, where it cannot be read."""
        try:
            return self.record(number).id
        except Unreadable:
            return 0

    def flags(self, number: int) -> int:
        """TOPFRAME, SPWRITE, ASM; 0 where they cannot be read."""
        try:
            return self.record(number).flags
        except Unreadable:
            return 0

    def name(self, number: int) -> str:
        """Its name as it stands in the table, type arguments included; "" where it cannot be read."""
        table, local = self._of(number)
        try:
            return table.name(table.record(local).name)
        except Unreadable:
            return ""

    def text(self, number: int) -> bytes:
        """Its code; fewer bytes, down to none, where it cannot be read."""
        table, local = self._of(number)
        start = table.entry(local)
        return table.binary.some(start, min(table.end(local) - start, MAX_TEXT))

    # By name

    def by_name(self, name: str) -> int | None:
        """The number of the function with that name; of several (an ABI wrapper has its function's) the real one."""
        raw = name.encode("utf-8", "surrogateescape")
        for base, table in zip(self._bases, self.tables, strict=True):
            offsets, order = self._by_name_offset[table.module.address]
            found: list[int] = []
            for offset in self._offsets_of(table, raw)[:MAX_SAME_NAME]:
                low, high = np.searchsorted(offsets, [offset, offset + 1])
                found += [base + int(number) for number in order[low:high][:MAX_SAME_NAME]]
            if found:
                return next((number for number in found if not self._generated(number)), found[0])
        return None

    def has_name(self, name: str) -> bool:
        """Whether it is the name of a function, also of one that exists only inlined into others."""
        raw = name.encode("utf-8", "surrogateescape")
        return any(self._offsets_of(table, raw) for table in self.tables)

    def _generated(self, number: int) -> bool:
        site = self.site(self.entry(number), exact=True)
        return site is None or site.file == "<autogenerated>"

    def _offsets_of(self, table: Pclntab, name: bytes) -> list[int]:
        """Where a name stands among a module's names: once for each symbol of that name, of which there may be two."""
        if not name or b"\0" in name:
            return []
        if any(pattern.fullmatch(b"\0" + name) for pattern in _RUNTIME):
            return self._runtime_names[table.module.address].get(name, [])
        names, wanted = _names(table), b"\0" + name + b"\0"
        result = [0] if names.startswith(wanted[1:]) else []
        at = names.find(wanted)
        while at >= 0 and len(result) < MAX_SAME_NAME:
            result.append(at + 1)
            at = names.find(wanted, at + 1)
        return result

    @cached_property
    def _runtime_names(self) -> dict[int, dict[bytes, list[int]]]:
        """Names of the runtime's functions to their offsets, by module: those are asked for by the hundred."""
        result: dict[int, dict[bytes, list[int]]] = {}
        for table in self.tables:
            names = result.setdefault(table.module.address, {})
            data = b"\0" + _names(table)
            found = chain.from_iterable(pattern.finditer(data) for pattern in _RUNTIME)
            for match in islice(found, MAX_RUNTIME_NAMES):
                names.setdefault(match[1], []).append(match.start())
        return result

    @cached_property
    def _by_name_offset(self) -> dict[int, tuple[NDArray[np.uint32], NDArray[np.int64]]]:
        """By module: the offsets of all functions' names in order, and the function of each."""
        result = {}
        for table in self.tables:
            offsets = table.name_offsets()
            order = np.argsort(offsets, kind="stable")
            result[table.module.address] = (offsets[order], order)
        return result

    @cached_property
    def wrapper(self) -> int:
        """The funcID of generated wrappers: the last of the list in every Go version (internal/abi/symtab.go)."""
        return max(int(table.ids().max()) for table in self.tables)

    @cached_property
    def _panics(self) -> frozenset[int]:
        found = [self.by_name(name) for name in PANICS]
        return frozenset(self.func_id(number) for number in found if number is not None) - {0}

    # For unwinding

    def frame_sizes(self, pcs: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Bytes between the stack pointer and the frame's top (pcsp) at each address, -1 for unknown.

        The address is taken as it is, also a return address (traceback.go, funcspdelta).
        """
        pcs = pcs.astype(np.uint64, copy=False)
        at = self._places(pcs)
        missing = at < 0
        if np.any(missing):
            if len(self._known) >= MAX_MEMO:
                self._known, self._sizes, missing = self._known[:0], self._sizes[:0], np.ones_like(missing)
            self._learn(np.unique(pcs[missing]))
            at = self._places(pcs)
        result: NDArray[np.int64] = self._sizes[at]
        return result

    def _places(self, pcs: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Where each address stands in the memo of frame sizes, -1 for nowhere."""
        if not len(self._known):
            return np.full(len(pcs), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._known, pcs), len(self._known) - 1)
        return np.where(self._known[at] == pcs, at, np.int64(-1))

    def _learn(self, pcs: NDArray[np.uint64]) -> None:
        """Add addresses, in order and all new, to the memo of frame sizes."""
        pairs = zip(pcs.tolist(), self.index(pcs).tolist(), strict=True)
        sizes = np.array([self._frame_size(pc, number) for pc, number in pairs], dtype=np.int64)
        known = np.concatenate([self._known, pcs])
        order = np.argsort(known, kind="stable")
        self._known, self._sizes = known[order], np.concatenate([self._sizes, sizes])[order]

    def _frame_size(self, pc: int, number: int) -> int:
        if number < 0:
            return -1
        table, local = self._of(number)
        try:
            return table.value(table.record(local).pcsp, local, pc)
        except Unreadable:
            return -1

    # For reading

    def frames(self, pc: int, exact: bool = False, callee: int = 0) -> tuple[Frame, ...]:
        """What runs at an address, the innermost first: inlined calls and the function itself; () outside of Go code.

        Wrappers are left out. Functions of the runtime that Go's printer hides are not: see `shown`.

        Args:
            pc: a return address, or the address of an instruction.
            exact: it is an instruction's address (of a trap, a register), not a return address.
            callee: funcID of the function that was called from there; a wrapper that called a panic is shown.
        """
        key = (pc, exact, bool(callee) and callee in self._panics)
        frames = self._frames.get(key)
        if frames is None:
            if len(self._frames) >= MAX_MEMO or self._letters > MAX_LETTERS:
                self._frames.clear()
                self._letters = 0
            frames = self._frames[key] = self._make_frames(pc, exact, callee)
            self._letters += sum(len(frame.function) + len(frame.file) for frame in frames)
        return frames

    def _make_frames(self, pc: int, exact: bool, callee: int) -> tuple[Frame, ...]:
        number = self.find(pc)
        if number < 0:
            return ()
        table, local = self._of(number)
        try:
            record = table.record(local)
        except Unreadable:
            return (Frame("?", "?"),)
        entry, end = table.entry(local), table.end(local)
        look = pc if exact or pc <= entry else pc - 1  # into the call instruction (traceback.go, symPC)
        frames: list[Frame] = []
        tree = table.inline_tree(record)
        for _ in range(MAX_INLINED if tree else 0):
            call = table.inlined(tree, table.inline_index(record, local, look))
            if call is None:
                break
            if not self._hidden(call.id, callee):
                frames.append(Frame(self._printed(table, call.name), *table.place(record, local, look), inlined=True))
            callee = call.id
            look = entry + call.call
            if not entry <= look < end:
                look = entry
                break
        if not self._hidden(record.id, callee):
            frames.append(Frame(self._printed(table, record.name), *table.place(record, local, look)))
        return tuple(frames)

    def _hidden(self, func_id: int, callee: int) -> bool:
        return func_id == self.wrapper and callee not in self._panics

    def _printed(self, table: Pclntab, offset: int) -> str:
        return printed(table.name(offset), self._version)[:MAX_PRINTED] or "?"

    def site(self, pc: int, exact: bool = False) -> Frame | None:
        """The function at an address, never one inlined into it, with file and line: how Go prints "created by".

        As in traceback.go, printcreatedby1: name of the outer function, place of the innermost call.
        """
        number = self.find(pc)
        if number < 0:
            return None
        table, local = self._of(number)
        try:
            record = table.record(local)
        except Unreadable:
            return Frame("?", "?")
        if not exact and pc > table.entry(local):
            pc -= 1
        return Frame(self._printed(table, record.name), *table.place(record, local, pc))


def _names(table: Pclntab) -> bytes:
    return table.binary.some(table.module.names.address, min(table.module.names.length, MAX_NAMES))


def printed(name: str, version: tuple[int, int] | None = None) -> str:
    """A function's name as Go prints it: type arguments become "[...]" (traceback.go, funcNamePiecesForPrint).

    Up to 1.20 the table has that form already. To 1.26 all from the first bracket to the last one goes; 1.27 keeps what
    stands between those of a generic type and of its generic method.
    """
    first, last = name.find("["), name.rfind("]")
    if first < 0 or last <= first:
        return name
    inside = name[first + 1 : last]
    if "[" in inside and (version is None or version >= (1, 27)):
        return _two_brackets(name, first, last, inside)
    return f"{name[:first]}[...]{name[last + 1 :]}"


def _two_brackets(name: str, first: int, last: int, inside: str) -> str:
    depth, closed, opened = 1, -1, -1
    for at, letter in enumerate(inside):
        if letter == "[":
            depth += 1
            if depth == 1:
                opened = at
                break
        elif letter == "]":
            depth -= 1
            if depth < 0:
                break
            if depth == 0:
                closed = at
    if depth == 1 and closed >= 0 and opened > closed:
        return f"{name[:first]}[...]{inside[closed + 1 : opened]}[...]{name[last + 1 :]}"
    if depth == 1 and closed == opened == -1:
        return f"{name[:first]}[...]{name[last + 1 :]}"
    return name


def shown(name: str, first: bool = False, version: tuple[int, int] | None = None) -> bool:
    """Whether Go's own trace shows a function that is no wrapper (traceback.go, showfuncinfo, isExportedRuntime).

    first: nothing was shown before it: a panic at the top is left out.
    """
    if name == "runtime.gopanic":
        return not first
    if not name.startswith("runtime."):
        return "." in name
    if name in ALWAYS:
        return version is None or version >= (1, 25)
    rest = name.removeprefix("runtime.")
    receiver, _, method = rest.rpartition(".")
    if version is not None and version < (1, 23):  # before methods were told from functions
        receiver, method = "", rest
    if receiver.startswith("(*") and receiver.endswith(")"):
        receiver = receiver[2:-1]
    return "A" <= method[:1] <= "Z" and (not receiver or "A" <= receiver[:1] <= "Z")
