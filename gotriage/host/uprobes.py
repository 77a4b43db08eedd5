"""One program at many places of a process's file, on and off again.

From Linux 6.10 one system call attaches all of them and one detaches all (some 50 ms). Before that each is a perf event
of its own; from 6.12 on such a one takes 100 ms to go, so the first way matters. (6.6 to 6.9 have the first way too,
but there it saw the main thread only.) Either way the breakpoints stand in that process alone, and go with our end.
"""

from __future__ import annotations

import errno
import os
import platform
import re
from typing import TYPE_CHECKING, Final

from gotriage.host import bpf
from gotriage.host.libbpf import Object

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gotriage.host.libbpf import Link

AT_ONCE: Final = (6, 10)


class Uprobes:
    """An object of which one program is attached to places of a file.

    Attributes:
        loaded: the object, for its maps.
        attached: whether it is.
    """

    def __init__(self, data: bytes, name: str, program: str, constants: Mapping[str, int | bytes]) -> None:
        """Load it. Raises as `libbpf.Object`."""
        self._program = program
        self._at_once = tuple(map(int, re.findall(r"\d+", platform.release())[:2])) >= AT_ONCE
        self._links: list[Link] = []
        self._fd: int | None = None
        if self._at_once:
            try:
                self.loaded = Object(data, name, constants=constants, attach_types={program: bpf.UPROBE_MULTI})
                return
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._at_once = False
        self.loaded = Object(data, name, constants=constants)

    @property
    def attached(self) -> bool:
        """Whether breakpoints stand."""
        return self._fd is not None or bool(self._links)

    def attach(self, pid: int, path: str, places: Sequence[tuple[int, int]]) -> None:
        """Attach to places: file offset and cookie of each. All or none. Raises NotPermitted, OSError."""
        self.detach()
        if self._at_once:
            self._fd = bpf.link_uprobes(self.loaded.program_fd(self._program), pid, path, places)
            return
        try:
            for offset, cookie in places:
                self._links.append(self.loaded.attach_uprobe(self._program, pid, path, offset, cookie=cookie))
        except BaseException:
            self.detach()
            raise

    def detach(self) -> None:
        """Take all breakpoints away; may be called twice."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
        while self._links:
            self._links.pop().close()

    def close(self) -> None:
        """Detach, and free the program and its maps; may be called twice."""
        self.detach()
        self.loaded.close()
