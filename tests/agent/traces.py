"""Traces that behave badly, named by catalogue rows as real ones are; what they did stands in class variables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar

from gotriage.catalog import Source
from gotriage.collectors import Meter, Over, Unavailable
from gotriage.errors import GotriageError, UsageError
from gotriage.records.logs import LogLine, LogLines
from gotriage.records.process import HostSample
from gotriage.records.tracing import Price


class Trace:
    """Counts its looks as hits; `done` is what was done, in order."""

    backend = "fake"
    done: ClassVar[list[str]] = []
    hits_a_look = 10
    cost: float | None = 1e-6
    stops = False

    def __init__(self, host, target):
        self.looks = 0

    def price(self, options):
        if options.get("bad"):
            raise UsageError("bad is no option")
        return Price(hits_per_second=100.0, seconds_per_hit=self.cost, stops=self.stops, words=("two\x1b others",))

    def start(self, options):
        self.done.append("start")

    def attach(self):
        self.done.append("attach")

    def detach(self):
        self.done.append("detach")

    def collect(self):
        self.looks += 1
        yield HostSample(at=datetime.now(UTC), cpus=self.looks)

    def meter(self):
        return Meter(self.looks * self.hits_a_look, 0)

    def stop(self):
        self.done.append("stop")

    def close(self):
        self.stop()


class Dear(Trace):
    """Far more hits than any budget allows; a part of the time it is affordable."""

    hits_a_look = 50
    cost = 1e-4


class TooDear(Trace):
    """So dear that not even a small part of the time is affordable."""

    hits_a_look = 1_000_000
    cost = 1e-3


class Stopping(Trace):
    """Halts the target."""

    stops = True
    told: ClassVar[list[dict[str, str]]] = []

    def start(self, options):
        self.told.append(dict(options))
        super().start(options)


class Enough(Stopping):
    """Ends by itself after its second look."""

    def collect(self):
        yield from super().collect()
        if self.looks >= 2:
            raise Over("that is enough\x1b")


class LeavesItStopped(Stopping):
    """Cannot let go."""

    def detach(self):
        super().detach()
        raise GotriageError("a thread is still stopped")


class Absent(Trace):
    """Cannot serve here."""

    backend = "better"

    def __init__(self, host, target):
        raise Unavailable("the kernel has no such thing", remedy="another kernel")


class FailsToStart(Trace):
    """Cannot start."""

    backend = "broken"

    def start(self, options):
        raise OSError(12, "Cannot allocate memory")


class Talkative(Trace):
    """Tells more at each look than a pipe holds."""

    def collect(self):
        self.looks += 1
        yield LogLines(
            at=datetime.now(UTC), rows=(LogLine(at=datetime.now(UTC), source="file", message="x" * 200_000),)
        )


class Breaks(Trace):
    """Cannot be read once it runs."""

    def collect(self):
        if self.looks >= 1:
            raise OSError(5, "Input/output error")
        yield from super().collect()


def row(name: str, *backends: str, price="light", **options) -> Source:
    """A catalogue row of traces of this file."""
    paths = tuple(f"{__name__}:{backend}" for backend in backends)
    return Source(name, paths, (HostSample,), **{"every": 0.1, "asked": True, "price": price, **options})
