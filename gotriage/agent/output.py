"""The agent's end of the stream: whole lines, one writer at a time, until nobody reads any more."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from gotriage.host import clock
from gotriage.session.stream import encode

if TYPE_CHECKING:
    from gotriage.records import Record


class Closed(Exception):
    """Nobody reads the stream any more; not an error."""


class Output:
    """Writes records to `fd`; any thread may. A slow reader makes writers wait, which no deadline counts."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._waiting_since: float | None = None
        self.closed = False

    @property
    def stalled(self) -> bool:
        """The reader has not taken a byte for a second."""
        since = self._waiting_since
        return since is not None and clock.monotonic() - since > 1.0

    def write(self, record: Record) -> None:
        """One record. Raises Closed; ValueError or TypeError for a record that JSON cannot hold."""
        line = memoryview(encode(record))
        with self._lock:
            try:
                while line and not self.closed:
                    self._waiting_since = clock.monotonic()
                    line = line[os.write(self._fd, line) :]
            except OSError as error:
                self.closed = True
                raise Closed from error
            finally:
                self._waiting_since = None
        if self.closed:
            raise Closed
