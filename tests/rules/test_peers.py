"""Names that take long, peers that refuse, peers that do not answer."""

from __future__ import annotations

import pytest
from gotriage.records.files import FileTable, OpenFile
from gotriage.records.http import Http, HttpCall, HttpRoute
from gotriage.records.probes import ProbeEvent, ProbeEvents, Probes, ProbeState
from gotriage.records.straced import Straced, StracedFailure

from tests.rules.golang import Program

REFUSED = 'Get "http://stock": dial tcp 10.0.0.9:5432: connect: connection refused'


def probed(story, probe, *events, at=None):
    if at is not None:
        story.now = at
    rows = tuple(
        ProbeEvent(probe=probe, number=number, at=story.time(), **{"failed": True, **event})
        for number, event in enumerate(events)
    )
    story.add(Probes, rows=(ProbeState(id=probe, state="on"),))
    return story.add(ProbeEvents, rows=rows)


# -- connection-refused


def test_the_log_names_who_refuses(running):
    for second in range(3):
        running.log(REFUSED, second)
    found = running.finding("connection-refused")
    assert (found.title, found.subject) == ("10.0.0.9:5432 refuses connections: nobody listens there", "10.0.0.9:5432")
    assert found.evidence[0].startswith("the log says so 3 times, last at ")
    assert running.log("well again", 90).ids() == []


def test_once_may_be_a_restart(running):
    assert running.log(REFUSED).ids() == []


def test_a_placeholder_is_no_peer(running):
    for second in range(3):
        running.log("dial tcp 127.0.0.1:0: connect: connection refused", second)
    assert running.ids() == []


def test_the_probe_sees_it_without_a_log(running):
    probed(running, "connects", *({"what": "127.0.0.1:6379", "result": "ECONNREFUSED"},) * 4)
    found = running.finding("connection-refused")
    assert found.view == "probes"
    assert "ss -ltnp 'sport = :6379'" in found.fix
    assert "the probe saw 4 connects end with ECONNREFUSED" in found.evidence


def test_strace_sees_it(running):
    running.add(Straced, failures=(StracedFailure(call="connect", error="ECONNREFUSED", where="10.0.0.9:1", count=5),))
    assert running.finding("connection-refused").subject == "10.0.0.9:1"


def test_connects_that_work(running):
    probed(running, "connects", {"what": "10.0.0.9:5432", "result": "connected", "failed": False})
    assert running.fine("connection-refused").text == "1 connect seen, none of that"
    assert running.fine("peer-timeout").text == "1 connect seen, none of that"


def test_without_a_probe(running):
    assert running.unknown("connection-refused") == running.unknown("peer-timeout")
    assert "gotriage show probes" in running.unknown("peer-timeout").remedy


# -- peer-timeout


@pytest.mark.parametrize(
    "line",
    [
        "dial tcp 10.0.0.9:5432: i/o timeout",
        "dial tcp 10.0.0.9:5432: connect: no route to host",
        'Post "https://10.0.0.9:5432/v1/x": context deadline exceeded (Client.Timeout exceeded while awaiting headers)',
        'Get "http://10.0.0.9:5432/": net/http: TLS handshake timeout',
    ],
)
def test_the_log_names_who_does_not_answer(running, line):
    running.log(line, 1).log(line, 2)
    assert running.finding("peer-timeout").title == "10.0.0.9:5432 does not answer"


def test_connections_that_are_not_made(running):
    rows = (OpenFile(pid=1, fd=9, type="socket", state="SYN_SENT", local="10.0.0.1:40000", peer="10.9.9.9:80"),)
    running.add(FileTable, 0, rows=rows)
    assert running.ids() == []
    running.add(FileTable, 5, rows=(*rows, OpenFile(pid=1, fd=3, type="file")))
    assert running.finding("peer-timeout").subject == "10.9.9.9:80"


def test_an_attempt_that_lost_a_race_is_no_timeout(running):
    probed(running, "connects", *({"what": "[fd00::1]:443", "result": "given up", "took": 0.3},) * 9)
    assert running.ids() == []
    probed(running, "connects", {"what": "10.9.9.9:443", "result": "given up", "took": 9.0})
    assert running.ids() == ["peer-timeout"]


def test_requests_to_a_peer_that_has_gone_silent(running):
    known = {"direction": "out", "method": "GET", "route": "/x", "peer": "stock:80"}
    call = HttpCall(seconds=40.0, **known)
    running.add(Http, rows=(HttpRoute(p99=0.02, count=9, **known),), way="sockets", count=9, in_flight=(call,))
    found = running.finding("peer-timeout")
    assert "1 request without an answer, the oldest for 40s" in found.evidence


# -- dns-slow


def test_look_ups_that_take_long(running):
    slow = {"what": "db.internal A", "result": "NOERROR", "took": 4.9, "failed": False, "by": "server 10.0.0.2"}
    unanswered = {"what": "db.internal AAAA", "result": "no answer", "by": "server 10.0.0.2"}
    probed(running, "dns", slow, unanswered)
    found = running.finding("dns-slow")
    assert found.title == "2 slow DNS look-ups, up to 4.9s (server 10.0.0.2)"
    assert "db.internal A: NOERROR after 4.9s" in found.evidence


def test_quick_ones_and_names_that_do_not_exist(running):
    quick = {"what": "x.internal A", "result": "NXDOMAIN", "took": 0.002}
    probed(running, "dns", quick, quick)
    assert running.fine("dns-slow").text == "2 look-ups, the slowest took 2ms"


def test_the_log_says_that_names_take_long(running):
    for second in range(2):
        running.log(
            "dial tcp: lookup db.internal on 10.0.0.2:53: read udp 10.0.0.1:4->10.0.0.2:53: i/o timeout", second
        )
    assert "db.internal" in running.finding("dns-slow").title


def test_goroutines_that_wait_for_a_name_server(running):
    Program(running, began=-20.0).idle().group("IO wait", "net.(*Resolver).exchange", 12).look(0)
    found = running.finding("dns-slow")
    assert found.title == "12 goroutines wait for a name server"
    assert found.view == "goroutines"


def test_goroutines_that_do_not(running):
    Program(running).idle().look(0)
    assert running.fine("dns-slow").text == "no goroutine waits for a name server"
