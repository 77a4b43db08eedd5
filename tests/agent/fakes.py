"""Collectors that behave badly, and a stream to look at; named by the rows below as the catalogue names real ones."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime

from gotriage.agent import main
from gotriage.catalog import Source
from gotriage.collectors import Unavailable
from gotriage.errors import NotPermitted
from gotriage.host import Host
from gotriage.records.logs import LogLine, LogLines
from gotriage.records.process import HostSample, ProcessSample
from gotriage.records.stream import End, Gap, Header, Heartbeat, Reply, Request
from gotriage.records.target import Event, TargetSpec
from gotriage.session.link import Link
from gotriage.session.stream import encode_request


def now() -> datetime:
    return datetime.now(UTC)


class Fake:
    """The shape of a collector."""

    backend = "fake"

    def __init__(self, host, target):
        self.host, self.target, self.looks = host, target, 0

    def collect(self):
        self.looks += 1
        yield from self.look()

    def look(self):
        yield ProcessSample(at=now(), threads=self.looks)

    def close(self):
        pass


class Counting(Fake):
    """Another number at each look."""


class Same(Fake):
    """The same facts at each look."""

    def look(self):
        yield HostSample(at=now(), cpus=4)


class Logs(Fake):
    """A line at each look, and history."""

    def look(self):
        yield LogLines(at=now(), rows=(LogLine(at=now(), source="file", message="same"),))

    def answer(self, request: Request):
        line = LogLine(at=now(), source="file", message=f"old {request.limit}")
        yield LogLines(at=now(), rows=(line,), history=True)


class Hanging(Fake):
    """Never comes back from its second look."""

    def look(self):
        if self.looks > 1:
            threading.Event().wait()
        yield HostSample(at=now(), cpus=1)


class Slow(Fake):
    """Its first look overstays, the others do not."""

    def look(self):
        if self.looks == 1:
            time.sleep(1.6)
        yield HostSample(at=now(), cpus=self.looks)


class Crashing(Fake):
    """Raises what no collector should, every other look."""

    def look(self):
        yield HostSample(at=now(), cpus=self.looks)
        if self.looks % 2:
            raise ZeroDivisionError("by zero\x1b[2J")


class Refused(Fake):
    """May not look."""

    def look(self):
        raise NotPermitted("/proc/1/io: permission denied; run gotriage as root (sudo)")
        yield


class Flooding(Fake):
    """Writes far more than anyone reads."""

    def look(self):
        for number in range(3000):
            yield LogLines(at=now(), rows=(LogLine(at=now(), source="file", message=f"{number} " + "x" * 1000),))


class Garbage(Fake):
    """Yields what is no record, and what JSON cannot hold."""

    def look(self):
        if self.looks == 1:
            yield "not a record"
        yield Event(at=now(), what="\udcff" if self.looks == 2 else "fine")


class Partly(Fake):
    """Two gaps, of which one goes away at its third look."""

    def look(self):
        yield Gap(at=now(), source="partly", reason="for ever")
        if self.looks < 3:
            yield Gap(at=now(), source="partly", reason="for a while")
        yield HostSample(at=now(), cpus=self.looks)


class Absent(Fake):
    """Cannot serve."""

    def __init__(self, host, target):
        raise Unavailable("systemd is not running")


class AbsentForNow(Fake):
    """Serves once, then not; the target remembers."""

    backend = "first choice"

    def look(self):
        if self.target.reason:
            raise Unavailable("it went away")
        self.target.reason = "looked once"
        yield HostSample(at=now(), cpus=1)


class Broken(Fake):
    """Cannot even be made."""

    def __init__(self, host, target):
        raise RuntimeError("no")


def row(name: str, *backends: str, every: float = 0.1, deadline: float = 1.0, **options) -> Source:
    """A catalogue row of collectors of this file."""
    paths = tuple(f"{__name__}:{backend}" for backend in backends)
    records = (LogLines,) if "Logs" in backends else (ProcessSample,)
    return Source(name, paths, records, every=every, deadline=deadline, **{"idle": True, **options})


class Stream:
    """An agent in a thread of its own, and the front's end of its stream."""

    def __init__(self, *rows: Source, spec: TargetSpec | None = None):
        requests, self.out = os.pipe()
        self.incoming, records = os.pipe()
        self.link = Link(read_fd=self.incoming, write_fd=os.dup(self.out))
        self.status: list[int] = []
        self.records: list = []

        def run():
            spec_ = spec or TargetSpec(kind="pid", value=str(os.getpid()))
            try:
                self.status.append(main.serve(spec_, Host(), requests, records, rows=rows))
            finally:
                os.close(records)
                os.close(requests)

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.end()

    def send(self, request: Request) -> None:
        os.write(self.out, encode_request(request))

    def end(self) -> None:
        """Hang up."""
        if self.out >= 0:
            os.close(self.out)
            self.out = -1
        self.link.close()
        self.thread.join(10)
        assert not self.thread.is_alive()

    def until(self, wanted, seconds: float = 10.0):
        """Poll until a record satisfies `wanted`; that record."""
        seen, ends = 0, time.monotonic() + seconds
        while time.monotonic() < ends:
            for record in self.records[seen:]:
                seen += 1
                if wanted(record):
                    return record
            more = self.link.poll(0.1)
            if more is None:
                break
            self.records += more
        kinds = [type(record).__name__ for record in self.records]
        raise AssertionError(f"nothing like that came: {kinds} {self.of(Gap)}")

    def of(self, kind) -> list:
        return [record for record in self.records if isinstance(record, kind)]

    def beats(self, count: int) -> list:
        """Wait for so many heartbeats."""
        self.until(lambda _: len(self.of(Heartbeat)) >= count)
        return self.of(Heartbeat)


__all__ = ["End", "Event", "Gap", "Header", "Heartbeat", "HostSample", "ProcessSample", "Reply", "Stream", "row"]
