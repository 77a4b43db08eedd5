"""Two dumps of one process, and of two runs."""

from __future__ import annotations

from gotriage.goruntime.compare import compare
from gotriage.goruntime.report import Stack
from msgspec.structs import replace

from tests.goruntime.dumps import MAIN, POST, RECV, SWEEP, dump


def kinds(comparison):
    return {(change.kind, change.wait_reason or change.state): change.by for change in comparison.changes}


def test_groups_that_appear_grow_shrink_and_vanish():
    before, after = dump(10, 1000.0, spinning=False), dump(30, 1060.0, mutex=False)
    found = compare(before, after)
    assert kinds(found) == {
        ("grew", "chan receive"): 20,
        ("appeared", "running"): 1,
        ("vanished", "sync.Mutex.Lock"): -2,
        ("same", "sleep"): 0,
        ("same", "GC sweep wait"): 0,
    }
    assert [change.kind for change in found.changes][:3] == ["grew", "appeared", "vanished"]
    assert (found.seconds, found.before, found.after) == (60.0, 14, 33)
    assert kinds(compare(after, before))["shrank", "chan receive"] == -20


def test_a_change_names_place_creator_and_goroutines():
    (grew,) = compare(dump(10), dump(30)).of("grew")
    assert grew.stack[grew.user].function == "main.wait"
    assert grew.creator is not None
    assert grew.creator.function == "main.(*Server).serve"
    assert grew.ids == tuple(range(100, 120))
    assert (grew.before, grew.after) == (10, 30)


def test_who_waits_at_the_same_place_in_both_is_stuck():
    found = compare(dump(10), dump(30))
    assert [(group.wait_reason, group.count) for group in found.stuck] == [
        ("chan receive", 10),
        ("sync.Mutex.Lock", 2),
        ("sleep", 1),
    ]
    assert found.stuck[1].ids == (50, 51)
    assert found.stuck[1].stack[found.stuck[1].user].function == "main.(*Ledger).Post"
    assert compare(dump(10), dump(30), same_process=False).stuck == ()


def test_who_moved_or_stands_elsewhere_is_not_stuck():
    moved = dump(3)
    ones = tuple(replace(one, moved=True) if one.id == 100 else one for one in moved.goroutines)
    elsewhere = (Stack(MAIN), Stack((RECV[0], *RECV[2:])), Stack(POST), Stack(SWEEP))
    assert compare(dump(3), replace(moved, goroutines=ones)).stuck[0].count == 2
    assert [group.wait_reason for group in compare(dump(3), replace(moved, stacks=elsewhere)).stuck] == [
        "sync.Mutex.Lock",
        "sleep",
    ]


def test_stacks_in_another_order_are_the_same_stacks():
    after = dump(10)
    turned = replace(
        after,
        stacks=after.stacks[::-1],
        groups=tuple(replace(g, stack=3 - g.stack if g.stack >= 0 else -1) for g in after.groups),
        goroutines=tuple(replace(g, stack=3 - g.stack if g.stack >= 0 else -1) for g in after.goroutines),
    )
    found = compare(dump(10), turned)
    assert {change.kind for change in found.changes} == {"same"}
    assert sum(group.count for group in found.stuck) == 13


def test_left_out_groups_are_said():
    assert not compare(dump(), dump()).incomplete
    assert compare(dump(), replace(dump(), omitted_groups=3)).incomplete
