"""The network tab: what listens, peers and sockets; the namespace around."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from gotriage.records.base import Why
from gotriage.records.goroutines import Frame, Goroutine, GoroutineGroup, Goroutines, Stack
from gotriage.records.network import Counter, Interface, NetRow, Network, PortUse, Route
from gotriage.render import network
from gotriage.session.store import Session

from tests.ui import made
from tests.ui.screens import LARGE, SMALL, drive, shown, text

START = datetime(2026, 11, 23, 2, 44, 3, tzinfo=UTC)
ROWS = (
    NetRow(what="listen", state="LISTEN", local="0.0.0.0:8080", recv_queue=129, send_queue=128, drops=7, drop_rate=1.5),
    NetRow(what="listen", state="LISTEN", local="127.0.0.1:9", count=0, own=False, process="other"),
    NetRow(
        what="out", state="CLOSE_WAIT", local="10.4.0.2", peer="10.4.0.17:8086", count=961, stuck=950,
        states={"CLOSE_WAIT": 958, "ESTABLISHED": 3}, recv_queue=958, rtt=0.0012, retransmits=4, send_rate=2048.0,
    ),
    NetRow(what="in", state="ESTABLISHED", local=":8080", peer="10.4.0.9", count=12),
    NetRow(what="socket", state="ESTABLISHED", local="10.4.0.2:8080", peer="10.4.0.9:40112", recv_queue=2048),
    NetRow(what="socket", protocol="unix", state="ESTABLISHED", local="", peer="/run/db.sock"),
)  # fmt: skip


def record(rows=ROWS, **more):
    known = {
        "namespace": "net:[4026532]",
        "by_state": {"tcp CLOSE_WAIT": 958, "tcp ESTABLISHED": 15},
        "around": {"tcp CLOSE_WAIT": 958, "tcp TIME_WAIT": 20_000},
        "omitted": {"socket": 473},
        "first_port": 32768,
        "last_port": 60999,
        "port_use": (PortUse(local="10.4.0.2", peer="10.4.0.17:8086", used=27_500, own=958, time_wait=20_000),),
        "somaxconn": 128,
        "syn_backlog": 512,
        "interfaces": (
            Interface(name="eth0", state="up", mtu=1400, addresses=("10.4.0.2/24",), recv_rate=4096.0, send_rate=0.0),
        ),
        "routes": (Route(to="default", via="10.4.0.1", device="eth0"), Route(to="10.9.0.0/16", kind="blackhole")),
        "counters": (Counter(name="TcpExtListenOverflows", total=90, moved=12),),
        "unknown": {"tracked": Why(reason="netfilter tracks no connections here")},
    }
    return Network(at=START, rows=rows, **{**known, **more})


def front(*records):
    session = Session()
    for one in (*made.beginning(), *records):
        session.feed(one)
    return made.front(session)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "200x50"])
def test_rows(size):
    seen = shown(front(record()), "W", size=size)
    for words in (
        "958 tcp CLOSE_WAIT",
        "97 % of ports to 10.4.0.17:8086",
        "→ 10.4.0.17:8086",
        ":8080 ← 10.4.0.9",
        "961",
    ):
        assert words in seen, seen
    assert "→ 10.4.0.9:40112" in seen
    assert "(unnamed) → /run/db.sock" in seen


def test_the_namespace():
    seen = shown(front(record()), "W", "v")
    for words in (
        "net:[4026532]",
        "20,000 tcp TIME_WAIT",
        "473 socket rows",
        "32768 to 60999: 28,232 to each peer",
        "eth0       up        mtu 1400  4.0K/s in",
        "10.4.0.2/24",
        "default via 10.4.0.1 dev eth0",
        "blackhole 10.9.0.0/16",
        "+12 TcpExtListenOverflows: a connection was ready",
        "netfilter tracks no connections here",
    ):
        assert words in seen, seen


def test_a_row_has_a_page():
    seen = shown(front(record()), "W", "down", "down", "enter")
    assert "stuck             950" in seen
    assert "958 CLOSE_WAIT" in seen


def test_a_socket_names_who_waits_at_it():
    place = {"where": "x/app.serve", "where_file": "/x/a.go", "where_line": 7}
    groups = (GoroutineGroup(key="a", state="waiting", count=1, stack=0, **place),)
    waiting = (Goroutine(id=812, state="waiting", wait_reason="IO wait", stack=0, fd=31), Goroutine(id=9, state="idle"))
    go = Goroutines(at=START, rows=groups, goroutines=waiting, stacks=(Stack((Frame("x/app.serve"),)),))
    socket = NetRow(what="socket", local="10.4.0.2:8080", peer="10.4.0.9:40112", fd=31, pid=41207)
    assert "812: IO wait in app.serve a.go:7" in shown(front(go, record((socket,))), "W", "enter")


def test_only_rows_with_a_text():
    seen = shown(front(record()), "W", "ampersand", *"8086", "enter")
    assert "10.4.0.17:8086" in seen
    assert "/run/db.sock" not in seen


def test_a_hundred_thousand_sockets():
    rows = tuple(
        NetRow(
            what="socket",
            state="ESTABLISHED",
            local=f"10.0.0.1:{at % 60000}",
            peer=f"10.{at >> 8}.{at & 255}.1:80",
            fd=at,
        )
        for at in range(100_000)
    )

    async def use(app, pilot):
        await pilot.press("W")
        await pilot.pause()
        await pilot.press("G")
        await pilot.pause()
        return text(app)

    assert "→ 10.390.159.1:80" in drive(front(record(rows)), use)


def test_as_text():
    session = Session()
    session.feed(record())
    lines = list(network.lines(session, 80))
    assert lines[0].startswith("958 tcp CLOSE_WAIT")
    assert all(len(line) <= 80 for line in lines)
    assert any("+12 TcpExtListenOverflows" in line for line in lines)
    assert list(network.lines(Session())) == []
