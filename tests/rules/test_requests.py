"""Requests that are slow, hang or fail: by route, from what was read off the sockets."""

from __future__ import annotations

import pytest
from gotriage.records.http import SLOTS, Http, HttpCall, HttpRoute, slot_start
from gotriage.records.tracing import Trace, Traces

from tests.rules.golang import Program


def slots(*durations):
    found = [0] * SLOTS
    for duration in durations:
        found[max(slot for slot in range(SLOTS) if slot_start(slot) <= duration)] += 1
    return tuple(found)


def route(path, took=(), statuses=None, direction="in", **fields):
    took = list(took)
    statuses = statuses or ({"200": len(took)} if took else {})
    took = took or [0.001] * sum(statuses.values())
    fields = {"method": "GET", "p99": max(took, default=None), "longest": max(took, default=None), **fields}
    return HttpRoute(direction=direction, route=path, count=len(took), statuses=statuses, slots=slots(*took), **fields)


def seen(story, *rows, at=None, attached=10.0, flying=()):
    total = sum(row.count for row in rows)
    return story.add(Http, at, rows=rows, way="sockets", attached=attached, window=10.0, count=total, in_flight=flying)


# -- slow-requests


def test_quick_ones_are_fine(running):
    seen(running, route("/", [0.02] * 200), route("/x", [1.5, 0.1]))
    assert running.ids() == []
    assert running.fine("slow-requests").text.startswith("202 requests, p99 ")


def test_slow_ones(running):
    seen(running, route("/orders/{n}", [0.05] * 30 + [2.4] * 5), route("/", [0.01] * 500))
    found = running.finding("slow-requests")
    assert (found.severity, found.view) == ("warning", "http")
    assert found.title.startswith("GET /orders/{n} takes up to 2.4s (p99 ")
    assert "GET /orders/{n}: 5 of 35 took 1s or more" in found.evidence[0]


@pytest.mark.parametrize(
    "took",
    [[0.9] * 50, [30.0] * 9, [0.01] * 500 + [3.0] * 5, [5.0, 5.0], [12.0, 12.0, 12.0, 2.0, 2.0]],
    ids=["under a second", "a long poll", "one in a hundred", "too few", "mostly a long poll"],
)
def test_what_is_not_told(running, took):
    seen(running, route("/x", took))
    assert running.ids() == []


def test_a_slow_peer_explains_slow_answers(running):
    seen(
        running,
        route("/", [1.2] * 20),
        route("/stock", [1.1] * 20, direction="out", peer="inventory:8080"),
    )
    found = running.finding("slow-requests")
    assert any("it waits for others: GET /stock of inventory:8080" in sentence for sentence in found.evidence)
    seen(running, route("/", [0.2] * 20), route("/stock", [1.1] * 20, direction="out", peer="inventory:8080"))
    assert running.finding("slow-requests").subject == "inventory:8080"


def test_requests_that_hang(running):
    call = HttpCall(method="GET", route="/x", path="/x?a", seconds=25.0, goroutine=50, began=running.time())
    seen(running, flying=(call,))
    assert running.ids() == []  # nothing is known of the route: it may wait by design
    Program(running).idle().group("sync.Mutex.Lock", "main.pay", 1, first=50).look()
    seen(running, route("/x", [0.01] * 9), flying=(call,))
    found = running.finding("slow-requests")
    assert found.title == "1 request without an answer, the oldest for 25s: GET /x"
    assert "served by goroutine 50, sync.Mutex.Lock at main.pay" in found.evidence[0]


def test_what_was_slow_long_ago_is_over(running):
    seen(running, route("/x", [2.0] * 10), at=0, attached=1.0)
    assert running.ids() == ["slow-requests"]
    for second in range(10, 121, 10):
        seen(running, route("/x", [2.0] * 10 + [0.01] * second), at=second, attached=1.0 + second / 10)
    assert running.ids() == []


def test_short_looks_see_no_slow_request_end(running):
    running.add(Traces, rows=(Trace(source="http", state="waiting", asked=False, on_share=0.1),))
    seen(running, route("/", [0.02] * 200))
    assert running.unknown("slow-requests").reason.startswith("looked at for 1s at a time only")
    running.add(Traces, rows=(Trace(source="http", state="running"),))
    assert running.fine("slow-requests")


# -- error-responses


def test_errors_of_the_target(running):
    seen(running, route("/", statuses={"200": 80, "404": 30}), route("/pay", statuses={"502": 12, "200": 10}))
    found = running.finding("error-responses")
    assert (found.severity, found.view) == ("warning", "http")
    assert found.title == "9.1 % of answers are errors: 12 of 132, mostly 502"
    assert found.evidence[0] == "GET /pay: 12 × 502 of 22 answers"


def test_half_of_all_is_critical(running):
    seen(running, route("/", statuses={"500": 30, "200": 20}))
    assert running.finding("error-responses").severity == "critical"


def test_one_route_that_fails_among_many_that_work(running):
    seen(running, route("/", statuses={"200": 5000}), route("/pay", statuses={"500": 9}))
    assert running.finding("error-responses").title == "GET /pay fails: 9 of 9 answers, mostly 500"


@pytest.mark.parametrize(
    "statuses",
    [{"404": 500}, {"no answer": 50, "200": 50}, {"200": 1000, "500": 40}, {"500": 4}, {"NotFound": 90}],
    ids=["not found", "clients that leave", "few of many", "too few", "gRPC's like of 404"],
)
def test_what_is_no_error(running, statuses):
    seen(running, route("/x", statuses=statuses))
    assert running.ids() == []


def test_panics_and_grpc_count(running):
    seen(running, route("/a", statuses={"panic": 6}), route("/b", statuses={"Internal": 6}, call="grpc"))
    assert running.finding("error-responses").title == "100 % of answers are errors: 12 of 12, mostly panic"


def test_a_peer_that_fails(running):
    seen(running, route("/stock", statuses={"503": 8, "no answer": 2, "200": 5}, direction="out", peer="stock:80"))
    found = running.finding("error-responses")
    assert (found.title, found.subject) == ("stock:80 answers with errors: 10 of 15, mostly 503", "stock:80")


def test_without_a_look(running):
    for rule in ("slow-requests", "error-responses"):
        assert running.unknown(rule).remedy == "press H, or: gotriage show http"


def test_without_requests(running):
    seen(running)
    assert running.fine("error-responses").text == "no answers seen in 10s of looking"
