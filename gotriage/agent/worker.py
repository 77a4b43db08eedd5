"""One source of the catalogue in a thread of its own: looks, writes what changed, turns every failure into a gap."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from gotriage.agent.backends import Backends
from gotriage.agent.beat import following
from gotriage.agent.gaps import Gaps, gap_of
from gotriage.agent.output import Closed
from gotriage.errors import GotriageError
from gotriage.host import clock
from gotriage.records.logs import LogLines
from gotriage.records.probes import ProbeEvents
from gotriage.records.stream import CollectorState, Gap
from gotriage.records.target import Event
from gotriage.target.model import CORE_DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from gotriage.agent.output import Output
    from gotriage.catalog import Source
    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.records.stream import Request
    from gotriage.target.model import Target

State = Literal["ok", "waiting", "late", "failed", "off"]

SHARE = 20
"""A source that took t seconds looks again after SHARE * t at the earliest: a twentieth of a core for each at most."""
NEVER = 1e6
"""Seconds until a core file, which does not change, is looked at again unasked."""
LONGEST = 120.0
"""Seconds that a dear source waits at most between two looks."""
RETRY = 30.0
"""Seconds until a source that fails, or that nothing serves, is tried again at the latest."""
ANSWER = 60.0
"""Seconds that an answer to a request may take before it counts as hung."""
ANSWERED = ("logs", "goroutines", "stacks")
"""Requests that a collector answers itself; the others make it look."""
ALWAYS_WRITTEN = (LogLines, Event, ProbeEvents)
"""Records that say what is new since the last one; all others say what is, and are left out when they are the same."""


class Job:
    """A request that several workers serve; `done` gets it and the errors once the last of them is through."""

    def __init__(self, request: Request, workers: int, done: Callable[[Request, str], None]) -> None:
        self.request = request
        self._left = workers
        self._errors: list[str] = []
        self._done = done
        self._lock = threading.Lock()

    def finish(self, error: str = "") -> None:
        """One worker is through."""
        with self._lock:
            self._left -= 1
            if error:
                self._errors.append(error)
            last = self._left == 0
        if last:
            self._done(self.request, "; ".join(self._errors))


class Worker:
    """Runs one source. `start` once; everything public may be called from any thread.

    Attributes:
        source: its row of the catalogue.
        interval: seconds between two looks.
        place: where on the beat it looks.
    """

    def __init__(
        self, source: Source, host: Host, target: Target, output: Output, lost: str = "", place: int = 0
    ) -> None:
        self.source = source
        self.interval = source.every
        self.place = place
        self._target, self._output, self._lost = target, output, lost
        self._backends = Backends(source, host, target)
        self._gaps = Gaps(self._write)
        self._jobs: deque[Job] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._generation = 0
        self._previous: dict[type[Record], Record] = {}
        self._failures = 0
        self._state: State = "waiting"
        self._last: datetime | None = None
        self._took: float | None = None
        self._looks = 0
        self._begun: float | None = None
        self._waited = 0.0
        self._writing: float | None = None
        self._allowed = source.deadline
        self._late = False
        self._thread: threading.Thread | None = None

    # -- from outside

    def start(self) -> None:
        """Begin. A thread that cannot be started (limit of processes) is a gap."""
        thread = threading.Thread(target=self._run, name=self.source.name, daemon=True)
        try:
            thread.start()
            self._thread = thread
        except RuntimeError:
            self._state = "failed"
            self._write(
                Gap(
                    at=clock.now(),
                    source=self.source.name,
                    reason="no thread can be started: the limit of processes is reached",
                    lost=self._lost,
                    remedy="raise pids.max of the cgroup, or ulimit -u",
                )
            )

    def stop(self) -> None:
        """End after the look that runs."""
        self._stopping = True
        self._wake.set()

    def join(self, seconds: float) -> None:
        """Wait until it has ended, so long at most."""
        if self._thread is not None:
            self._thread.join(seconds)

    def serve(self, job: Job) -> None:
        """Do a job as soon as the look that runs is over."""
        self._jobs.append(job)
        self._wake.set()

    def wake(self) -> None:
        """The target changed: look whether there is anything to do."""
        self._wake.set()

    def state(self) -> CollectorState:
        """How it fares, for the heartbeat; notices a look that overstays."""
        begun, writing = self._begun, self._writing
        if begun is not None and writing is None and not self._late:
            # A reader that is slow to take the records is no fault of the source: that time does not count.
            spent = clock.monotonic() - begun - self._waited
            self._late = spent > self._allowed and self._begun == begun
            if self._late:
                reason = f"did not answer within {self._allowed:g} s"
                self._output.write(Gap(at=clock.now(), source=self.source.name, reason=reason, lost=self._lost))
        state: State = "late" if self._late and begun is not None else self._state
        return CollectorState(last=self._last, took=self._took, state=state, backend=self._backends.name)

    # -- in the thread: when

    def _run(self) -> None:
        try:
            due = clock.monotonic()
            while not self._stopping:
                self._wake.clear()
                if self._generation != self._target.generation:
                    self._renew()
                    due = clock.monotonic()
                applies = self._applies()
                if applies and clock.monotonic() >= due:
                    self._supervised(self._look, self._deadline)
                    due = following(clock.monotonic(), self._pause(), self.place)
                while self._jobs and not self._stopping:
                    self._do(self._jobs.popleft())
                self._wake.wait(max(0.0, due - clock.monotonic()) if applies else 1.0)
        except Closed:
            return
        finally:
            self._drop()

    def _applies(self) -> bool:
        """While nothing of the target runs, only the idle sources have anything to look at."""
        if self.source.idle or self._target.pid is not None or self._target.spec.kind in ("none", "core"):
            return True
        self._state = "off"
        return False

    @property
    def _deadline(self) -> float:
        return self.source.deadline if self._target.core is None else CORE_DEADLINE

    def _pause(self) -> float:
        """Seconds until the next look."""
        if self._state == "off":
            return RETRY
        if self._target.core is not None and not self._failures:
            return NEVER
        if self._failures:
            return float(min(RETRY, max(self.interval, 0.5) * 2 ** min(self._failures, 8)))
        if LogLines in self.source.records or self._took is None or self._looks < 2:
            return self.interval  # the first look has to find its way, and says little about the next
        return max(self.interval, min(SHARE * self._took, LONGEST))

    def _renew(self) -> None:
        """Another main process: nothing that was known of the old one holds."""
        self._drop()
        self._generation = self._target.generation
        self._previous.clear()
        self._failures = self._looks = 0

    def _drop(self) -> None:
        try:
            self._backends.close()
        except Exception as error:  # supervised boundary: a collector that cannot even close is let go all the same
            self._gaps.put(gap_of(self.source.name, error, self._lost))

    # -- in the thread: what

    def _supervised(self, work: Callable[[], None], allowed: float) -> str:
        """Run `work` under a deadline; what it raises becomes a gap of the whole source, and is returned as text."""
        self._waited, self._allowed = 0.0, allowed
        self._begun = begun = clock.monotonic()
        problem: Exception | None = None
        try:
            work()
        except Closed:
            raise
        except Exception as error:  # supervised boundary: a source that fails never takes the others with it
            problem = error
        self._begun = None
        self._took = round(max(0.0, clock.monotonic() - begun - self._waited), 4)
        if self._late:
            self._late = False
            self._write(Gap(at=clock.now(), source=self.source.name, closed=True))
            self._gaps.again(self.source.name)
        if problem is None:
            self._failures, self._state = 0, "ok" if self._backends.name else "off"
            return ""
        return self._failed(problem)

    def _failed(self, error: Exception) -> str:
        self._failures += 1
        self._state = "failed"
        gap = gap_of(self.source.name, error, self._lost)
        self._gaps.only(gap)
        if not isinstance(error, (GotriageError, OSError)) and self._failures % 3 == 0:
            self._drop()
        return gap.reason

    def _look(self) -> None:
        self._gaps.begin()
        for record in self._backends.collect():
            self._emit(record)
        self._gaps.end()
        self._looks += 1
        now = clock.now()
        self._last = now.replace(microsecond=now.microsecond // 1000 * 1000)

    def _do(self, job: Job) -> None:
        answers = job.request.op in ANSWERED

        def work() -> None:
            if answers:
                for record in self._backends.answer(job.request):
                    self._write(record)
            else:
                self._look()

        answering = ANSWER if self._target.core is None else CORE_DEADLINE
        job.finish(self._supervised(work, answering if answers else self._deadline))

    def _emit(self, record: Record) -> None:
        """Write what is new: not the same facts again, and each gap once."""
        if isinstance(record, Gap):
            self._gaps.put(record)
            return
        if not isinstance(record, ALWAYS_WRITTEN):
            kind = type(record)
            before = self._previous.get(kind)
            if before is not None and replace(record, at=before.at) == before:
                return
            self._previous[kind] = record
        self._write(record)

    def _write(self, record: Record) -> None:
        self._writing = begun = clock.monotonic()
        try:
            self._output.write(record)
        finally:
            self._writing = None
            self._waited += clock.monotonic() - begun
