"""Sampled addresses as functions: Go's from its own tables, also of a stripped program; others' from ELF symbols.

A sampled stack was walked by the kernel along frame pointers. Where a function has not set up its own yet (a leaf
without a frame, the first instructions), the kernel misses its caller: that one is put back in (`caller`).
"""

from __future__ import annotations

import os
from bisect import bisect_right
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.errors import GotriageError
from gotriage.goruntime.elf import Elf, ElfError
from gotriage.goruntime.elfsymbols import ElfSymbols
from gotriage.goruntime.exports import ENDS
from gotriage.goruntime.memory import Unreadable
from gotriage.goruntime.naming import is_standard, package_of
from gotriage.goruntime.printing import TRAPS
from gotriage.goruntime.profileparts import NamedStacks, Place
from gotriage.host import clock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.goruntime.memory import Memory, Region
    from gotriage.goruntime.report import Frame
    from gotriage.goruntime.symbols import Functions

MOST_FILES: Final = 256
AGAIN: Final = 1.0
"""Seconds after which the mappings are read again for an address that none of them holds."""
MAX_DEPTH: Final = 512
UNNAMED: Final = "?"
VDSO: Final = "[vdso]"
IN_C: Final = Place("[C]", kind="c")
"""Stands for callers in C, of which a walk along frame pointers finds none."""
MOST_COPIED: Final = 1 << 20


class Places:
    """Names for the addresses of one process."""

    def __init__(self, memory: Memory, functions: Functions | None = None, module: str = "") -> None:
        """`functions`: of its Go program, None where there is none; `module`: path of that program's main module."""
        self._memory, self._functions, self._module = memory, functions, module
        self._regions: list[Region] = []
        self._starts: list[int] = []
        self._files: dict[tuple[str, int], tuple[int, ElfSymbols] | None] = {}
        self._others: dict[int, Place] = {}
        self._kinds: dict[str, str] = {}
        self._read_at = -AGAIN
        self._refresh()

    def close(self) -> None:
        """Let go of the files."""
        for opened in self._files.values():
            if opened is not None:
                os.close(opened[0])
        self._files.clear()

    # -- stacks

    def name(self, stacks: Sequence[tuple[int, Sequence[int], Sequence[int]]], *, sampled: bool = True) -> NamedStacks:
        """Name stacks: each is the likely caller of its first address (0 for none), its addresses, and those of the Go
        code further out, which stand in for what a walk through C has not found.

        `sampled`: the first address is where a thread was on a CPU; otherwise it is a return address, as the others.
        """
        table: dict[Place, int] = {}
        named: list[tuple[int, ...]] = []
        cut: list[int] = []
        for number, (caller, pcs, outer) in enumerate(stacks):
            places = list(self._stack(caller, pcs[:MAX_DEPTH], exact=sampled))
            if outer and not any(map(self._is_go, pcs)) and all(map(self._is_go, outer)):
                places = [*places[:1], IN_C, *self._stack(0, outer[:MAX_DEPTH], exact=False)]
            if None in places:
                cut.append(number)
            named.append(tuple(table.setdefault(place, len(table)) for place in places if place is not None))
        return NamedStacks(tuple(table), tuple(named), tuple(cut))

    def _stack(self, caller: int, pcs: Sequence[int], *, exact: bool) -> Iterator[Place | None]:
        """Its frames; None where an address is none of code: the walk went astray there."""
        callee = 0
        for pc in self._whole(caller, pcs):
            number = self._functions.find(pc) if self._functions is not None else -1
            if number < 0 or self._functions is None:
                yield self._other(pc if exact else pc - 1)
                exact, callee = False, 0
                continue
            exact = exact or pc == self._functions.entry(number)
            for frame in self._functions.frames(pc, exact, callee):
                if frame.function != ENDS:
                    yield self._go(frame)
            exact, callee = self._functions.name(number) in TRAPS, self._functions.func_id(number)

    def _is_go(self, pc: int) -> bool:
        return self._functions is not None and self._functions.find(pc) >= 0

    def _whole(self, caller: int, pcs: Sequence[int]) -> Sequence[int]:
        """The addresses with the caller that frame pointers miss, where it is Go code and not there already."""
        if not caller or not pcs or not self._is_go(caller):
            return pcs
        return pcs if caller in pcs[1:2] else (pcs[0], caller, *pcs[1:])

    def frame_sizes(self, pcs: Sequence[int]) -> list[int]:
        """Bytes from the stack pointer to the return address at each instruction; -1 outside of Go code."""
        if self._functions is None or not pcs:
            return [-1] * len(pcs)
        sizes: list[int] = self._functions.frame_sizes(np.array(pcs, np.uint64)).tolist()
        return sizes

    def site(self, pc: int) -> Place | None:
        """The function of a go statement, by its return address."""
        frame = self._functions.site(pc) if self._functions is not None and pc else None
        return self._go(frame) if frame is not None else None

    def start(self, pc: int) -> Place | None:
        """The function that begins there."""
        frame = self._functions.site(pc, exact=True) if self._functions is not None and pc else None
        return self._go(frame) if frame is not None else None

    def _go(self, frame: Frame) -> Place:
        name = "panic" if frame.function == "runtime.gopanic" else frame.function
        return Place(name, frame.file, frame.line, self.kind(name), frame.inlined, name != UNNAMED)

    def kind(self, function: str) -> str:
        """Whose code a Go function is."""
        found = self._kinds.get(function)
        if found is None:
            if len(self._kinds) > 100_000:
                self._kinds.clear()
            found = self._kinds[function] = kind_of(function, self._module)
        return found

    # -- code that is not Go's

    def _other(self, pc: int) -> Place | None:
        found = self._others.get(pc)
        if found is None and (found := self._look_up(pc)) is not None:
            if len(self._others) > 100_000:
                self._others.clear()
            self._others[pc] = found
        return found

    def _look_up(self, pc: int) -> Place | None:
        region = self._region(pc)
        if region is None:
            return None
        offset = pc - region.start + region.offset
        if not region.path.startswith("/") and region.path != VDSO:
            name = region.path or "[code without a file]"
            return Place(name, name, 0, "c", named=False)
        file = region.path.removesuffix(" (deleted)")
        symbols = self._symbols(region)
        name = symbols.at_offset(offset) if symbols is not None else ""
        short = file.rpartition("/")[2]
        return Place(name or f"[{short.strip('[]')}]", file, 0, "c", named=bool(name))

    def _region(self, pc: int) -> Region | None:
        """The mapping with code that holds an address; where none does, they are read again, at most so often."""
        for _ in range(2):
            at = bisect_right(self._starts, pc) - 1
            if at >= 0 and pc < self._regions[at].end:
                return self._regions[at]
            if clock.monotonic() - self._read_at < AGAIN:
                return None
            with suppress(GotriageError, OSError):
                self._refresh()
        return None

    def _refresh(self) -> None:
        self._read_at = clock.monotonic()
        self._regions = [region for region in self._memory.regions() if "x" in region.perms]
        self._starts = [region.start for region in self._regions]

    def _symbols(self, region: Region) -> ElfSymbols | None:
        key = (region.path, region.inode)
        if key not in self._files:
            if len(self._files) >= MOST_FILES:
                return None
            self._files[key] = self._open(region)
        opened = self._files[key]
        return opened[1] if opened is not None else None

    def _open(self, region: Region) -> tuple[int, ElfSymbols] | None:
        fd = -1
        try:
            fd = self._memory.file_of(region) if region.path != VDSO else self._copied(region)
            return fd, ElfSymbols(Elf(fd))
        except (OSError, ElfError, Unreadable):
            if fd >= 0:
                os.close(fd)
            return None

    def _copied(self, region: Region) -> int:
        """The kernel's own library in the process, as a file: it is one, but only in memory (vdso(7))."""
        data = self._memory.read(region.start, min(region.end - region.start, MOST_COPIED))
        fd = os.memfd_create("gotriage-vdso", os.MFD_CLOEXEC)
        os.write(fd, data)
        return fd


def kind_of(function: str, module: str) -> str:
    """Whose code a function of a Go program is."""
    package = package_of(function)
    if package in ("runtime", "panic", "gogo", "callRet") or package.startswith(
        ("runtime/internal", "internal/runtime")
    ):
        return "runtime"
    if package == "main" or (module and (package == module or package.startswith(f"{module}/"))):
        return "user"
    if function.startswith("_cgo") or package.startswith("_cgo"):
        return "c"
    if is_standard(function, module):
        return "std"
    return "library" if "." in function else "runtime"
