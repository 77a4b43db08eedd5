"""What the rules of the Go runtime share: the words for places in the code, and how long something has held."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from gotriage.records.goroutines import GoroutineCounts, Goroutines
from gotriage.records.units import count, seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from gotriage.records.goroutines import Frame, Goroutine, GoroutineGroup, WaitObject
    from gotriage.rules.evidence import Evidence

GOROUTINES = "goroutines"
RUNTIME = "runtime"
"""Names of the sources, as gaps and heartbeats have them."""
WATCH_ON = "keep watching, or give --for 1m"
MOST_WORDS = 160
"""Characters of a place in the code: a generic function's name may be a page long."""


def is_go(evidence: Evidence) -> bool:
    """Whether the target runs and is a Go program."""
    return evidence.running and evidence.target is not None and evidence.target.go is not None


def last_look(evidence: Evidence) -> datetime:
    """When the goroutines were looked at last: the table itself is not written again while it stays the same."""
    counts = evidence.current(GoroutineCounts)
    table = evidence.current(Goroutines)
    return max((record.at for record in (counts, table) if record is not None), default=evidence.moment)


def held(evidence: Evidence, long: float) -> Sequence[Goroutines]:
    """The tables of the last `long` seconds of looking, or none where there was less: what is in all of them held."""
    end = last_look(evidence)
    tables = [table for table in evidence.series(Goroutines, 3600) if table.at <= end]
    inside = [table for table in tables if (end - table.at).total_seconds() < long]
    before = tables[: len(tables) - len(inside)]
    return [before[-1], *inside] if before else ()


def place(frame: Frame) -> str:
    """A frame as "main.work (orders.go:42)"."""
    name = frame.file.rpartition("/")[2]
    return _short(f"{frame.function} ({name}:{frame.line})" if name else frame.function)


def where(group: GoroutineGroup) -> str:
    """Where a group is, as "main.work (orders.go:42)"."""
    name = group.where_file.rpartition("/")[2]
    return _short(f"{group.where or '?'} ({name}:{group.where_line})" if name else group.where or "?")


def created(table: Goroutines, group: GoroutineGroup) -> str:
    """The go statement of a group's goroutines, or ""."""
    if 0 <= group.created_by < len(table.sites):
        return place(table.sites[group.created_by])
    return _short(group.created_at)


def _short(text: str) -> str:
    return text if len(text) <= MOST_WORDS else text[: MOST_WORDS - 1] + "…"


def doing(group: GoroutineGroup) -> str:
    """Go's words for what they do: "chan send", or the state."""
    return group.wait_reason or group.state


def described(table: Goroutines, group: GoroutineGroup) -> str:
    """A group in a sentence."""
    by = created(table, group)
    return f"{count(group.count)} in {doing(group)} at {where(group)}" + (f", created by {by}" if by else "")


class _Index:
    """A table's groups and goroutines by goid: many rules ask for many of them."""

    def __init__(self, table: Goroutines) -> None:
        self.table = table
        self.groups = {goid: group for group in reversed(table.rows) for goid in group.ids}
        self.goroutines = {one.id: one for one in table.goroutines}
        self.alike = {_kind(group): group for group in reversed(table.rows)}


def _kind(one: GoroutineGroup | Goroutine) -> tuple[str, str, int, int]:
    return one.state, one.wait_reason, one.stack, one.created_by


_indices: deque[_Index] = deque(maxlen=4)
"""Of the tables that were asked about last."""


def _index(table: Goroutines) -> _Index:
    found = next((index for index in tuple(_indices) if index.table is table), None)
    if found is None:
        found = _Index(table)
        _indices.append(found)
    return found


def group_of(table: Goroutines, goid: int) -> GoroutineGroup | None:
    """The group of a goroutine, where that can be told."""
    index = _index(table)
    group, one = index.groups.get(goid), index.goroutines.get(goid)
    if group is None and one is not None:
        group = index.alike.get(_kind(one))
    return group


def groups_on(table: Goroutines, thing: WaitObject) -> list[GoroutineGroup]:
    """The groups that wait on it, the largest first."""
    found = {group.key: group for group in table.rows if group.waiting_on == thing.address}
    for goid in thing.ids:
        group = group_of(table, goid)
        if group is not None:
            found[group.key] = group
    return sorted(found.values(), key=lambda group: -group.count)


def waited(evidence: Evidence, since: datetime | None) -> float:
    """Seconds from then to the last look; 0 where it is not known."""
    return 0.0 if since is None else max(0.0, (last_look(evidence) - since).total_seconds())


def stuck(evidence: Evidence, table: Goroutines, goids: Iterable[int], long: float) -> bool:
    """Whether all of them that are listed have been where they are for so many seconds; at least one has to be."""
    wanted = set(goids)
    known = _index(table).goroutines
    listed = [known[goid] for goid in wanted if goid in known]
    if not listed:
        groups = [group_of(table, goid) for goid in wanted]
        since = [group.since for group in groups if group is not None]
        return bool(since) and all(waited(evidence, one) >= long for one in since)
    return all(not one.moved and waited(evidence, one.since) >= long for one in listed)


def oldest(evidence: Evidence, group: GoroutineGroup) -> str:
    """Since when the longest waiting one waits, in a sentence, or ""."""
    if group.since is None or waited(evidence, group.since) < 1:
        return ""
    how = "about " if group.since_source == "runtime" else "at least "
    name = f"goroutine {group.oldest_id}" if group.oldest_id else "the oldest"
    return f"{name} has been there for {how}{seconds(waited(evidence, group.since))}"


def one(table: Goroutines, goid: int) -> str:
    """A goroutine in a few words: "goroutine 17, in sleep at main.hold (orders.go:12)"."""
    group = group_of(table, goid)
    return f"goroutine {goid}" if group is None else f"goroutine {goid}, in {doing(group)} at {where(group)}"
