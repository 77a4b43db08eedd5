"""The probe library: small programs in the kernel, each for one question, any number of them at once. Options:

probe     ids of gotriage.probes.library, with commas between; none only tells what there is
backend   libbpf, bpftrace, BCC or tracefs: that one alone
slow      milliseconds from which on a file or the wait for a CPU is slow (10)
script    the text of the user's own bpftrace script or BCC program (probes "script" and "bcc")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.collectors import Meter, Unavailable
from gotriage.collectors.probes import choice as choices
from gotriage.collectors.probes import own
from gotriage.collectors.probes.by_libbpf import BACKEND
from gotriage.collectors.probes.events import Events
from gotriage.collectors.probes.lookups import Lookups
from gotriage.collectors.probes.raw import Options, Taken
from gotriage.collectors.probes.scope import Scope
from gotriage.collectors.probes.totals import Totals, own_histograms, own_rows
from gotriage.errors import GotriageError, MissingFacility, UsageError, reason_of
from gotriage.host import clock
from gotriage.probes.library import OPENED, OWN, PROBES
from gotriage.records.probes import ProbeEvent, ProbeEvents, Probes, ProbeState, ProbeTables
from gotriage.records.text import clean
from gotriage.records.tracing import Price

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gotriage.collectors.probes.choice import Choice
    from gotriage.collectors.probes.raw import Engine
    from gotriage.host import Host
    from gotriage.probes.library import Probe
    from gotriage.records import Record
    from gotriage.target.model import Target

MOST_EVENTS: Final = 400
"""Events of one probe that are told one by one in a look."""
TABLES_EVERY: Final = 0.9
"""Seconds between two looks at the totals."""
LEAST_SLOW, MOST_SLOW = 0.01, 60_000.0
"""Milliseconds."""


class ProbeTracer:
    """One run of some probes."""

    backend = BACKEND
    backends = choices.NAMES

    def __init__(self, host: Host, target: Target) -> None:
        if target.pid is None:
            raise Unavailable("nothing of the target runs", lost=False)
        self._host, self._target = host, target
        self._scope = Scope(host, target)
        self._engines: list[Engine] = []
        self._chosen: dict[str, Choice] = {}
        self._library: dict[str, Choice] = {}
        self._running: dict[str, str] = {}
        self._seen: dict[str, int] = {}
        self._omitted: dict[str, int] = {}
        self._newest: dict[str, int] = {}
        self._line = 0
        self._events: Events | None = None
        self._totals: Totals | None = None
        self._lookups: Lookups | None = None
        self._tables_at = 0.0
        self._script = ""

    # -- before a start

    def price(self, options: Mapping[str, str]) -> Price:
        """What a hit costs; how many there will be is not known before."""
        probes = choices.wanted(options)
        if not self._running:
            own.checked(probes, options.get("script", ""))
        self._choices(probes, options.get("backend", ""))
        costs = [probe.cost for probe in probes]
        if any(probe.id in OWN for probe in probes) or options.get("backend", BACKEND) != BACKEND:
            costs = []
        words = [f"{probe.title}: {probe.limits}" for probe in probes if probe.limits]
        if any(probe.id in OWN for probe in probes):
            words.append("what a program of yours costs is not known beforehand")
        return Price(seconds_per_hit=max(costs, default=None), words=tuple(words))

    def _choices(self, probes: list[Probe], backend: str) -> dict[str, Choice]:
        """Raises Unavailable when none of the probes can run here."""
        chosen = {probe.id: choices.choose(probe, self._host, self._target, backend) for probe in probes}
        bad = [choice for choice in chosen.values() if not choice.backends]
        if bad and len(bad) == len(chosen):
            raise Unavailable("; ".join(f"{choice.probe.id}: {', '.join(choice.passed_over)}" for choice in bad))
        return chosen

    # -- on and off

    def start(self, options: Mapping[str, str]) -> None:
        """Load and attach all. Raises UsageError, Unavailable, GotriageError, OSError when none can."""
        probes = choices.wanted(options)
        self._script = own.checked(probes, options.get("script", ""))
        self._chosen = self._choices(probes, options.get("backend", ""))
        settings = Options(slow=_milliseconds(options.get("slow", "10")), script=self._script)
        self._scope.resolve()
        self._lookups = Lookups(self._scope)
        self._events = Events(self._lookups)
        self._totals = Totals(self._lookups)
        self._start_chosen(settings)
        if probes and not self._running:
            raise self._failure()

    def adjust(self, options: Mapping[str, str]) -> None:
        """Run these probes from now on; those that run already go on untouched. Raises as `start`."""
        probes = choices.wanted(options)
        settings = Options(slow=_milliseconds(options.get("slow", "10")), script=options.get("script", ""))
        stays = {probe.id for probe in probes} - (set(OWN) if settings.script != self._script else set())
        self._stop_others(stays)
        chosen = self._choices(probes, "")
        self._chosen = chosen | {name: self._chosen[name] for name in self._running}
        try:
            self._script = own.checked(probes, settings.script)
        except UsageError as error:
            if not self._running:
                raise
            for name in OWN:
                if name in self._chosen:
                    self._chosen[name].break_off(str(error))
        self._start_chosen(settings)
        if probes and not self._running:
            raise self._failure()

    def _stop_others(self, stays: set[str]) -> None:
        for engine in [one for one in self._engines if any(probe.id not in stays for probe in one.probes)]:
            self._engines.remove(engine)
            engine.stop()
            for probe in engine.probes:
                self._running.pop(probe.id, None)

    def _start_chosen(self, settings: Options) -> None:
        """Those of the chosen that do not run yet, each by the best backend that works."""
        while waiting := [c for c in self._chosen.values() if c.backends and c.probe.id not in self._running]:
            module = waiting[0].backends[0]
            together = [choice for choice in waiting if choice.backends[0] is module]
            for engine in module.engines([choice.probe for choice in together], self._scope, settings):
                self._start_one(engine)
        self.backend = ", ".join(dict.fromkeys(self._running.values())) or BACKEND

    def _start_one(self, engine: Engine) -> None:
        """One engine; where it fails, its probes take the next backend."""
        try:
            engine.start()
        except (GotriageError, OSError) as error:
            engine.stop()
            if isinstance(error, UsageError):  # a program of the user's that is refused
                if not self._running:
                    raise
                self._chosen[engine.probes[0].id].break_off(clean(str(error), 600))
                return
            for probe in engine.probes:
                self._chosen[probe.id].pass_over(clean(reason_of(error), 600))
            return
        self._engines.append(engine)
        self._running.update((probe.id, engine.backend) for probe in engine.probes)

    def _failure(self) -> Exception:
        reasons = [f"{name}: {'; '.join(choice.passed_over)}" for name, choice in self._chosen.items()]
        return MissingFacility(" · ".join(reasons))

    def attach(self) -> None:
        """All on."""
        for engine in self._engines:
            engine.attach()

    def detach(self) -> None:
        """All off."""
        for engine in self._engines:
            engine.detach()

    def stop(self) -> None:
        """All off, and freed."""
        while self._engines:
            self._engines.pop().stop()
        self._scope.close()

    def close(self) -> None:
        """As `stop`."""
        self.stop()

    # -- while it runs

    def meter(self) -> Meter:
        """Over all probes."""
        meters = [engine.meter() for engine in self._engines]
        hits = [meter.hits for meter in meters if meter.hits is not None]
        lost = [meter.lost for meter in meters if meter.lost is not None]
        seconds = [meter.seconds for meter in meters if meter.seconds is not None]
        cost = sum(seconds) if len(seconds) == len(meters) else None
        return Meter(sum(hits) if hits else None, sum(lost) if lost else None, cost)

    def collect(self) -> Iterator[Record]:
        """New events; the totals once a second; how each probe fares."""
        assert self._events is not None and self._totals is not None and self._lookups is not None
        self._lookups.look()
        taken = self._take()
        events = [event for raw in sorted(taken.events, key=lambda raw: raw.at) for event in self._events.feed(raw)]
        events += self._events.late(int(clock.monotonic() * 1e9))
        events += self._lines(taken)
        events = self._bounded(events)
        if events:
            yield ProbeEvents(at=clock.now(), rows=tuple(events))
        now = clock.monotonic()
        if self._engines and now - self._tables_at >= TABLES_EVERY:
            self._tables_at = now
            rows, histograms, omitted = self._totals.rows(taken.totals, now)
            yield ProbeTables(
                at=clock.now(),
                rows=(*rows, *own_rows(taken.own)),
                histograms=(*histograms, *own_histograms(taken.histograms)),
                omitted=omitted,
            )
        yield Probes(at=clock.now(), rows=tuple(self._states()))

    def _take(self) -> Taken:
        """What all engines have; one that has broken goes, and its probes say so."""
        taken = Taken()
        for engine in list(self._engines):
            try:
                got = engine.take()
                name = engine.probes[0].id
                got.events = [raw._replace(probe=name) if raw.kind == OPENED else raw for raw in got.events]
                if got.dropped:
                    self._omitted[name] = self._omitted.get(name, 0) + got.dropped
                taken.add(got)
            except (GotriageError, OSError) as error:
                self._engines.remove(engine)
                engine.stop()
                for probe in engine.probes:
                    self._running.pop(probe.id, None)
                    self._chosen[probe.id].failed = clean(reason_of(error), 600)
        return taken

    def _lines(self, taken: Taken) -> list[ProbeEvent]:
        assert self._lookups is not None
        found = []
        for line in taken.lines:
            self._line += 1
            at = self._lookups.wall(line.at)
            found.append(ProbeEvent(probe=line.probe, number=self._line, at=at, what=clean(line.text, 1024)))
        return found

    def _bounded(self, events: list[ProbeEvent]) -> list[ProbeEvent]:
        """So many of each probe; the rest is counted."""
        kept: list[ProbeEvent] = []
        now: dict[str, int] = {}
        for event in events:
            now[event.probe] = now.get(event.probe, 0) + 1
            if now[event.probe] <= MOST_EVENTS:
                kept.append(event)
            else:
                self._omitted[event.probe] = self._omitted.get(event.probe, 0) + 1
        for event in events:
            if event.number > self._newest.get(event.probe, 0):  # else it tells more of one that was counted
                self._newest[event.probe] = event.number
                self._seen[event.probe] = self._seen.get(event.probe, 0) + 1
        return kept

    def _states(self) -> Iterator[ProbeState]:
        """The whole library: what runs, what could, and what cannot."""
        lost = {probe.id: engine.meter().lost for engine in self._engines for probe in engine.probes}
        for probe in PROBES:
            choice = self._chosen.get(probe.id) or self._of_library(probe)
            running = self._running.get(probe.id)
            reason, state = choice.failed, "failed" if choice.failed else "off"
            if running:
                state = "on"
            elif not choice.backends and not choice.failed:
                state, reason = "unavailable", "; ".join(choice.passed_over)
            yield ProbeState(
                id=probe.id,
                state=state,  # type: ignore[arg-type]  # one of ProbeWord
                title=probe.title,
                group=probe.group,
                price=probe.price,
                shows=probe.shows,
                about=probe.about,
                backend=running or (choice.backends[0].BACKEND if choice.backends else ""),
                passed_over=tuple(choice.passed_over) if choice.backends or running else (),
                events=self._seen.get(probe.id, 0),
                omitted=self._omitted.get(probe.id, 0),
                lost=lost.get(probe.id),
                reason=reason,
            )

    def _of_library(self, probe: Probe) -> Choice:
        if probe.id not in self._library:
            self._library[probe.id] = choices.choose(probe, self._host, self._target)
        return self._library[probe.id]


def _milliseconds(text: str) -> float:
    """Seconds. Raises UsageError."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not LEAST_SLOW <= value <= MOST_SLOW:
        raise UsageError(f"slow={text[:20]} is no number of milliseconds")
    return value / 1000
