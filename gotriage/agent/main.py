"""The agent: resolves the target, runs the catalogue's sources for it, answers requests, writes the stream.

Format: docs/stream.md. The main thread only beats: once a second it writes the heartbeat and notices what overstays, so
that a source that hangs, or a target that does not resolve, never looks like an agent that hangs.
"""

from __future__ import annotations

import os
import select
import signal
import stat
from typing import TYPE_CHECKING

from gotriage import __version__, catalog
from gotriage.agent.beat import following
from gotriage.agent.board import Board
from gotriage.agent.crowd import Crowd
from gotriage.agent.output import Closed, Output
from gotriage.agent.pinned import Pinned
from gotriage.agent.tracing import TraceWorker
from gotriage.agent.worker import Job, Worker
from gotriage.errors import EXIT_OK, BadRecording
from gotriage.host import citizen, clock, privilege
from gotriage.host.machine import boot_id
from gotriage.records.cpustacks import CpuStacks
from gotriage.records.goroutines import Goroutines
from gotriage.records.logs import LogLines
from gotriage.records.stream import End, Gap, Header, Heartbeat, Reply, Request
from gotriage.records.target import LOOK_LIVE, NOT_IN_CORE
from gotriage.session.control import EXIT_AGAIN
from gotriage.session.stream import MAX_REQUEST, Lines, decode_request

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gotriage.catalog import Source
    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.records.target import TargetSpec
    from gotriage.target.by_core import CoreFiles
    from gotriage.target.model import Target

BEAT = 1.0
"""Seconds between two heartbeats."""
MOST_MEMORY = 768 * 1024 * 1024
"""Resident bytes at which the agent ends, to be started anew: it must not grow at the service's expense."""
SHORTEST = 0.1
"""Seconds between two looks that a request may ask for at least."""
LONGEST = 3600.0
"""... and at most."""
GOODBYE = 3.0
"""Seconds that a trace may take to be undone when the agent ends; then the end of the process undoes it."""
ASKED: dict[str, type[Record]] = {"logs": LogLines, "goroutines": Goroutines, "stacks": CpuStacks}
"""Requests that only sources of a record type answer."""
FOR_TRACES = ("price", "start", "finish")
"""Requests that only sources serve that are started on request, and that name them."""


def serve(
    spec: TargetSpec,
    host: Host,
    read_fd: int,
    write_fd: int,
    sources: Collection[str] | None = None,
    rows: Iterable[Source] | None = None,
    launcher: int | None = None,
) -> int:
    """Write the stream until its reader goes, a "stop" comes, or the pipe of the requests closes.

    `sources` names the sources to run (None: all that suit the target); `rows` replaces the catalogue's;
    `launcher` is the PID of the launcher, None without one. Returns the
    exit status: 0, or that of the error for which the target could not be attached, which the stream's End says too.
    """
    files = _core_files(spec)
    if files is not None and launcher is not None:
        privilege.die_with_parent(signal.SIGTERM)  # another user's process does not keep that
        if os.getppid() != launcher:
            return EXIT_OK
    return Agent(spec, host, read_fd, write_fd, _rows(spec, sources, rows), launcher, files, sources).run()


def serve_alone(spec: TargetSpec, host: Host) -> tuple[int, str]:
    """The stream on standard output, requests on standard input; a signal ends it with an End.

    Returns the exit status, and the reason when it is not 0.
    """
    citizen.yield_cpu(citizen.AGENT_NICE)
    citizen.yield_disk()
    citizen.die_first(citizen.AGENT_SCORE)
    citizen.few_arenas()
    agent = Agent(spec, host, 0, 1, _rows(spec, None, None), files=_core_files(spec))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: agent.stop(f"ended by {signal.Signals(received).name}"))
    try:
        return agent.run(), agent.problem
    finally:
        citizen.end_all(citizen.children(os.getpid()))


def _rows(spec: TargetSpec, sources: Collection[str] | None, rows: Iterable[Source] | None) -> list[Source]:
    if rows is None:
        rows = catalog.PICKER_SOURCES if spec.kind == "none" else catalog.SOURCES
    return [row for row in rows if spec.kind in row.targets and (sources is None or row.name in sources)]


def _core_files(spec: TargetSpec) -> CoreFiles | None:
    """The core file, opened; from then on this process is the invoking user's."""
    if spec.kind != "core":
        return None
    from gotriage.target.by_core import open_without_root

    return open_without_root(spec)


class Agent:
    """One target, its workers, and both directions of the stream."""

    def __init__(
        self,
        spec: TargetSpec,
        host: Host,
        read_fd: int,
        write_fd: int,
        rows: list[Source],
        launcher: int | None = None,
        files: CoreFiles | None = None,
        sources: Collection[str] | None = None,
    ) -> None:
        self._spec, self._host, self._rows, self._sources = spec, host, rows, sources
        self._output = Output(write_fd)
        self._read_fd: int | None = read_fd
        self._lines = Lines(MAX_REQUEST)
        self._workers: list[Worker] = []
        self._board: Board | None = None
        self._pinned = Pinned(spec, host, self._output, self._attached, self._moved, files)
        self._crowd = Crowd(host, self._output, launcher)
        self._end: End | None = None
        self._asked_to_end = ""
        self._cpu = citizen.cpu_seconds()
        self._beat_at = clock.monotonic()
        self._next_beat = self._beat_at + BEAT

    @property
    def problem(self) -> str:
        """Why the target could not be attached, "" when it was."""
        return self._end.reason if self._end is not None and self._end.exit_code else ""

    def stop(self, reason: str) -> None:
        """End soon; may be called by a signal handler."""
        self._asked_to_end = reason
        self._pinned.tell()

    def run(self) -> int:
        """Until the end; returns the exit status."""
        try:
            self._output.write(self._header())
            self._pinned.start()
            while self._end is None:
                self._listen(self._next_beat - clock.monotonic())
                if self._asked_to_end:
                    self._end = End(at=clock.now(), reason=self._asked_to_end)
                elif self._pinned.ended is not None:
                    self._end = self._pinned.ended
                elif clock.monotonic() >= self._next_beat:
                    self._beat()
            self._output.write(self._end)
        except Closed:
            pass
        finally:
            self._pinned.stop()
            for worker in self._workers:
                worker.stop()
            for worker in self._workers:
                if worker.source.asked:  # what a trace did to the target is undone before the agent goes
                    worker.join(GOODBYE)
            self._crowd.leave()
        return self._end.exit_code if self._end is not None else EXIT_OK

    # -- the stream's frame

    def _header(self) -> Header:
        names = os.uname()
        return Header(
            at=clock.now(),
            version=__version__,
            host=names.nodename,
            kernel=names.release,
            machine=names.machine,
            boot_id=boot_id(self._host),
            uid=os.geteuid(),
            capabilities=privilege.capabilities(),
            spec=self._spec,
        )

    def _beat(self) -> None:
        now, cpu, rss = clock.monotonic(), citizen.cpu_seconds(), citizen.rss_bytes()
        states = {worker.source.name: worker.state() for worker in self._workers}
        states["target"] = self._pinned.state()
        if self._board is not None and any(row.asked for row in self._rows):
            self._board.sample()
        share = round((cpu - self._cpu) / max(now - self._beat_at, 0.001), 4)
        # A beat that comes late (a stalled reader, a stopped process) is not made up for.
        self._beat_at, self._cpu = now, cpu
        self._next_beat = following(now, BEAT, sum(not row.asked for row in self._rows) + 1)
        self._output.write(Heartbeat(at=clock.now(), collectors=states, cpu=share, rss_bytes=rss))
        if rss is not None and rss > MOST_MEMORY:
            self._end = End(
                at=clock.now(), reason=f"the agent has grown to {rss >> 20} MiB; it starts anew", exit_code=EXIT_AGAIN
            )

    # -- the target

    def _attached(self, target: Target) -> None:
        """The target is known: start its sources."""
        self._crowd.make_room(target.pid)
        lost = {name: [view.title for view in catalog.VIEWS if name in view.sources] for name in _names(self._rows)}
        self._say_what_is_not_there()
        self._board = board = Board(self._host, target, self._output)
        rows = sorted(self._rows, key=lambda row: row.asked)  # traces do not keep to the beat
        self._workers = [
            self._worker(row, target, board, ", ".join(lost[row.name]), place) for place, row in enumerate(rows, 1)
        ]
        for worker in self._workers:
            worker.start()

    def _worker(self, row: Source, target: Target, board: Board, lost: str, place: int) -> Worker:
        if row.asked:
            return TraceWorker(row, self._host, target, self._output, board, lost)
        return Worker(row, self._host, target, self._output, lost, place)

    def _say_what_is_not_there(self) -> None:
        """A core file has no more than its memory: a gap for every source that looks at something else."""
        if self._spec.kind != "core":
            return
        for row in catalog.SOURCES:
            if "core" not in row.targets and (self._sources is None or row.name in self._sources):
                self._output.write(Gap(at=clock.now(), source=row.name, reason=NOT_IN_CORE, remedy=LOOK_LIVE))

    def _moved(self) -> None:
        """The target has another main process, or none."""
        for worker in self._workers:
            worker.wake()

    # -- requests

    def _listen(self, seconds: float) -> None:
        """Wait for requests, at most so long."""
        watched = [] if self._read_fd is None else [self._read_fd]
        ready, _, _ = select.select([*watched, self._pinned.news], [], [], max(0.0, seconds))
        if self._pinned.news in ready:
            os.read(self._pinned.news, 64)
        if self._read_fd is None or self._read_fd not in ready:
            return
        data = os.read(self._read_fd, MAX_REQUEST)
        if not data:
            self._no_more_requests(self._read_fd)
            return
        try:
            for line in self._lines.feed(data):
                self._take(line)
        except BadRecording:
            self._lines = Lines(MAX_REQUEST)
            self._reply(0, f"a request is longer than {MAX_REQUEST >> 10} KiB")

    def _no_more_requests(self, fd: int) -> None:
        """A pipe or socket that closes is a front that has gone; a file or /dev/null that ends asks nothing more."""
        kind = os.fstat(fd).st_mode
        self._read_fd = None
        if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind):
            self._end = End(at=clock.now(), reason="the front has gone")

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            request = decode_request(line)
        except ValueError as error:
            self._reply(0, f"not a request: {error}")
            return
        if request.op == "stop":
            self._reply(request.id)
            self._end = End(at=clock.now(), reason="stopped on request")
            return
        asked = self._asked(request)
        if not asked:
            self._reply(request.id, "no such collector runs here")
        elif request.op == "interval":
            self._set_interval(request, asked)
        else:
            job = Job(request, len(asked), lambda request, error: self._reply(request.id, error))
            for worker in asked:
                worker.serve(job)

    def _asked(self, request: Request) -> list[Worker]:
        """The named workers, all when none is named; "logs" is for the log sources, as each question has its own."""
        if request.op in FOR_TRACES and not request.collectors:
            return []
        return [
            worker
            for worker in self._workers
            if (request.op not in FOR_TRACES or worker.source.asked)
            and (not request.collectors or worker.source.name in request.collectors)
            and (request.op not in ASKED or ASKED[request.op] in worker.source.records)
        ]

    def _set_interval(self, request: Request, asked: list[Worker]) -> None:
        if request.seconds is None or not SHORTEST <= request.seconds <= LONGEST:
            self._reply(request.id, f"an interval is {SHORTEST:g} to {LONGEST:g} s")
            return
        for worker in asked:
            worker.interval = request.seconds
            worker.wake()
        self._reply(request.id)

    def _reply(self, number: int, error: str = "") -> None:
        self._output.write(Reply(at=clock.now(), id=number, ok=not error, error=error))


def _names(rows: list[Source]) -> list[str]:
    return [row.name for row in rows]
