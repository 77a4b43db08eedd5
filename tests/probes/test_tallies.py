"""Calls as rows: windows, bounds, and what the heads and connections of the kernel's maps say."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from gotriage.probes.http import Head, parse_head
from gotriage.probes.httpconns import address_of, why_nothing
from gotriage.probes.tallies import MOST_ROWS, MOST_SLOW, Flying, Key, Now, Tallies, Tally
from gotriage.records.http import OTHER_ROUTES, SLOTS, HttpCall, HttpUnseen, slot_start


def tally(number=1, slot=20, status="200", longest=0.0):
    slots = np.zeros(SLOTS, np.int64)
    slots[slot] = number
    return Tally({status: number}, slots, longest)


def test_the_window_slides_and_the_total_stays():
    tallies, key = Tallies(), Key("in", "http", "HTTP/1", "GET", "/a")
    for second in range(1, 31):
        found = [(key, tally(10, status="500" if second <= 15 else "200", longest=second / 1000))]
        tallies.look(found, [], float(second))
    (row,) = tallies.rows({})
    assert tallies.window == pytest.approx(10)
    assert (row.count, row.errors, row.recent, row.recent_errors) == (300, 150, 100, 0)
    assert row.rate == pytest.approx(10)
    assert row.longest == pytest.approx(0.030)
    assert row.p99 <= row.longest
    assert tallies.totals == (300, 150, 0)


def test_before_the_first_look_nothing_is_known():
    tallies = Tallies()
    assert tallies.window == 0
    (row,) = tallies.rows({Key("in", "http", route="/x"): Flying(2, 3.0)})
    assert (row.rate, row.count, row.p50, row.in_flight, row.oldest) == (None, 0, None, 2, 3.0)


def test_rows_are_bounded_and_old_ones_make_room():
    tallies = Tallies()
    keys = [Key("in", "http", route=f"/{number}") for number in range(MOST_ROWS + 50)]
    tallies.look([(key, tally()) for key in keys], [], 1.0)
    rows = tallies.rows({})
    assert len(rows) == MOST_ROWS + 1
    assert next(row.count for row in rows if row.route == OTHER_ROUTES) == 50
    for second in range(2, 20):
        tallies.look([(keys[0], tally())], [], float(second))
    tallies.look([(Key("in", "http", route="/new"), tally())], [], 20.0)
    rows = tallies.rows({})
    assert {"/new", "/0", OTHER_ROUTES} <= {row.route for row in rows}
    assert len(rows) < MOST_ROWS
    assert sum(row.count for row in rows) == tallies.totals[0] == MOST_ROWS + 50 + 19


def test_slow_calls_are_few_and_the_threshold_follows():
    tallies, key = Tallies(), Key("in", "http")
    calls = [HttpCall(seconds=float(number)) for number in range(100)]
    tallies.look([(key, tally(1000, 30)), (key, tally(MOST_SLOW - 5, 60))], calls, 1.0)
    assert [call.seconds for call in tallies.slowest()] == [float(99 - number) for number in range(MOST_SLOW)]
    assert slot_start(30) < tallies.slow_from <= slot_start(60)


def test_stamps_of_the_kernel_as_times():
    now = Now(100.0, datetime(2026, 1, 1, 12, 0, 10, tzinfo=UTC))
    assert now.age(98_500_000_000) == 1.5
    assert now.age(101_000_000_000) == 0.0
    assert now.at(98_500_000_000) == datetime(2026, 1, 1, 12, 0, 8, 500_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("raw", "head"),
    [
        (b"GET /a?b=c HTTP/1.1\r\nHost: x.example\r\n", Head("GET", "/a", "x.example")),
        (b"GET /a HTTP/1.1\r\nHost: cut.exam", Head("GET", "/a")),
        (b"GET /a HTTP/1.1\nAccept: Host: y\r\n", Head("GET", "/a")),
        (b"POST http://proxied.example:80/x HTTP/1.1\r\n", Head("POST", "/x", "proxied.example:80")),
        (b"GET http://only HTTP/1.1\r\n", Head("GET", "", "only")),
        (b"GET /" + b"a" * 10, Head("GET", "/" + "a" * 10 + "…")),
        (b"GET /a\x1b[2J HTTP/1.1\r\n", Head("GET", "/a␛[2J")),
        (b"", Head("", "…")),
    ],
)
def test_heads(raw, head):
    assert parse_head(raw) == head


def test_addresses():
    mapped = bytes(10) + b"\xff\xff" + bytes((10, 0, 0, 1))
    assert address_of(2, bytes((127, 0, 0, 1)) + bytes(12), 80) == "127.0.0.1:80"
    assert address_of(10, bytes(15) + b"\1", 443) == "[::1]:443"
    assert address_of(10, mapped, 8080) == "10.0.0.1:8080"
    assert address_of(1, bytes(16)) == "unix socket"


def test_why_nothing_is_seen():
    assert "no socket" in why_nothing(0, ())
    assert "no HTTP/1 request" in why_nothing(3, ())
    rows = (
        HttpUnseen(why="TLS", direction="in", place=":443", connections=3),
        HttpUnseen(why="HTTP/2", direction="out", place="10.0.0.1:80", connections=1),
        HttpUnseen(why="TLS", direction="out", place="10.0.0.2:443", connections=2),
    )
    words = why_nothing(6, rows)
    assert "TLS (5 connections, :443, 10.0.0.2:443)" in words
    assert "HTTP/2 (1 connection, 10.0.0.1:80)" in words
