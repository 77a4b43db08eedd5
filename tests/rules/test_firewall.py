"""Ports and peers behind packet filters."""

from __future__ import annotations

from gotriage.records.firewall import Filtered, FilterRule, Firewall, GroupProgram

RULE = "tcp dport 8080 counter drop"


def port(address="0.0.0.0:8080", **more):
    fields = {"verdict": "drop", "rule": RULE, "chain": "nftables inet filter input", "names_port": True, "packets": 3}
    return Filtered(direction="in", protocol="tcp", address=address, state="LISTEN", **{**fields, **more})


def fed(story, *rows, **more):
    return story.add(Firewall, rows=rows, **{"rules_count": 4, "shared": True, **more})


def test_a_rule_about_the_port(running):
    found = fed(running, port(moving=True, exceptions=("ip saddr 10.0.0.0/8 accept",))).finding("firewall-blocked")
    assert (found.severity, found.view, found.subject) == ("warning", "firewall", "0.0.0.0:8080")
    assert found.title == "port 8080/tcp: new connections are dropped by a firewall rule"
    assert found.evidence == (
        f"nftables inet filter input: {RULE}   (of this machine)",
        "it has met 3 packets, and rising",
        "except ip saddr 10.0.0.0/8 accept",
    )
    assert found.fix == "nft insert rule inet filter input tcp dport 8080 accept"


def test_a_rule_that_has_met_nobody(running):
    assert fed(running, port(packets=0)).finding("firewall-blocked").severity == "info"


def test_one_closed_port_beside_an_open_one_is_meant(running):
    closed = port("0.0.0.0:6060", names_port=False, rule="policy drop", packets=9)
    assert fed(running, closed, port(verdict="accept")).ids() == []
    assert running.fine("firewall-blocked").text == "4 firewall rules, none in the way"


def test_no_port_left(running):
    found = fed(running, port(names_port=False), port("127.0.0.1:6060", verdict="accept"), manager="firewalld")
    assert found.finding("firewall-blocked").fix.startswith("firewall-cmd --add-port=8080/tcp ")


def test_iptables_in_a_namespace_of_its_own(running):
    row = port(chain="iptables ip filter INPUT", rule="-p tcp --dport 8080 -j DROP")
    found = fed(running, row, shared=False).finding("firewall-blocked")
    assert found.fix == "nsenter -t 4242 -n iptables-legacy -I INPUT -p tcp --dport 8080 -j ACCEPT"


def test_a_peer_that_is_being_tried(running):
    peer = {"direction": "out", "protocol": "tcp", "address": "10.9.9.9:5432", "verdict": "drop"}
    assert fed(running, Filtered(**peer, state="ESTABLISHED")).ids() == []
    found = fed(running, Filtered(**peer, state="SYN_SENT", chain="nftables ip f out")).finding("firewall-blocked")
    assert found.title == "connections to 10.9.9.9:5432 are dropped by a firewall rule"


def test_what_its_own_namespace_does_not_let_out(running):
    rule = FilterRule("nftables inet t out", "tcp dport 5432 reject", packets=9, moved=2, hook="output")
    assert fed(running, rules=(rule,)).ids() == []
    found = fed(running, rules=(rule,), shared=False).finding("firewall-blocked")
    assert found.evidence[1] == "it has met 9 packets, 2 packets of them just now"


def test_without_rules_or_without_the_tool(running):
    assert fed(running, port(verdict="accept"), rules_count=0).fine("firewall-blocked").text == "no firewall rules"
    running.gap("firewall.nftables", "nft is not installed", "apt install nftables")
    assert running.unknown("firewall-blocked").remedy == "apt install nftables"


def test_what_programs_decide_is_not_known(running):
    fed(running, port(verdict="accept"), programs=(GroupProgram("ingress", 7, "sd_fw_ingress"),))
    unknown = running.unknown("firewall-blocked")
    assert unknown.reason == "BPF programs at its cgroup decide too: sd_fw_ingress (ingress)"
    assert unknown.remedy == "systemctl show -p IPAddressAllow,IPAddressDeny UNIT"
