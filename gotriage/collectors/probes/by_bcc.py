"""Probes by BCC: the library's program for program starts, and the user's own C programs."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.collectors import Meter
from gotriage.collectors.probes import own
from gotriage.collectors.probes.raw import (
    EVENT,
    NOTHING,
    PATH,
    STACK,
    Line,
    Own,
    OwnHistogram,
    Raw,
    Taken,
    exec_text,
    joined_arguments,
)
from gotriage.errors import MissingFacility, UsageError
from gotriage.host import bcc, clock
from gotriage.probes import library

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gotriage.collectors.probes.raw import Options
    from gotriage.collectors.probes.scope import Scope
    from gotriage.host import Host
    from gotriage.probes.library import Probe

BACKEND: Final = "BCC"
WORDS, WORD = 16, 128
"""Arguments, and bytes of each, of execs.bcc.c."""
ANNOUNCED, STATUS = 1, 2
"""Flags of its events: the arguments of a start that comes next; the status that exit_group was called with."""


def unavailable(probe: Probe, _host: Host) -> str:
    """Why this backend cannot do it here, "" when it seems to be able to."""
    if not probe.bcc and probe.id != "bcc":
        return NOTHING
    return bcc.unavailable()


def engines(probes: Sequence[Probe], scope: Scope, options: Options) -> list[BccEngine]:
    """One process for each."""
    return [BccEngine(probe, scope, options) for probe in probes]


class BccEngine:
    """One program."""

    backend = BACKEND

    def __init__(self, probe: Probe, scope: Scope, options: Options) -> None:
        self.probe, self.probes = probe, (probe,)
        self._scope, self._options = scope, options
        self._run: bcc.Bcc | None = None
        self._last = Taken()
        self._hits = self._lost = 0
        self._arguments: dict[int, bytes] = {}

    def start(self) -> None:
        """Compile and attach. Raises UsageError for a program of the user's that does not compile, GotriageError."""
        numbers = {"TARGET_PID": next(iter(self._scope.tgids), 0)}
        if self.probe.id == "bcc":
            self._run = bcc.Bcc(self._options.script, numbers)
            return
        text = files("gotriage.probes").joinpath(f"{self.probe.bcc}.bcc.c").read_text("utf-8")
        try:
            self._run = bcc.Bcc(text, numbers, raw=True)
        except UsageError as error:
            raise MissingFacility(str(error)) from error

    def attach(self) -> None:
        """Begin anew."""
        if self._run is None:
            self.start()

    def detach(self) -> None:
        """What it has, then it ends."""
        run, self._run = self._run, None
        if run is not None:
            try:
                self._last = self._read(run)
            finally:
                run.close()

    def stop(self) -> None:
        """End it at once."""
        run, self._run = self._run, None
        if run is not None:
            run.close()

    def take(self) -> Taken:
        """Its events and tables."""
        if self._run is not None:
            return self._read(self._run)
        last, self._last = self._last, Taken()
        return last

    def meter(self) -> Meter:
        """Events that it has told, and those that it has lost."""
        return Meter(self._hits, self._lost)

    def _read(self, run: bcc.Bcc) -> Taken:
        found, taken = run.take(), Taken()
        taken.dropped, self._lost = found.dropped, found.lost
        self._hits += len(found.events) + found.dropped
        if self.probe.id != "bcc":
            events = [event for _, data, _ in found.events if (event := parse_event(data)) is not None]
            taken.events = joined_arguments(events, self._arguments, announced)
            return taken
        at = int(clock.monotonic() * 1e9)
        taken.lines = [
            Line("bcc", at, f"{name}: " + "  ".join(f"{key}={text}" for key, text in fields.items()))
            for name, _, fields in found.events
        ]
        taken.own = [Own("bcc", name, key, count) for name, key, count in found.numbers[: own.MOST_ROWS]]
        taken.histograms = [
            OwnHistogram("bcc", name, tuple((2.0**slot if slot else 0.0, 2.0 ** (slot + 1), n) for slot, n in slots))
            for name, slots in found.histograms
        ]
        return taken


def announced(event: Raw) -> bool:
    """Whether it only tells the arguments of a program that may be about to start."""
    return event.kind == library.EXECED and event.flags == ANNOUNCED


def parse_event(data: bytes) -> Raw | None:
    """An event of execs.bcc.c: the header of events.h, a path, a stack, and words of fixed length."""
    if len(data) < EVENT.itemsize + PATH:
        return None
    row = np.frombuffer(data[: EVENT.itemsize], EVENT)[0]
    kind, flags = int(row["kind"]), int(row["flags"])
    numbers = [int(number) for number in row["numbers"]]
    result = int(row["result"])
    if flags == STATUS:  # 0: it did not end itself
        result, numbers[3] = ((numbers[3] - 1 & 0xFF) << 8, 0) if numbers[3] else (-1, 0)
    path = data[EVENT.itemsize : EVENT.itemsize + PATH]
    words: list[bytes] = []
    begin = EVENT.itemsize + PATH + 8 * STACK
    for at in range(begin, min(len(data), begin + WORDS * WORD), WORD) if flags == ANNOUNCED else ():
        if not data[at]:
            break
        words.append(data[at + 1 : at + WORD].split(b"\0", 1)[0])
    return Raw(
        kind=kind, at=int(row["at"]), took=int(row["took"]), result=result, tgid=int(row["tgid"]), tid=int(row["tid"]),
        other=int(row["other"]), flags=flags, numbers=(numbers[0], numbers[1], numbers[2], numbers[3]),
        comm=bytes(row["comm"]), text=exec_text(path.split(b"\0", 1)[0], words) if kind == library.EXECED else path,
    )  # fmt: skip
