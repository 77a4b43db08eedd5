"""Output that goes to files: standard output and error, and logs that the target appends to."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from gotriage.errors import AS_ROOT, GotriageError, NotPermitted, TargetGone, reason_of
from gotriage.host import clock
from gotriage.host.outputs import Output, outputs, readers_of
from gotriage.host.tail import Tail, newest_lines, open_descriptor
from gotriage.records.logs import LogLine, LogLines, LogSource, LogState
from gotriage.records.logtext import stamp_of, understand
from gotriage.records.logtrace import Joiner
from gotriage.records.stream import Gap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.records.stream import Request
    from gotriage.target.model import Target

HISTORY = 256 * 1024
"""Bytes of a file that are shown at attach, and that one look reads."""
SEARCHED = 64 * 1024 * 1024
"""Bytes of a file that are searched for history."""
BATCH = 5000
SEARCH_EVERY = 5.0
"""Seconds between two looks at what descriptors there are."""
MAX_FILES = 20
MAX_PIDS = 16
REMEMBERED = 256
LAST_READS = 20
"""Looks at a file that the target has closed, until it is left."""

Identity = tuple[int, int]
_NEVER = clock.from_epoch(0.0)
"""Stands for the time of a line that carries none."""


class FileLogCollector:
    """LogLines and LogState of the files that the target writes its output to."""

    backend = "/proc/PID/fd"
    _positions: ClassVar[dict[Identity, int]] = {}
    """How far each file was read: a restarted service that writes to the same file goes on there."""

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._tails: dict[Identity, Tail] = {}
        self._about: dict[Identity, Output] = {}
        self._fresh: set[Identity] = set()
        self._searched = -SEARCH_EVERY
        self._sources: tuple[LogSource, ...] | None = None
        self._readers: dict[str, str] = {}
        self._gap: Gap | None = None
        self._joiner = Joiner()

    def collect(self) -> Iterator[Record]:
        """What came since the last look; at first the end of each file."""
        if clock.monotonic() - self._searched >= SEARCH_EVERY:
            self._searched = clock.monotonic()
            yield from self._search()
        if self._gap is not None:
            yield self._gap  # a gap that a look does not name is over
        now = clock.now()
        for identity in self._tails:
            self._read(identity, now)
        rows = self._joiner.take(int(now.timestamp() * 1e6))
        if rows:
            rows.sort(key=_by_time)
            yield LogLines(at=now, rows=tuple(rows))

    def _read(self, identity: Identity, now: datetime) -> int:
        """Take in the next lines of a file; how many."""
        tail, fresh = self._tails[identity], identity in self._fresh
        self._fresh.discard(identity)
        lines = tail.lines(HISTORY)
        written = clock.from_epoch(min(tail.modified, now.timestamp())) if fresh else now
        for line in filter(None, lines):  # empty lines are left out, as journald does
            found = _line(line, self._about[identity], written, now)
            self._joiner.push(found, int(found.at.timestamp() * 1e6))
        return len(lines)

    # -- which files

    def _search(self) -> Iterator[Record]:
        found: dict[Identity, Output] = {}
        others: dict[str, Output] = {}
        denied = ""
        for pid in self._target.pids[:MAX_PIDS]:
            try:
                listed = outputs(self._host, pid)
            except NotPermitted as error:
                denied = reason_of(error)
                continue
            except (TargetGone, OSError):
                continue
            for output in listed:
                if output.kind == "file":
                    found.setdefault(output.identity, output)
                else:
                    others.setdefault(f"{output.stream} {output.path}", output)
        self._follow(dict(list(found.items())[:MAX_FILES]))
        yield from self._tell(list(found.values()), list(others.values()), denied)

    def _follow(self, found: dict[Identity, Output]) -> None:
        now = clock.now()
        for identity in [known for known in self._tails if known not in found]:
            for _ in range(LAST_READS):
                if not self._read(identity, now):
                    break
            self._leave(identity)
        for identity, output in found.items():
            self._about[identity] = output
            if identity in self._tails:
                continue
            position = self._positions.get(identity)
            try:
                opener = partial(open_descriptor, self._host, output.pid, output.fd, output.path)
                self._tails[identity] = Tail(opener, history=HISTORY, position=position)
            except (GotriageError, OSError):
                continue
            if position is None:
                self._fresh.add(identity)

    def _leave(self, identity: Identity) -> None:
        """The target does not write to it any more: read what is left the next time it is found again."""
        tail = self._tails.pop(identity)
        self._positions.pop(identity, None)
        self._positions[tail.identity] = tail.resume
        while len(self._positions) > REMEMBERED:
            del self._positions[next(iter(self._positions))]
        tail.close()

    # -- what to say about them

    def _tell(self, files: list[Output], others: list[Output], denied: str) -> Iterator[Record]:
        now = clock.now()
        sources = [self._file_source(output) for output in files[:MAX_FILES]]
        if self._target.container is None:
            sources += [source for output in others if (source := self._other_source(output))]
        if self._sources != tuple(sources) and (sources or self._sources):
            self._sources = tuple(sources)
            yield LogState(at=now, collector="file_log", sources=self._sources)
        self._gap = _denied(now, denied) if denied else None

    def _file_source(self, output: Output) -> LogSource:
        name = output.stream or "file"
        if output.identity not in self._tails:
            return LogSource(name=name, where=output.path, state="unreadable", detail="the file cannot be opened")
        if output.deleted:
            detail = "the file is unlinked: its lines are lost when the process ends"
            return LogSource(
                name=name, where=output.path, backend=self.backend, state="volatile", detail=detail,
                remedy="make the service open its log anew (often SIGHUP or SIGUSR1)",
            )  # fmt: skip
        return LogSource(name=name, where=output.path, backend=self.backend)

    def _other_source(self, output: Output) -> LogSource | None:
        """What standard output is when it is no file; None for the journal's socket, which has its own collector."""
        if output.kind == "null":
            remedy = "StandardOutput=journal in the unit, or start it without >/dev/null"
            return LogSource(
                name=output.stream, where="/dev/null", state="none", detail="output is thrown away", remedy=remedy
            )
        if output.kind == "pipe":
            if output.path not in self._readers:
                writers = frozenset(self._target.pids)
                self._readers[output.path] = ", ".join(readers_of(self._host, output.path, writers))
            reader = self._readers[output.path]
            detail = f"a pipe to {reader}" if reader else "a pipe whose reader is not seen"
            return LogSource(
                name=output.stream, where=output.path, state="unreadable", remedy="look where that process writes",
                detail=f"{detail}; reading it here would take the lines away",
            )  # fmt: skip
        if output.kind == "terminal":
            detail = "a terminal; what it showed is not kept"
            return LogSource(name=output.stream, where=output.path, state="none", detail=detail)
        return None

    # -- history

    def answer(self, request: Request) -> Iterator[Record]:
        """The history that a "logs" request asks for: lines that carry their own time."""
        joiner = Joiner()
        for identity, output in self._about.items():
            if identity not in self._tails:
                continue
            try:
                fd = open_descriptor(self._host, output.pid, output.fd)
            except (GotriageError, OSError):
                continue
            now = clock.now()
            for raw in newest_lines(fd, SEARCHED):
                line = _line(raw, output, _NEVER, now)
                if line.at is not _NEVER and _within(line.at, request):
                    joiner.push(line, int(line.at.timestamp() * 1e6))
        rows = sorted(joiner.take(), key=_by_time)[-request.limit :]
        now = clock.now()
        for start in range(0, len(rows), BATCH):
            yield LogLines(at=now, rows=tuple(rows[start : start + BATCH]), history=True)

    def close(self) -> None:
        """Let go of the files, and remember how far they were read."""
        for identity in list(self._tails):
            self._leave(identity)


def _denied(now: datetime, reason: str) -> Gap:
    lost = "where standard output and error go"
    return Gap(at=now, source="file_log", reason=reason, lost=lost, remedy=AS_ROOT, permission=True)


def _by_time(line: LogLine) -> datetime:
    return line.at


def _within(at: datetime, request: Request) -> bool:
    return (request.since is None or at >= request.since) and (request.until is None or at <= request.until)


def _line(raw: bytes, output: Output, written: datetime, now: datetime) -> LogLine:
    """A line of a file, at the time that it carries itself, else at the time it was `written`."""
    message, level, fields, cut = understand(raw.rstrip(b"\r"))
    stamp = stamp_of(fields) if fields else None
    return LogLine(
        at=stamp if stamp is not None and stamp <= now else written,
        source="file",
        message=message,
        level=level,
        identifier=output.path.rpartition("/")[2],
        stream=output.stream,
        fields=fields or {},
        truncated=cut,
    )
