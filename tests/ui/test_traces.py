"""Traces on the screens: the status line, the question with the price, the word in the rule, and what Ctrl-Z does."""

from __future__ import annotations

from datetime import timedelta

import pytest
from gotriage.records.tracing import Price, Trace, Traces
from gotriage.ui.spans import text_of
from gotriage.ui.traces import question, rule_spans, status_line
from textual.app import App

from tests.ui import made
from tests.ui.screens import LARGE, drive, text

AT = made.START + timedelta(seconds=9)
RUNNING = {
    "source": "strace", "state": "running", "price_class": "stops", "backend": "strace",
    "ends_at": AT + timedelta(seconds=12), "hits_per_second": 1534.2,
}  # fmt: skip


class Link:
    """Notes what is asked of the agent."""

    def __init__(self) -> None:
        self.asked = []

    def request(self, op, collectors=(), **more):
        self.asked.append((op, *collectors))
        return len(self.asked)


def front(*rows, link=None):
    session = made.session(10)
    if rows:
        session.feed(Traces(at=AT, rows=rows))
    found = made.front(session)
    found.link = link
    return found


def status(*rows, name="calls", width=110, link=None):
    return text_of(status_line(front(*rows, link=link), name, width))


# -- the status line


def test_what_does_not_run_says_how_to_start_it():
    assert "not running   s starts it" in status(link=Link())
    assert "not running" not in status()  # a recording starts nothing
    assert status().rstrip().endswith("heavy")


def test_what_runs_says_by_what_how_long_and_what_it_costs():
    row = Trace(
        source="calls", state="running", backend="C library probes", ends_at=AT + timedelta(seconds=42),
        hits_per_second=2000.0, price=Price(2000.0, 1.1e-6), lost=7, target_cpu=0.5,
    )  # fmt: skip
    seen = status(row)
    for words in ("C library probes  running", "42s left", "2,000 hits/s", "~0.2 % of a core", "7 lost"):
        assert words in seen, seen


def test_what_is_on_a_part_of_the_time_says_so():
    assert "sampled 300ms of 10s" in status(Trace(source="calls", state="waiting", backend="x", on_share=0.03))
    assert "sampled 1s of 10s" in status(Trace(source="calls", state="waiting", backend="x", on_share=0.1))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"state": "refused", "reason": "no BTF", "remedy": "another kernel"}, "refused: no BTF  → another kernel"),
        ({"state": "failed", "reason": "it broke"}, "failed: it broke"),
        ({"state": "starting"}, "starting …"),
        ({"state": "ended", "backend": "x", "ended_at": AT, "reason": "over its budget"}, "over its budget"),
    ],
)
def test_what_else_it_may_say(row, words):
    assert words in status(Trace(source="calls", **row))


# -- the rule


def test_every_screen_names_what_runs_on_request():
    running, sampled = Trace(**RUNNING), Trace(source="http", state="running", asked=False)
    assert rule_spans(front(running, sampled)) == [(" ▶ strace 12s ", "critical")]

    async def use(app, pilot):
        await pilot.press("4")
        await pilot.pause()
        return text(app)

    assert "▶ strace 12s" in drive(front(running), use)


# -- the question


def asked(*rows, name="strace", seconds=3.0):
    return "\n".join(text_of(line.spans) for line in question(front(*rows), name, seconds, 100))


def test_a_question_waits_for_the_price():
    seen = asked()
    assert "Start strace on orders-api.service for 3s?" in seen
    assert "working out what it would cost …" in seen
    assert "[y] start, 3s, it ends by itself    [n] no" in seen


def test_a_question_names_the_price_and_what_else_there_is_to_know():
    price = Price(hits_per_second=4100.0, seconds_per_hit=60e-6, stops=True, words=("two others share the binary",))
    row = Trace(source="strace", state="priced", backend="strace", price=price, passed_over=("better: not here",))
    seen = asked(row)
    for words in (
        "It stops every thread of the target", "4,100 a second.", "4,100 hits a second at 60µs each: 0.25 cores",
        "of what the target uses now", "two others share the binary", "by strace", "not by better: not here",
    ):  # fmt: skip
        assert words in seen, seen


def test_a_question_about_what_cannot_be_started():
    row = Trace(source="strace", state="refused", reason="it is traced already by gdb (pid 7)", remedy="end gdb")
    assert "It cannot be started: it is traced already by gdb (pid 7)" in asked(row)
    assert "→ end gdb" in asked(row)


def test_a_budget_is_named():
    row = Trace(source="calls", state="priced", price=Price(), backend="x", budget=0.05)
    seen = asked(row, name="calls")
    assert "held to 5% of the target's CPU" in seen
    assert "How often it would be hit is not known beforehand" in seen


# -- the keys


def pressed(*keys, rows=(), size=LARGE):
    link = Link()
    found = front(*rows)

    async def use(app, pilot):
        found.link = link
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        return text(app)

    seen = drive(found, use, size)
    return seen, [one for one in link.asked if one[0] in ("start", "finish", "price")]


def test_a_light_trace_starts_when_it_is_first_looked_at_and_ends_with_the_tab():
    assert pressed("Y")[1] == [("start", "syscalls")]
    rows = (Trace(source="syscalls", state="running", backend="libbpf"),)
    assert pressed("Y", "4", rows=rows)[1] == []  # somebody else had asked for it


def test_a_dear_one_asks_first():
    seen, done = pressed("C")
    assert "not running" in seen and done == []
    seen, done = pressed("C", "s")
    assert "Start calls on orders-api.service" in seen and done == [("price", "calls")]
    assert pressed("C", "s", "n")[1] == [("price", "calls")]
    assert pressed("C", "s", "enter")[1] == [("price", "calls")]  # Enter is no answer
    assert pressed("C", "s", "y")[1] == [("price", "calls"), ("start", "calls")]


def test_the_same_key_ends_it():
    rows = (Trace(source="calls", state="running", backend="C library probes", price_class="heavy"),)
    assert pressed("C", "s", rows=rows)[1] == [("finish", "calls")]


# -- Ctrl-Z


def test_ctrl_z_ends_what_stops_the_target_before_anything_stops(monkeypatch):
    stopped = []
    monkeypatch.setattr(App, "action_suspend_process", lambda app: stopped.append(app))
    link, found = Link(), front(Trace(**RUNNING), Trace(source="http", state="running", backend="x"))

    async def use(app, pilot):
        found.link = link
        await pilot.press("ctrl+z")
        await pilot.pause()
        before = list(stopped)
        ended = {**RUNNING, "state": "ended", "ended_at": AT}
        found.session.feed(Traces(at=AT + timedelta(seconds=1), rows=(Trace(**ended),)))
        for _ in range(200):
            if stopped:
                break
            await pilot.pause(0.05)
        return before

    assert drive(found, use) == []
    assert link.asked[0] == ("finish", "strace")
    assert len(stopped) == 1


def test_ctrl_z_at_once_where_nothing_stops_the_target(monkeypatch):
    stopped = []
    monkeypatch.setattr(App, "action_suspend_process", lambda app: stopped.append(app))
    link, found = Link(), front(Trace(source="http", state="running", backend="x"))

    async def use(app, pilot):
        found.link = link
        await pilot.press("ctrl+z")
        await pilot.pause()

    drive(found, use)
    assert len(stopped) == 1
    assert ("finish", "http") not in link.asked
