"""Where a walk leads, and what steps say of what was found."""

from __future__ import annotations

import pytest
from gotriage.collectors.reach import steps
from gotriage.collectors.reach.wanted import Wanted, wanted_of
from gotriage.errors import UsageError
from gotriage.host.nameless import in_hosts
from gotriage.host.reaching import Listener


def listener(address, port=8080, waiting=0, bound=128):
    return Listener(address, port, waiting, bound, 1)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, Wanted("in", "", 0)),
        ({"to": "8080"}, Wanted("in", "", 8080)),
        ({"to": ":8080"}, Wanted("in", "", 8080)),
        ({"to": "[::1]:80"}, Wanted("in", "::1", 80)),
        ({"from_target": "db.example.com:5432"}, Wanted("out", "db.example.com", 5432)),
    ],
)
def test_where_to(options, wanted):
    assert wanted_of(options) == wanted


@pytest.mark.parametrize(
    "options",
    [{"to": "0"}, {"to": "65536"}, {"to": "x"}, {"to": "a b:80"}, {"to": "-x:80"}, {"from_target": "80"},
     {"port": "80"}, {"to": "80", "from_target": "a:80"}],
)  # fmt: skip
def test_nonsense_is_wrong_usage(options):
    with pytest.raises(UsageError):
        wanted_of(options)


def test_a_hosts_file():
    assert in_hosts("127.0.0.1 localhost\n# 10.0.0.1 db\n10.0.0.2 DB db.local # x\n", "db") == ["10.0.0.2"]
    assert in_hosts("not-an-address db\n", "db") == []


@pytest.mark.parametrize(
    ("host", "bound", "own", "says", "to"),
    [
        ("", "0.0.0.0", ["10.0.0.5"], "10.0.0.5, in its own network namespace", "10.0.0.5"),
        ("", "10.0.0.6", ["10.0.0.5", "10.0.0.6"], "10.0.0.6, in its own network namespace", "10.0.0.6"),
        ("127.0.0.1", "127.0.0.1", [], "127.0.0.1 is an address of its own network namespace", "127.0.0.1"),
        ("", "127.0.0.1", ["10.0.0.5"], "it listens on 127.0.0.1 only", ""),
        ("10.0.0.5", "127.0.0.1", ["10.0.0.5"], "it listens on 127.0.0.1 only", ""),
        ("10.0.0.9", "0.0.0.0", ["10.0.0.5"], "10.0.0.9 is no address of its own network namespace", ""),
        ("", "0.0.0.0", [], "its own network namespace has no address but loopback", ""),
    ],
)
def test_the_address(host, bound, own, says, to):
    step, chosen = steps.address(host, [listener(bound)], own, shared=False)
    assert (step.says.startswith(says), chosen, step.state) == (True, to, "ok" if to else "failed")


def test_a_port_that_another_process_holds():
    step, mine = steps.listening(8080, [listener("0.0.0.0", 9090)], [listener("0.0.0.0", 8080)], "")
    assert (step.state, mine) == ("failed", [])
    assert step.evidence == (
        "it listens on 9090", "another process of its network namespace listens on port 8080",
    )  # fmt: skip


def test_an_accept_queue_that_is_full(monkeypatch):
    monkeypatch.setattr(steps.reaching, "overflows", lambda *_: 7)
    full = steps.queued(None, 1, [listener("0.0.0.0", waiting=129)])
    assert (full.state, full.finding, full.says) == ("failed", steps.BACKLOG, "129 of 128 wait to be accepted")
    assert full.evidence == ("7 connections were lost to full queues in this namespace",)
    assert steps.queued(None, 1, [listener("0.0.0.0", waiting=128)]).state == "ok"
