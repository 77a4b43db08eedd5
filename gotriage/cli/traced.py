"""`show` of a view whose source runs on request: start it, look for a while, end it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gotriage.cli.gather import pump
from gotriage.errors import MissingFacility, NotPermitted, UsageError
from gotriage.host import clock, scripts
from gotriage.records.stream import Heartbeat, Reply
from gotriage.records.tracing import Trace, Traces
from gotriage.render import units
from gotriage.session.store import Session

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from gotriage.catalog import Source
    from gotriage.session.link import Link

SECONDS = 3.0
"""How long a trace runs that nobody says a time for."""
ATTACH = 20.0
START = 30.0
"""Seconds that a start may take."""
END = 15.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which trace to start, how, and for how long; `agreed`: it may stop the target."""

    source: Source
    options: dict[str, str]
    seconds: float
    agreed: bool

    @classmethod
    def of(cls, arguments: argparse.Namespace, view: str, traces: Sequence[Source]) -> Wanted:
        """What the command line asks for. Raises UsageError."""
        names = [row.name for row in traces]
        name = arguments.trace or names[0]
        row = next((row for row in traces if row.name == name), None)
        if row is None:
            raise UsageError(f"no trace {name!r} of {view}; there are: {', '.join(names)}")
        seconds = arguments.seconds if arguments.seconds is not None else min(SECONDS, row.lasts)
        if seconds > row.longest:
            raise UsageError(f"{name} runs for {units.seconds(row.longest)} at most")
        return cls(row, dict(arguments.option), seconds, arguments.yes)


def look(link: Link, wanted: Wanted, session: Session | None = None) -> Session:
    """The session after the trace. Raises UsageError, MissingFacility, NotPermitted when it was not started."""
    from gotriage.cli.main import complain

    session = session or Session()
    name = wanted.source.name
    options = dict(wanted.options)
    if "script" in options:
        options["script"] = scripts.read(options["script"])
    link.attach(ATTACH)
    # The sources are there once the heartbeat names them.
    _until(link, session, ATTACH, lambda: (b := session.latest(Heartbeat)) is not None and name in b.collectors)
    if wanted.source.price != "light" or wanted.source.sends or options:
        _ask(link, session, name, link.request("price", (name,), options=options))
        complain(f"{name}: {price_words(_trace(session, name), wanted)}")
        if wanted.source.price == "stops" and not wanted.agreed:
            raise UsageError(f"{name} stops the target while it runs; --yes starts it")
    _ask(link, session, name, link.request("start", (name,), seconds=wanted.seconds, options=options))
    _until(link, session, wanted.seconds + END, lambda: not _active(session, name))
    for line in remarks(_trace(session, name)):
        complain(line)
    return session


def _until(link: Link, session: Session, seconds: float, done: Callable[[], bool]) -> None:
    until = clock.monotonic() + seconds
    pump(link, session.feed, lambda: done() or clock.monotonic() >= until)


def _ask(link: Link, session: Session, name: str, number: int) -> None:
    """Wait for the reply to a request. Raises UsageError, MissingFacility, NotPermitted for a refusal."""

    def reply() -> Reply | None:
        return next((one for one in session.records_of(Reply) if one.id == number), None)

    _until(link, session, START, lambda: reply() is not None)
    row, answer = _trace(session, name), reply()
    if row is not None and row.state == "refused":
        raise _refused(row)
    if answer is not None and not answer.ok:
        raise UsageError(f"{name}: {answer.error}")


def _trace(session: Session, name: str) -> Trace | None:
    record = session.latest(Traces)
    return record.of(name) if record is not None else None


def _active(session: Session, name: str) -> bool:
    row = _trace(session, name)
    return row is None or (row.active and row.asked)


def _refused(row: Trace) -> Exception:
    text = f"{row.source}: {row.reason}" + (f"; {row.remedy}" if row.remedy else "")
    if "not permitted" in text.lower() or "permission" in text.lower():
        return NotPermitted(text)
    return MissingFacility(text) if row.passed_over else UsageError(text)


def price_words(row: Trace | None, wanted: Wanted) -> str:
    """What the trace is expected to cost, in one line."""
    said = [f"{wanted.source.price}, {units.seconds(wanted.seconds)}"]
    if row is not None and row.price is not None:
        if row.price.cores is not None and row.price.hits_per_second is not None:
            said.append(f"about {row.price.hits_per_second:,.0f} hits/s, {row.price.cores:.2g} cores of the target")
        said += row.price.words
    if row is not None and row.budget is not None:
        said.append(f"held to {row.budget:.0%} of the target's CPU")
    return "; ".join(said)


def remarks(row: Trace | None) -> list[str]:
    """What has to be known of a trace that has ended to read its numbers."""
    if row is None:
        return []
    said = [f"{row.source}: {row.backend}, attached {units.seconds(row.attached_seconds)}"]
    if row.on_share < 1.0:
        said.append(f"{row.source}: sampled {units.share(row.on_share)} of the time, to stay within its budget")
    if row.lost:
        said.append(f"{row.source}: {row.lost:,} events were lost")
    said += [f"{row.source}: not by {passed}" for passed in row.passed_over]
    if row.state == "failed" or (row.reason and row.reason != "its time is over"):
        said.append(f"{row.source}: {row.state}: {row.reason}")
    return said
