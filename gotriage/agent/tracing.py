"""One source that is started on request: the best backend that serves, a time limit, a budget, and always an end."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from gotriage.agent import guard
from gotriage.agent.beat import following
from gotriage.agent.gaps import gap_of
from gotriage.agent.output import Closed
from gotriage.agent.run import FIRST, LEAST_ON, PERIOD, Run
from gotriage.agent.tracers import NotStarted, choose, cleaned, row_of
from gotriage.agent.worker import Worker
from gotriage.collectors import Over
from gotriage.errors import MissingFacility, UsageError
from gotriage.host import clock, tracefs
from gotriage.records.text import clean

if TYPE_CHECKING:
    from gotriage.agent.board import Board
    from gotriage.agent.output import Output
    from gotriage.agent.worker import Job
    from gotriage.catalog import Source
    from gotriage.host import Host
    from gotriage.records.stream import Request
    from gotriage.records.tracing import Trace
    from gotriage.target.model import Target

SOON: Final = 0.1
"""Seconds until the first look at a trace that somebody waits for."""
AGAIN: Final = 60.0
"""Seconds until a trace that the agent runs by itself, and that does not serve, is tried again."""
IDLE: Final = 3600.0
START_LIMIT: Final = 20.0
"""Seconds that a start may take before it counts as hung."""


class TraceWorker(Worker):
    """Runs a trace while it is asked for, and a small part of the time by itself where the catalogue says so."""

    def __init__(
        self, source: Source, host: Host, target: Target, output: Output, board: Board, lost: str = ""
    ) -> None:
        super().__init__(source, host, target, output, lost)
        self._host, self._board = host, board
        self._active: Run | None = None
        self._sample_at = clock.monotonic()
        self._state = "waiting" if source.duty is not None else "off"

    # -- when

    def _run(self) -> None:
        tracefs.sweep_once()
        try:
            while not self._stopping:
                self._wake.clear()
                self._follow()
                while self._jobs and not self._stopping:
                    self._do(self._jobs.popleft())
                if not self._stopping:
                    self._advance()
                    self._wake.wait(max(0.0, self._next() - clock.monotonic()))
        except Closed:
            return
        finally:
            self._drop_run()

    def _next(self) -> float:
        """When there is something to do."""
        run = self._active
        if run is not None:
            times = [run.until, run.switch_at] + ([run.look_at] if run.attached else [])
            return min(times)
        if self.source.duty is not None:
            return self._sample_at if self._target.pid is not None else clock.monotonic() + 1.0
        return clock.monotonic() + IDLE

    def _follow(self) -> None:
        """The target was started anew, or has gone: a light trace goes on with the new process, others end."""
        run = self._active
        if self._generation == self._target.generation and (run is None or self._target.pid is not None):
            return
        self._generation = self._target.generation
        self._previous.clear()
        self._sample_at = clock.monotonic()
        if run is None:
            return
        left, options = run.until - clock.monotonic(), dict(run.row.options)
        self._end("the target has ended" if self._target.pid is None else "the target was started anew")
        if run.row.asked and self.source.price == "light" and self._target.pid is not None and left > 0:
            self._begin(row_of(self.source, options), options, left)

    def _advance(self) -> None:
        now, run = clock.monotonic(), self._active
        if run is None:
            if self.source.duty is not None and self._target.pid is not None and now >= self._sample_at:
                self._begin(row_of(self.source, {}), {}, None)
            return
        if run.dropped:
            self._end(guard.REASON)
        elif now >= run.until:
            self._end("its time is over", finished=True)
        elif now >= run.switch_at:
            self._supervised(lambda: self._switch(run), self.source.deadline)
        elif run.attached and now >= run.look_at and self._supervised(lambda: self._look_at(run), self.source.deadline):
            self._broke(run)

    # -- requests

    def _do(self, job: Job) -> None:
        try:
            error = self._answer(job.request)
        except UsageError as refused:
            error = str(refused)
        job.finish(error)

    def _answer(self, request: Request) -> str:
        """Why the request could not be met, or "". Raises UsageError for an option that nothing could take."""
        run, options = self._active, dict(request.options)
        if request.op == "price":
            return self._say_price(row_of(self.source, options), options)
        if request.op == "start":
            row, seconds = row_of(self.source, options), request.seconds or self.source.lasts
            if run is not None and self._adjust(run, row, options, seconds):
                return ""
            self._end("started again")
            return self._begin(row, options, seconds)
        if run is not None and request.op == "finish":
            if run.row.asked:
                self._end("ended on request", finished=True)
        elif run is not None and run.attached:
            return self._supervised(lambda: self._look_at(run), self.source.deadline)
        return ""

    def _adjust(self, run: Run, row: Trace, options: dict[str, str], seconds: float) -> bool:
        """Go on with other options, where the tracer can: whether it does."""
        adjust = getattr(run.tracer, "adjust", None)
        chosen = "backend" in options or "backend" in run.row.options
        if adjust is None or chosen or not (run.row.asked and run.attached):
            return False

        def work() -> None:
            price = run.tracer.price(options)
            adjust(options)
            limit = min(seconds, self.source.longest)
            run.until = clock.monotonic() + limit
            run.row = replace(
                run.row,
                backend=run.tracer.backend,
                options=row.options,
                budget=row.budget,
                price=cleaned(price),
                ends_at=clock.now() + timedelta(seconds=limit),
            )
            run.look_at = clock.monotonic() + FIRST
            self._board.put(run.row)

        return not self._supervised(work, START_LIMIT)

    def _say_price(self, row: Trace, options: dict[str, str]) -> str:
        """Tell what a start would cost; the trace that runs, if any, goes on untouched."""
        try:
            tracer, row = choose(self.source, self._host, self._target, row, options, start=False)
            tracer.close()
            row = replace(row, state="priced")
        except NotStarted as error:
            row = error.row
        except Exception as error:  # supervised boundary: a backend that fails is a refusal, not the end of the agent
            row = replace(row, state="refused", reason=gap_of(self.source.name, error).reason)
        if self._active is None or not self._active.row.asked:
            self._board.put(row)
        return row.reason if row.state == "refused" else ""

    # -- begin and end

    def _begin(self, row: Trace, options: dict[str, str], seconds: float | None) -> str:
        """Start it; `seconds` None is the agent's own sampling. Returns why it was not started, or ""."""
        row = replace(row, asked=seconds is not None, target_cpu_before=self._board.cpu())
        problem: list[NotStarted] = []

        def work() -> None:
            try:
                self._start(row, options, seconds)
            except NotStarted as error:
                problem.append(error)

        reason = self._supervised(work, START_LIMIT)
        if not problem and not reason:
            return ""
        refused = problem[0].row if problem else replace(row, state="refused", reason=reason)
        self._sample_at = clock.monotonic() + AGAIN
        self._board.put(refused)
        self._state = "off"
        if problem and not isinstance(problem[0].error, UsageError):
            self._gaps.only(
                replace(
                    gap_of(self.source.name, problem[0].error or MissingFacility(refused.reason), self._lost),
                    reason=refused.reason,
                    remedy=refused.remedy,
                )
            )
        return refused.reason

    def _start(self, row: Trace, options: dict[str, str], seconds: float | None) -> None:
        stops = self.source.price == "stops"
        if stops and (problem := self._board.take_stop()):
            raise NotStarted(replace(row, state="refused", reason=problem))
        try:
            if self._target.pid is None:
                raise NotStarted(replace(row, state="refused", reason="nothing of the target runs"))
            if row.asked:
                self._board.put(replace(row, state="starting"))
            if stops:
                lasts = min(seconds if seconds is not None else self.source.lasts, self.source.longest)
                options = {**options, "seconds": f"{lasts:g}"}
            tracer, row = choose(self.source, self._host, self._target, row, options, start=True)
        except BaseException:
            if stops:
                self._board.leave_stop()
            raise
        now, wall = clock.monotonic(), clock.now()
        limit = min(seconds, self.source.longest) if seconds is not None else None
        ends_at = wall + timedelta(seconds=limit) if limit is not None else None
        self._active = run = Run(
            tracer,
            replace(row, state="running", started_at=wall, ends_at=ends_at),
            began=now,
            until=now + (limit if limit is not None else IDLE * 24),
            look_at=now + min(self.interval, (FIRST if row.budget else SOON) if row.asked else self.interval),
            attached_at=now,
            switch_at=now + PERIOD * 1000,
        )
        duty = self.source.duty
        if seconds is None and duty is not None:
            run.fixed, run.switch_at = True, following(now, duty[0], 0)
            run.on, run.period = duty
            run.row = replace(run.row, on_share=round(duty[0] / duty[1], 3), round_seconds=duty[1])
        guard.watch(run, self._output, light=self.source.price == "light")
        self._gaps.begin()
        self._gaps.end()
        self._board.put(run.row)

    def _end(self, reason: str, *, finished: bool = False, state: str = "ended") -> None:
        """Collect a last time, undo everything, and say so."""
        run, self._active = self._active, None
        if run is None:
            return
        run.over.set()
        stops = self.source.price == "stops"
        problem = self._supervised(run.tracer.detach, START_LIMIT) if stops else ""
        if (finished or stops) and run.attached:
            self._supervised(lambda: self._look_at(run), self.source.deadline)
        problem = self._supervised(run.tracer.stop, START_LIMIT) or problem
        if stops:
            self._board.leave_stop()
        self._sample_at = clock.monotonic() + (self.source.duty[1] if self.source.duty else IDLE)
        self._state = "off" if self.source.duty is None else self._state
        self._board.put(
            replace(
                run.row,
                state="failed" if problem else state,
                ended_at=clock.now(),
                attached_seconds=round(run.attached_for(clock.monotonic()), 2),
                reason=f"{reason}; {problem}" if problem else reason,
            )
        )

    def _broke(self, run: Run) -> None:
        """A look failed: what cannot be read any more does not stay attached."""
        if self._active is run and self._failures >= 3:
            self._end("it could not be read any more", state="failed")
        else:
            run.look_at = clock.monotonic() + self.interval

    def _drop_run(self) -> None:
        """The agent ends: undo, and say nothing."""
        run, self._active = self._active, None
        if run is not None:
            run.over.set()
            try:
                run.tracer.stop()
            except Exception as error:  # supervised boundary: the process ends, and the kernel undoes the rest
                self._gaps.put(gap_of(self.source.name, error, self._lost))
            self._board.leave_stop()

    # -- while it runs

    def _look_at(self, run: Run) -> None:
        """One look: records, meter, and whether it stays within its budget."""
        self._gaps.begin()
        over = ""
        try:
            for record in run.tracer.collect():
                self._emit(record)
        except Over as reason:
            over = clean(str(reason), 400)
        self._gaps.end()
        self._looks += 1
        now, wall = clock.monotonic(), clock.now()
        self._last = wall.replace(microsecond=wall.microsecond // 1000 * 1000)
        run.look_at = now + self.interval
        run.measure(now, self._board.cpu(run.began))
        self._board.put(run.row)
        if not over and run.attached and not run.fixed:
            over = run.hold(now)
        if over and self._active is run:
            self._end(over)

    def _switch(self, run: Run) -> None:
        """Off until the next round, or on again."""
        if run.attached:
            on = min(run.on, run.detach())
            self._switch_after(run, max(on * (run.period / max(run.on, 0.001) - 1.0), LEAST_ON))
            self._look_at(run)
            if self._active is run:
                run.row = replace(run.row, state="waiting")
        else:
            run.attach()
            self._switch_after(run, run.on)
            run.look_at = run.attached_at + min(self.interval, run.on)
            run.row = replace(run.row, state="running")
        self._board.put(run.row)

    @staticmethod
    def _switch_after(run: Run, seconds: float) -> None:
        """What the agent samples by itself goes on and off on the common beat."""
        now = clock.monotonic()
        run.switch_at = following(now, seconds, 0) if run.fixed else now + seconds
