"""Real rules in real network namespaces: who decides on a real service's ports and peers."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
from contextlib import contextmanager, suppress

import pytest
from gotriage.collectors.firewall import FirewallCollector
from gotriage.host import Host
from gotriage.records.firewall import Firewall
from gotriage.records.stream import Gap

from tests.lab.process import wait_until
from tests.real.checks import GOTRIAGE, check, ids
from tests.real.targets import target_of

pytestmark = pytest.mark.real
_number = itertools.count(1)
LOCAL, INSIDE = "10.231.77.1", "10.231.77.2"


@contextmanager
def namespace():
    """A network namespace with a veth to this one: the words to enter it."""
    name = f"gtfw{os.getpid()}n{next(_number)}"
    outer, inner = f"gto{os.getpid() % 10000}", f"gti{os.getpid() % 10000}"

    def ip(*words):
        subprocess.run(["ip", *words], check=True)

    ip("netns", "add", name)
    try:
        ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name)
        ip("addr", "add", f"{LOCAL}/30", "dev", outer)
        ip("link", "set", outer, "up")
        for words in (
            ["addr", "add", f"{INSIDE}/30", "dev", inner],
            ["link", "set", inner, "up"],
            ["link", "set", "lo", "up"],
        ):
            ip("-n", name, *words)
        yield ("ip", "netns", "exec", name)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)
        with suppress(subprocess.CalledProcessError):
            subprocess.run(["ip", "link", "del", outer], check=True, stderr=subprocess.DEVNULL)


@pytest.fixture
def inside():
    with namespace() as enter:
        yield enter


def run(enter, *words, **more):
    subprocess.run([*enter, *words], check=True, text=True, **more)


def look(pid):
    collector = FirewallCollector(Host(), target_of(pid))
    return list(collector.collect())


def refused(pid):
    record = next(one for one in look(pid) if isinstance(one, Firewall))
    return [(row.address.rpartition(":")[2], row.verdict) for row in record.rows if row.verdict != "accept"]


def blocked(*words, tries=4):
    """The finding; on a busy machine not each look is in time."""
    for _ in range(tries):
        for one in check(*words)[0]:
            if one["id"] == "firewall-blocked":
                return one
    raise AssertionError("no firewall-blocked")


def knock(port):
    with socket.socket() as client:
        client.settimeout(0.4)
        with suppress(OSError):
            client.connect((INSIDE, port))


def test_nftables_drops_the_port(service, inside):
    running = service("svc", "-listen=0.0.0.0:8080", wrapper=inside)
    assert "firewall-blocked" not in ids("--pid", running.pid)
    rules = "table inet t { chain in { type filter hook input priority 0; tcp dport 8080 counter drop; }; }"
    run(inside, "nft", rules)
    knock(8080)
    found = blocked("--pid", running.pid)
    assert found["severity"] == "warning"
    assert found["evidence"][0] == "nftables inet t in: tcp dport 8080 drop   (in its network namespace)"
    run([], *found["fix"].split())
    assert "firewall-blocked" not in ids("--pid", running.pid)


@pytest.mark.parametrize("command", ["iptables-nft", "iptables-legacy"])
def test_iptables_rejects_the_port(service, inside, command):
    running = service("svc", "-listen=0.0.0.0:8080", wrapper=inside)
    run(inside, command, "-A", "INPUT", "-p", "tcp", "-m", "multiport", "--dports", "9,8080", "-j", "REJECT")
    assert refused(running.pid) == [("8080", "reject")]
    run(inside, command, "-I", "INPUT", "-p", "tcp", "--dport", "8080", "-j", "ACCEPT")
    assert refused(running.pid) == []


@pytest.mark.slow
def test_what_it_may_not_send(service, inside):
    running = service("svc", "-dial=10.231.77.1:5432", wrapper=inside)
    rules = "table ip t { chain out { type filter hook output priority 0; tcp dport 5432 counter reject; }; }"
    run(inside, "nft", rules)
    found = blocked("--pid", running.pid)
    assert found["title"] == "a firewall rule refuses what it sends: tcp dport 5432 reject"


def test_the_machine_may_forward_nothing(service, inside):
    running = service("svc", "-listen=0.0.0.0:8080", wrapper=inside)
    chain = f"type filter hook forward priority 0; ip daddr {INSIDE} tcp dport 8080 drop;"
    rules = f"table ip gtfw {{ chain f {{ {chain} }}; }}"
    run([], "nft", rules)
    try:
        record = next(one for one in look(running.pid) if isinstance(one, Firewall))
    finally:
        run([], "nft", "delete table ip gtfw")
    assert [(row.where, row.verdict, row.names_port) for row in record.rows] == [("machine", "drop", True)]


def test_without_nft_there_is_a_gap(service, inside, monkeypatch):
    running = service("svc", "-listen=0.0.0.0:8080", wrapper=inside)
    monkeypatch.setattr("gotriage.host.tools.FOLDERS", ("/nonexistent",))
    assert not [one for one in look(running.pid) if isinstance(one, Gap)]
    run(inside, "nft", "add table ip t")
    gaps = [one for one in look(running.pid) if isinstance(one, Gap)]
    assert gaps[0].source == "firewall.nftables"
    assert gaps[0].remedy == "apt install nftables"


@pytest.mark.slow
def test_firewalld_keeps_the_port_closed(sdlab, unit, in_lab):
    name = unit("-listen=0.0.0.0:8097")
    sdlab.systemctl("start", "firewalld")
    try:
        wait_until(lambda: "running" in sdlab.run("firewall-cmd", "--state", check=False).stdout)
        found = blocked(*in_lab(name))
        assert "zone public: all other interfaces; lets in ssh, dhcpv6-client" in found["evidence"]
        assert found["fix"].startswith("firewall-cmd --add-port=8097/tcp ")
        sdlab.run("firewall-cmd", "--add-port=8097/tcp")
        assert "firewall-blocked" not in ids(*in_lab(name))
    finally:
        sdlab.systemctl("stop", "firewalld")


def test_the_programs_that_systemd_attaches_for_a_unit(sdlab, unit):
    name = unit("-listen=0.0.0.0:8098", "IPAddressDeny=any")
    words = ["show", "firewall", "--json", "--root-pid", str(sdlab.pid), "--unit", name]
    done = subprocess.run([GOTRIAGE, *words], capture_output=True, text=True, check=True)
    programs = json.loads(done.stdout.splitlines()[0])["programs"]
    assert {one["name"] for one in programs} == {"sd_fw_ingress", "sd_fw_egress"}
