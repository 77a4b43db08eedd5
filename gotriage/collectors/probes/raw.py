"""What the engines give, all in one form: events, totals, and the output of a user's own program."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np

from gotriage.probes.library import EXECED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gotriage.collectors import Meter
    from gotriage.probes.library import Probe

PATH: Final = 256
STACK: Final = 32
"""Bytes of a path, addresses of a stack in the text of an event (processes.bpf.c)."""
SLOTS: Final = 26
NOTHING: Final = "it has nothing for this probe"
"""What a backend says of a probe that it was never meant for."""
EVENT: Final = np.dtype(
    [
        ("at", "<u8"), ("took", "<u8"), ("goid", "<u8"), ("result", "<i8"), ("numbers", "<u8", (4,)),
        ("kind", "<u4"), ("tgid", "<u4"), ("tid", "<u4"), ("other", "<u4"), ("flags", "<u4"), ("length", "<u4"),
        ("comm", "S16"),
    ]
)  # fmt: skip
"""struct event of events.h, without its text."""
KEY: Final = np.dtype([("kind", "<u4"), ("a", "<u4"), ("b", "<u8"), ("c", "<u8")])
TOTAL: Final = np.dtype(
    [("count", "<u8"), ("errors", "<u8"), ("bytes", "<u8"), ("sum", "<u8"), ("most", "<u8"), ("slots", "<u4", (SLOTS,))]
)


class Options(NamedTuple):
    """What a start may set."""

    slow: float = 0.01
    """Seconds from which on a wait is told one by one."""
    script: str = ""
    """The user's own program."""


class Raw(NamedTuple):
    """An event as in events.h: times in nanoseconds of CLOCK_MONOTONIC; `probe` where the kind alone does not tell."""

    kind: int
    at: int
    took: int = 0
    goid: int = 0
    result: int = 0
    numbers: tuple[int, int, int, int] = (0, 0, 0, 0)
    tgid: int = 0
    tid: int = 0
    other: int = 0
    flags: int = 0
    comm: bytes = b""
    text: bytes = b""
    probe: str = ""


class Total(NamedTuple):
    """A line of the map `totals`; times in nanoseconds. `slots` is () where no histogram was kept."""

    kind: int
    a: int
    b: int
    c: int
    hits: int
    errors: int = 0
    bytes: int = 0
    sum: int = 0
    most: int = 0
    slots: tuple[int, ...] = ()


class Line(NamedTuple):
    """A line that a user's own program printed."""

    probe: str
    at: int
    text: str


class Own(NamedTuple):
    """A number that a user's own program counted, by map and key."""

    probe: str
    name: str
    key: str
    hits: int


class OwnHistogram(NamedTuple):
    """A histogram of a user's own program: (low, high, count), None is open."""

    probe: str
    name: str
    buckets: tuple[tuple[float | None, float | None, int], ...]


@dataclass(slots=True)
class Taken:
    """What an engine has had since it was last asked; totals and own numbers are since the start."""

    events: list[Raw] = field(default_factory=list)
    totals: list[Total] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    own: list[Own] = field(default_factory=list)
    histograms: list[OwnHistogram] = field(default_factory=list)
    dropped: int = 0
    """Events and lines that were too many to be taken one by one."""

    def add(self, other: Taken) -> None:
        """Put what another engine gave to it."""
        self.events += other.events
        self.totals += other.totals
        self.lines += other.lines
        self.own += other.own
        self.histograms += other.histograms
        self.dropped += other.dropped


class Engine(Protocol):
    """Some probes on one backend, made but not started.

    Attributes:
        backend: its name.
        probes: those that it runs.
    """

    backend: str
    probes: Sequence[Probe]

    def start(self) -> None:
        """Load and attach. Raises GotriageError, OSError."""
        ...

    def attach(self) -> None:
        """Go on after `detach`."""
        ...

    def detach(self) -> None:
        """Cost the target nothing until `attach`."""
        ...

    def take(self) -> Taken:
        """What there is. Raises GotriageError when it has broken."""
        ...

    def meter(self) -> Meter:
        """Hits and losses since the start."""
        ...

    def stop(self) -> None:
        """Undo everything; may be called twice."""
        ...


def parse_event(data: bytes) -> Raw | None:
    """An event of a ring buffer; None when it is shorter than one."""
    if len(data) < EVENT.itemsize:
        return None
    row = np.frombuffer(data[: EVENT.itemsize], EVENT)[0]
    length = int(row["length"])
    if int(row["kind"]) == EXECED:
        length += PATH + 8 * STACK
    return Raw(
        kind=int(row["kind"]),
        at=int(row["at"]),
        took=int(row["took"]),
        goid=int(row["goid"]),
        result=int(row["result"]),
        numbers=tuple(int(n) for n in row["numbers"]),  # type: ignore[arg-type]  # there are four
        tgid=int(row["tgid"]),
        tid=int(row["tid"]),
        other=int(row["other"]),
        flags=int(row["flags"]),
        comm=bytes(row["comm"]),
        text=data[EVENT.itemsize : EVENT.itemsize + length],
    )


def exec_text(path: bytes, arguments: Iterable[bytes], stack: Sequence[int] = ()) -> bytes:
    """The text of an EXECED event, for engines that have its parts."""
    frames = np.zeros(STACK, "<u8")
    frames[: len(stack[:STACK])] = stack[:STACK]
    return path[: PATH - 1].ljust(PATH, b"\0") + frames.tobytes() + b"".join(word + b"\0" for word in arguments)


def parse_totals(keys: np.ndarray, values: np.ndarray) -> list[Total]:
    """All lines of the map `totals`."""
    return [
        Total(
            int(key["kind"]), int(key["a"]), int(key["b"]), int(key["c"]), int(value["count"]), int(value["errors"]),
            int(value["bytes"]), int(value["sum"]), int(value["most"]), tuple(value["slots"].tolist()),
        )
        for key, value in zip(keys, values, strict=True)
    ]  # fmt: skip


def joined_arguments(
    events: list[Raw], waiting: dict[int, bytes], announced: Callable[[Raw], bool], most: int = 5000
) -> list[Raw]:
    """In order of time, for each CPU's come apart; the start of a program with its arguments, which were told before.

    `announced` says which events only tell arguments; `waiting` keeps those of starts that have not been told yet.
    """
    found: list[Raw] = []
    for event in sorted(events, key=lambda event: event.at):
        if announced(event):
            if len(waiting) > most:
                waiting.clear()
            waiting[event.tgid] = event.text
        elif event.kind == EXECED:
            arguments = waiting.pop(event.tgid, exec_text(b"", ()))
            path = event.text[:PATH].split(b"\0", 1)[0]
            found.append(event._replace(text=path[: PATH - 1].ljust(PATH, b"\0") + arguments[PATH:]))
        else:
            found.append(event)
    return found
