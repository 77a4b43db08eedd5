"""Queues that overflow, connections that nobody closes, ports that run out."""

from __future__ import annotations

import pytest
from gotriage.records.goroutines import Frame, GoroutineGroup, Goroutines, Stack
from gotriage.records.network import Counter, NetRow, Network, PortUse


def seen(story, *rows, at=None, **more):
    return story.add(Network, at, rows=rows, **{"first_port": 32768, "last_port": 60999, "somaxconn": 128, **more})


# -- listen-backlog-overflow


def listener(waiting=0, drops=0, bound=128, **more):
    return NetRow(
        what="listen", state="LISTEN", local="0.0.0.0:8080", recv_queue=waiting, send_queue=bound, drops=drops, **more
    )


def test_a_full_queue(running):
    found = seen(running, listener(129)).finding("listen-backlog-overflow")
    assert (found.severity, found.view, found.subject) == ("critical", "network", "0.0.0.0:8080")
    assert found.title == "the accept queue of 0.0.0.0:8080 is full: 129 wait, its bound is 128"
    assert "sysctl -w net.core.somaxconn=4096 (now 128), then restart it" in found.fix


def test_a_queue_of_another_namespace_is_changed_there(running):
    assert "nsenter -t 4242 -n sysctl" in seen(running, listener(129)).finding("listen-backlog-overflow").fix
    again = seen(running, listener(129), shared=True).finding("listen-backlog-overflow")
    assert "nsenter" not in again.fix


def test_connections_turned_away_while_we_looked(running):
    seen(running, listener(3, drops=7), at=0)
    seen(running, listener(3, drops=19), at=30, counters=(Counter(name="TcpExtListenOverflows", total=20, moved=12),))
    found = running.finding("listen-backlog-overflow")
    assert found.severity == "critical"
    assert found.title == "0.0.0.0:8080 turned 12 connections away: its accept queue is full"
    assert "TcpExtListenOverflows of the namespace rose by 12" in found.evidence


def test_drops_of_another_kind_or_long_ago(running):
    seen(running, listener(0, drops=7), at=0)
    assert seen(running, listener(0, drops=19), at=30).ids() == []
    seen(running, listener(0, drops=19), at=200, counters=(Counter(name="TcpExtListenOverflows", total=20, moved=12),))
    seen(running, listener(0, drops=19), at=300, counters=(Counter(name="TcpExtListenOverflows", total=20, moved=12),))
    assert running.ids() == []


def test_a_queue_that_is_nearly_full(running):
    assert seen(running, listener(110)).finding("listen-backlog-overflow").severity == "warning"
    assert seen(running, listener(1, bound=1)).finding("listen-backlog-overflow").severity == "critical"
    assert seen(running, listener(5, bound=6)).ids() == []


def test_others_queues_are_not_the_targets(running):
    assert seen(running, listener(129, own=False)).ids() == []


def test_queues_with_room(running):
    assert seen(running, listener()).fine("listen-backlog-overflow").text == "1 accept queue with room"
    assert running.fine("close-wait-leak").text == "no socket in CLOSE_WAIT"
    assert running.fine("port-exhaustion").text == "none of 28,232 ephemeral ports taken"


# -- close-wait-leak


def peer(waiting, stuck, what="out", **more):
    return NetRow(
        what=what,
        state="CLOSE_WAIT",
        local="10.4.0.2",
        peer="10.4.0.17:8086",
        count=waiting,
        states={"CLOSE_WAIT": waiting, "ESTABLISHED": 2},
        stuck=stuck,
        waited=90.0,
        **more,
    )


def test_connections_left_open_to_a_peer(running):
    seen(running, peer(20, 10), at=0)
    found = seen(running, peer(40, 30), at=60).finding("close-wait-leak")
    assert found.title == "30 sockets left in CLOSE_WAIT to 10.4.0.17:8086, +20/min"
    assert "30 of them for 10s or longer, the oldest for at least 1m30s" in found.evidence
    assert "resp.Body.Close()" in found.fix
    assert found.subject == "10.4.0.17:8086"


def test_goroutines_that_hold_them(running):
    stack = Stack((Frame("net/http.(*persistConn).readLoop", "transport.go", 2000),))
    group = GoroutineGroup(key="a", state="waiting", count=30, where="net/http.(*persistConn).readLoop", stack=0)
    running.add(Goroutines, rows=(group,), stacks=(stack,))
    told = seen(running, peer(40, 30)).finding("close-wait-leak").evidence
    assert any(words.startswith("30 goroutines in net/http.(*persistConn).readLoop, 30 of them at") for words in told)


def test_clients_that_are_gone(running):
    found = seen(running, peer(40, 30, what="in")).finding("close-wait-leak")
    assert "from 10.4.0.17:8086 at 10.4.0.2" in found.title
    assert "r.Context()" in found.fix


def test_many_peers_together(running):
    one = {"what": "in", "local": ":80", "stuck": 1, "states": {"CLOSE_WAIT": 1}}
    rows = [NetRow(peer=f"10.0.0.{last}", **one) for last in range(12)]
    found = seen(running, *rows).finding("close-wait-leak")
    assert found.title == "12 sockets left in CLOSE_WAIT from 12 peers, 10.0.0.0 first"


def test_a_few_in_passing(running):
    assert seen(running, peer(9, 9), by_state={"tcp CLOSE_WAIT": 9}).ids() == []
    assert running.fine("close-wait-leak").text == "9 sockets in CLOSE_WAIT"
    assert seen(running, peer(500, 0)).ids() == []


# -- port-exhaustion


def use(used, own=100, peer="10.0.0.9:5432"):
    return PortUse(local="10.0.0.2", peer=peer, used=used, own=own, time_wait=used - own)


@pytest.mark.parametrize(("used", "severity"), [(24_000, "warning"), (28_000, "critical")])
def test_ports_that_run_out(running, used, severity):
    found = seen(running, port_use=(use(used),)).finding("port-exhaustion")
    assert found.severity == severity
    assert "of the ports to 10.0.0.9:5432 are taken" in found.title
    assert "MaxIdleConnsPerHost" in found.fix


def test_the_log_says_that_ports_ran_out(running):
    running.log("dial tcp 10.0.0.9:5432: connect: cannot assign requested address", 1)
    assert seen(running, port_use=(use(24_000),), at=2).finding("port-exhaustion").severity == "critical"


def test_ports_of_others(running):
    assert seen(running, port_use=(use(28_000, own=0),), shared=True).ids() == []
    assert seen(running, port_use=(use(28_000, own=0),)).ids() == ["port-exhaustion"]
    assert seen(running, port_use=(use(300),)).fine("port-exhaustion").text == (
        "300 ports of 28,232 taken to 10.0.0.9:5432"
    )


def test_not_looked_at(running):
    running.gap("network", "no", "do")
    for rule in ("listen-backlog-overflow", "close-wait-leak", "port-exhaustion"):
        assert running.unknown(rule).reason == "no"


# -- peer-timeout


def test_segments_sent_again_and_again(running):
    row = NetRow(what="out", state="SYN_SENT", peer="10.9.9.9:80", count=2, unanswered=2, retransmits=6)
    found = seen(running, row).finding("peer-timeout")
    assert found.title == "10.9.9.9:80 does not answer"
    told = "2 sockets of 2 in SYN_SENT send the same segment again and again: 6 segments sent again so far"
    assert found.evidence == (told,)
