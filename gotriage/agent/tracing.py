"""One source that is started on request: the best backend that serves, a time limit, a budget, and always an end."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final, cast

from msgspec.structs import replace

from gotriage.agent import guard
from gotriage.agent.backends import load
from gotriage.agent.beat import following
from gotriage.agent.gaps import DENIALS, gap_of
from gotriage.agent.output import Closed
from gotriage.agent.worker import Worker
from gotriage.collectors import Over, Unavailable
from gotriage.errors import GotriageError, MissingFacility, NotPermitted, UsageError, reason_of
from gotriage.host import clock, tracefs
from gotriage.records.text import clean
from gotriage.records.tracing import Price, Trace

if TYPE_CHECKING:
    from gotriage.agent.board import Board
    from gotriage.agent.output import Output
    from gotriage.agent.worker import Job
    from gotriage.catalog import Source
    from gotriage.collectors import Tracer
    from gotriage.host import Host
    from gotriage.target.model import Target

PERIOD: Final = 10.0
"""Seconds of a round of a trace that may be attached a part of the time only."""
LEAST_ON: Final = 0.1
"""Seconds that it is attached in a round at least; where that is over the budget, it ends."""
FIRST: Final = 0.3
"""Seconds after which a trace with a budget is first held against it."""
SOON: Final = 0.1
"""Seconds until the first look at a trace that somebody waits for."""
LEAST_CPU: Final = 0.05
"""Cores that an idle target counts for in a budget: a part of nothing would forbid everything."""
AGAIN: Final = 60.0
"""Seconds until a trace that the agent runs by itself, and that does not serve, is tried again."""
IDLE: Final = 3600.0
START_LIMIT: Final = 20.0
"""Seconds that a start may take before it counts as hung."""
PASSED: Final = (MissingFacility, NotPermitted, OSError)
"""Errors of one backend, after which the next one is tried."""
LONGEST_OPTION: Final = 48 * 1024


@dataclass(slots=True)
class Run:
    """A trace from its start to its end; times by clock.monotonic."""

    tracer: Tracer
    row: Trace
    began: float
    until: float
    look_at: float
    attached_at: float
    switch_at: float
    attached: bool = True
    attached_seconds: float = 0.0
    on: float = PERIOD
    """Seconds of each round that it is attached."""
    fixed: bool = False
    """The agent's own sampling: the share is the catalogue's, not the budget's."""
    rated: list[tuple[float, int]] = field(default_factory=list)
    paid: list[tuple[float, float]] = field(default_factory=list)
    """Seconds attached, and seconds of the target's CPU that the hits have cost by then, where the tracer tells."""
    leaving: float = 0.0
    """Seconds that the last detaching took: until its end, the target pays."""
    over: threading.Event = field(default_factory=threading.Event)
    """It has ended, or is about to."""
    dropped: bool = False
    """It was taken off the target from outside: see agent.guard."""

    def attached_for(self, now: float) -> float:
        """Seconds attached since the start."""
        return self.attached_seconds + (now - self.attached_at if self.attached else 0.0)


class NotStarted(Exception):
    """No backend serves; the row says why."""

    def __init__(self, row: Trace, error: Exception | None = None) -> None:
        super().__init__(row.reason)
        self.row, self.error = row, error


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
            self._begin(options, left)

    def _advance(self) -> None:
        now, run = clock.monotonic(), self._active
        if run is None:
            if self.source.duty is not None and self._target.pid is not None and now >= self._sample_at:
                self._begin({}, None)
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
        request = job.request
        error = ""
        if request.op in ("start", "price") and any(len(text) > LONGEST_OPTION for text in request.options.values()):
            error = "an option is too long"
        elif request.op == "start":
            seconds = request.seconds or self.source.lasts
            if self._active is None or not self._adjust(self._active, dict(request.options), seconds):
                if self._active is not None:
                    self._end("started again")
                error = self._begin(dict(request.options), seconds)
        elif request.op == "price":
            error = self._say_price(dict(request.options))
        elif request.op == "finish":
            if self._active is not None and self._active.row.asked:
                self._end("ended on request", finished=True)
        elif self._active is not None and self._active.attached:
            run = self._active
            error = self._supervised(lambda: self._look_at(run), self.source.deadline)
        job.finish(error)

    def _adjust(self, run: Run, options: dict[str, str], seconds: float) -> bool:
        """Go on with other options, where the tracer can: whether it does."""
        adjust = getattr(run.tracer, "adjust", None)
        if (
            adjust is None
            or not run.row.asked
            or not run.attached
            or "backend" in options
            or "backend" in run.row.options
        ):
            return False

        def work() -> None:
            price = run.tracer.price(options)
            adjust(options)
            row = self._row(options)
            limit = min(seconds, self.source.longest)
            run.until = clock.monotonic() + limit
            run.row = replace(
                run.row,
                backend=run.tracer.backend,
                options=row.options,
                budget=row.budget,
                price=_cleaned(price),
                ends_at=clock.now() + timedelta(seconds=limit),
            )
            run.look_at = clock.monotonic() + FIRST
            self._board.put(run.row)

        return not self._supervised(work, START_LIMIT)

    def _say_price(self, options: dict[str, str]) -> str:
        """Tell what a start would cost; the trace that runs, if any, goes on untouched."""
        row = self._row(options)
        try:
            tracer, row = self._chosen(row, start=False, options=options)
            tracer.close()
            row = replace(row, state="priced")
        except NotStarted as error:
            row = error.row
        except Exception as error:  # supervised boundary: a backend that fails is a refusal, not the end of the agent
            row = replace(row, state="refused", reason=gap_of(self.source.name, error).reason)
        if self._active is None or not self._active.row.asked:
            self._board.put(row)
        return row.reason if row.state == "refused" else ""

    def _row(self, options: dict[str, str]) -> Trace:
        shown = {clean(key, 64): clean(value, 256) for key, value in options.items() if key != "script"}
        return Trace(
            source=self.source.name, options=shown, price_class=self.source.price, budget=self._budget(options)
        )

    def _budget(self, options: dict[str, str]) -> float | None:
        """The part of the target's CPU; the option is in percent, "off" for none."""
        text = options.get("budget", "")
        if text == "off":
            return None
        try:
            return min(max(float(text.rstrip("%")) / 100, 0.001), 1.0) if text else self.source.budget
        except ValueError:
            return self.source.budget

    # -- begin and end

    def _begin(self, options: dict[str, str], seconds: float | None) -> str:
        """Start it; `seconds` None is the agent's own sampling. Returns why it was not started, or ""."""
        row = replace(self._row(options), asked=seconds is not None, target_cpu_before=self._board.cpu())
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
            tracer, row = self._chosen(row, start=True, options=options)
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
            run.fixed, run.on, run.switch_at = True, duty[0], following(now, duty[0], 0)
            run.row = replace(run.row, on_share=round(duty[0] / duty[1], 3))
        guard.watch(run, self._output, light=self.source.price == "light")
        self._gaps.begin()
        self._gaps.end()
        self._board.put(run.row)

    def _chosen(self, row: Trace, *, start: bool, options: dict[str, str] | None = None) -> tuple[Tracer, Trace]:
        """The first backend that serves, started or only priced. Raises NotStarted."""
        options = options if options is not None else dict(row.options)
        passed: list[str] = []
        first: Exception | None = None
        wanted = options.get("backend", "")
        for name in self.source.backends:
            kind = cast("type[Tracer]", load(name))
            if wanted and wanted not in backends_of(kind):
                continue
            tracer: Tracer | None = None
            try:
                tracer = kind(self._host, self._target)
                price = tracer.price(options)
                if start:
                    tracer.start(options)
                return tracer, replace(row, backend=tracer.backend, price=_cleaned(price), passed_over=tuple(passed))
            except Exception as error:
                if tracer is not None:
                    tracer.close()
                if not isinstance(error, PASSED):
                    if isinstance(error, GotriageError):
                        refused = replace(row, state="refused", reason=clean(str(error), 1000), backend=kind.backend)
                        raise NotStarted(refused, error) from error
                    raise
                passed.append(f"{kind.backend}: {clean(reason_of(error), 400)}")
                first = first or error
        if first is None:
            kinds = [cast("type[Tracer]", load(name)) for name in self.source.backends]
            known = ", ".join(dict.fromkeys(each for kind in kinds for each in backends_of(kind)))
            refused = replace(row, state="refused", reason=f"no backend {clean(wanted, 40)!r}; there are: {known}")
            raise NotStarted(refused, UsageError(refused.reason))
        gap = gap_of(self.source.name, first)
        reason = clean(reason_of(first), 1000) if len(passed) == 1 else "; ".join(passed)
        denied = isinstance(first, DENIALS)
        remedy = gap.remedy or (getattr(first, "remedy", "") if isinstance(first, Unavailable) else "")
        raise NotStarted(
            replace(row, state="refused", reason=reason, remedy=remedy, passed_over=tuple(passed)),
            first if denied else MissingFacility(reason),
        ) from first

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
        self._measure(run, now)
        self._board.put(run.row)
        if over and self._active is run:
            self._end(over)
        elif run.attached and not run.fixed:
            self._hold(run, now)

    def _measure(self, run: Run, now: float) -> None:
        meter = run.tracer.meter()
        attached = run.attached_for(now)
        rate = run.row.hits_per_second
        if meter.hits is not None:
            run.rated = [*run.rated[-5:], (attached, meter.hits)]
            begun, hits = run.rated[0] if len(run.rated) > 1 else (0.0, 0)
            rate = round((meter.hits - hits) / max(attached - begun, 0.001), 1)
        if meter.seconds is not None:
            run.paid = [*run.paid[-5:], (attached, meter.seconds)]
        run.row = replace(
            run.row,
            attached_seconds=round(attached, 2),
            hits=meter.hits,
            lost=meter.lost,
            hits_per_second=rate,
            target_cpu=self._board.cpu(run.began),
        )

    def _hold(self, run: Run, now: float) -> None:
        """Attached a part of the time only, where all of it would cost more than the budget."""
        price, row = run.row.price, run.row
        if row.budget is None or price is None or price.seconds_per_hit is None or row.hits_per_second is None:
            return
        if run.attached_for(now) < FIRST * 0.9:
            return
        allowed = row.budget * max(row.target_cpu_before or 0.0, row.target_cpu or 0.0, LEAST_CPU)
        cost = _cost(run.paid) if run.paid else row.hits_per_second * price.seconds_per_hit
        share = min(1.0, allowed / cost) if cost > 0 else 1.0
        if share * PERIOD < max(LEAST_ON, run.leaving):
            self._end(
                f"over its budget of {row.budget:.1%} of the target's CPU: {row.hits_per_second:,.0f} hits/s cost about"
                f" {cost:.2f} cores",
            )
            return
        run.on = max(share * PERIOD - run.leaving, LEAST_ON / 2) if share < 1.0 else PERIOD
        run.row = replace(row, on_share=round(share, 4))
        if share < 1.0:
            spent = now - run.attached_at
            run.switch_at = now if spent >= run.on else run.attached_at + run.on
        else:
            run.switch_at = now + PERIOD * 1000

    def _switch(self, run: Run) -> None:
        """Off until the next round, or on again."""
        now = clock.monotonic()
        period = self.source.duty[1] if run.fixed and self.source.duty is not None else PERIOD
        if run.attached:
            run.tracer.detach()
            run.leaving = clock.monotonic() - now
            now += run.leaving
            run.attached_seconds = run.attached_for(now)
            run.attached = False
            off = max(min(run.on, now - run.attached_at) * (period / max(run.on, 0.001) - 1.0), LEAST_ON)
            run.switch_at = following(now, off, 0) if run.fixed else now + off
            self._look_at(run)
            if self._active is run:
                run.row = replace(run.row, state="waiting")
        else:
            run.tracer.attach()
            now = clock.monotonic()
            run.attached, run.attached_at = True, now
            run.switch_at = following(now, run.on, 0) if run.fixed else now + run.on
            run.look_at = now + min(self.interval, run.on)
            run.row = replace(run.row, state="running")
        self._board.put(run.row)


def backends_of(kind: type[Tracer]) -> tuple[str, ...]:
    """What a class calls itself, or the several backends that it chooses from."""
    several: tuple[str, ...] = getattr(kind, "backends", ())
    return several or (kind.backend,)


def _cost(paid: list[tuple[float, float]]) -> float:
    """Cores while attached, over the last looks."""
    begun, seconds = paid[0] if len(paid) > 1 else (0.0, 0.0)
    return (paid[-1][1] - seconds) / max(paid[-1][0] - begun, 0.001)


def _cleaned(price: Price) -> Price:
    return replace(price, words=tuple(clean(word, 400) for word in price.words[:8]))
