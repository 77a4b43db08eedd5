"""Firewall, security modules and reachability on both sizes: what refuses comes first."""

from __future__ import annotations

import pytest
from gotriage.records.findings import Verdict
from gotriage.records.firewall import Filtered, FilterRule, Firewall, GroupProgram
from gotriage.records.reach import Reach, ReachStep
from gotriage.records.security import Security, SecurityRow
from gotriage.session.store import Session

from tests.ui import made
from tests.ui.screens import LARGE, SMALL, shown

SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "200x50"])


def front_with(record):
    session = Session()
    for each in (*made.beginning(), record):
        session.feed(each)
    return made.front(session, Verdict())


def lines_with(seen, *words):
    """Each word in a line of its own, in this order."""
    places = [next(n for n, line in enumerate(seen.splitlines()) if word in line) for word in words]
    assert places == sorted(places), seen


def firewall(**more):
    port = {"direction": "in", "protocol": "tcp", "state": "LISTEN", "chain": "nftables inet filter input"}
    rows = (
        Filtered(**port, address="[::]:9090", rule="policy accept"),
        Filtered(**port, address="[::]:8080", verdict="drop", rule="tcp dport 8080 drop", packets=12, moving=True),
    )
    rules = (FilterRule("nftables inet filter input", "tcp dport 8080 drop", 12, 3, "input"),)
    return Firewall(at=made.START, rows=rows, rules=rules, rules_count=7, shared=True, tools=("nft",), **more)


@SIZES
def test_the_port_that_is_refused_is_the_first(size):
    seen = shown(front_with(firewall()), "F", size=size)
    lines_with(seen, "1 refused  7 rules in the machine's network", "[::]:8080", "[::]:9090")
    assert "tcp dport 8080 drop" in seen


def test_a_port_with_the_rules_around_it():
    record = firewall(manager="firewalld", zones={"public": "eth0; lets in ssh"}, programs=(GroupProgram("egress", 7),))
    seen = shown(front_with(record), "F", "enter", size=LARGE)
    lines_with(seen, "[::]:8080", "Zones of firewalld", "lets in ssh", "Rules that refuse", "not evaluated", "id 7")


def test_without_sockets_and_without_rules():
    seen = shown(front_with(Firewall(at=made.START, rules_count=0)), "F", size=SMALL)
    assert "it listens nowhere and talks to nobody; 0 rules" in seen


@SIZES
def test_what_was_denied(size):
    row = SecurityRow(
        what="denial", module="selinux", name="/etc/orders/key.pem", operation="open", last_at=made.START,
        label="u:object_r:user_home_t:s0", cure="restorecon -v /etc/orders/key.pem",
    )  # fmt: skip
    record = Security(at=made.START, selinux="enforcing", context="u:r:orders_t:s0", seccomp=2, filters=1, rows=(row,))
    seen = shown(front_with(record), "X", size=size)
    lines_with(seen, "1 denied  SELinux enforcing  seccomp filter (1)", "/etc/orders/key.pem")
    assert ("restorecon -v /etc/orders/key.pem" in seen) == (size == LARGE)


def test_nothing_denied():
    seen = shown(front_with(Security(at=made.START, selinux="disabled", seccomp=0)), "X", size=SMALL)
    lines_with(seen, "nothing denied", "no security module has refused it anything", "SELinux             disabled")


@SIZES
def test_a_walk_that_was_stopped(size):
    rows = (
        ReachStep(step="running", says="pid 4242"),
        ReachStep(step="listening", state="failed", says="it does not listen on port 80", fix="see its log " * 12),
        ReachStep(step="answering", state="left out"),
    )
    record = Reach(at=made.START, direction="in", port=80, rows=rows, reached=False)
    seen = shown(front_with(record), "R", size=size)
    lines_with(seen, "to port 80: not reached", "✓ running", "✖ listening", "→ see its log", "· answering   not asked")
