"""C library functions that the target calls, by ltrace(1): it stops the target at each call, and times it.

Only for programs with one thread: see `gotriage.host.ltrace` for what happens to others. Go programs have several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.collectors import Meter, Over, Unavailable, check_options
from gotriage.errors import GotriageError, MissingFacility, UsageError
from gotriage.goruntime.imports import imports
from gotriage.goruntime.live import LiveMemory
from gotriage.host import clock, ltrace
from gotriage.records.calls import LibraryCall, LibraryCalls
from gotriage.records.text import clean
from gotriage.records.tracing import Price

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gotriage.host import Host
    from gotriage.host.ltrace import Ltrace
    from gotriage.records import Record
    from gotriage.target.model import Target

LONGEST: Final = 30.0
USUAL: Final = 3.0
MOST_PIDS: Final = 8
ROWS: Final = 500
SECONDS_PER_CALL: Final = 100e-6
"""Time that a call takes longer, most of it while the program stands: 50 to 100 us on a virtual machine."""
THREADS: Final = (
    "ltrace crashes programs with several threads, as every Go program is one: others run on while it has taken a"
    " breakpoint out for one of them"
)


class LtraceCalls:
    """See `gotriage.records.calls`."""

    backend = "ltrace"

    def __init__(self, host: Host, target: Target) -> None:
        pid = target.pid
        if pid is None:
            raise Unavailable("nothing of the target runs", lost=False)
        try:
            self._path = ltrace.find()
        except MissingFacility as error:
            raise Unavailable(str(error), lost=False) from error
        self._host, self._target = host, target
        self._pids = self._usable(pid)
        self._run: Ltrace | None = None
        self._began = self._ended_at = 0.0

    def _usable(self, main: int) -> tuple[int, ...]:
        """Processes with one thread that are linked dynamically. Raises Unavailable when the main one is none."""
        memory = LiveMemory(main, self._host)
        try:
            reason = imports(memory).reason
        except OSError as error:
            raise Unavailable(f"the program's file cannot be read: {error.strerror}", lost=False) from error
        finally:
            memory.close()
        if reason:
            raise Unavailable(f"no call of a C library can be seen: {reason}", lost=False)
        single = ltrace.single_threaded(self._host, self._target.pids[:MOST_PIDS])
        if main not in single:
            raise Unavailable(THREADS, lost=False, remedy="probes count the calls instead, and stop nothing")
        return (main, *(pid for pid in single if pid != main))

    def price(self, options: Mapping[str, str]) -> Price:
        """How often it would stop cannot be told beforehand."""
        parse_seconds(options)
        many = f"{len(self._pids)} processes of one thread each" if len(self._pids) > 1 else "one process, one thread"
        words = (
            f"{many}: a call of a library takes about {SECONDS_PER_CALL * 1e6:.0f} us longer",
            "ltrace writes breakpoints into the program: if ltrace itself is killed (kill -9, the OOM killer), the"
            " target dies. It ends by itself, also when gotriage is killed",
            "better: calls counted by probes, which stop nothing and go with gotriage",
        )
        return Price(stops=True, words=words)

    def start(self, options: Mapping[str, str]) -> None:
        """Attach. Raises UsageError, TargetGone, NotPermitted, MissingFacility, OSError."""
        seconds = parse_seconds(options)
        self._run = ltrace.Ltrace(self._host, self._path, self._pids, seconds)
        self._began = clock.monotonic()

    def attach(self) -> None:
        """It runs once, and is not switched on and off."""

    def detach(self) -> None:
        """Let go of the target. Raises GotriageError when something is not well with it."""
        if self._run is None or self._ended_at:
            return
        problem = self._run.stop()
        self._ended_at = clock.monotonic()
        if problem:
            raise GotriageError(problem)

    def collect(self) -> Iterator[Record]:
        """The summary, which comes with its end. Raises Over when it has ended by itself."""
        run = self._run
        if run is None:
            return
        if self._ended_at:
            yield record(run.summary(), self._ended_at - self._began)
        elif run.ended:
            raise Over(f"ltrace has ended: {clean(run.ended, 200)}")

    def meter(self) -> Meter:
        """Nothing before the end."""
        if self._run is None or not self._ended_at:
            return Meter(None, None)
        return Meter(sum(count for _, count, _ in self._run.summary()), 0)

    def stop(self) -> None:
        """Let go of the target. Raises GotriageError when it is not well afterwards."""
        try:
            self.detach()
        finally:
            run, self._run = self._run, None
            if run is not None:
                run.close()

    close = stop


def record(summary: list[tuple[str, int, float]], attached: float) -> LibraryCalls:
    """Functions, the most frequent first."""
    total = sum(count for _, count, _ in summary)
    rows = [
        LibraryCall(
            function=clean(name, 200),
            count=count,
            rate=round(count / attached, 1) if attached > 0 else None,
            share=round(count / total, 4) if total else None,
            seconds=seconds,
            each=seconds / count if count else None,
        )
        for name, count, seconds in sorted(summary, key=lambda row: -row[1])[:ROWS]
    ]
    return LibraryCalls(
        at=clock.now(),
        rows=tuple(rows),
        way="ltrace",
        count=total,
        rate=round(total / attached, 1) if attached > 0 else None,
        attached=round(attached, 3),
    )


def parse_seconds(options: Mapping[str, str]) -> float:
    """Raises UsageError."""
    check_options(options, "ltrace")
    try:
        return min(max(float(options.get("seconds", USUAL)), 0.1), LONGEST)
    except ValueError:
        raise UsageError("seconds takes a number") from None
