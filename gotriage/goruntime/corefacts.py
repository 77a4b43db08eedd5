"""What a core file says of itself, in plain values: it crosses the pipe between the reader and who asked it."""

from __future__ import annotations

import msgspec

from gotriage.goruntime.report import Identity  # noqa: TC001  # msgspec reads the annotation at run time


class CoreFacts(msgspec.Struct, frozen=True, array_like=True):
    """A core file and the Go program in it.

    Attributes:
        pid: of the process that it was, 0 when not told.
        command: its arguments, the first 80 bytes; program: path of its main program, "" when not told.
        signal: that it died of, 0 for none (gcore).
        made: when the file was last written, seconds since 1970.
        threads: how many.
        problems: what is wrong with the file although it can be read, in words.
    """

    identity: Identity
    pid: int = 0
    command: str = ""
    program: str = ""
    signal: int = 0
    made: float = 0.0
    threads: int = 0
    problems: tuple[str, ...] = ()
