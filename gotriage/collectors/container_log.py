"""What the container engine keeps of a container's output: json-file, local, podman's k8s-file, CRI's log files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.collectors import Unavailable
from gotriage.errors import AS_ROOT, GotriageError, reason_of
from gotriage.host import clock, container_logs
from gotriage.host.engine_parse import parse_time
from gotriage.host.privilege import is_root
from gotriage.records.logcontainer import Pieces, parse_cri, parse_json_file
from gotriage.records.logs import LogLine, LogLines, LogSource, LogState
from gotriage.records.logtext import understand
from gotriage.records.logtrace import Joiner
from gotriage.records.stream import Gap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from gotriage.host import Host
    from gotriage.host.container_logs import Place, Source
    from gotriage.records import Record
    from gotriage.records.logcontainer import Piece
    from gotriage.records.stream import Request
    from gotriage.target.model import Target

HISTORY = 2000
"""Lines shown at attach."""
BATCH = 5000
SEARCH_EVERY = 10.0
"""Seconds until a log that was not found is looked for again."""

PARSERS: dict[str, Callable[[bytes], Piece | None]] = {"json-file": parse_json_file, "cri": parse_cri}


class Lines:
    """Pieces in, log lines out: put together, understood, traces joined."""

    def __init__(self, source: str, identifier: str) -> None:
        self._source, self._identifier = source, identifier
        self._pieces = Pieces()
        self._joiner = Joiner()

    def add(self, pieces: Iterable[Piece | None]) -> None:
        """Take pieces in the order of the file; None stands for a damaged line."""
        for piece in pieces:
            whole = self._pieces.add(piece) if piece else None
            at = parse_time(whole.time) if whole else None
            if whole is None or at is None:
                continue
            message, level, fields, cut = understand(whole.text.rstrip(b"\r\n"))
            line = LogLine(
                at=at,
                source=self._source,
                message=message,
                level=level,
                identifier=self._identifier,
                stream=whole.stream,
                fields=fields or {},
                truncated=cut,
            )
            self._joiner.push(line, int(at.timestamp() * 1e6))

    def take(self, now_us: int | None = None) -> list[LogLine]:
        """The lines that are whole; without a time also those that might go on."""
        return self._joiner.take(now_us)


class ContainerLogCollector:
    """LogLines and LogState of the target's container; unavailable when it is in none."""

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._source: Source | None = None
        self._searched = -SEARCH_EVERY
        self._state: LogSource | None = None
        self._gap: Gap | None = None
        ref = target.container
        self._lines = Lines(_engine(ref.engine), ref.name or ref.id[:12]) if ref else None
        self.backend = "the engine's log files"

    def collect(self) -> Iterator[Record]:
        """What came since the last look; at first the newest lines."""
        if self._target.container is None or self._lines is None:
            raise Unavailable("the target is in no container")
        if self._source is None and clock.monotonic() - self._searched >= SEARCH_EVERY:
            yield from self._search(self._target.container.id)
        if self._gap is not None:
            yield self._gap  # a gap that a look does not name is over
        if self._source is None:
            return
        self._lines.add(self._source.newest(HISTORY) if self._source.fresh else self._source.more())
        now = clock.now()
        lines = self._lines.take(int(now.timestamp() * 1e6))
        if lines:
            yield LogLines(at=now, rows=tuple(lines))

    def _search(self, container_id: str) -> Iterator[Record]:
        """Find where the engine logs to; says so, or why it cannot be read."""
        self._searched = clock.monotonic()
        now, problem = clock.now(), ""
        place: Place | None = None
        try:
            place = container_logs.find(self._host, container_id)
            self._source = container_logs.opened(self._host, place)
        except (GotriageError, OSError) as error:
            problem = reason_of(error)
        if place is not None and place.driver == "" and not is_root():
            problem = "where the engine keeps the output is for root only"
        elif place is None or place.driver in ("journald", ""):
            self._gap = None
            return  # the journal's collector reads it, or no engine keeps anything
        if self._source is not None:
            self.backend = self._source.backend
        state = _state(place, self._source, problem)
        if state != self._state:
            self._state = state
            yield LogState(at=now, collector="container_log", sources=(state,))
        self._gap = _gap(now, problem) if problem else None

    def answer(self, request: Request) -> Iterator[Record]:
        """The history that a "logs" request asks for."""
        if self._source is None or self._target.container is None:
            return
        ref = self._target.container
        lines = Lines(_engine(ref.engine), ref.name or ref.id[:12])
        lines.add(self._source.history(request.since, request.until, request.limit))
        rows = [
            line
            for line in lines.take()
            if (not request.since or line.at >= request.since) and (not request.until or line.at <= request.until)
        ][-request.limit :]
        now = clock.now()
        for start in range(0, len(rows), BATCH):
            yield LogLines(at=now, rows=tuple(rows[start : start + BATCH]), history=True)

    def close(self) -> None:
        """Let go of the log."""
        if self._source is not None:
            self._source.close()
            self._source = None


def _gap(now: datetime, problem: str) -> Gap:
    denied = "ermission" in problem or "for root" in problem
    return Gap(
        at=now,
        source="container_log",
        reason=problem,
        lost="the container's output",
        remedy=AS_ROOT if denied else "",
        permission=denied,
    )


def _engine(engine: str) -> str:
    return engine if engine in ("docker", "podman") else "cri"


def _state(place: Place, source: Source | None, problem: str) -> LogSource:
    """How the engine's log fares, for the state line."""
    name = f"{place.engine} {place.driver}".strip() or "container engine"
    if source is not None:
        return LogSource(name=name, where=place.path, backend=source.backend)
    if place.driver == "none":
        remedy = "start the container with --log-driver json-file"
        return LogSource(name=name, state="none", detail="the engine keeps nothing of the output", remedy=remedy)
    if place.format == "" and place.driver:
        detail = "the engine hands the output on; it keeps nothing here"
        return LogSource(name=name, state="none", detail=detail, remedy=f"look where {place.driver} sends it")
    return LogSource(name=name, where=place.path, state="unreadable", detail=problem, remedy=AS_ROOT)
