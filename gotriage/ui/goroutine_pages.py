"""The way into the goroutines: a group and its stacks, one goroutine, stacks that a stop gave."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.records.cpustacks import CpuStacks
from gotriage.records.goroutines import Goroutines
from gotriage.records.stream import Reply
from gotriage.render import units
from gotriage.render.goroutines import growth, peers, place, rows, short, state_of, waited
from gotriage.render.text import wrap
from gotriage.ui.spans import PageLine, cut, cut_spans, fit, labelled
from gotriage.ui.stacks import first_own, stack_lines
from gotriage.ui.wait_pages import cycle_lines, object_of, object_page, waits_on

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence
    from datetime import datetime

    from gotriage.records.cpustacks import CpuStack
    from gotriage.records.goroutines import Goroutine, GoroutineGroup
    from gotriage.render.goroutines import GroupRow
    from gotriage.ui.front import Front
    from gotriage.ui.spans import Span

    Build = Callable[[int], Sequence[PageLine]]

LABEL = 14
LISTED = 300
"""Goroutines that a page lists."""
FRAMES = 400
"""Frames of a stack that a page shows."""
STACKS = 40
"""Stacks of a group that a page shows."""
ON_CPU = "it runs on a CPU: memory does not hold its stack; x stops its thread for a moment and reads it"


def open_item(front: Front, item: Hashable) -> tuple[str, Build] | None:
    """The page that an item of these pages leads to; one goroutine may stand in several places of a page."""
    match item:
        case ("group", key):
            row = next((row for row in rows(front.session) if row.key == key), None)
            name = f"{row.count:,} in {row.state}" if row is not None else "group"
            return name, lambda width: list(group_page(front, key, width))
        case ("stack", str(key)):
            return "stack", lambda width: list(group_page(front, key, width))
        case ("goroutine" | "oldest" | "parent" | "ring", int(number)):
            return f"goroutine {number}", lambda width: list(goroutine_page(front, number, width))
        case ("object" | "ring object", int(address)):
            found = object_of(front, address)
            kind = found.type if found is not None else "object"
            return f"{kind} {address:#x}", lambda width: list(object_page(front, address, width))
    return None


def _record(front: Front) -> Goroutines:
    moment = front.session.moment
    assert moment is not None
    return front.session.latest(Goroutines) or Goroutines(at=moment)


# -- a group


def group_page(front: Front, key: Hashable, width: int) -> Iterator[PageLine]:
    """A row of the table, or with a record's key one stack of it: its stacks, and of a single one its goroutines."""
    record = _record(front)
    row = next((row for row in rows(front.session) if row.key == key or any(g.key == key for g in row.groups)), None)
    if row is None:
        yield PageLine()
        yield PageLine((("There are none of these any more.", "strong"), (f"  ({units.clock(record.at)})", "dim")))
        return
    groups = [group for group in row.groups if group.key == key] or row.groups
    yield from _group_head(front, row, groups, width)
    several = len(groups) > 1
    for group in groups[:STACKS]:
        yield from _stack_block(front, record, group, width, several=several)
    if len(groups) > STACKS:
        yield PageLine(((f"  and {len(groups) - STACKS:,} more stacks", "dim"),))
    if not several:
        yield from _members(front, record, groups[0], width)


def _group_head(front: Front, row: GroupRow, groups: Sequence[GoroutineGroup], width: int) -> Iterator[PageLine]:
    count = sum(group.count for group in groups)
    spans: list[Span] = [(f"{count:,} goroutines ", "strong"), (row.state, "title")]
    if len(groups) == len(row.groups):
        spans.append((f"   {growth(row.growth)}/min", "warning" if (row.growth or 0) > 0 else "dim"))
        spans.append((f", {growth(row.attached)} since the first look", "dim"))
    if row.moved:
        spans.append((f"   {row.moved:,} moved while they were read", "warning"))
    yield PageLine(cut_spans(spans, width))
    oldest = min((group for group in groups if group.since is not None), key=_since, default=None)
    if oldest is not None and oldest.oldest_id is not None:
        text = waited(oldest.since, oldest.since_source, front.session.moment)
        yield PageLine(
            ((fit("oldest", LABEL), "label"), (text, ""), (f"  goroutine {oldest.oldest_id}", "dim"), _sign(oldest)),
            ("oldest", oldest.oldest_id),
        )
    if row.created:
        yield PageLine(((fit("created by", LABEL), "label"), (cut(_created(row), width - LABEL), "")))
    for group in groups[:1]:
        if group.waiting_on is not None and len(groups) == 1:
            yield from waits_on(front, group.waiting_on, width)
    if row.labels:
        yield from _fact("labels", row.labels, width)
    yield PageLine()


def _since(group: GoroutineGroup) -> datetime:
    assert group.since is not None
    return group.since


def _created(row: GroupRow) -> str:
    return f"{short(row.created)}  {row.created_place}"


def _sign(one: GoroutineGroup | Goroutine) -> Span:
    """What the sign before a waiting time means."""
    if one.since_source == "observed":
        return "   ≥ seen there for so long", "dim"
    return ("   ~ by the collector's own stamp, about", "dim") if one.since_source == "runtime" else ("", "")


def _stack_block(
    front: Front, record: Goroutines, group: GoroutineGroup, width: int, *, several: bool
) -> Iterator[PageLine]:
    item = ("stack", group.key) if several else None
    if several:
        now = front.session.moment
        head = f"{group.count:,} ×  oldest {waited(group.since, group.since_source, now)}"
        yield PageLine(((head, "strong"),), item)
    if 0 <= group.stack < len(record.stacks):
        stack = record.stacks[group.stack]
        frames = stack.frames[:FRAMES]
        folded = max(group.user - 1, 0) if several else 0
        if folded > 1:
            yield PageLine(((f"  … {folded} of the runtime and the standard library", "faint"),), item)
            frames = frames[folded:]
        user = group.user - folded if folded > 1 else group.user
        yield from stack_lines(frames, user, width, item, complete=stack.complete)
    else:
        yield PageLine((("  starts in ", "dim"), (short(group.where), "strong"), (f"  {_at(group)}", "dim")), item)
        yield PageLine(((f"  {cut(ON_CPU, width - 2)}", "warning"),), item)
    yield PageLine()


def _at(group: GoroutineGroup) -> str:
    return place(group.where_file, group.where_line)


def _members(front: Front, record: Goroutines, group: GoroutineGroup, width: int) -> Iterator[PageLine]:
    same = (group.state, group.wait_reason, group.stack, group.created_by)
    found = [one for one in record.goroutines if (one.state, one.wait_reason, one.stack, one.created_by) == same]
    if group.labels:
        found = [one for one in found if group.labels.items() <= one.labels.items()] or found
    known = peers(front.session, front.target.pid if front.target is not None else None)
    found.sort(key=lambda one: (one.since is None, one.since or record.at, one.id))
    yield PageLine(((f"{'GOROUTINE':>11}  {'WAITS':>8}  ", "heading"), ("ON", "heading")))
    for one in found[:LISTED]:
        yield PageLine(_member(front, one, known, width), ("goroutine", one.id))
    if group.count > min(len(found), LISTED):
        left = group.count - min(len(found), LISTED)
        yield PageLine(((f"{'':>11}  and {left:,} more like these", "dim"),))


def _member(front: Front, one: Goroutine, known: dict[int, str], width: int) -> tuple[Span, ...]:
    text = waited(one.since, one.since_source, front.session.moment)
    on = _on(one, known)
    labels = ", ".join(f"{key}={value}" for key, value in one.labels.items())
    spans: list[Span] = [(f"{one.id:>11}  ", "strong"), (f"{text:>8}  ", ""), (on, "")]
    if labels:
        spans.append((f"  {labels}", "dim"))
    if one.moved:
        spans.append(("  moved", "warning"))
    return cut_spans(spans, width)


def _on(one: Goroutine, known: dict[int, str]) -> str:
    """What a goroutine waits on, in a few words."""
    if one.fd is not None:
        return f"fd {one.fd} {one.peer or known.get(one.fd, '')}".rstrip()
    if one.thread is not None and one.state == "syscall":
        return f"thread {one.thread} {one.thread_state} {one.wchan}".rstrip()
    if one.thread is not None:
        return f"thread {one.thread}"
    if one.wake_at is not None:
        return f"wakes at {units.clock(one.wake_at)}"
    return f"{one.waiting_on:#x}" if one.waiting_on is not None else units.UNKNOWN


# -- one goroutine


def goroutine_page(front: Front, number: int, width: int) -> Iterator[PageLine]:
    """Everything about one: facts, what it waits on, stack."""
    record = _record(front)
    one = next((one for one in record.goroutines if one.id == number), None)
    if one is None:
        group = next((group for group in record.rows if number in group.ids), None)
        if group is not None:
            yield PageLine(((f"goroutine {number} is one of these:", "dim"),))
            yield from group_page(front, group.key, width)
            return
        left = f" It may be one of {record.omitted:,} that were not sent one by one." if record.omitted else ""
        yield PageLine()
        yield from _fact("", f"Goroutine {number} is not there (any more).{left}", width)
        return
    yield from _facts(front, record, one, width)
    if one.waiting_on is not None:
        yield from waits_on(front, one.waiting_on, width)
    for cycle in record.cycles:
        if any(edge.waiter == one.id for edge in cycle):
            yield PageLine()
            yield from cycle_lines(record, cycle, width)
    yield PageLine()
    yield from _stack_of(front, record, one, width)


def _facts(front: Front, record: Goroutines, one: Goroutine, width: int) -> Iterator[PageLine]:
    flags = [word for word, on in (("the runtime's own", one.system), ("holds its thread", one.locked)) if on]
    head: list[Span] = [(f"goroutine {one.id}  ", "strong"), (state_of(one), "title")]
    head += [(f"   {word}", "dim") for word in flags]
    if one.moved:
        head.append(("   moved while it was read: state and stack may not belong together", "warning"))
    yield PageLine(cut_spans(head, width))
    if one.since is not None:
        text = waited(one.since, one.since_source, front.session.moment)
        yield PageLine(((fit("waits", LABEL), "label"), (text, ""), _sign(one)))
    if 0 <= one.created_by < len(record.sites):
        site = record.sites[one.created_by]
        text = f"{short(site.function)}  {place(site.file, site.line)}"
        parent = f"  in goroutine {one.created_by_id}" if one.created_by_id else ""
        item = ("parent", one.created_by_id) if one.created_by_id else None
        spans = ((fit("created by", LABEL), "label"), (text, ""), (parent, "accent"))
        yield PageLine(cut_spans(spans, width), item)
    yield from _kernel(one, width)
    if one.fd is not None:
        known = peers(front.session, front.target.pid if front.target is not None else None)
        yield from _fact("descriptor", f"{one.fd}  {one.peer or known.get(one.fd, '')}".rstrip(), width)
    if one.wake_at is not None:
        yield from _fact("timer", f"wakes it at {units.clock(one.wake_at)}", width)
    if one.labels:
        yield from _fact("labels", ", ".join(f"{key}={value}" for key, value in one.labels.items()), width)


def _kernel(one: Goroutine, width: int) -> Iterator[PageLine]:
    if one.thread is None:
        return
    states = {"R": "runs", "S": "sleeps", "D": "sleeps and cannot be woken", "T": "is stopped", "t": "is traced"}
    said = states.get(one.thread_state, one.thread_state)
    text = f"{one.thread}  {said}{f' in {one.wchan}' if one.wchan else ''}".rstrip()
    yield from _fact("thread", text, width)


def _fact(label: str, text: str, width: int) -> Iterator[PageLine]:
    for spans in labelled(label, text, width, indent=0, column=LABEL):
        yield PageLine(spans)


def _stack_of(front: Front, record: Goroutines, one: Goroutine, width: int) -> Iterator[PageLine]:
    if 0 <= one.stack < len(record.stacks):
        stack = record.stacks[one.stack]
        user = next((group.user for group in record.rows if group.stack == one.stack), first_own(stack.frames))
        yield from stack_lines(stack.frames[:FRAMES], user, width, None, complete=stack.complete)
        return
    taken = _cpu_stack(front, one.id)
    if taken is not None:
        yield from cpu_stack_lines(*taken, width)
        return
    if 0 <= one.start < len(record.sites):
        start = record.sites[one.start]
        yield PageLine(
            (("  starts in ", "dim"), (short(start.function), "strong"), (f"  {place(start.file, start.line)}", "dim"))
        )
    yield from _fact("", ON_CPU, width)


# -- stacks by a stop


def _cpu_stack(front: Front, number: int) -> tuple[CpuStacks, CpuStack] | None:
    taken = front.session.latest(CpuStacks)
    row = next((row for row in taken.rows if row.id == number), None) if taken is not None else None
    return (taken, row) if taken is not None and row is not None else None


def cpu_stack_lines(taken: CpuStacks, row: CpuStack, width: int) -> Iterator[PageLine]:
    """One stack that a stop gave, and what it cost."""
    who = f"goroutine {row.id}" if row.id is not None else "no goroutine"
    stopped = f"stopped for {units.seconds(row.stopped_seconds)} at {units.clock(taken.at)}"
    item = ("goroutine", row.id) if row.id is not None else None
    spans: list[Span] = [(who, "strong"), (f"  thread {row.thread} {stopped}", "dim")]
    yield PageLine(cut_spans(spans, width), item)
    if row.error:
        yield PageLine(((f"  {cut(row.error, width - 2)}", "warning"),), item)
    yield from stack_lines(row.frames[:FRAMES], first_own(row.frames), width, item, complete=row.complete)


def cpu_page(front: Front, width: int, number: int | None = None) -> Iterator[PageLine]:
    """All stacks of request `number`, or of the last one that was answered."""
    reply = next((reply for reply in front.session.series(Reply) if reply.id == number), None)
    if reply is not None and reply.error:
        yield PageLine((("The threads were not stopped.", "strong"),))
        for part in wrap(reply.error, width - 2):
            yield PageLine((("  ", ""), (part, "warning")))
        return
    taken = front.session.latest(CpuStacks)
    if taken is None or (number is not None and reply is None):
        yield PageLine((("asked; the answer is on its way", "dim"),))
        return
    longest = max((row.stopped_seconds for row in taken.rows), default=0.0)
    threads = "1 thread" if len(taken.rows) == 1 else f"{len(taken.rows)} threads, each"
    text = f"{threads} stopped for {units.seconds(longest)} at most, at {units.clock(taken.at)}"
    yield PageLine(((text if taken.rows else "no goroutine was on a CPU at that moment", "strong"),))
    for row in taken.rows:
        yield PageLine()
        yield from cpu_stack_lines(taken, row, width)
