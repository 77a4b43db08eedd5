"""Two dumps compared: which groups appeared, grew, shrank and vanished, and who has not moved in between.

Groups are the same when their words are the same: state, wait reason, stack and creator, by function, file and line.
Addresses are not compared, so dumps of two runs of the same build compare too; goroutine ids are compared only by
`stuck`, which wants two dumps of one process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from gotriage.goruntime.report import Dump, Frame, Goroutine, Group

FIRST_IDS = 20
"""Goroutines of a change that are named."""
Place = tuple[str, str, int]
Name = tuple[str, str, tuple[Place, ...], Place | None]
"""What names a group in every dump: state, wait reason, stack, creator."""
Kind = Literal["appeared", "grew", "shrank", "vanished", "same"]
ORDER: tuple[Kind, ...] = ("grew", "appeared", "shrank", "vanished", "same")


class Change(msgspec.Struct, frozen=True):
    """A group in two dumps.

    Attributes:
        before, after: how many goroutines; 0 where it is not there.
        stack, creator: frames of the group, the innermost first; the `go` statement.
        user: as in report.Group.
        ids: first ids of the later dump, of the earlier one for a group that vanished.
    """

    kind: Kind
    state: str
    wait_reason: str
    before: int
    after: int
    stack: tuple[Frame, ...] = ()
    user: int = -1
    creator: Frame | None = None
    system: bool = False
    ids: tuple[int, ...] = ()

    @property
    def by(self) -> int:
        """How many more there are in the later dump."""
        return self.after - self.before


class Stuck(msgspec.Struct, frozen=True):
    """Goroutines that wait at the same place in both dumps; they may have moved and come back. Fields as in Change."""

    state: str
    wait_reason: str
    count: int
    ids: tuple[int, ...]
    stack: tuple[Frame, ...] = ()
    user: int = -1
    creator: Frame | None = None
    waiting_on: int | None = None
    """The one object that all of them wait on, None when they differ."""


class Comparison(msgspec.Struct, frozen=True):
    """Changes in the order grew, appeared, shrank, vanished, same, and by how many; what is stuck, most first.

    Attributes:
        seconds: from the earlier dump to the later one.
        incomplete: a dump left groups out: a group that appeared or vanished may have been there.
    """

    seconds: float
    before: int
    after: int
    changes: tuple[Change, ...]
    stuck: tuple[Stuck, ...] = ()
    incomplete: bool = False

    def of(self, kind: Kind) -> tuple[Change, ...]:
        """The changes of one kind."""
        return tuple(change for change in self.changes if change.kind == kind)


def compare(before: Dump, after: Dump, *, same_process: bool = True) -> Comparison:
    """Compare an earlier and a later dump; `same_process` False leaves goroutine ids alone, which mean nothing then."""
    old, new = _by_name(before), _by_name(after)
    changes = [_change(name, old.get(name), new.get(name)) for name in {**new, **old}]
    changes.sort(key=lambda change: (ORDER.index(change.kind), -abs(change.by), -change.after))
    return Comparison(
        seconds=max(after.at - before.at, 0.0),
        before=before.count,
        after=after.count,
        changes=tuple(changes),
        stuck=stuck(before, after) if same_process else (),
        incomplete=bool(before.omitted_groups or after.omitted_groups),
    )


class _Sum:
    """Groups of one name in one dump."""

    def __init__(self) -> None:
        self.count = 0
        self.ids: list[int] = []
        self.group: Group | None = None
        self.frames: tuple[Frame, ...] = ()
        self.creator: Frame | None = None

    def add(self, dump: Dump, group: Group) -> None:
        self.count += group.count
        self.ids += group.ids
        self.group, self.frames, self.creator = group, _frames(dump, group), _creator(dump, group)


def _by_name(dump: Dump) -> dict[Name, _Sum]:
    found: dict[Name, _Sum] = {}
    names = _stack_names(dump)
    for group in dump.groups:
        creator = _creator(dump, group)
        name = (group.state, group.wait_reason, names.get(group.stack, ()), _place(creator) if creator else None)
        found.setdefault(name, _Sum()).add(dump, group)
    return found


def _change(name: Name, old: _Sum | None, new: _Sum | None) -> Change:
    shown = new or old
    assert shown is not None and shown.group is not None
    before, after = old.count if old else 0, new.count if new else 0
    kind: Kind = "appeared" if old is None else "vanished" if new is None else _kind(after - before)
    return Change(
        kind=kind,
        state=name[0],
        wait_reason=name[1],
        before=before,
        after=after,
        stack=shown.frames,
        user=shown.group.user,
        creator=shown.creator,
        system=shown.group.system,
        ids=tuple(sorted(shown.ids)[:FIRST_IDS]),
    )


def _kind(by: int) -> Kind:
    return "grew" if by > 0 else "shrank" if by < 0 else "same"


def stuck(before: Dump, after: Dump) -> tuple[Stuck, ...]:
    """Goroutines of the program that wait, or are in a system call, with an identical stack in both dumps."""
    earlier = {one.id: one for one in before.goroutines}
    names_before, names_after = _stack_names(before), _stack_names(after)
    found: dict[tuple[str, str, int, int], list[Goroutine]] = {}
    for one in after.goroutines:
        was = earlier.get(one.id)
        if was is None or not _waits(one) or (was.state, was.wait_reason) != (one.state, one.wait_reason):
            continue
        if names_before.get(was.stack) == names_after[one.stack] and was.created_by_id == one.created_by_id:
            found.setdefault((one.state, one.wait_reason, one.stack, one.created_by), []).append(one)
    users = {group.stack: group.user for group in after.groups}
    groups = [_stuck(after, ones, users) for ones in found.values()]
    return tuple(sorted(groups, key=lambda group: -group.count))


def _stack_names(dump: Dump) -> dict[int, tuple[Place, ...]]:
    return {number: tuple(map(_place, stack.frames)) for number, stack in enumerate(dump.stacks)}


def _waits(one: Goroutine) -> bool:
    return one.state in ("waiting", "syscall") and one.stack >= 0 and not one.system and not one.moved


def _stuck(dump: Dump, ones: list[Goroutine], users: dict[int, int]) -> Stuck:
    first = ones[0]
    objects = {one.waiting_on for one in ones}
    return Stuck(
        state=first.state,
        wait_reason=first.wait_reason,
        count=len(ones),
        ids=tuple(sorted(one.id for one in ones)[:FIRST_IDS]),
        stack=dump.stacks[first.stack].frames,
        user=users.get(first.stack, -1),
        creator=dump.sites[first.created_by] if first.created_by >= 0 else None,
        waiting_on=objects.pop() if len(objects) == 1 else None,
    )


def _frames(dump: Dump, group: Group) -> tuple[Frame, ...]:
    return dump.stacks[group.stack].frames if group.stack >= 0 else ()


def _creator(dump: Dump, group: Group) -> Frame | None:
    return dump.sites[group.created_by] if group.created_by >= 0 else None


def _place(frame: Frame) -> Place:
    return frame.function, frame.file, frame.line
