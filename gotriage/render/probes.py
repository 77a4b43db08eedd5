"""What the probe library has seen, for pages, text and JSON: the last events, counts and histograms of a probe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.probes.library import BY_ID, COUNT_COLUMNS, GROUPS, PROBES
from gotriage.records.probes import ProbeCount, ProbeEvent, ProbeEvents, ProbeHistogram, Probes, ProbeTables
from gotriage.render import jsonl, text, units
from gotriage.render.columns import Column

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.probes.library import Probe, Shown
    from gotriage.records.probes import Bucket, ProbeState
    from gotriage.session.store import Session

KEPT: Final = 2000
"""Events of one probe that are shown, the newest."""
BAR: Final = 40
EVENT_FIELDS: Final = frozenset(ProbeEvent.__struct_fields__)
ORDER: Final = {probe.id: (GROUPS.index(probe.group), place) for place, probe in enumerate(PROBES)}


def events(session: Session, probe: str = "", most: int = KEPT) -> list[ProbeEvent]:
    """The last events at the cursor, the oldest first; what came later about one takes its place.

    A new run of the probe numbers its events anew: they are other events, known by their times.
    """
    found: dict[tuple[str, int, object], ProbeEvent] = {}
    for record in reversed(session.series(ProbeEvents)):
        for row in reversed(record.rows):
            if not probe or row.probe == probe:
                found.setdefault((row.probe, row.number, row.at), row)
        if len(found) >= most:
            break
    return sorted(found.values(), key=lambda row: row.at)[-most:]


def counts(session: Session, probe: str = "") -> list[ProbeCount]:
    """The rows of the probe's table."""
    record = session.latest(ProbeTables)
    return [row for row in record.rows if not probe or row.probe == probe] if record is not None else []


def histograms(session: Session, probe: str = "") -> list[ProbeHistogram]:
    """The probe's histograms."""
    record = session.latest(ProbeTables)
    return [row for row in record.histograms if not probe or row.probe == probe] if record is not None else []


def ran(session: Session) -> list[str]:
    """The probes that run or have seen something, in the library's order."""
    record = session.latest(Probes)
    names = {row.id for row in record.rows if row.state in ("on", "failed")} if record is not None else set()
    names |= {row.probe for row in counts(session)} | {row.probe for row in events(session)}
    return [probe.id for probe in PROBES if probe.id in names]


def in_order(rows: Sequence[ProbeState]) -> list[ProbeState]:
    """The library by groups."""
    return sorted(rows, key=lambda row: ORDER.get(row.id, (len(GROUPS), 0)))


def event_columns(probe: Probe) -> list[Column]:
    """Columns of the events of a probe."""
    shown = probe.columns if any(column.field == "at" for column in probe.columns) else ()
    return [_column(column) for column in shown if column.field in EVENT_FIELDS]


def count_columns(probe: Probe) -> list[Column]:
    """Columns of its table; of a user's own program, and of a probe of events, the plain ones."""
    shown = COUNT_COLUMNS if any(column.field == "at" for column in probe.columns) else probe.columns
    return [_column(column) for column in shown]


def _column(shown: Shown) -> Column:
    unit = "latency" if shown.unit == "seconds" else shown.unit
    return Column(shown.field, shown.title, unit, shown.width)


def bound(value: float | None, unit: str) -> str:
    """An end of a bucket."""
    if value is None:
        return ""
    return units.latency(value) if unit == "seconds" else units.count(round(value))


def bucket_label(bucket: Bucket, unit: str) -> str:
    """Which values a bucket holds."""
    return f"under {bound(bucket.high, unit)}" if bucket.high is not None else f"from {bound(bucket.low, unit)}"


def lines(session: Session, library: Sequence[Column], width: int | None) -> Iterator[str]:
    """Text: what each probe that ran has seen, or the library, by these columns, when none has."""
    names = ran(session)
    record = session.latest(Probes)
    if not names and record is not None:
        yield from text.table(in_order(record.rows), library, width)
        yield from (f"{row.title}: {row.reason}" for row in in_order(record.rows) if row.state == "unavailable")
    for name in names:
        yield from _probe_lines(session, BY_ID[name], width)


def _probe_lines(session: Session, probe: Probe, width: int | None) -> Iterator[str]:
    record = session.latest(Probes)
    state = record.of(probe.id) if record is not None else None
    yield f"{probe.title}{f'   {state.backend}' if state is not None and state.backend else ''}{remarks(state)}"
    for one in histograms(session, probe.id):
        yield from _histogram_lines(one)
    rows = counts(session, probe.id)
    if rows:
        yield from text.table(rows, count_columns(probe), width)
    happened = events(session, probe.id)
    if happened:
        yield from text.table(happened, event_columns(probe), width)
    if not rows and not happened:
        yield "  nothing was seen"
    yield ""


def remarks(state: ProbeState | None) -> str:
    """What has to be known to read its numbers."""
    if state is None:
        return ""
    said = [f"{units.count(state.lost)} lost"] if state.lost else []
    said += [f"{units.count(state.omitted)} more not shown"] if state.omitted else []
    said += [f"failed: {state.reason}"] if state.state == "failed" else []
    return "".join(f"   {word}" for word in said)


def _histogram_lines(one: ProbeHistogram) -> Iterator[str]:
    most = max((bucket.count for bucket in one.buckets), default=0)
    if one.name:
        yield f"  {one.name}"
    for bucket in one.buckets:
        bar = "#" * round(BAR * bucket.count / most) if most else ""
        yield f"  {bucket_label(bucket, one.unit):>14} {bucket.count:>11,} {bar}".rstrip()


def json_lines(session: Session) -> Iterator[str]:
    """JSON: events, then counts, then histograms; the library when no probe has run."""
    names = ran(session)
    record = session.latest(Probes)
    if not names and record is not None:
        yield from (jsonl.line(row) for row in in_order(record.rows))
        return
    yield from (jsonl.line(row) for row in events(session, most=KEPT * len(names)))
    yield from (jsonl.line(row) for row in counts(session))
    yield from (jsonl.line(row) for row in histograms(session))
