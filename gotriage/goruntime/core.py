"""The memory of a core file (core(5)): of the kernel (GOTRACEBACK=crash), of gcore, of coredumpctl.

What a core file leaves out because the program's file has it (code, constants) is read from that file, if it is the
very same one: as much of it as is in the core, its header and build id, has to be equal.
"""

from __future__ import annotations

import os
import stat
from bisect import bisect_right
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime import corefile, evidence
from gotriage.goruntime.binaries import MappedElf
from gotriage.goruntime.corefacts import CoreFacts
from gotriage.goruntime.corefile import AT_ENTRY, AT_PHDR, BadCore, Mapped
from gotriage.goruntime.elf import PF_R, PF_W, PF_X, PT_LOAD, Elf, ElfError
from gotriage.goruntime.memory import Region, Unreadable
from gotriage.host import regular, scatter, unpack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gotriage.goruntime.report import Identity

    U64 = NDArray[np.uint64]
    I64 = NDArray[np.int64]

PAGE: Final = 4096
"""What is compared of a file."""
GAP: Final = 4096
"""Pieces of the file with at most so many bytes between them are read as one."""
MAX_OPEN: Final = 64
"""Mapped files that are opened at most."""


class CoreMemory:
    """The memory in a core file (memory.Memory).

    Attributes:
        pid: of the process that it was, 0 when not told; live: False; arch: as GOARCH has it.
        threads: (tid, sp, pc, bp, registers) of each thread; the one that got the signal first.
        command: its arguments, the first 80 bytes; signal: that it died of, 0 for none.
        made: when the file was last written, seconds since 1970.
        program: path of the main program as it was mapped, "" when not told.
        problems: what is wrong with the core file, in words.
    """

    def __init__(self, core: str | int, exe: str | int | None = None, *, trust: bool = False, name: str = "") -> None:
        """`exe`: the program's file, else the path that the core names; `trust`: take it even if it does not fit;
        `name`: what the core file is called in errors.

        Raises BadCore, OSError.
        """
        self.live = False
        self._name = name or (core if isinstance(core, str) else f"descriptor {core}")
        self._trust = trust
        self._files: dict[str, int | None] = {}
        self._refusals: dict[str, str] = {}
        self._fd = _opened_core(core)
        try:
            self.made = os.fstat(self._fd).st_mtime
            facts = self._facts = corefile.parse(self._fd)
            self.arch, self.pid, self.threads = facts.arch, facts.pid or 0, facts.threads
            self.command, self.signal, self.problems = facts.command, facts.signal, facts.problems
            self._index()
            self.program = self._find_program()
            if exe is not None:
                self._take_program(exe)
        except BadCore as error:
            self.close()
            raise BadCore(f"{self._name}: {error}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the files."""
        for fd in (self._fd, *self._files.values()):
            if fd is not None and fd >= 0:
                os.close(fd)
        self._fd = -1
        self._files.clear()

    def facts(self, identity: Identity) -> CoreFacts:
        """What it says of itself, with the Go program that was found in it."""
        about = (self.pid, self.command, self.program, self.signal, self.made, len(self.threads))
        return CoreFacts(identity, *about, tuple(self.problems))

    def lacks(self) -> str:
        """What is not there of the file or its program, in words; "" for nothing."""
        if self.problems:
            return self.problems[0]
        return "" if self._file(self.program) is not None else self._why_not(self.program)

    # -- what lies where

    def _index(self) -> None:
        """The bytes that are in the file: [start, end) of each piece, and what to add for the file's offset."""
        segments = self._facts.segments
        segments = segments[segments["filesz"] > 0]
        start, end = segments["vaddr"].copy(), segments["vaddr"] + segments["filesz"]
        offset = segments["offset"].copy()
        if len(start) > 1:  # where two overlap, the first one counts
            before = np.maximum.accumulate(end)[:-1]
            cut = np.minimum(np.where(before > start[1:], before - start[1:], 0), end[1:] - start[1:])
            start[1:] += cut
            offset[1:] += cut
        kept = start < end
        self._start, self._end, self._offset = start[kept], end[kept], offset[kept]
        self._starts = self._start.tolist()
        self._file_starts = [one.start for one in self._facts.files]

    def _mapped(self, address: int) -> Mapped | None:
        at = bisect_right(self._file_starts, address) - 1
        one = self._facts.files[at] if at >= 0 else None
        return one if one is not None and address < one.end else None

    def _find_program(self) -> str:
        """The mapping that holds the program's entry (AT_ENTRY), else its headers (AT_PHDR), else the first one."""
        for kind in (AT_ENTRY, AT_PHDR):
            one = self._mapped(self._facts.auxv.get(kind, 0))
            if one is not None:
                return one.path
        return self._facts.files[0].path if self._facts.files else ""

    def regions(self) -> tuple[Region, ...]:
        """The segments and mapped files; permissions of what has no segment are those of the file's own header."""
        found: list[Region] = []
        covered = 0
        marks = sorted({one.start for one in self._facts.files} | {one.end for one in self._facts.files})
        for segment in self._facts.segments:
            start, end = int(segment["vaddr"]), int(segment["vaddr"]) + int(segment["memsz"])
            perms = _perms(int(segment["flags"]))
            start = max(start, covered)
            while start < end:  # a segment may hold neighbouring mappings
                at = bisect_right(marks, start)
                until = min(end, marks[at]) if at < len(marks) else end
                found.append(self._region(start, until, perms))
                start = until
            covered = max(covered, end)
        found += self._without_segment(found)
        return tuple(sorted(found))

    def _region(self, start: int, end: int, perms: str) -> Region:
        one = self._mapped(start)
        return (
            Region(start, end, perms, one.path, one.offset + start - one.start)
            if one
            else Region(start, end, perms, "", 0)
        )

    def _without_segment(self, known: list[Region]) -> list[Region]:
        """Mapped files, or parts of them, that no segment covers: gcore leaves them out."""
        found = []
        starts = [region.start for region in known]
        for one in self._facts.files:
            start = one.start
            while start < one.end:
                at = bisect_right(starts, start) - 1
                if at >= 0 and known[at].end > start:
                    start = known[at].end
                    continue
                until = min(one.end, starts[at + 1]) if at + 1 < len(starts) else one.end
                perms = self._perms_in_file(one, start)
                found.append(Region(start, until, perms, one.path, one.offset + start - one.start))
                start = until
        return found

    def _perms_in_file(self, one: Mapped, start: int) -> str:
        fd = self._file(one.path)
        offset = one.offset + start - one.start
        if fd is not None:
            with suppress(ElfError, OSError):
                for segment in Elf(fd).segments:
                    low = segment.offset & ~(PAGE - 1)
                    if segment.type == PT_LOAD and low <= offset < segment.offset + segment.filesz:
                        return _perms(segment.flags & ~PF_W)
        return "r--p"

    # -- the files that belong to it

    def _take_program(self, exe: str | int) -> None:
        fd = os.dup(exe) if isinstance(exe, int) else _opened(exe)
        self._files[self.program] = fd
        problem = self._difference(fd, self.program)
        if problem and not self._trust:
            path = os.readlink(f"/proc/self/fd/{exe}") if isinstance(exe, int) else exe
            raise BadCore(f"{path} is not the program of this core: {problem}")

    def _file(self, path: str) -> int | None:
        """A mapped file, if it is there and the same as it was."""
        if path not in self._files and path.startswith("/") and len(self._files) < MAX_OPEN:
            self._files[path] = None
            try:
                fd = regular.opened(path)
            except OSError as error:
                self._refusals[path] = f"{path}: {error.strerror}"
                return None
            problem = self._difference(fd, path)
            if problem and not self._trust:
                self._refusals[path] = f"{path} is another file by now: {problem}"
                os.close(fd)
            else:
                self._files[path] = fd
        return self._files.get(path)

    def _difference(self, fd: int, path: str) -> str:
        """How a file differs from what the core holds of it, "" when it does not: of its first page, the ELF header.

        That is what cannot have been written since, and what the kernel and gcore write although the file has it.
        """
        first = next((one for one in self._facts.files if one.path == path and one.offset == 0), None)
        at = bisect_right(self._starts, first.start) - 1 if first else -1
        if first is None or at < 0 or int(self._end[at]) <= first.start:
            return "its first page is not in the core file, so that they cannot be compared"
        size = min(int(self._end[at]), first.end, first.start + PAGE) - first.start
        ours = os.pread(self._fd, size, int(self._offset[at]) + first.start - int(self._start[at]))
        if os.pread(fd, size, 0) == ours:
            return ""
        return self._identities(fd, path)

    def _identities(self, fd: int, path: str) -> str:
        """Both build ids, in words."""
        theirs = mine = ""
        with suppress(ElfError, OSError, Unreadable):
            theirs = evidence.build_id(Elf(fd))
            mine = evidence.build_id(MappedElf(self, tuple(r for r in self.regions() if r.path == path)))
        if mine and theirs and mine != theirs:
            return f"its build id is {theirs}, that of the core's program {mine}"
        return "its ELF header is another one"

    def executable(self) -> int:
        """A new descriptor of the main program's file. Raises Unreadable when it is not here."""
        return self._descriptor(self.program)

    def file_of(self, region: Region) -> int:
        """A new descriptor of the file that a region maps. Raises Unreadable when it is not here, or another by now."""
        return self._descriptor(region.path)

    def _descriptor(self, path: str) -> int:
        fd = self._file(path)
        if fd is None:
            raise Unreadable(self._why_not(path))
        return os.dup(fd)

    def _why_not(self, path: str) -> str:
        if not path:
            return "the core file names no program"
        reason = self._refusals.get(path, f"{path} is not here")
        return f"{reason}; name the program of the core file with --exe" if path == self.program else reason

    # -- bytes

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes. Raises Unreadable."""
        if not 0 <= address < 1 << 64 or size < 0:
            raise Unreadable(f"no memory at {address:#x}")
        parts: list[bytes] = []
        while size > 0:
            at = bisect_right(self._starts, address) - 1
            if at >= 0 and address < int(self._end[at]):
                taken = min(size, int(self._end[at]) - address)
                data = os.pread(self._fd, taken, int(self._offset[at]) + address - self._starts[at])
            else:
                until = self._starts[at + 1] if at + 1 < len(self._starts) else 1 << 64
                taken = min(size, until - address)
                data = self._from_file(address, taken)
            if not data:
                raise Unreadable(f"the file ends before the bytes of {address:#x}")
            parts.append(data)
            address += len(data)
            size -= len(data)
        return b"".join(parts)

    def _from_file(self, address: int, size: int) -> bytes:
        """Bytes that the core leaves to the mapped file: of what could not be written."""
        one = self._mapped(address)
        if one is None:
            raise Unreadable(f"{address:#x} is not in the core file")
        segments = self._facts.segments
        at = int(np.searchsorted(segments["vaddr"], np.uint64(address), side="right")) - 1
        if (
            at >= 0
            and int(segments["flags"][at]) & PF_W
            and address < int(segments["vaddr"][at] + segments["memsz"][at])
        ):
            raise Unreadable(f"{address:#x} is not in the core file, and was not left as it is in {one.path}")
        fd = self._file(one.path)
        if fd is None:
            raise Unreadable(f"{address:#x} is not in the core file: {self._why_not(one.path)}")
        return os.pread(fd, min(size, one.end - address), one.offset + address - one.start)

    def read_many(self, addresses: U64, sizes: I64 | int) -> tuple[NDArray[np.uint8], I64, NDArray[np.bool_]]:
        """Many pieces at once (memory.Memory.read_many)."""
        addresses = np.ascontiguousarray(addresses, np.uint64)
        lengths = np.broadcast_to(np.asarray(sizes, np.int64), addresses.shape)
        inside, at = np.zeros(len(addresses), bool), addresses
        if len(self._start):
            piece = np.searchsorted(self._start, addresses, side="right").astype(np.int64) - 1
            start, end = self._start[piece], self._end[piece]
            inside = (piece >= 0) & (addresses < end) & (lengths >= 0)
            inside &= np.where(inside, end - addresses, 0) >= np.maximum(lengths, 0).astype(np.uint64)
            at = np.where(inside, self._offset[piece] + (addresses - start), 0).astype(np.uint64)
        data, offsets, whole = scatter.read_many(
            at, lengths, scatter.of_file(self._fd), 1, GAP, inside | (lengths == 0)
        )
        for number in np.flatnonzero(~inside & (np.diff(offsets) > 0)).tolist():
            with suppress(Unreadable):
                piece_of = self.read(int(addresses[number]), int(lengths[number]))
                data[offsets[number] : offsets[number + 1]] = np.frombuffer(piece_of, np.uint8)
                whole[number] = True
        return data, offsets, whole


def _opened_core(core: str | int) -> int:
    """A plain core file, unpacked if it has to be. Raises BadCore, OSError."""
    fd = os.dup(core) if isinstance(core, int) else _opened(core)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise BadCore(f"{core}: not a regular file")
        return unpack.plain(fd, str(core))
    except unpack.Unpackable as error:
        raise BadCore(f"{core}: {error}") from error
    finally:
        os.close(fd)


def _opened(path: str) -> int:
    try:
        return regular.opened(path)
    except FileNotFoundError:
        raise BadCore(f"{path}: there is no such file") from None
    except OSError as error:
        raise BadCore(f"{path}: {error.strerror}") from error


def _perms(flags: int) -> str:
    return "".join(letter if flags & bit else "-" for letter, bit in (("r", PF_R), ("w", PF_W), ("x", PF_X))) + "p"
