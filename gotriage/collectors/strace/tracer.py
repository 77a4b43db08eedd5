"""strace on the target, for seconds: every thread stops twice at every system call meanwhile."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gotriage.collectors import Meter, Over, Unavailable, check_options
from gotriage.collectors.strace.log import Log
from gotriage.errors import GotriageError, MissingFacility, NoSuchTarget, UsageError
from gotriage.host import clock, strace
from gotriage.host.callrate import call_rate
from gotriage.records.text import clean
from gotriage.records.tracing import Price

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gotriage.host import Host
    from gotriage.host.strace import Strace
    from gotriage.records import Record
    from gotriage.target.model import Target

LONGEST: Final = 30.0
"""Seconds that it runs at most, whatever was asked for."""
USUAL: Final = 3.0
SIZE: Final = 80
LARGEST: Final = 4096
"""Bytes of a string that are shown, usually and at most."""
MOST_CALLS: Final = 200_000
PIECE: Final = 1024 * 1024
PIECES: Final = 8
"""Bytes that are read at once, and how often in one look."""
SECONDS_PER_CALL: Final = 12e-6
"""CPU time that a call costs the target (an HTTP service at 2,000 requests/s on a virtual machine with two CPUs)."""
_CALLS: Final = re.compile(r"!?[%a-z0-9_?]+(?:,[%a-z0-9_?]+)*")


class StraceTracer:
    """See `gotriage.records.straced`."""

    backend = "strace"

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        try:
            self._path, self._version = strace.find()
        except MissingFacility as error:
            raise Unavailable(str(error), lost=True) from error
        self._run: Strace | None = None
        self._log = Log()
        self._offset = 0
        self._began = self._ended_at = 0.0
        self._problem = ""

    def price(self, options: Mapping[str, str]) -> Price:
        """By the calls that the target makes now."""
        parse_options(options)
        rate = call_rate(self._host, self._target.pids)
        words = [
            "a call takes 40 to 80 us longer, as its thread stands twice meanwhile",
            "expect requests to take several times as long meanwhile: a like service at 2,000 requests/s went from 3 ms"
            " to 38 ms (p99), one in a closed loop to a fifth of its throughput",
        ]
        if rate is None:
            words.insert(0, "how many calls it makes cannot be told beforehand")
        elif rate.least:
            words.insert(0, f"at least {rate.value:,.0f} calls a second: only reads and writes could be counted")
        words.append("lighter: the system call view counts and times all calls in the kernel, and stops nothing")
        return Price(rate.value if rate is not None else None, SECONDS_PER_CALL, stops=True, words=tuple(words))

    def start(self, options: Mapping[str, str]) -> None:
        """Attach. Raises UsageError, NoSuchTarget, TargetGone, NotPermitted, MissingFacility, OSError."""
        calls, size, seconds = parse_options(options)
        pids = self._target.pids
        if not pids:
            raise NoSuchTarget("nothing of the target runs")
        self._run = strace.Strace(self._host, self._path, pids, seconds, size, calls)
        self._began = clock.monotonic()

    def attach(self) -> None:
        """It runs once, and is not switched on and off."""

    def detach(self) -> None:
        """Let go of the target. Raises GotriageError when something is not well with it."""
        if self._run is None or self._ended_at:
            return
        problem = self._run.stop()
        self._ended_at = clock.monotonic()
        if problem and not self._log.outside_stops:
            raise GotriageError(problem)

    def collect(self) -> Iterator[Record]:
        """What it has written by now. Raises Over when it has ended, or has told enough."""
        run = self._run
        if run is None:
            return
        ended = run.ended
        for _ in range(PIECES):
            data = run.read(self._offset, PIECE)
            self._offset += len(data)
            self._log.feed(data)
            if len(data) < PIECE or self._log.count >= MOST_CALLS:
                break
        yield self._log.record(clock.now(), (self._ended_at or clock.monotonic()) - self._began)
        if self._log.count >= MOST_CALLS:
            raise Over(f"{self._log.count:,} calls are enough")
        if ended and not self._ended_at:
            raise Over(f"strace has ended: {clean(ended, 200)}")

    def meter(self) -> Meter:
        """Calls; strace loses none."""
        return Meter(self._log.count, 0)

    def stop(self) -> None:
        """Let go of the target, and forget what was written. Raises GotriageError when it is not well afterwards."""
        try:
            self.detach()
        finally:
            run, self._run = self._run, None
            if run is not None:
                run.close()

    close = stop


def parse_options(options: Mapping[str, str]) -> tuple[str, int, float]:
    """Which calls ("" for all), bytes of a string, seconds. Raises UsageError."""
    check_options(options, "strace", calls="NAMES", size="BYTES")
    calls = options.get("calls", "").replace(" ", "")
    if len(calls) > 400 or (calls and not _CALLS.fullmatch(calls)):
        raise UsageError(f"calls={clean(calls, 60)!r}: names of system calls, as openat,connect or %file")
    try:
        size, seconds = int(options.get("size", SIZE)), float(options.get("seconds", USUAL))
    except ValueError:
        raise UsageError("size takes a number of bytes, seconds a number") from None
    if not 0 <= size <= LARGEST:
        raise UsageError(f"size may be {LARGEST} bytes at most")
    return calls, size, min(max(seconds, 0.1), LONGEST)
