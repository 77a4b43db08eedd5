"""The overview's rows: a label, the value now, the limit, the share of it, and how it went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gotriage.catalog import SOURCES
from gotriage.records.files import FileCounts
from gotriage.records.process import CgroupSample, HostSample, ProcessSample
from gotriage.records.stream import Gap
from gotriage.records.target import TargetState
from gotriage.render import units
from gotriage.ui import plot
from gotriage.ui.spans import PageLine, fit
from gotriage.ui.state import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gotriage.records import Record
    from gotriage.records.base import Why
    from gotriage.session.store import Session
    from gotriage.ui.front import Front
    from gotriage.ui.spans import Span


@dataclass(frozen=True, slots=True)
class Gauge:
    """One row: where its value and its limit are found, and how they read.

    Attributes:
        value: reads the number off a record of type `kind`; None was not measured.
        field: the record's field, by which its reason for being unknown is found.
        also: other fields whose reason is this one's too.
        limit: the tightest limit at the cursor, None where there is none.
        word: what stands in the place of a limit where there is none: whose number it is.
        otherwise: drawn in its place while its own value is not known and that one's is.
        tall: worth a higher plot where there is room.
        calm: near the limit is where it should be: no colour.
    """

    label: str
    kind: type[Record]
    field: str
    read: Callable[[float | None], str]
    value: Callable[[Record], float | None]
    limit: Callable[[Session], float | None] | None = None
    word: Callable[[Session], str] | None = None
    otherwise: Gauge | None = None
    tall: bool = False
    also: tuple[str, ...] = ()
    calm: bool = False

    def why(self, record: Record | None) -> Why | None:
        """Why the value is not there."""
        if record is None:
            return None
        return next((record.unknown[name] for name in (self.field, *self.also) if name in record.unknown), None)


def field_of(name: str) -> Callable[[Record], float | None]:
    """Reads a field of that name."""

    def value(record: Record) -> float | None:
        found: float | None = getattr(record, name)
        return found

    return value


def _pressure(name: str) -> Callable[[Record], float | None]:
    def value(record: Record) -> float | None:
        pressure = getattr(record, name)
        return None if pressure is None or pressure.some_avg10 is None else pressure.some_avg10 / 100

    return value


def _byte_rate(value: float | None) -> str:
    return units.UNKNOWN if value is None else f"{units.size(value)}/s"


def _cpu_limit(session: Session) -> float | None:
    cgroup, host = session.latest(CgroupSample), session.latest(HostSample)
    if cgroup is not None and cgroup.cpu_quota is not None:
        return cgroup.cpu_quota
    return host.cpus if host is not None else None


def memory_limit(session: Session) -> float | None:
    """The cgroup's, bytes."""
    cgroup = session.latest(CgroupSample)
    return cgroup.memory_limit_bytes if cgroup is not None else None


def _task_limit(session: Session) -> float | None:
    cgroup = session.latest(CgroupSample)
    return cgroup.pids_limit if cgroup is not None else None


def _fd_limit(session: Session) -> float | None:
    counts = session.latest(FileCounts)
    return counts.soft_limit if counts is not None else None


def _whose_memory(session: Session) -> str:
    """Other processes are in the cgroup too: what it uses is not the target's use."""
    cgroup = session.latest(CgroupSample)
    return "shared" if cgroup is not None and cgroup.memory_others else ""


def _wait(label: str, name: str) -> Gauge:
    """A pressure of the cgroup; the machine's where the cgroup's is not known (cgroup v1 keeps none)."""
    machine = Gauge(label, HostSample, name, units.share, _pressure(name), word=lambda _: "machine")
    return Gauge(label, CgroupSample, name, units.share, _pressure(name), otherwise=machine)


LABEL, VALUE, LIMIT, SHARE, TOP = 11, 8, 8, 6, 8
WIDE = 120

GAUGES: tuple[Gauge, ...] = (
    Gauge("CPU", ProcessSample, "cpu", units.cores, field_of("cpu"), _cpu_limit, tall=True),
    Gauge(
        "throttled",
        CgroupSample,
        "throttled_share",
        units.share,
        field_of("throttled_share"),
        also=("throttled_periods",),
    ),
    Gauge("memory", ProcessSample, "rss_bytes", units.size, field_of("rss_bytes"), tall=True),
    Gauge(
        "cgroup mem",
        CgroupSample,
        "memory_working_set_bytes",
        units.size,
        field_of("memory_working_set_bytes"),
        memory_limit,
        tall=True,
        word=_whose_memory,
        also=("memory_bytes",),
    ),
    Gauge("threads", ProcessSample, "threads", units.count, field_of("threads"), _task_limit, tall=True),
    Gauge("fds", FileCounts, "fullest", units.count, field_of("fullest"), _fd_limit, tall=True),
    Gauge("read", ProcessSample, "read_bytes_rate", _byte_rate, field_of("read_bytes_rate")),
    Gauge("write", ProcessSample, "write_bytes_rate", _byte_rate, field_of("write_bytes_rate")),
    _wait("CPU wait", "cpu_pressure"),
    _wait("mem wait", "memory_pressure"),
    _wait("I/O wait", "io_pressure"),
)
"""In the order of the page. The three waits are the cgroup's pressure, else the machine's (PSI, "some", 10 s)."""


# -- drawing


def gauges(
    front: Front, width: int, whys: dict[str, Why], *, tall: bool, of: Sequence[Gauge] = GAUGES
) -> Iterator[PageLine]:
    """The heading and a row a number; `whys` collects why numbers are not there."""
    session = front.session
    bar = 16 if width >= WIDE else 8
    cells = max(width - LABEL - VALUE - LIMIT - SHARE - bar - TOP - 5, 8)
    now = session.moment
    first = session.series(of[0].kind)[:1] or session.series(ProcessSample)[:1] or session.series(CgroupSample)[:1]
    span = (now - first[0].at).total_seconds() if now is not None and first else 0.0
    window = plot.window_for(span)
    cells = min(cells, window)
    head = f"{'':<{LABEL}}{'now':>{VALUE}} {'limit':>{LIMIT}} {'':{SHARE + 1 + bar}}  "
    head += f"{f'last {window // 60} min':<{cells}}"
    yield PageLine(((head, "heading"), (f"{'highest':>{TOP}}", "heading")))
    if now is None:
        return
    for gauge in of:
        yield from _gauge(front, gauge, whys, (bar, cells, window, now.timestamp(), 3 if tall and gauge.tall else 1))


def _points(session: Session, gauge: Gauge, window: float) -> list[plot.Point]:
    """The gauge's values, and a None wherever they ended: a restart of the process, or a source that could not look."""
    points = [(record.at.timestamp(), gauge.value(record)) for record in session.series(gauge.kind, window * 1.25)]
    sources = {row.name for row in SOURCES if gauge.kind in row.records}
    ends = [gap.at.timestamp() for gap in session.series(Gap) if gap.source in sources and not gap.closed]
    if gauge.kind not in (CgroupSample, HostSample):
        ends += [state.at.timestamp() for state in session.series(TargetState)]
    return sorted([*points, *((time, None) for time in ends)], key=lambda point: point[0])


def _present(session: Session, gauge: Gauge, whys: dict[str, Why]) -> Gauge:
    """The gauge, or the one for which it gives way; why it gave way is noted."""
    record, other = session.latest(gauge.kind), gauge.otherwise
    if other is None or (record is not None and gauge.value(record) is not None):
        return gauge
    instead = session.latest(other.kind)
    if instead is None or other.value(instead) is None:
        return gauge
    if (why := gauge.why(record)) is not None:
        whys[gauge.label] = why
    return other


def _gauge(
    front: Front, gauge: Gauge, whys: dict[str, Why], sizes: tuple[int, int, int, float, int]
) -> Iterator[PageLine]:
    bar, cells, window, now, height = sizes
    session = front.session
    gauge = _present(session, gauge, whys)
    record = session.latest(gauge.kind)
    value = gauge.value(record) if record is not None else None
    limit = gauge.limit(session) if gauge.limit is not None else None
    share = value / limit if value is not None and limit else None
    role = "plot" if gauge.calm else plot.severity(share)
    why = gauge.why(record)
    if value is None and why is not None:
        whys[gauge.label] = why
    whose = gauge.read(limit) if limit else gauge.word(session) if gauge.word is not None else ""
    shown: Span = (gauge.read(value), "strong" if role == "plot" else role) if value is not None else missing(why)
    values = plot.buckets(_points(session, gauge, window), cells, window, now)
    top = max((v for v in values if v is not None), default=0.0)
    item, ink = (gauge.kind, gauge.label), role if role == "plot" else f"plot-{role}"
    rows, (heavy, thin) = plot.lines(values, top, height), plot.bar(share, bar)
    for upper in rows[:-1]:
        yield PageLine(((" " * (LABEL + VALUE + LIMIT + SHARE + bar + 5), ""), (upper, ink)), item)
    highest = gauge.read(top) if any(v is not None for v in values) else ""
    yield PageLine(
        (
            (fit(gauge.label, LABEL), "label"),
            (" " * (VALUE - len(shown[0])), ""),
            shown,
            (f" {whose:>{LIMIT}} ", "dim"),
            (f"{units.share(share) if share is not None else '':>{SHARE}} ", role if role != "plot" else "dim"),
            (heavy, "accent" if role == "plot" else role),
            (f"{thin}  ", "faint"),
            (fit(rows[-1], cells), ink),
            (f"{highest:>{TOP}}", "dim"),
        ),
        item,
    )
