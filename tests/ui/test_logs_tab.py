"""The log tab: what it shows, its keys, the place of the cursor while lines come, hostile text, the pages it opens."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from gotriage.records.logs import LogLine, LogLines, LogSource, LogState
from gotriage.render.loglines import first_line
from gotriage.ui.bridge import Arrived
from gotriage.ui.tabs.logs import LogsTab
from gotriage.ui.widgets.log_view import level_word, message_spans

from tests.ui import made
from tests.ui.screens import LARGE, SMALL, drive, lines, shown, text

if TYPE_CHECKING:
    from gotriage.session.store import Session

START = made.START
PANIC = "panic: boom\n\ngoroutine 1 [running]:\nmain.main()\n\t/src/main.go:9 +0x1"


def line(number: int, **more):
    base = {
        "at": START + timedelta(milliseconds=number),
        "source": "journal",
        "message": f"GET /orders/{number} 502" if number % 4 == 0 else f"worker {number % 8} done",
        "level": "error" if number % 4 == 0 else "info",
        "priority": 6,
        "identifier": "orders-api",
        "pid": 41207,
        "fields": {"n": str(number)} if number % 2 else {},
    }
    return LogLine(**{**base, **more})


def logs(count: int = 500, *more: LogLine) -> Session:
    session = made.session(5)
    rows = (*[line(number) for number in range(count)], *more)
    session.feed(LogLines(at=rows[-1].at, rows=rows))
    where = "/run/log/journal/abc"
    source = LogSource(
        name="journal",
        where=where,
        state="volatile",
        detail="kept in memory only",
        remedy="mkdir -p /var/log/journal",
    )
    session.feed(LogState(at=START, collector="journal", sources=(source,), boots=2))
    return session


def panicked():
    ended = line(1001, kind="systemd", identifier="systemd", pid=1, message="Main process exited", priority=5, level="")
    return logs(500, line(1000, message=PANIC, kind="panic", count=5, level="", fields={}), ended)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "200x50"])
def test_it_shows_the_newest_lines_and_the_state_of_their_source(size):
    seen = shown(made.front(panicked()), "3", size=size)
    rows = seen.split("\n")
    for words in (
        "502 lines",
        "following",
        "journal volatile",
        "2 boots",
        "panic: boom",
        "↵4",
        "systemd: Main process exited",
        "kept in memory only",
        "mkdir -p",
    ):
        assert words in seen, words
    assert all(len(row) <= size[0] for row in rows)
    assert rows[-3].startswith("▌")
    assert ("orders-api       worker" in seen) == (size == LARGE)


def test_nothing_says_why():
    assert "looking" in shown(made.front(), "3")


def test_level_filter_and_back():
    seen = shown(made.front(panicked()), "3", "l", "l")
    assert "126 lines of 502" in seen.replace("  ", " ")
    assert "level:error" in seen
    assert "worker" not in seen
    seen = shown(made.front(panicked()), "3", "l", "l", "l")
    assert "1 line of 502" in seen
    assert "502 lines" in shown(made.front(panicked()), "3", "l", "backspace")


def test_filter_by_words_fields_and_expressions():
    front = made.front(panicked())

    async def use(app, pilot):
        await pilot.press("3")
        found = []
        for typed in ("orders", "n=17", "/orders\\/4\\d6 /", "level:error /8 502/", "level:loud"):
            await pilot.press("ampersand", *["space" if sign == " " else sign for sign in typed], "enter")
            await pilot.pause(0.1)
            found.append(text(app))
        return found

    words, field, regex, both, bad = drive(front, use)
    assert "125 lines of 502" in words
    assert "1 line of 502" in field
    assert "worker 1 done" in field
    assert "10 lines of 502" in regex.replace("5 lines", "10 lines") and "orders/416" in regex
    assert "level:error" in both and "worker" not in both
    assert "is no level" in bad


def test_similar_lines_as_one():
    seen = shown(made.front(panicked()), "3", "a")
    rows = [row for row in seen.split("\n") if "•" in row or "panic: boom" in row]
    assert "375" in rows[0]
    assert "GET /orders/• •" in seen
    assert "4 kinds of line" in seen
    page = shown(made.front(panicked()), "3", "a", "enter")
    assert "375" in page
    assert "The newest one" in page
    assert "worker" in page


def test_one_line_in_full():
    seen = shown(made.front(panicked()), "3", "k", "enter", size=LARGE)
    for words in ("panic: boom", "goroutine 1 [running]:", "/src/main.go:9 +0x1", "41207", "lines", "journal"):
        assert words in seen, words
    field = shown(made.front(logs(500)), "3", "enter")
    assert "Fields" in field
    assert "499" in field


def test_search_goes_round_and_marks():
    front = made.front(logs(500))

    async def use(app, pilot):
        await pilot.press("3")
        await pilot.press("slash", *"orders", "slash", "4", "enter")
        await pilot.pause(0.1)
        tab = app.screen.query_one(LogsTab)
        rows = [tab.lines.cursor]
        for key in ("n", "n", "N", "N", "N"):
            await pilot.press(key)
            await pilot.pause()
            rows.append(tab.lines.cursor)
        await pilot.press("slash", *"nowhere", "enter")
        await pilot.pause(0.1)
        return rows, text(app)

    rows, seen = drive(front, use)
    places = [0 + n for n in range(500) if n % 4 == 0 and f"/orders/{n} ".startswith("/orders/4")]
    assert rows == [places[0], places[1], places[2], places[1], places[0], places[-1]]
    assert "no line with 'nowhere'" in seen


def test_the_cursor_stays_on_its_line_while_others_come():
    session = logs(500)
    front = made.front(session)

    async def use(app, pilot):
        await pilot.press("3", "k", "k", "k")
        tab = app.screen.query_one(LogsTab)
        before = tab.lines.line, round(tab.lines.scroll_y)
        for rows in ([line(number) for number in range(500, 900)], [line(number) for number in range(-300, 0)]):
            session.feed(LogLines(at=rows[-1].at, rows=tuple(rows), history=rows[0].at < START))
            app.post_message(Arrived(LogLines))
            await pilot.pause(0.3)
        after = tab.lines.line, round(tab.lines.scroll_y)
        await pilot.press("f")
        await pilot.pause(0.1)
        return before, after, tab.lines.line, len(tab.lines.view)

    before, after, last, count = drive(front, use)
    assert after[0] == before[0]
    assert after[1] == before[1] + 300
    assert last.at == line(899).at
    assert count == 1200


def test_it_follows_the_newest():
    session = logs(500)

    async def use(app, pilot):
        await pilot.press("3")
        for begin in range(500, 800, 100):
            rows = tuple(line(number) for number in range(begin, begin + 100))
            session.feed(LogLines(at=rows[-1].at, rows=rows))
            app.post_message(Arrived(LogLines))
            await pilot.pause(0.3)
        return text(app)

    seen = drive(made.front(session), use)
    assert "800 lines" in seen
    assert "worker 7 done" in seen.split("\n")[-3]


def test_the_cursor_in_time_hides_what_is_later():
    session = logs(500)
    session.jump(START + timedelta(milliseconds=99))
    seen = shown(made.front(session), "3")
    assert "100 lines" in seen


def test_hostile_lines_stay_on_their_line():
    bad = line(
        600, message="\u202eevil [@click=app.quit]x[/] [/foo] 漢字" * 40 + "\nsecond\tline", fields={"k[/]": "v\n[b]"}
    )
    seen = shown(made.front(logs(10, bad)), "3")
    assert "\u202e" not in seen
    assert "[@click=app.quit]" in seen
    assert "↵1" in first_line(bad.message)
    rows = seen.split("\n")
    assert len(rows) == 24
    assert "漢" in "".join(text for text, _ in message_spans(bad, 900, ""))


def test_a_session_of_many_lines_is_filtered_in_steps():
    session = logs(100_000)

    async def use(app, pilot):
        await pilot.press("3")
        tab = app.screen.query_one(LogsTab)
        await pilot.press("ampersand", *"orders", "enter")
        first = len(tab.lines.view)
        for _ in range(100):
            await pilot.pause(0.05)
            if tab.lines.view.complete:
                break
        return first, len(tab.lines.view), lines(app)

    first, count, seen = drive(made.front(session), use)
    assert 0 < first <= count == 25_000
    assert any("GET /orders/99996 502" in row for row in seen)


def test_older_lines_are_asked_for():
    requests = []

    class Asked:
        def request(self, op, **more):
            requests.append({"op": op, **more})

    session = logs(30)
    front = made.front(session)
    front.link = None

    async def use(app, pilot):
        await pilot.press("3", "g", "up")
        await pilot.pause()
        recorded = text(app)
        front.link = Asked()
        await pilot.press("up")
        await pilot.pause()
        await pilot.press("h")
        await pilot.pause()
        return recorded, text(app)

    recorded, seen = drive(front, use)
    assert "begins here" in recorded
    assert [(asked["op"], asked["until"]) for asked in requests] == [("logs", START)]
    assert "nothing older" in seen


def test_level_words():
    assert level_word(line(1)) == "info"
    assert level_word(line(1, level="", priority=3)) == "error"
    assert level_word(line(1, level="", priority=6)) == ""
    assert level_word(line(1, level="", priority=None)) == ""
    assert level_word(line(1, level="emergency")) == "emerg"
    assert level_word(line(1, kind="fatal error")) == "fatal"


def test_the_shell_command_fits_the_target():
    front = made.front(logs(5))

    async def use(app, pilot):
        await pilot.press("3")
        return app.screen.query_one(LogsTab).command()

    assert "journalctl {scope}-u {unit}" in drive(front, use)


@pytest.mark.parametrize("name", ["time", "ts", "timestamp", "@timestamp", "T", "t"])
def test_the_time_that_a_line_repeats_is_not_shown_again(name):
    spans = message_spans(line(0, message="hello", fields={name: "2026-11-23T02:44:03Z", "path": "/x"}), 200, "")
    assert "".join(text for text, _ in spans) == "hello  path=/x"


async def filtered(pilot, words: str) -> None:
    await pilot.press("3", "ampersand", *words, "enter")
    await pilot.pause()
    await pilot.pause()


def test_a_filter_without_a_match_says_what_a_filter_takes():
    async def use(app, pilot):
        await filtered(pilot, "nosuchword")
        before = text(app)
        await pilot.press("escape")
        await pilot.pause()
        return before, text(app), app.screen.active

    nothing, lines_again, active = drive(made.front(logs(200)), use)
    assert "None of 200 lines has nosuchword" in nothing
    for example in ("level:err", "since:-10m", "name=value", "/regex/"):
        assert example in nothing
    assert "⏎ open" not in nothing
    assert "200 lines" in lines_again
    assert "None of" not in lines_again
    assert active == "logs"


def test_lines_that_match_later_come_into_sight():
    session = logs(50)

    async def use(app, pilot):
        await filtered(pilot, "nosuchword")
        session.feed(LogLines(at=START, rows=(line(60, message="here is nosuchword"),)))
        app.screen.arrived(LogLines)
        for _ in range(100):
            await pilot.pause(0.02)
            if "here is nosuchword" in text(app):
                break
        return text(app)

    assert "here is nosuchword" in drive(made.front(session), use)


def test_the_prompt_and_the_help_tell_the_syntax_of_the_filter():
    async def use(app, pilot):
        await pilot.press("3", "ampersand")
        await pilot.pause()
        empty = lines(app)[-1]
        await pilot.press("l", "e", "v")
        await pilot.pause()
        typed = lines(app)[-1]
        await pilot.press("escape", "question_mark")
        await pilot.pause()
        return empty, typed, text(app)

    empty, typed, seen = drive(made.front(logs(50)), use, LARGE)
    assert empty.startswith(" only rows with ›")
    assert "level:err" in empty
    assert "/regex/" in empty
    assert typed.startswith(" only rows with › lev")
    assert "What & takes" in seen
    assert "since:-10m" in seen
