"""Which places of a program are probed for which words, and what the kernel's counts are called."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from gotriage.collectors import Unavailable
from gotriage.collectors.http_uprobes import planned, wanted_groups
from gotriage.errors import UsageError
from gotriage.goruntime.probepoints import Place, Point
from gotriage.probes import gocalls, gohttp
from gotriage.probes.tallies import Now

START = Place(0x400010, 0x10, 0x55, stepped=False)
RETURN = Place(0x400050, 0x50, 0xC3)


def points(**refused):
    """All functions are there; those named, by the end of their names, are refused with a reason."""
    words = {name.replace("__", "."): reason for name, reason in refused.items()}
    found = []
    for row in gohttp.ALL:
        reason = next((reason for end, reason in words.items() if row.name.endswith(end)), "")
        found.append(Point(row.name, refused=reason) if reason else Point(row.name, START, (RETURN,)))
    return found


def actions(plan):
    return [cookie & 0xFF for _, cookie in plan.places]


def test_without_an_option_all_that_is_there_is_probed():
    plan = planned(points(), wanted_groups(""))
    assert plan.groups == gohttp.GROUPS
    assert (plan.absent, plan.missing) == ((), ())
    assert gohttp.TRIPPED in actions(plan)
    assert plan.stepped


def test_a_server_is_followed_without_a_stepped_instruction():
    plan = planned(points(), wanted_groups(" server ,"))
    assert plan.groups == ("server",)
    assert not plan.stepped
    assert {offset for offset, _ in plan.places} == {START.offset}
    assert gohttp.PANIC in actions(plan)


def test_where_the_end_of_a_request_is_inlined_its_return_is_probed():
    plan = planned(points(finishRequest="inlined"), ("server",))
    assert plan.stepped
    returns = [cookie for offset, cookie in plan.places if offset == RETURN.offset]
    assert [cookie & 0xFF for cookie in returns] == [gohttp.SERVED]
    assert all(cookie >> 24 & gohttp.STEPPED for cookie in returns)
    assert plan.missing == ("net/http.(*response).finishRequest cannot be probed (inlined)",)


def test_what_is_not_linked_is_absent_and_no_gap():
    plan = planned(points(Context="not linked", BeginTx="not linked", Commit="not linked"), wanted_groups(""))
    assert plan.absent == ("sql",)
    assert plan.missing == ()
    everything = [Point(row.name, refused="not linked") for row in gohttp.ALL]
    with pytest.raises(Unavailable, match="no code for any of: http in, http out"):
        planned(everything, wanted_groups(""))


def test_unknown_probes_are_refused():
    with pytest.raises(UsageError, match="server, client"):
        wanted_groups("server,malloc")


# -- names


def route(kind, text=b"", *, op=0, failed=0, status=0, method=b"", host=b""):
    found = np.zeros(1, gohttp.ROUTE)
    found[0] = (kind, op, failed, 0, status, method, host, text)
    return found[0]


@pytest.mark.parametrize(
    ("masked", "shown"),
    [
        ("SELECT * FROM t WHERE a = ??? AND b = '??''???'", "SELECT * FROM t WHERE a = ? AND b = ?"),
        ("INSERT INTO t  VALUES\n (?, ???, '????')", "INSERT INTO t VALUES (?, ...)"),
        ("SELECT x FROM t1 WHERE y IN ($1,$2, $3)", "SELECT x FROM t1 WHERE y IN (?, ...)"),
        ('SELECT "users"."id" FROM "users" WHERE n = "Jane Doe"', 'SELECT "users"."id" FROM "users" WHERE n = ?'),
        ("SELECT '?????", "SELECT ?"),
        ("\x1b[2J", "␛[2J"),
    ],
)
def test_statements_without_values(masked, shown):
    key = gocalls.key_of(route(gohttp.QUERY, masked.encode(), op=1), b"")
    assert (key.call, key.direction, key.method) == ("sql", "out", "query")
    assert key.route == shown


def test_requests_have_the_route_of_their_sample():
    server = route(gohttp.SERVER, b"/v2/users/??/blobs/????????????", op=2, status=204, method=b"PUT")
    key = gocalls.key_of(server, b"/v2/users/17/blobs/9f86d081884c")
    assert tuple(key) == ("in", "http", "HTTP/2", "PUT", "/v2/users/{n}/blobs/{hex}", "")
    client = route(gohttp.CLIENT, b"/", op=0, failed=gohttp.FAILED, host=b"db:80\x1b")
    assert tuple(gocalls.key_of(client, b"/")) == ("out", "http", "", "GET", "/", "db:80␛")
    assert gocalls.key_of(route(gohttp.SERVER, status=200), b"").route == "(other routes)"
    assert [gocalls.status_of(one) for one in (server, client)] == ["204", "failed"]
    hostile = gocalls.key_of(route(gohttp.SERVER, b"/\xff\xfe\x1b]", method=b"\x07"), b"/\xff\xfe\x1b]")
    assert "\x1b" not in hostile.route and "\x07" not in hostile.method


def test_statuses_of_grpc_and_of_what_has_none():
    assert gocalls.status_of(route(gohttp.RPC_SERVER, b"/a.B/C", status=5)) == "NotFound"
    assert gocalls.status_of(route(gohttp.RPC_SERVER, b"/a.B/C", status=99)) == "code 99"
    assert gocalls.status_of(route(gohttp.HANDSHAKE, op=1)) == "OK"
    assert gocalls.status_of(route(gohttp.SERVER, failed=gohttp.PANICKED)) == "panic"
    assert gocalls.key_of(route(gohttp.HANDSHAKE, op=gohttp.TLS_CLIENT), b"").direction == "out"


# -- counts


def totals(*counts, look=1):
    found = np.zeros(len(counts), gohttp.TOTAL)
    for one, count in zip(found, counts, strict=True):
        one["slots"][10] = count
        one["most"], one["look"], one["sample"] = 5_000_000, look, b"/a"
    return found


def test_a_look_gives_what_came_since_the_one_before():
    calls = gocalls.Calls(1)
    routes = np.array([route(gohttp.SERVER, b"/a", op=1, status=200, method=b"GET")])
    ((key, first),) = calls.ended(routes, totals(3), 1)
    assert (first.statuses, first.longest, key.route) == ({"200": 3}, 0.005, "/a")
    assert not list(calls.ended(routes, totals(3), 2))
    ((_, more),) = calls.ended(routes, totals(4), 3)
    assert (more.statuses, more.longest) == ({"200": 1}, 0.0)
    calls.forget(routes[0])
    assert [tally.statuses for _, tally in calls.ended(routes, totals(2), 4)] == [{"200": 2}]


def test_a_request_in_flight_counts_in_the_row_of_its_answers():
    calls, now = gocalls.Calls(7), Now(100.0, datetime(2026, 1, 2, tzinfo=UTC))
    answered = np.array([route(gohttp.CLIENT, b"/a", op=2, status=200, host=b"x")])
    ((key, _),) = calls.ended(answered, totals(1), 1)
    running = np.zeros(2, gohttp.RUNNING)
    for one, began in zip(running, (99_000_000_000, 98_000_000_000), strict=True):
        one["route"], one["began"], one["goid"], one["sample"] = (
            route(gohttp.CLIENT, b"/a", host=b"x"),
            began,
            12,
            b"/a",
        )
    flight, flying = calls.in_flight(running, now, 1)
    assert [(call.seconds, call.goroutine, call.status, call.pid) for call in flight] == [(2.0, 12, "", 7)]
    assert list(flying) == [key]
    assert flying[key].oldest == 2.0


def test_a_request_that_never_came_back_from_its_panic_is_counted():
    now = Now(100.0, datetime(2026, 1, 2, tzinfo=UTC))
    running = np.zeros(2, gohttp.RUNNING)
    running["route"] = route(gohttp.SERVER, b"/p", op=1, method=b"GET")
    running["began"], running["panicked"] = 90_000_000_000, [90_250_000_000, 99_900_000_000]
    gone = gocalls.unwound(running, now)
    assert gone.tolist() == [True, False]
    ((_, tally),) = gocalls.Calls(1).panicked(running[gone])
    assert (tally.statuses, tally.longest) == ({"panic": 1}, 0.25)
