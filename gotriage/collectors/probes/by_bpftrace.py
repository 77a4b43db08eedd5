"""Probes by bpftrace: the library's scripts, which are files to read and to copy from, and the user's own."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from gotriage.collectors import Meter
from gotriage.collectors.probes import own
from gotriage.collectors.probes.raw import (
    NOTHING,
    Line,
    Own,
    OwnHistogram,
    Raw,
    Taken,
    Total,
    exec_text,
    joined_arguments,
)
from gotriage.errors import MissingFacility, UsageError
from gotriage.host import bpftrace, clock, tracepoints

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.collectors.probes.raw import Options
    from gotriage.collectors.probes.scope import Scope
    from gotriage.host import Host
    from gotriage.probes.library import Probe

BACKEND: Final = "bpftrace"
MOST_PIDS: Final = 8
"""Processes of the target that a script of the library takes as $1 to $8."""
MOST_EVENTS: Final = 5000
STRING: Final = 128
"""Bytes of a path in the library's scripts."""
FIELD: Final = "\x1f"
FIELDS: Final = 14
"""Of an event that a script prints: kind at took result number*4 pid tid other flags comm text."""
ARGUMENTS: Final = 100
"""Kind of an event that only announces the arguments of a program, which join() prints next."""
ARGUMENT: Final = "\x1e"


def unavailable(probe: Probe, host: Host) -> str:
    """Why this backend cannot do it here, "" when it seems to be able to."""
    if not probe.script and probe.id != "script":
        return NOTHING
    if reason := bpftrace.unavailable():
        return reason
    try:
        lacking = tracepoints.missing(host.sys, probe.tracepoints)
    except MissingFacility:
        return ""  # without BTF only bpftrace itself can tell
    return f"this kernel has no tracepoint {', '.join(lacking)}" if lacking else ""


def engines(probes: Sequence[Probe], scope: Scope, options: Options) -> list[BpftraceEngine]:
    """One process for each."""
    return [BpftraceEngine(probe, scope, options) for probe in probes]


class BpftraceEngine:
    """One script."""

    backend = BACKEND

    def __init__(self, probe: Probe, scope: Scope, options: Options) -> None:
        self.probe, self.probes = probe, (probe,)
        self._scope, self._options = scope, options
        self._run: bpftrace.Bpftrace | None = None
        self._taken = Taken()
        self._hits = self._lost = 0
        self._finished = False
        self._tables: dict[str, list[Any]] = {}
        self._arguments: dict[int, bytes] = {}

    def start(self) -> None:
        """Start it. Raises UsageError for a script of the user's that bpftrace refuses, GotriageError."""
        pids = list(self._scope.tgids)[:MOST_PIDS]
        string = bpftrace.USUAL_STRING
        if self.probe.id == "script":
            script, numbers = own.with_prints(self._options.script), pids[:1]
        else:
            script = files("gotriage.probes").joinpath(f"{self.probe.script}.bt").read_text("utf-8")
            string = STRING
            numbers = [*pids, *[0] * (MOST_PIDS - len(pids)), int(self._options.slow * 1e9)]
        try:
            self._run = bpftrace.Bpftrace(script, numbers, string)
        except UsageError as error:
            if self.probe.id == "script":
                raise
            raise MissingFacility(str(error)) from error
        self._finished = False

    def attach(self) -> None:
        """Begin anew."""
        if self._run is None:
            self.start()

    def detach(self) -> None:
        """bpftrace cannot be told to pause: it ends."""
        run, self._run = self._run, None
        if run is not None:
            self._read(run.finish())

    def stop(self) -> None:
        """End it at once."""
        run, self._run = self._run, None
        if run is not None:
            run.close()

    def take(self) -> Taken:
        """What it has printed, and its maps as it last printed them."""
        run = self._run
        if run is not None:
            self._read(run.take())
            if run.ended and not self._finished:
                self._finished = True
                if self.probe.id != "script" or run.words:
                    raise MissingFacility(f"bpftrace: {run.words or 'it has ended'}")
        taken, self._taken = self._taken, Taken()
        if self.probe.id == "script":
            taken.own = [one for rows in self._tables.values() for one in rows if isinstance(one, Own)]
            taken.histograms = [one for rows in self._tables.values() for one in rows if isinstance(one, OwnHistogram)]
        else:
            taken.totals = list(self._totals())
            taken.events = joined_arguments(taken.events, self._arguments, lambda event: event.kind == ARGUMENTS)
        return taken

    def meter(self) -> Meter:
        """Lines that it has printed, and events that it says it has lost."""
        return Meter(self._hits, self._lost)

    # -- its words

    def _read(self, entries: Sequence[dict[str, Any]]) -> None:
        for entry in entries:
            kind, data = entry["type"], entry.get("data")
            if kind in ("printf", "time", "cat") and isinstance(data, str):
                self._hits += 1
                self._line(data)
            elif kind == "join" and isinstance(data, str):
                self._joined(data)
            elif kind == "lost_events" and isinstance(data, dict):
                lost = data.get("events")
                self._lost += lost if isinstance(lost, int) else 0
            elif kind in ("map", "stats", "hist", "lhist") and isinstance(data, dict):
                for name, value in data.items():
                    self._tables[name] = own.table(self.probe.id, name, value)

    def _line(self, text: str) -> None:
        if len(self._taken.events) + len(self._taken.lines) >= MOST_EVENTS:
            self._taken.dropped += 1
        elif self.probe.id == "script":
            at = int(clock.monotonic() * 1e9)
            self._taken.lines += [Line("script", at, line) for line in text.splitlines()[:100]]
        elif (raw := parse_event(text)) is not None:
            self._taken.events.append(raw)

    def _joined(self, text: str) -> None:
        """The arguments that the event before has announced: join() prints alone."""
        if self.probe.id == "script":
            self._line(text)
        elif self._taken.events and self._taken.events[-1].kind == ARGUMENTS:
            words = [word.encode("utf-8", "replace") for word in text.split(ARGUMENT)]
            self._taken.events[-1] = self._taken.events[-1]._replace(text=exec_text(b"", words))

    def _totals(self) -> Iterator[Total]:
        """The maps of the library's scripts: @count, @errors, @bytes, @sum, @most by kind, a, b; @slots by kind."""
        parts: dict[str, dict[tuple[int, ...], int]] = {}
        for name, rows in self._tables.items():
            for row in rows:
                if isinstance(row, Own) and (key := _numbers(row.key)) is not None:
                    parts.setdefault(name.lstrip("@"), {})[key] = row.hits
        for key, count in parts.get("count", {}).items():
            kind, a, b = (*key, 0, 0)[:3]
            errors, size, total, most = (parts.get(name, {}).get(key, 0) for name in ("errors", "bytes", "sum", "most"))
            slots = own.slots(self._tables.get("@slots", ()), ",".join(map(str, key)))
            yield Total(kind, a, b, 0, count, errors, size, total, most, slots)


def _numbers(key: str) -> tuple[int, ...] | None:
    return tuple(map(int, key.split(","))) if re.fullmatch(r"[0-9]+(,[0-9]+)*", key) else None


def parse_event(text: str) -> Raw | None:
    """A line that a script of the library prints for an event; None for any other."""
    parts = text.rstrip("\n").split(FIELD, FIELDS)
    if len(parts) != FIELDS + 1 or parts[0] != "E":
        return None
    try:
        kind, at, took, result, first, second, third, fourth, tgid, tid, other, flags = map(int, parts[1:13])
    except ValueError:
        return None
    word = (1 << 64) - 1
    data = parts[14].encode("utf-8", "replace")
    return Raw(
        kind=kind, at=at, took=took, result=result, tgid=tgid, tid=tid, other=other, flags=flags,
        numbers=(first & word, second & word, third & word, fourth & word),
        comm=parts[13].encode("utf-8", "replace"), text=data,
    )  # fmt: skip
