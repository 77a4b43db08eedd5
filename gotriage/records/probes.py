"""What the probe library has seen: events one by one, counts by key, times as histograms; and how each probe fares."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from gotriage.records.base import Record, Row

ProbeWord = Literal["off", "on", "failed", "unavailable"]


class ProbeState(Row, frozen=True, kw_only=True):
    """One probe of the library (gotriage.probes.library).

    Attributes:
        backend: what runs it, or would; `passed_over`: better ways, and why they do not serve here.
        events, lost: of its stream since the start; None where losses are not counted.
        omitted: events that came too fast to be handed on one by one.
        reason: why it is not there or broke; `remedy`: what would help.
    """

    id: str
    state: ProbeWord = "off"
    title: str = ""
    group: str = ""
    price: str = "light"
    shows: str = "stream"
    backend: str = ""
    passed_over: tuple[str, ...] = ()
    events: int = 0
    omitted: int = 0
    lost: int | None = None
    reason: str = ""
    remedy: str = ""
    about: str = ""


class Probes(Record, frozen=True, kw_only=True, tag="probes"):
    """The library with what this machine and target offer of it."""

    keep: ClassVar[int] = 120

    rows: tuple[ProbeState, ...] = ()

    def of(self, probe: str) -> ProbeState | None:
        """The probe of that id."""
        return next((row for row in self.rows if row.id == probe), None)


class ProbeEvent(Row, frozen=True, kw_only=True):
    """Something that happened.

    Attributes:
        number: names it within a run of the probe; a later event of the same number tells more of the same.
        at: when it happened, or began.
        pid, tid, process: who did it, or whom it befell.
        goroutine: of the target that did it, or that an ancestor was started by.
        what: the command, path, name or peer that it is about; `detail`: more.
        result: how it went, in the words of the kernel or protocol; `failed`: not well.
        took: seconds, None where it goes on or is not known.
        size: bytes.
        by: who asked for it.
        stack: functions of that goroutine, the innermost first.
    """

    probe: str
    number: int
    at: datetime
    pid: int | None = None
    tid: int | None = None
    process: str = ""
    goroutine: int | None = None
    what: str = ""
    detail: str = ""
    result: str = ""
    failed: bool = False
    took: float | None = None
    size: int | None = None
    by: str = ""
    stack: tuple[str, ...] = ()


class ProbeEvents(Record, frozen=True, kw_only=True, tag="probe_events"):
    """What has happened since the last such record, in order of arrival."""

    keep: ClassVar[int] = 1200

    rows: tuple[ProbeEvent, ...] = ()


class ProbeCount(Row, frozen=True, kw_only=True):
    """What happened so often that only numbers are kept, since the start.

    Attributes:
        name: what is counted; `detail`: more.
        rate: a second, since the look before.
        total, most: seconds, in all and for one; None where no time is measured.
        size: bytes in all.
    """

    probe: str
    name: str
    detail: str = ""
    count: int = 0
    rate: float | None = None
    errors: int = 0
    total: float | None = None
    most: float | None = None
    size: int | None = None

    @property
    def mean(self) -> float | None:
        """Seconds for one."""
        return self.total / self.count if self.total is not None and self.count else None


class Bucket(Row, frozen=True, kw_only=True, array_like=True):
    """How many lie from `low` up to `high`; None is open."""

    low: float | None
    high: float | None
    count: int


class ProbeHistogram(Row, frozen=True, kw_only=True):
    """Values of a probe by size; `unit` is "seconds" or "" for plain numbers."""

    probe: str
    name: str
    unit: str = "seconds"
    buckets: tuple[Bucket, ...] = ()


class ProbeTables(Record, frozen=True, kw_only=True, tag="probe_tables"):
    """Counts and histograms of all probes that run; `omitted` rows were too many."""

    keep: ClassVar[int] = 300

    rows: tuple[ProbeCount, ...] = ()
    histograms: tuple[ProbeHistogram, ...] = ()
    omitted: int = 0
