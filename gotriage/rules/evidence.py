"""What rules see: the session at its cursor, the thresholds in force, and the words for what could not be seen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

from gotriage.records.findings import Finding, Severity, Unknown
from gotriage.records.service import ContainerState, UnitState
from gotriage.records.stream import Heartbeat
from gotriage.records.target import TargetState
from gotriage.session.logfilter import LogFilter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gotriage.records import Record
    from gotriage.records.base import Why
    from gotriage.records.logs import LogLine
    from gotriage.records.stream import Gap
    from gotriage.session.store import Session

R = TypeVar("R", bound="Record")

Thresholds = Mapping[str, Mapping[str, float]]
"""Rule id to threshold name to value."""

NOT_YET = "not looked at yet"
EPOCH = datetime.fromtimestamp(0, UTC)


class Details(TypedDict, total=False):
    """The fields of a Finding that a rule may leave out."""

    evidence: tuple[str, ...]
    fix: str
    view: str
    subject: str
    since: datetime | None


class Evidence:
    """The session at its cursor, each question answered once.

    Attributes:
        moment: the time that the verdict is about.
        target: who is looked at; None before the first attach.
        unit, container: what the service manager and the engine say; None where there is none or nothing is known yet.
    """

    def __init__(self, session: Session, thresholds: Thresholds) -> None:
        self._session = session
        self._thresholds = thresholds
        self._series: dict[type[Record], list[Any]] = {}
        self._gaps: list[Gap] | None = None
        self.moment: datetime = session.moment or EPOCH
        self.target = session.latest(TargetState)
        self.unit = self._own_unit()
        self.container = self.latest(ContainerState)

    def _own_unit(self) -> UnitState | None:
        """The unit, if it is the target's: what was started from a shell lies in the shell's or the server's unit."""
        unit = self.latest(UnitState)
        if unit is None or self.target is None or self.target.spec.kind == "unit":
            return unit
        return unit if unit.main_pid is not None and unit.main_pid in self.target.pids else None

    # -- the target

    @property
    def running(self) -> bool:
        """Whether the target has a process, or is the memory of one."""
        return self.target is not None and self.target.state in ("running", "core")

    @property
    def age(self) -> float | None:
        """Seconds since the main process started; None when nothing runs or the start is not known."""
        if not self.running or self.target is None or self.target.started_at is None:
            return None
        return (self.moment - self.target.started_at).total_seconds()

    @cached_property
    def attached(self) -> datetime:
        """When the process that runs now was attached: what is older is about another process."""
        now = self.target.generation if self.target else 1
        if now == 1:
            return EPOCH
        return min((state.at for state in self._session.series(TargetState) if state.generation == now), default=EPOCH)

    # -- what is known

    def latest(self, kind: type[R]) -> R | None:
        """The newest record of the type at the cursor."""
        return self._session.latest(kind)

    def current(self, kind: type[R]) -> R | None:
        """The newest record of the type that is about the process that runs now; None when nothing runs."""
        record = self._session.latest(kind)
        return record if self.running and record is not None and record.at >= self.attached else None

    def series(self, kind: type[R], seconds: float) -> Sequence[R]:
        """Records about the process that runs now, of the last `seconds` before the moment, and one before those.

        A record that did not change is not written again: the last one before the window is the value at its start.
        """
        known: list[R] | None = self._series.get(kind)
        if known is None:
            attached = self.attached
            known = [record for record in self._session.series(kind) if record.at >= attached]
            self._series[kind] = known
        first = self.moment - timedelta(seconds=seconds)
        inside = [record for record in known if record.at >= first]
        if len(inside) < len(known):
            inside.insert(0, known[-len(inside) - 1])
        return inside

    def every(self, kind: type[R]) -> Sequence[R]:
        """Every record of the type up to the cursor."""
        return self._session.series(kind)

    def lines(self, text: str, seconds: float, most: int = 1000) -> list[LogLine]:
        """Log lines that hold the text (ASCII case ignored), of the last `seconds`, oldest first."""
        first = self.moment - timedelta(seconds=seconds)
        return self._session.logs.matching(LogFilter(texts=(text,), since=first), self.moment, most=most)

    def first_line(self, text: str, since: datetime | None = None, *, but: str = "") -> LogLine | None:
        """The oldest log line held with the text and not `but`: of the process that runs now, not before `since`."""
        started = self.target.started_at if self.target is not None else None
        first = max(time for time in (EPOCH, started, since) if time is not None)
        return self._session.logs.first(text, first, self.moment, but=but)

    def lines_of(self, kind: str, seconds: float, most: int = 1000) -> list[LogLine]:
        """Log lines recognised as the kind, of the last `seconds`, oldest first."""
        first = self.moment - timedelta(seconds=seconds)
        return self._session.logs.of_kind(kind, self.moment, since=first, most=most)

    @property
    def session(self) -> Session:
        """For what has no shorter way here."""
        return self._session

    def ago(self, time: datetime | None) -> float | None:
        """Seconds from a time to the moment."""
        return None if time is None else (self.moment - time).total_seconds()

    # -- thresholds

    def limit(self, rule: str, name: str) -> float:
        """A threshold in force."""
        return self._thresholds[rule][name]

    # -- claims

    def finding(self, rule: str, severity: Severity, title: str, **more: Unpack[Details]) -> Finding:
        """A finding of this moment, about the target unless a subject is named."""
        more.setdefault("subject", self.name)
        return Finding(id=rule, severity=severity, title=title, observed_at=self.moment, **more)

    @property
    def name(self) -> str:
        """What the target is called."""
        return self.target.name if self.target else ""

    def unknown(self, rule: str, source: str, why: Why | None = None) -> Unknown:
        """Why the rule cannot say: the record's own reason, else the source's gap, else that nothing has come yet."""
        if why is not None:
            return Unknown(rule, why.reason, why.remedy)
        gap = self.gap(source)
        return Unknown(rule, gap.reason, gap.remedy) if gap else Unknown(rule, NOT_YET)

    def looked(self, source: str) -> bool:
        """Whether the source has looked at least once and is well: what it has not seen is not there."""
        beat = self.latest(Heartbeat)
        state = beat.collectors.get(source) if beat is not None else None
        return state is not None and state.last is not None and state.state == "ok"

    def gap(self, source: str) -> Gap | None:
        """The newest open gap of a source or a part of it."""
        if self._gaps is None:
            self._gaps = self._session.gaps()
        mine = [gap for gap in self._gaps if gap.source == source or gap.source.startswith(f"{source}.")]
        return mine[-1] if mine else None
