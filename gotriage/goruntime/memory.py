"""The memory of a process, live or in a core file: the seam between how bytes are had and what they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from gotriage.errors import GotriageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Unreadable(GotriageError):
    """Memory that is not there (any more), or is not in the core file; the text names the address."""


class Region(NamedTuple):
    """A mapping (proc_pid_maps(5)): [start, end), permissions as "rw-p", the file's path and offset, "" for none."""

    start: int
    end: int
    perms: str
    path: str
    offset: int
    inode: int = 0


class Memory(Protocol):
    """What the rest of the library asks of a process's memory.

    Attributes:
        pid: the process, also of a core file (then it may be gone).
        live: it can change between two reads.
        arch: "amd64" or "arm64".
    """

    pid: int
    live: bool
    arch: str

    def regions(self) -> tuple[Region, ...]:
        """The mappings as they are now, by address; bounded."""
        ...

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes. Raises Unreadable, TargetGone when the process ended, NotPermitted."""
        ...

    def read_many(
        self, addresses: NDArray[np.uint64], sizes: NDArray[np.int64] | int
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_]]:
        """Many pieces at once, in few system calls.

        Returns the bytes of all pieces one after the other in the order asked for, the offset of each piece in them
        (n + 1 numbers), and whether each piece was read whole (bytes of one that was not are zero).
        Raises TargetGone, NotPermitted.
        """
        ...

    def executable(self) -> int:
        """A new descriptor of the file of the main program (/proc/PID/exe; the file given with a core), for reading.

        Raises OSError, Unreadable when there is none.
        """
        ...

    def file_of(self, region: Region) -> int:
        """A new descriptor of the file that a region maps (/proc/PID/map_files). Raises OSError, Unreadable."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...
