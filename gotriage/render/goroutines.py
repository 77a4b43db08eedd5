"""Goroutines as they are shown: groups by wait reason, first function of the program's own and creator; exports."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gotriage.goruntime import exports, report
from gotriage.records.files import FileTable
from gotriage.records.goroutines import Goroutine, GoroutineCounts, GoroutineGroup, Goroutines
from gotriage.render import text, units
from gotriage.render.columns import Column

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from gotriage.records.goroutines import Frame
    from gotriage.session.store import Session

WINDOW = 60.0
"""Seconds over which a growth is measured: a single look's difference says little."""
GROWS = 0.05
"""Share of its size by which a group must grow a minute, and at least MANY, to stand above larger ones."""
MANY = 4.0
ON_CPU = "  stack: press x"
"""Stands beside what runs: its stack needs a stop of its thread."""
APPROXIMATE = {"observed": "≥", "runtime": "~", "": ""}
"""Signs of a waiting time: it was seen for so long, and may be longer; the collector's own coarse stamp."""

COLUMNS = (
    Column("count", "COUNT", "count", 7),
    Column("growth", "+/min", "count", 6),
    Column("oldest", "OLDEST", "seconds", 7),
    Column("state", "STATE", "text", 12),
    Column("where", "WHERE", "text", 0),
    Column("created", "CREATED AT", "text", 13),
)
WIDE_COLUMNS = (
    Column("count", "COUNT", "count", 9),
    Column("growth", "+/min", "count", 7),
    Column("last", "+LOOK", "count", 7),
    Column("attached", "+SEEN", "count", 7),
    Column("oldest", "OLDEST", "seconds", 8),
    Column("state", "STATE", "text", 24),
    Column("where", "WHERE", "text", 0),
    Column("created", "CREATED AT", "text", 40),
    Column("stacks", "STACKS", "count", 6),
    Column("labels", "LABELS", "text", 20),
)
"""+LOOK is since the look before, +SEEN since the first."""


@dataclass(slots=True)
class GroupRow:
    """Groups of one state, place and creator.

    Attributes:
        state: the wait reason, else the state, in Go's words.
        where: the first function of the stack that is the program's own, with its place; `created` likewise.
        growth: goroutines a minute over the last minute; `last` since the look before, `attached` since the first.
        since: from when on the one that waits longest has waited.
        stacks: how many different stacks.
        cycle: one of them is in a ring of goroutines that wait for each other.
        groups: the groups of the record, the largest first.
    """

    state: str
    where: str
    where_place: str
    created: str
    created_place: str
    system: bool
    count: int = 0
    growth: float | None = None
    last: int | None = 0
    attached: int = 0
    since: datetime | None = None
    since_source: str = ""
    stacks: int = 0
    moved: int = 0
    cycle: bool = False
    labels: str = ""
    groups: list[GoroutineGroup] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, str, str, str, bool]:
        """What names the row from one look to the next."""
        return self.state, self.where, self.created, self.created_place, self.system

    @property
    def oldest(self) -> float | None:
        """Grows with the longest waiting time, for sorting."""
        return None if self.since is None else -self.since.timestamp()

    @property
    def on_cpu(self) -> bool:
        """Its goroutines run now, and their stacks cannot be read from memory; a core file has their registers."""
        return self.state == "running" and not any(group.stack >= 0 for group in self.groups)

    def add(self, group: GoroutineGroup) -> None:
        """One group more."""
        self.groups.append(group)
        self.count += group.count
        self.attached += group.count - group.first
        self.last = None if self.last is None or group.before is None else self.last + group.count - group.before
        self.moved += group.moved
        self.stacks += 1
        if group.since is not None and (self.since is None or group.since < self.since):
            self.since, self.since_source = group.since, group.since_source
        if group.labels and not self.labels:
            self.labels = ", ".join(f"{key}={value}" for key, value in group.labels.items())


def short(function: str) -> str:
    """A function without the folders of its package: "example.com/x/store.(*DB).Get" is "store.(*DB).Get"."""
    head, bracket, rest = function.partition("[")
    return head.rpartition("/")[2] + bracket + rest


def place(file: str, line: int) -> str:
    """The file's name without folders, and the line."""
    return f"{file.rpartition('/')[2]}:{line}" if file else ""


def fitted(text: str, width: int) -> str:
    """A place in so many cells: of a long name the end gives way, never the line's number."""
    name, colon, line = text.rpartition(":")
    if len(text) <= width or not colon:
        return text
    return f"{name[: max(width - len(line) - 2, 1)]}…:{line}"


def state_of(one: Goroutine | GoroutineGroup) -> str:
    """The wait reason, else the state."""
    return one.wait_reason or one.state


def merged(record: Goroutines) -> list[GroupRow]:
    """The rows of a record, without growth, in the record's order."""
    found: dict[object, GroupRow] = {}
    rings = {edge.waiter for cycle in record.cycles for edge in cycle}
    for group in sorted(record.rows, key=lambda group: -group.count):
        site = record.sites[group.created_by] if 0 <= group.created_by < len(record.sites) else None
        row = GroupRow(
            state=state_of(group),
            where=group.where,
            where_place=place(group.where_file, group.where_line),
            created=group.created_at,
            created_place=place(site.file, site.line) if site is not None else "",
            system=group.system,
        )
        row = found.setdefault(row.key, row)
        row.add(group)
        row.cycle = row.cycle or not rings.isdisjoint(group.ids)
    return list(found.values())


def rows(session: Session) -> list[GroupRow]:
    """The rows at the cursor: those that grow first, then the largest, the runtime's own last."""
    looks = session.series(Goroutines, WINDOW)
    if not looks:
        return []
    now, then = looks[-1], looks[0]
    shown = merged(now)
    seconds = (now.at - then.at).total_seconds()
    if seconds > 0:
        before = {row.key: row.count for row in merged(then)}
        for row in shown:
            if row.key in before or not then.omitted_groups:
                row.growth = (row.count - before.get(row.key, 0)) * 60 / seconds
    elif (seen := last_look(session)) is not None and seen > now.at + timedelta(seconds=1):
        for row in shown:  # looked at again, and nothing had changed
            row.growth = 0.0
    shown.sort(key=_rank)
    return shown


def _rank(row: GroupRow) -> tuple[bool, float, int, str]:
    growth = row.growth or 0.0
    grows = growth if growth >= max(MANY, row.count * GROWS) and not row.on_cpu else 0.0
    return row.system, -grows, -row.count, row.where


def last_look(session: Session) -> datetime | None:
    """When the goroutines were looked at last: a look that finds nothing new writes only the counts."""
    record, counts = session.latest(Goroutines), session.latest(GoroutineCounts)
    times = [found.at for found in (record, counts) if found is not None]
    return max(times, default=None)


def interval(session: Session) -> float | None:
    """Seconds between the last two looks."""
    counts = session.series(GoroutineCounts, 600.0)[-2:]
    return (counts[1].at - counts[0].at).total_seconds() if len(counts) == 2 else None


def waited(since: datetime | None, source: str, now: datetime | None) -> str:
    """A waiting time with the sign of how it is known: "≥3m02s", "~12m00s"."""
    if since is None or now is None:
        return units.UNKNOWN
    seconds = max((now - since).total_seconds(), 0.0)
    return APPROXIMATE.get(source, "") + units.seconds(seconds if seconds < 10 else int(seconds))


def growth(value: float | None) -> str:
    """A growth with its sign, "0" for none."""
    if value is None:
        return units.UNKNOWN
    rounded = round(value)
    return f"{rounded:+,}" if rounded else "0"


def peers(session: Session, pid: int | None) -> dict[int, str]:
    """File descriptor to what it leads to, for the main process."""
    table = session.latest(FileTable)
    if table is None:
        return {}
    found = {}
    for row in table.rows:
        if pid is None or row.pid == pid:
            ends = f"{row.protocol} {row.local} → {row.peer}" if row.peer else f"{row.protocol or row.type} {row.name}"
            found[row.fd] = f"{ends.strip()} {row.state}".strip()
    return found


# -- exports


def dump_of(record: Goroutines, at: datetime | None = None) -> report.Dump:
    """The record as goruntime's own structs, for its exports and comparisons; ages count to `at`."""
    now = at if at is not None and at > record.at else record.at
    return report.Dump(
        at=now.timestamp(),
        took=0.0,
        count=record.total,
        system=record.system,
        dead=record.dead,
        stacks=tuple(report.Stack(tuple(map(_frame, stack.frames)), stack.complete) for stack in record.stacks),
        sites=tuple(map(_frame, record.sites)),
        groups=tuple(_group(record, group, now) for group in sorted(record.rows, key=lambda group: -group.count)),
        omitted_groups=record.omitted_groups,
        goroutines=tuple(_goroutine(record, one, now) for one in record.goroutines),
        omitted=record.omitted,
        problems=record.problems,
    )


def _frame(frame: Frame) -> report.Frame:
    return report.Frame(frame.function, frame.file, frame.line, frame.inlined)


def _age(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else round(max((now - since).total_seconds(), 0.0), 3)


def _within(index: int, table: Sequence[object]) -> int:
    """The index, -1 when it points nowhere: a recording may come from anyone."""
    return index if 0 <= index < len(table) else -1


def _goroutine(record: Goroutines, one: Goroutine, now: datetime) -> report.Goroutine:
    return report.Goroutine(
        id=one.id,
        state=one.state,
        wait_reason=one.wait_reason,
        stack=_within(one.stack, record.stacks),
        created_by=_within(one.created_by, record.sites),
        created_by_id=one.created_by_id,
        start=_within(one.start, record.sites),
        waits=_age(one.since, now),
        since=one.since_source,
        waiting_on=one.waiting_on,
        labels=one.labels,
        thread=one.thread,
        locked=one.locked,
        system=one.system,
        moved=one.moved,
        wake_in=None if one.wake_at is None else round((one.wake_at - now).total_seconds(), 3),
        fd=one.fd,
    )


def _group(record: Goroutines, group: GoroutineGroup, now: datetime) -> report.Group:
    return report.Group(
        key=group.key,
        state=group.state,
        wait_reason=group.wait_reason,
        count=group.count,
        ids=group.ids,
        stack=_within(group.stack, record.stacks),
        user=group.user,
        created_by=_within(group.created_by, record.sites),
        start=_within(group.start, record.sites),
        system=group.system,
        oldest=_age(group.since, now),
        oldest_id=group.oldest_id,
        since=group.since_source,
        before=group.before,
        first=group.first,
        moved=group.moved,
        waiting_on=group.waiting_on,
        labels=group.labels,
    )


def objects(session: Session, *, grouped: bool = False) -> Iterator[dict[str, Any]]:
    """The contract's objects for the look at the cursor."""
    record = session.latest(Goroutines)
    if record is None:
        return
    dump = dump_of(record, last_look(session))
    if grouped:
        yield from exports.objects(dump, grouped=True)
        return
    kernel = {one.id: one for one in record.goroutines}
    known = peers(session, None)
    for found in exports.objects(dump):
        one = kernel[found["id"]]
        peer = one.peer or (known.get(one.fd, "") if one.fd is not None else "")
        yield {**found, "thread_state": one.thread_state or None, "wchan": one.wchan or None, "peer": peer or None}


# -- text


def summary(session: Session) -> str:
    """Every number of the header line."""
    record = session.latest(Goroutines)
    if record is None:
        return ""
    groups = len(merged(record)) + record.omitted_groups
    return f"{record.total:,} goroutines in {groups:,} groups, {record.system} of them the runtime's own"


def lines(found: Sequence[GroupRow], now: datetime | None) -> list[dict[str, str]]:
    """Cells of the rows as text, by the columns' fields."""
    return [
        {
            "count": units.count(row.count),
            "growth": growth(row.growth),
            "oldest": waited(row.since, row.since_source, now),
            "state": row.state,
            "where": ("⟲ " if row.cycle else "") + short(row.where) + (ON_CPU if row.on_cpu else ""),
            "created": row.created_place or units.UNKNOWN,
            "creator": f"{short(row.created)}  {row.created_place}".strip() or units.UNKNOWN,
            "last": growth(row.last),
            "attached": growth(row.attached),
            "stacks": units.count(row.stacks),
            "labels": row.labels or units.UNKNOWN,
        }
        for row in found
    ]


NUMBERS = ("count", "growth", "oldest")
"""Columns that are right-aligned in text."""


def table_text(session: Session, width: int | None = None) -> Iterator[str]:
    """The rows at the cursor as a table, with the line above that sums them up."""
    found = rows(session)
    if not found:
        return
    yield summary(session)
    cells = [[line[column.field] for column in COLUMNS] for line in lines(found, session.moment)]
    sizes = [
        max([len(column.title), *(text.cells_wide(line[place]) for line in cells)])
        for place, column in enumerate(COLUMNS)
    ]
    if width is not None:
        where = next(place for place, column in enumerate(COLUMNS) if column.field == "where")
        sizes[where] = max(sizes[where] - max(sum(sizes) + 2 * (len(sizes) - 1) - width, 0), 12)
    for line in [[column.title for column in COLUMNS], *cells]:
        pieces = [
            text.fit(cell, size, right=column.field in NUMBERS)
            for cell, size, column in zip(line, sizes, COLUMNS, strict=True)
        ]
        yield "  ".join(pieces).rstrip()


def stacks_text(session: Session) -> Iterator[str]:
    """Every distinct stack with its count, the most goroutines first."""
    record = session.latest(Goroutines)
    if record is None:
        return
    yield summary(session)
    now = session.moment
    for group in sorted(record.rows, key=lambda group: -group.count):
        yield ""
        oldest = waited(group.since, group.since_source, now)
        ids = ", ".join(map(str, group.ids[:5])) + (" ..." if group.count > 5 else "")
        yield f"{group.count:,} [{state_of(group)}, oldest {oldest}]  goroutines {ids}"
        if group.stack >= 0 and group.stack < len(record.stacks):
            for frame in record.stacks[group.stack].frames:
                if frame.function == exports.ENDS:
                    continue
                yield f"    {frame.function}"
                yield f"        {frame.file}:{frame.line}"
        else:
            yield f"    stack not read, {exports.ON_CPU}; it began in {group.where or '?'}"
        if 0 <= group.created_by < len(record.sites):
            site = record.sites[group.created_by]
            yield f"    created by {site.function}"
            yield f"        {site.file}:{site.line}"
