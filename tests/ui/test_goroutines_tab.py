"""The goroutines tab: groups, the way in, search over stacks, and the question before a stop."""

from __future__ import annotations

from datetime import timedelta

import pytest
from gotriage.records.cpustacks import CpuStacks
from gotriage.records.environment import Environment
from gotriage.records.findings import Verdict
from gotriage.records.goroutines import (
    Edge,
    Frame,
    Goroutine,
    GoroutineCounts,
    GoroutineGroup,
    Goroutines,
    Stack,
    WaitObject,
)
from gotriage.records.stream import Gap, Reply
from gotriage.render.goroutines import rows, short
from gotriage.session.store import Session
from gotriage.ui.goroutine_pages import open_item
from gotriage.ui.spans import text_of

from tests.ui import made
from tests.ui.screens import LARGE, SMALL, drive, shown, text


def test_the_group_that_grows_is_row_one_and_the_runtimes_own_are_last():
    seen = shown(made.front(made.session(60)), "5").splitlines()
    assert "inventory.(*Client).Get" in seen[5]
    for words in ("958", "+60", "≥4m01s", "IO wait", "client.go:88"):
        assert words in seen[5]
    assert "runtime.bgsweep" in next(line for line in reversed(seen[:-1]) if line.strip())


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=str)
def test_the_header_line_says_how_and_when_it_was_read(size):
    seen = shown(made.front(made.session(60)), "5", size=size).splitlines()[3]
    for words in ("1,610 goroutines", "6 groups", "ago in 11ms", "ring of 2", "light"):
        assert words in seen
    assert ("target not paused" in seen) == (size == LARGE)


def test_what_cannot_be_read_without_a_stop_says_so():
    assert "stack: press x" in shown(made.front(), "5")


def test_a_wide_screen_has_growth_since_the_look_before_and_since_attach():
    seen = shown(made.front(made.session(60)), "5", size=LARGE)
    assert "+LOOK" in seen
    row = seen.splitlines()[5]
    for words in ("+60", "+2", "+58", "inventory.(*Client).Start  client.go:88", "handler=/orders"):
        assert words in row


def test_enter_opens_the_stacks_then_one_stack_then_one_goroutine_then_what_it_waits_on():
    front = made.front(made.session(30))
    stacks = shown(front, "5", "enter")
    for words in ("Goroutines › 928 in IO wait", "888 ×", "40 ×", "tls.(*Conn).Read", "3 moved"):
        assert words in stacks
    one = shown(front, "5", "enter", "j", "enter")
    for words in ("› stack", "netpoll.go:575", "GOROUTINE", "fd 30"):
        assert words in one
    goroutine = shown(front, "5", "j", "enter", "j", "j", "enter")
    for words in (
        "› goroutine 1000",
        "created by",
        "queue.Start  worker.go:31  in goroutine 1",
        "queue.(*Worker).loop",
    ):
        assert words in goroutine
    channel = shown(front, "5", "j", "enter", "j", "j", "enter", "j", "enter", size=LARGE)
    for words in ("› channel 0xc00012a060", "buffer 0 of 16", "640 receive", "goroutine 1019", "and 620 more"):
        assert words in channel
    back = shown(front, "5", "j", "enter", "j", "j", "enter", "backspace", "backspace")
    assert "› goroutine" not in back.splitlines()[1]


def test_a_descriptor_that_is_waited_for_names_its_peer():
    seen = shown(made.front(made.session(30)), "5", "enter", "j", "enter", size=LARGE)
    assert "fd 31 tcp 10.4.0.2:30031 → 10.4.0.17:8086 CLOSE_WAIT" in seen


def test_a_ring_is_drawn_as_a_ring():
    seen = shown(made.front(), "5", *"jjj", "enter", "j", "enter", size=LARGE)
    ring = [line for line in seen.splitlines() if "╭▶" in line or "╰─" in line or "│ " in line]
    assert "2 goroutines wait for each other" in seen
    assert "goroutine 700" in ring[0]
    assert "likely held by the first one" in ring[-1]


def test_a_lock_says_who_likely_holds_it():
    front = made.front()
    name, build = open_item(front, ("object", 0xC0004F1230))
    page = "\n".join(text_of(line.spans) for line in build(100))
    assert name == "mutex 0xc0004f1230"
    assert "likely holds it" in page
    assert "Go records no owner" in page
    assert "goroutine 701" in page


def test_search_and_filter_look_into_stacks_and_labels():
    front = made.front()
    assert "1 of 6 with" in shown(front, "5", "ampersand", *"conn.go", "enter")
    assert "1 of 6 with" in shown(front, "5", "ampersand", *"handler", "enter")
    assert "no place with" not in shown(front, "5", "slash", *"semacquire", "enter")


def test_sorting_by_the_oldest_wait():
    seen = shown(made.front(), "5", *"ooo", size=LARGE).splitlines()
    assert "▼+LOOK" in seen[4]
    front = made.front()
    oldest = sorted(rows(front.session), key=lambda row: -(row.oldest or -1e18))[0]
    assert oldest.where == "runtime.bgsweep"


def test_a_recording_stops_nothing_and_shows_what_was_taken():
    assert "thread 41210 stopped for 71µs" in shown(made.front(), "5", "x")
    session = Session()
    for record in made.beginning():
        session.feed(record)
    assert "this is what was recorded" in shown(made.front(session, Verdict(at=made.START)), "5", "x")


def test_changes_since_the_first_look():
    seen = shown(made.front(made.session(60)), "5", "c")
    for words in ("Goroutines › changes", "1,552 → 1,610 goroutines in 58s", "at the same place in both looks"):
        assert words in seen
    row = next(line for line in seen.splitlines() if "grew" in line)
    for words in ("+58", "860 → 918", "IO wait", "inventory.(*Client).Get"):
        assert words in row
    session = Session()
    for record in made.beginning():
        session.feed(record)
    assert "only one look yet" in shown(made.front(session, Verdict(at=made.START)), "5", "c")


class FakeLink:
    def __init__(self):
        self.asked = []

    def request(self, op, collectors=(), **more):
        self.asked.append((op, collectors))
        return 1


@pytest.mark.parametrize(
    ("error", "words"), [("", "stopped for 71µs"), ("ptrace: not permitted", "ptrace: not permitted")]
)
def test_a_stop_is_asked_for_first_with_its_cost(error, words):
    front = made.front()
    link = FakeLink()

    async def use(app, pilot):
        front.link = link
        await pilot.press("5", "x")
        await pilot.pause()
        question = text(app)
        await pilot.press("n")
        await pilot.pause()
        after_no = list(link.asked)
        await pilot.press("x", "y")
        await pilot.pause()
        asked = text(app)
        front.session.feed(Reply(at=front.session.last, id=1, ok=error == "", error=error))
        app.screen.arrived(Reply)
        await pilot.pause()
        return question, after_no, asked, text(app)

    question, after_no, asked, answer = drive(front, use)
    assert "the answer is on its way" in asked
    assert "At the last look 8 were on a CPU" in question
    assert "under 0.3 ms each" in question
    assert after_no == []
    assert link.asked == [("stacks", ("goroutines",))]
    assert words in answer


def test_the_stack_that_a_stop_gave_stands_on_the_goroutines_page():
    front = made.front()
    assert front.session.latest(CpuStacks) is not None
    _, build = open_item(front, ("goroutine", 60))
    page = "\n".join(text_of(line.spans) for line in build(100))
    assert "stopped for 71µs" in page
    assert "hash.spin" in page


def bare(*more):
    session = Session()
    for record in (*made.beginning(), *more):
        session.feed(record)
    return made.front(session, Verdict(at=made.START))


def test_a_target_that_is_not_go_says_so_plainly():
    seen = shown(bare(Environment(at=made.START, exe="/usr/sbin/nginx", is_go=False)), "5")
    assert "nginx is not a Go program" in seen
    assert "looking" not in seen


def test_a_gap_says_why_and_what_to_do():
    gap = Gap(at=made.START, source="goroutines", reason="no table of Go 1.99", remedy="update gotriage", lost="stacks")
    seen = shown(bare(gap), "5")
    for words in ("Goroutines", "not measured", "no table of Go 1.99", "update gotriage"):
        assert words in seen


def test_a_slow_refresh_says_how_often():
    looks = [GoroutineCounts(at=made.START + timedelta(seconds=12 * n), took=0.6, total=10) for n in (0, 1)]
    record = Goroutines(at=looks[1].at, total=10, rows=(GoroutineGroup(key="a", state="waiting", count=10),))
    assert "in 600ms, every 12s" in shown(bare(*looks, record), "5")


def test_a_stranger_s_record_draws():
    """Indices that point nowhere, ids that are nobody's, a ring of no one."""
    evil = "main.\x1b[31m[@click=app.quit]x[/]"
    record = Goroutines(
        at=made.START,
        rows=(
            GoroutineGroup(key="k", state="waiting", count=3, where=evil, stack=99, created_by=-7, user=50, ids=(1,)),
            GoroutineGroup(key="k2", state="waiting", count=1, where=evil, stack=0, user=9, created_by=3, ids=(9,)),
        ),
        goroutines=(
            Goroutine(id=1, state="waiting", stack=99, created_by=99, start=-2, waiting_on=5, fd=1 << 70),
            Goroutine(id=9, state=evil, stack=0, created_by=3),
        ),
        stacks=(Stack((Frame(evil, "/proc/self/mem.go", -5),), complete=False),),
        objects=(WaitObject(address=5, type="mutex", waiters=9, ids=(1, 77), holders=(88,)),),
        cycles=((Edge(1, 5, 1),), ()),
        total=4,
    )
    front = bare(record)
    for keys in (("5",), ("5", "enter"), ("5", "enter", "j", "enter"), ("5", "enter", "j", "j", "enter", "j", "enter")):
        seen = shown(front, *keys)
        assert "\x1b" not in seen
    for item in (("goroutine", 1), ("goroutine", 9), ("goroutine", 404), ("object", 5), ("object", 6), ("stack", "x")):
        _, build = open_item(front, item)
        assert list(build(80))
    assert open_item(front, ("nothing",)) is None


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("example.com/x/store.(*DB).Get", "store.(*DB).Get"),
        ("main.main", "main.main"),
        ("a.b/c.F[...]", "c.F[...]"),
        ("a.b/c.F[go.shape/x]", "c.F[go.shape/x]"),
        ("", ""),
    ],
)
def test_short_names(function, expected):
    assert short(function) == expected
