"""Panics, fatal errors and race reports become one line each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from gotriage.records.logs import LogLine
from gotriage.records.logtext import understand
from gotriage.records.logtrace import MAX_LINES, Joiner, kind_of
from gotriage.records.text import MAX_TEXT

START = datetime(2026, 11, 23, 2, 47, tzinfo=UTC)
PANIC = """panic: runtime error: index out of range [5] with length 3 [recovered]
\tpanic: again

goroutine 6 [running]:
main.(*T).total(0xc000012345?, {0x1, 0x2})
\t/src/x/faults.go:191 +0x25
created by main.start[...] in goroutine 1
\t/src/x/faults.go:55 +0x7ca

goroutine 1 [select]:
main.main()
\t/src/x/main.go:9 +0x1
exit status 2"""
FATAL = """fatal error: all goroutines are asleep - deadlock!

goroutine 1 [chan receive]:
main.main()
\t/src/x/main.go:9 +0x1"""
OVERFLOW = """runtime: goroutine stack exceeds 1000000000-byte limit
fatal error: stack overflow

runtime stack:
runtime.throw({0x4a, 0xe})
\t/go/src/runtime/panic.go:1101 +0x48
...50 frames elided..."""
ABORT = """SIGABRT: abort
PC=0x46a0a1 m=0 sigcode=0

goroutine 1 gp=0xc000002380 m=nil [IO wait]:
internal/poll.runtime_pollWait(0x7f, 0x72)
\t/go/src/runtime/netpoll.go:351 +0x85

rax    0xca
rflags 0x286"""
RACE = """==================
WARNING: DATA RACE
Write at 0x00c00001 by goroutine 7:
  main.main.func1()
      /src/x/main.go:9 +0x44

Previous read at 0x00c00001 by main goroutine:
  main.main()
      /src/x/main.go:12 +0x9c
=================="""


def lines(text: str, pid: int = 7, at: int = 0, source: str = "journal") -> list[LogLine]:
    made = []
    for number, raw in enumerate(text.split("\n")):
        message, level, fields, _ = understand(raw.encode())
        when = START + timedelta(microseconds=at + number)
        made.append(LogLine(at=when, source=source, message=message, level=level, pid=pid, fields=fields or {}))
    return made


def joined(*found: LogLine, now: datetime | None = None) -> list[LogLine]:
    joiner = Joiner()
    for line in found:
        joiner.push(line, us(line.at))
    return joiner.take(None if now is None else us(now))


def us(at: datetime) -> int:
    return round(at.timestamp() * 1e6)


def test_each_form_is_one_line():
    for text, kind in ((PANIC, "panic"), (FATAL, "fatal error"), (OVERFLOW, "fatal error"), (ABORT, "fatal error")):
        (line,) = joined(*lines(text))
        assert (line.kind, line.message, line.count) == (kind, text, text.count("\n") + 1)


def test_a_race_report_ends_at_its_rule():
    race, after = joined(*lines(RACE + "\nnext line"))
    assert (race.kind, race.message) == ("race", RACE)
    assert (after.kind, after.message) == ("", "next line")


def test_what_stands_around_a_panic_stays_outside():
    found = joined(*lines(f"2026/11/23 02:47:10 before\n{FATAL}\nserver started (pid 9)"))
    assert [(line.kind, line.message) for line in found] == [
        ("", "before"),
        ("fatal error", FATAL),
        ("", "server started (pid 9)"),
    ]


def test_processes_do_not_mix():
    one, other = lines(PANIC, pid=1), lines(FATAL, pid=2)
    mixed = [line for pair in zip(one, [*other, *[None] * 20], strict=False) for line in pair if line is not None]
    assert sorted((line.pid, line.kind) for line in joined(*mixed)) == [(1, "panic"), (2, "fatal error")]


def test_two_panics_of_one_process_are_two():
    found = joined(*lines(f"{PANIC}\n{PANIC}"))
    assert [line.message for line in found] == [PANIC, PANIC]


def test_a_panic_value_over_several_lines_and_a_log_line_in_between():
    other = "2026/11/23 02:47:10 other goroutine"
    text = f"panic: first\nsecond line of the value\n{other}\n\ngoroutine 1 [running]:\nmain.f()"
    found = joined(*lines(text))
    assert [line.kind for line in found] == ["panic", ""]
    assert found[0].message == "panic: first\nsecond line of the value\n\ngoroutine 1 [running]:\nmain.f()"


def test_net_http_recovers():
    text = (
        "2026/11/23 02:47:10 http: panic serving 10.0.0.1:9: boom\ngoroutine 34 [running]:\nnet/http.(*conn).serve(0x1)"
    )
    (line,) = joined(*lines(text))
    assert line.kind == "panic"
    assert line.fields["recovered"] == "net/http"


def test_one_message_with_newlines():
    (line,) = joined(LogLine(at=START, source="docker", message=FATAL, pid=None))
    assert (line.kind, line.message) == ("fatal error", FATAL)


def test_a_trace_that_may_go_on_is_held_back():
    joiner = Joiner(hold_us=1_000_000)
    head, tail = lines(PANIC)[:5], lines(PANIC)[5:]
    for line in head:
        joiner.push(line, us(line.at))
    after = LogLine(at=START + timedelta(milliseconds=5), source="journal", message="Main process exited", pid=1)
    joiner.push(after, us(after.at))
    assert joiner.take(us(START + timedelta(milliseconds=6))) == [after]
    for line in tail:
        joiner.push(line, us(line.at))
    (line,) = joiner.take(us(START + timedelta(seconds=3)))
    assert line.message == PANIC


def test_bounds():
    joiner = Joiner()
    for number in range(MAX_LINES + 100):
        text = "goroutine 1 [running]:" if not number else f"main.f{number}({'x' * 40})"
        joiner.push(LogLine(at=START, source="journal", message=text, pid=1), us(START))
    first, *rest = joiner.take()
    assert (first.count, first.truncated) == (MAX_LINES, True)
    assert len(first.message) < 70_000
    assert len(rest) == 100
    for pid in range(5000):
        joiner.push(LogLine(at=START, source="journal", message="panic: x", pid=pid), us(START))
    assert len(joiner.take()) == 5000


def test_what_opens_no_trace():
    for text in ("panicked", "goroutine pool of 3", "=====", "SIGHUP received", "fatal: x"):
        assert kind_of(text) is None


@pytest.mark.timeout(30)
@pytest.mark.parametrize("part", ["(", "a(", ")(", "a(b)", ".x", "a."])
def test_a_hostile_line_inside_a_trace_costs_no_more_than_another(part: str):
    """Each of these lines took seconds, in which nothing else of the agent ran."""
    hostile = (part * MAX_TEXT)[: MAX_TEXT - 1] + " "
    for turn in range(30):
        start = [*lines(PANIC)[:5], *lines(hostile)]
        assert joined(*start)[-1].message == hostile, turn
