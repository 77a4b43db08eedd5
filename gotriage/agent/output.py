"""The agent's end of the stream: whole lines, one writer at a time, until nobody reads any more.

Collectors mask secrets when they make a record, each in the way that suits what it reads. Here every record passes the
rules once more, whoever made it; only the rows of tables do not, for they are many, and their collectors know them.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from gotriage.host import clock
from gotriage.records.secrets import suspicious
from gotriage.records.stream import End, Header
from gotriage.session.redact import OWN, Redactor
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
        line = memoryview(_masked(record))
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


def _masked(record: Record) -> bytes:
    """The record's line without secrets."""
    line = encode(record)
    if isinstance(record, (*OWN, Header, End)) or getattr(record, "rows", None) or not suspicious(line):
        return line
    return encode(Redactor().apply(record))
