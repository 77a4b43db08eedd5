"""The HTTP tab: routes, one route with its histogram, what cannot be read, and nothing at all."""

from __future__ import annotations

from datetime import timedelta

from gotriage.records.http import Http, HttpCall, HttpPeer, HttpRoute, HttpUnseen
from gotriage.records.tracing import Trace, Traces
from gotriage.ui.http_pages import opened

from tests.ui import made
from tests.ui.screens import LARGE, shown

AT = made.START + timedelta(seconds=9)
SLOTS = tuple([0] * 30 + [50, 4, 3, 2, 1])
ROUTES = (
    HttpRoute(
        method="GET", protocol="HTTP/1", route="/users/{n}", sample="/users/17", count=1000, rate=100.0, recent=1000,
        statuses={"200": 900, "503": 90, "404": 10}, errors=90, client_errors=10, recent_errors=90,
        recent_client_errors=10, p50=0.0002, p99=0.0312, longest=0.25, in_flight=3, oldest=4.2, slots=SLOTS,
    ),
    HttpRoute(
        direction="out", method="POST", route="/charge", peer="pay.example (10.0.0.9:80)", count=12, rate=1.2,
        recent=12, statuses={"200": 12}, p50=0.01, p99=0.02, longest=0.02, in_flight=0, slots=SLOTS,
    ),
)  # fmt: skip
CALL = HttpCall(
    method="GET", protocol="HTTP/1", route="/users/{n}", path="/users/4711", status="503", began=AT, seconds=0.25,
    goroutine=812, thread=5,
)  # fmt: skip
SEEN = Http(
    at=AT, rows=ROUTES, way="sockets", attached=10.0, window=10.0, count=1012, errors=90, client_errors=10,
    slowest=(CALL,), in_flight=(HttpCall(method="GET", route="/users/{n}", path="/users/1", seconds=4.2, thread=77),),
    in_flight_count=3, unseen=(HttpUnseen(why="TLS", direction="in", place=":8443", connections=12),),
    peers=(HttpPeer(address="10.1.2.3", connections=4, requests=900),),
)  # fmt: skip
TRACE = Traces(
    at=AT, rows=(Trace(source="http", state="running", backend="BPF at sockets", hits=2000, hits_per_second=200.0),)
)


def front(record=SEEN):
    session = made.session(10)
    for one in (TRACE, record):
        session.feed(one)
    return made.front(session)


def test_routes_with_what_fails_and_what_is_not_read():
    seen = shown(front(), "H")
    for words in (
        "BPF at sockets  running", "100/s in", "9.0 % failed", "1.2/s out", "3 in flight, oldest 4.2s",
        "GET /users/{n}", "→ pay.example", "9.0 %", "250ms", "not read: TLS on :8443 (12 connections)",
    ):  # fmt: skip
        assert words in seen, seen
    assert "looking" not in seen


def test_a_wide_screen_has_the_statuses():
    seen = shown(front(), "H", size=LARGE)
    assert "200 90 %  503 9.0 %  404 1.0 %" in seen
    assert "POST /charge → pay.example (10.0.0.9:80)" in seen


def test_one_route():
    seen = shown(front(), "H", "enter", size=(100, 50))
    for words in (
        "GET /users/{n}", "for example  /users/17", "median 200µs", "503                 90   9.0 %",
        "how long it took",
        "from the request's head to the head of its answer", "━━━━", "in flight", "/users/1", "thread 77",
        "/users/4711", "goroutine 812", "10.1.2.3", "4 connections, 900 requests",
    ):  # fmt: skip
        assert words in seen, seen


def test_nothing_to_see_says_why():
    note = "what its sockets carry is TLS (12 connections, :8443)"
    seen = shown(front(Http(at=AT, way="sockets", note=note, unseen=SEEN.unseen)), "H")
    assert "no request seen yet" in seen
    assert note in seen


def test_what_is_sampled_by_functions_stands_before_what_is_read_at_sockets():
    session = made.session(10)
    inside = Trace(source="http_uprobes", state="waiting", backend="Go uprobes", price_class="heavy", on_share=0.1)
    session.feed(Traces(at=AT, rows=(*TRACE.rows, inside)))
    session.feed(Http(at=AT, way="functions", rows=(HttpRoute(method="GET", protocol="HTTP/2", route="/inside"),)))
    session.feed(SEEN)
    seen = shown(made.front(session), "H")
    assert "/inside" in seen
    assert "Go uprobes" in seen
    assert "/users/{n}" not in seen


def test_a_slow_request_leads_to_its_goroutine():
    session = made.front(made.session(10))
    assert opened(session, ("call", 812, "slowest just now", 0))[0] == "goroutine 812"
    assert opened(session, ("peer", "10.1.2.3")) is None
