"""What goroutines wait on: channels and locks with their waiters, likely holders, and rings of goroutines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.records.goroutines import Goroutines
from gotriage.render.goroutines import place, short, state_of
from gotriage.ui.spans import PageLine, cut, cut_spans, fit, labelled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.records.goroutines import Edge, Goroutine, WaitObject
    from gotriage.ui.front import Front
    from gotriage.ui.spans import Span

LABEL = 14
LOCKS = ("mutex", "rwmutex")


def object_of(front: Front, address: int) -> WaitObject | None:
    """What stands at an address, None when nobody waits on it."""
    record = front.session.latest(Goroutines)
    return next((found for found in record.objects if found.address == address), None) if record is not None else None


def waits_on(front: Front, address: int, width: int) -> Iterator[PageLine]:
    """The line of a goroutine or a group that says what it waits on."""
    found = object_of(front, address)
    text = object_words(found) if found is not None else "nothing is known about it"
    spans: list[Span] = [(fit("waits on", LABEL), "label"), (f"{address:#x}  ", "accent"), (text, "")]
    yield PageLine(cut_spans(spans, width), ("object", address) if found is not None else None)


def object_words(found: WaitObject) -> str:
    """A channel, a lock or another thing in a line."""
    words: list[str] = [found.type]
    if found.type == "channel" and found.capacity is not None:
        words.append(f"buffer {found.buffered} of {found.capacity}" if found.capacity else "unbuffered")
    if found.closed:
        words.append("closed")
    if found.receivers or found.senders:
        words += [
            f"{count:,} {side}" for count, side in ((found.receivers, "receive"), (found.senders, "send")) if count
        ]
    else:
        words.append(f"{found.waiters:,} wait")
    if found.detail:
        words.append(found.detail)
    if found.alone:
        words.append("nobody else has it: they wait for ever")
    return ", ".join(words)


def object_page(front: Front, address: int, width: int) -> Iterator[PageLine]:
    """What it is, who waits on which side, who likely holds it."""
    record, found = front.session.latest(Goroutines), object_of(front, address)
    if record is None or found is None:
        yield PageLine(((f"Nothing waits on {address:#x} any more.", "strong"),))
        return
    yield PageLine(((f"{found.type} {address:#x}", "strong"),))
    for spans in labelled("", object_words(found), width, indent=0, column=2):
        yield PageLine(spans)
    if found.alone:
        yield PageLine(
            (
                (
                    cut("  nothing but the waiters' own stacks refers to it: no one can wake them (a leak)", width),
                    "warning",
                ),
            )
        )
    yield PageLine()
    by_id = {one.id: one for one in record.goroutines}
    if found.holders:
        sure = "likely holds it (its stack refers to it; Go records no owner)"
        yield PageLine(((cut(sure if len(found.holders) == 1 else f"one of these {sure}", width), "heading"),))
        for number in found.holders:
            yield PageLine(named(record, by_id.get(number), number, width), ("goroutine", number))
        yield PageLine()
    elif found.type in LOCKS:
        yield PageLine((("who holds it cannot be told: no stack refers to it", "dim"),))
        yield PageLine()
    yield from _sides(record, found, by_id, width)
    for cycle in record.cycles:
        if any(edge.address == address for edge in cycle):
            yield PageLine()
            yield from cycle_lines(record, cycle, width)


def _sides(record: Goroutines, found: WaitObject, by_id: dict[int, Goroutine], width: int) -> Iterator[PageLine]:
    """The waiters, those that receive before those that send."""
    sides: dict[str, list[int]] = {}
    for number in found.ids:
        one = by_id.get(number)
        sides.setdefault(state_of(one) if one is not None else "waits", []).append(number)
    for side in sorted(sides):
        yield PageLine(((f"{side}", "heading"), (f"  {len(sides[side])}", "dim")))
        for number in sides[side]:
            yield PageLine(named(record, by_id.get(number), number, width), ("goroutine", number))
    if found.waiters > len(found.ids):
        yield PageLine(((f"  and {found.waiters - len(found.ids):,} more", "dim"),))


def named(record: Goroutines, one: Goroutine | None, number: int, width: int) -> tuple[Span, ...]:
    """A goroutine in a line: id and the place of the program's own where it stands."""
    where = ""
    if one is not None:
        group = next((g for g in record.rows if g.stack == one.stack and g.created_by == one.created_by), None)
        if group is not None:
            where = f"{short(group.where)}  {place(group.where_file, group.where_line)}"
    return cut_spans([(f"  goroutine {number}  ", ""), (where, "dim")], width)


def cycle_lines(record: Goroutines, cycle: Sequence[Edge], width: int) -> Iterator[PageLine]:
    """A ring of goroutines, each waiting for what the next one likely holds."""
    by_id = {one.id: one for one in record.goroutines}
    kinds = {found.address: found.type for found in record.objects}
    yield PageLine(((f"⟲ {len(cycle)} goroutines wait for each other", "critical"), (": none can go on", "dim")))
    last = len(cycle) - 1
    for number, edge in enumerate(cycle):
        bend, stem = "╭▶ " if not number else "│  ", "│  " if number < last else "╰─ "
        spans = (("  ", ""), (bend, "critical"), *named(record, by_id.get(edge.waiter), edge.waiter, width - 5))
        yield PageLine(cut_spans(spans, width), ("ring", edge.waiter))
        text = f"    waits on {kinds.get(edge.address, 'object')} {edge.address:#x}, likely held by "
        text += "the next one" if number < last else "the first one"
        yield PageLine(cut_spans((("  ", ""), (stem, "critical"), (text, "dim")), width), ("ring object", edge.address))
