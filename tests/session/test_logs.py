"""The log store against a plain list of lines: order, bounds, filters, groups, and steps that never take long."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from gotriage.errors import UsageError
from gotriage.host import clock
from gotriage.records.logs import LogLine, LogLines, LogSource, LogState
from gotriage.session.logchunk import SIZE, rank_of, to_us
from gotriage.session.logfilter import LogFilter, parse
from gotriage.session.loggroups import MASK, GroupView, template_of
from gotriage.session.logs import LogStore, log_state
from gotriage.session.store import Session
from gotriage.ui.times import parse as parse_time

START = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


def made(number: int, **more: object) -> LogLine:
    base = {
        "at": START + timedelta(milliseconds=number),
        "source": "docker" if number % 5 == 0 else "journal",
        "message": f"GET /orders/{number} 502 upstream" if number % 3 else f"worker {number % 8} done",
        "level": ("info", "warn", "error", "")[number % 4],
        "priority": 6,
        "identifier": f"api-{number % 2}",
        "pid": 4000 + number % 3,
        "stream": "stderr",
        "boot": "b0" if number < 500 else "b1",
        "fields": {"n": str(number), "path": "/x/ü"} if number % 2 else {},
    }
    return LogLine(**{**base, **more})  # type: ignore[arg-type]


def batch(*lines: LogLine, history: bool = False) -> LogLines:
    return LogLines(at=lines[-1].at, rows=lines, history=history)


def filled(number: int, **more: object) -> tuple[LogStore, list[LogLine]]:
    lines = [made(n) for n in range(number)]
    store = LogStore(**more)  # type: ignore[arg-type]
    for begin in range(0, number, 700):
        store.add(batch(*lines[begin : begin + 700]))
    return store, lines


def everything(store: LogStore, wanted: LogFilter | None = None, until: datetime | None = None) -> list[LogLine]:
    view = store.view(wanted)
    while not view.sync(until, 0.001):
        pass
    return [view.line(row) for row in range(len(view))]


def test_lines_come_back_as_they_went_in():
    store, lines = filled(3000)
    odd = made(3001, message="two\nlines \x00 and ␀", priority=None, pid=None, kind="panic", count=9, truncated=True)
    store.add(batch(odd))
    found = everything(store)
    assert found[:-1] == lines
    assert found[-1].message.startswith("two\nlines")
    assert (found[-1].priority, found[-1].pid, found[-1].kind, found[-1].count) == (None, None, "panic", 9)
    assert found[-1].truncated


def test_late_lines_go_where_their_time_belongs():
    lines = [made(n) for n in range(4 * SIZE)]
    order = random.Random(7)
    batches = [lines[n : n + 400] for n in range(0, len(lines), 400)]
    order.shuffle(batches)
    store = LogStore()
    for part in batches:
        store.add(batch(*part))
    assert everything(store) == lines
    assert len(store) == len(lines)
    assert all(len(chunk) <= SIZE for chunk in store.chunks)


def test_history_that_overlaps_is_there_once():
    store, lines = filled(5000)
    older = [made(n) for n in range(-3000, 1200)]
    store.add(batch(*older, history=True))
    assert everything(store) == [made(n) for n in range(-3000, 5000)]
    store.add(batch(*lines[4000:], history=True))
    store.add(batch(*lines[100:200]))
    assert len(store) == 8000
    twice = made(4999, message="same time, other text")
    store.add(batch(twice, twice, history=True))
    assert len(store) == 8002


def test_a_live_store_forgets_the_oldest():
    store, lines = filled(20_000, keep=5000)
    assert 5000 <= len(store) < 5000 + SIZE
    assert everything(store) == lines[-len(store) :]
    small, lines = filled(20_000, max_bytes=400_000)
    assert sum(chunk.size for chunk in small.chunks) <= 400_000
    assert everything(small) == lines[-len(small) :]
    kept, _ = filled(20_000, keep=5000, bounded=False)
    assert len(kept) == 20_000


def test_the_cursor_hides_what_is_later():
    store, lines = filled(5000)
    for number in (-1, 0, 1, SIZE - 1, SIZE, 4321, 4999, 6000):
        until = START + timedelta(milliseconds=number)
        expected = [line for line in lines if line.at <= until]
        assert everything(store, until=until) == expected
        assert store.tail(10, until) == expected[-10:]
        assert everything(store, LogFilter(texts=("worker",)), until) == [x for x in expected if "worker" in x.message]


FILTERS = {
    "text": (LogFilter(texts=("WORKER 3",)), lambda x: "worker 3" in x.message),
    "two texts": (LogFilter(texts=("orders", "502")), lambda x: "502" in x.message and "orders" in x.message),
    "text in a field": (LogFilter(texts=("/x/",)), lambda x: bool(x.fields)),
    "not ascii": (LogFilter(texts=("ü",)), lambda x: bool(x.fields)),
    "regex": (LogFilter(pattern=r"orders/\d*7 "), lambda x: "7 502" in x.message),
    "regex on a field": (
        LogFilter(pattern=r"\bn=\d7\b"),
        lambda x: x.fields.get("n", "")[1:] == "7",
    ),
    "level": (LogFilter(max_rank=4), lambda x: rank_of(x) <= 4),
    "field": (LogFilter(fields=(("n", "17"),)), lambda x: x.fields.get("n") == "17"),
    "field's value is whole": (LogFilter(fields=(("n", "1"),)), lambda x: x.fields.get("n") == "1"),
    "source": (LogFilter(fields=(("source", "docker"),)), lambda x: x.source == "docker"),
    "boot and pid": (
        LogFilter(fields=(("boot", "b1"), ("pid", "4001"))),
        lambda x: x.boot == "b1" and x.pid == 4001,
    ),
    "level by name": (LogFilter(fields=(("level", "warning"),)), lambda x: x.level == "warn"),
    "time": (
        LogFilter(since=START + timedelta(milliseconds=77), until=START + timedelta(milliseconds=2500)),
        lambda x: 77 <= (x.at - START) / timedelta(milliseconds=1) <= 2500,
    ),
    "nothing": (LogFilter(texts=("no such text",)), lambda x: False),
    "unknown": (LogFilter(fields=(("identifier", "nobody"),)), lambda x: False),
    "all together": (
        LogFilter(texts=("orders",), pattern="502", max_rank=3, fields=(("source", "journal"),)),
        lambda x: "orders" in x.message and rank_of(x) <= 3 and x.source == "journal",
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters_find_what_a_plain_search_finds(name: str):
    wanted, passes = FILTERS[name]
    store, lines = filled(5000)
    expected = [line for line in lines if passes(line)]
    assert everything(store, wanted) == expected
    assert store.matching(wanted) == expected[-1000:]


def test_a_view_follows_the_store():
    store, lines = filled(3000)
    view = store.view(LogFilter(texts=("worker",)))
    while not view.sync():
        pass
    for part in (
        [made(n) for n in range(3000, 3100)],
        [made(n) for n in range(-500, 10)],
        [made(n) for n in range(9000, 12000)],
    ):
        store.add(batch(*part))
        lines = sorted({line.at: line for line in [*lines, *part]}.values(), key=lambda x: x.at)
        while not view.sync():
            pass
        assert [view.line(row) for row in range(len(view))] == [x for x in lines if "worker" in x.message]


def test_a_row_keeps_its_key_while_others_come():
    store, _ = filled(3000)
    view = store.view()
    view.sync()
    key, line = view.key(2500), view.line(2500)
    store.add(batch(*[made(n) for n in range(-5000, -1)], history=True))
    store.add(batch(*[made(n) for n in range(3000, 6000)]))
    view.sync()
    row = view.row_of(key)
    assert row is not None
    assert row != 2500
    assert view.line(row) == line
    assert view.row_of((-1, 0)) is None
    assert view.row_at(to_us(line.at)) == row


def test_steps_are_short_and_the_newest_come_first(monkeypatch: pytest.MonkeyPatch):
    store, lines = filled(20 * SIZE)
    ticks = count()
    monkeypatch.setattr(clock, "monotonic", lambda: float(next(ticks)))
    view = store.view(LogFilter(texts=("worker",)))
    assert not view.sync(None, budget=0.5)
    newest = [line for line in lines if "worker" in line.message][-1]
    assert view.line(len(view) - 1) == newest
    steps = 1
    while not view.sync(None, budget=0.5):
        steps += 1
    assert 5 < steps <= 25
    assert view.searched == (len(store), len(store))


def test_search_goes_both_ways():
    store, lines = filled(3 * SIZE)
    view = store.view(LogFilter(max_rank=4))
    while not view.sync():
        pass
    shown = [line for line in lines if rank_of(line) <= 4]
    places = [row for row, line in enumerate(shown) if "worker 5" in line.message]
    row, found = -1, []
    while (hit := view.next_with("WORKER 5", row, 1, 10))[0] is not None:
        row = hit[0]
        found.append(row)
    assert found == places
    row, found = len(view), []
    while (hit := view.next_with("worker 5", row, -1, 10))[0] is not None:
        row = hit[0]
        found.append(row)
    assert found == places[::-1]
    assert view.next_with("no such", 0, 1, 10) == (None, len(view))


def test_templates():
    assert template_of("took 1.5ms for 0xc000123 of 10.0.0.1:8080") == f"took {MASK} for {MASK} of {MASK}"
    assert template_of('open "a b": no') == f"open {MASK}: no"
    assert template_of("id 3f2504e0-4f89-11d3-9a0c-0305e82c3301 x") == f"id {MASK} x"
    assert template_of("trace deadbeef1234\nmore") == f"trace {MASK}"
    assert template_of("cafe facade") == "cafe facade"
    assert len(template_of("x" * 5000)) <= 300


def test_groups_count_all_and_know_first_and_last():
    store, lines = filled(3 * SIZE)
    for wanted in (LogFilter(), LogFilter(max_rank=3)):
        grouped = GroupView(store.view(wanted))
        while not grouped.sync(None, 0.001):
            pass
        shown = [line for line in lines if wanted.max_rank is None or rank_of(line) <= wanted.max_rank]
        found = {group.template: group for group in grouped.groups()}
        assert {name: group.count for name, group in found.items()} == {
            f"GET /orders/{MASK} {MASK} upstream": sum("GET" in x.message for x in shown),
            f"worker {MASK} done": sum("worker" in x.message for x in shown),
        }
        for group in found.values():
            alike = [x for x in shown if template_of(x.message) == group.template]
            assert (group.first, group.last) == (alike[0].at, alike[-1].at)
            assert group.rank == min(map(rank_of, alike))
            assert group.example == alike[-1]


def test_groups_follow_new_lines_and_the_cursor():
    store, lines = filled(2 * SIZE)
    grouped = GroupView(store.view())
    for step in range(5):
        more = [made(n) for n in range(len(lines), len(lines) + 900)]
        store.add(batch(*more))
        lines += more
        while not grouped.sync():
            pass
        assert sum(group.count for group in grouped.groups()) == len(lines), step
    until = START + timedelta(milliseconds=1234)
    while not grouped.sync(until):
        pass
    assert sum(group.count for group in grouped.groups()) == 1235
    assert sum(group.count for group in store.groups(until)) == 1235
    assert [group.count for group in store.groups(newest=100, most=1)] < [3000]


def test_hostile_templates_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gotriage.session.loggroups.MAX_TEMPLATES", 100)
    store = LogStore()
    letters = "abcdefghijklmnop"
    words = ["".join(letters[int(sign, 16)] for sign in f"{n:05x}") for n in range(5000)]
    store.add(batch(*[made(n, message=f"unique {word}") for n, word in enumerate(words)]))
    groups = store.groups()
    assert sum(group.count for group in groups) == 5000
    assert groups[0].template == "(other lines)"
    assert len(store.templates.texts) <= 102


def test_kinds_are_found_quickly():
    store, _ = filled(5000)
    assert store.of_kind("panic") == []
    panics = [made(n, kind="panic", message="panic: x") for n in (6000, 7000)]
    for panic in panics:
        store.add(batch(panic))
    assert store.of_kind("panic") == panics
    assert store.of_kind("panic", panics[0].at) == panics[:1]
    assert store.of_kind("panic", since=panics[1].at) == panics[1:]
    assert store.of_kind("panic", most=1) == panics[1:]
    store.add(batch(*[made(n) for n in range(-5, 0)]))
    assert len(store.of_kind("panic")) == 2


def test_boots_in_order():
    store, _ = filled(5000)
    assert store.boots() == ["b0", "b1"]


def test_what_people_type():
    now = START + timedelta(hours=1)
    read = lambda text: parse(text, lambda word: parse_time(word, now))  # noqa: E731
    assert read("") == LogFilter()
    assert read('time out "two words"') == LogFilter(texts=("time", "out", "two words"))
    assert read("/a b\\/c|d/ x") == LogFilter(texts=("x",), pattern="a b\\/c|d")
    assert read('level:WARNING path=/x name="a b"') == LogFilter(max_rank=4, fields=(("path", "/x"), ("name", "a b")))
    assert read("since:-10m").since == now - timedelta(minutes=10)
    assert read("http://x/y:80") == LogFilter(texts=("http://x/y:80",))
    assert parse("boot:0", lambda _: None, ["old", "new"]).fields == (("boot", "new"),)
    assert parse("boot:-1", lambda _: None, ["old", "new"]).fields == (("boot", "old"),)
    for bad in ("level:loud", "since:whenever", "/(/ x", "boot:0", "boot:x", "boot:-7"):
        with pytest.raises(UsageError):
            read(bad)
    wanted = read('level:error /x+/ "a b" path=/x since:-10m')
    assert all(part in str(wanted) for part in ("level:error", "/x+/", '"a b"', "path=/x", "since:"))
    assert not wanted.trivial


def test_states_of_several_collectors_are_put_together():
    session = Session()
    assert log_state(session) is None
    journal = LogSource(name="journal", state="volatile")
    session.feed(LogState(at=START, collector="journal", sources=(LogSource(name="journal"),), boots=2, oldest=START))
    session.feed(LogState(at=START + timedelta(seconds=1), collector="file_log", sources=(LogSource(name="stdout"),)))
    session.feed(LogState(at=START + timedelta(seconds=2), collector="journal", sources=(journal,), boots=3))
    state = log_state(session)
    assert state is not None
    assert [source.name for source in state.sources] == ["stdout", "journal"]
    assert (state.sources[1].state, state.boots, state.at) == ("volatile", 3, START + timedelta(seconds=2))
    session.jump(START + timedelta(seconds=1))
    past = log_state(session)
    assert past is not None
    assert past.boots == 2


def test_the_first_line_that_holds_a_text_and_chunks_without_it_are_not_searched_again(monkeypatch: pytest.MonkeyPatch):
    total = 3 * SIZE
    lines = [made(n, message="plain", fields={}) for n in range(total)]
    lines[SIZE + 5] = made(SIZE + 5, message="too many open files in system")
    lines[2 * SIZE + 7] = made(2 * SIZE + 7, message="Accept: Too many open files")
    store = LogStore()
    store.add(batch(*lines))
    until = lines[-1].at
    found = store.first("too many open files", START, until, but="in system")
    assert found is not None and found.at == lines[2 * SIZE + 7].at
    assert store.first("too many open files", START, until).at == lines[SIZE + 5].at
    assert store.first("too many open files", found.at + timedelta(seconds=1), until) is None
    assert store.first("too many open files", START, lines[SIZE].at) is None
    searched: list[int] = []
    find = type(store.chunks[0]).find
    monkeypatch.setattr(
        type(store.chunks[0]), "find", lambda chunk, *more: searched.append(chunk.serial) or find(chunk, *more)
    )
    assert store.first("too many open files", START, until, but="in system") == found
    assert set(searched) == {store.chunks[2].serial}
