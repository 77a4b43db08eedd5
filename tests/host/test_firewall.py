"""Rules of nftables and iptables, and what they do with packets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gotriage.host.firewall import iptables, nft
from gotriage.host.firewall.evaluate import Answer, decide, holds
from gotriage.host.firewall.model import Match, Packet, Ruleset

RECORDED = Path(__file__).parent.parent / "fixtures/nft/1.0.6/ruleset.json"

SAVED = """\
*nat
:PREROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.0.9:80
COMMIT
*filter
:INPUT DROP [7:420]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [9:900]
:WEB - [0:0]
[5:300] -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
[0:0] -A INPUT -i lo -j ACCEPT
[0:0] -A INPUT -p udp -m udp --dport 53 -j ACCEPT
[1:60] -A INPUT -p tcp -m multiport --dports 80,8000:8099 -j WEB
[0:0] -A INPUT -p tcp -m tcp --dport 22 -m recent --rcheck --name known -j ACCEPT
[3:180] -A WEB -s 192.0.2.0/24 -m comment --comment "our office" -j RETURN
[0:0] -A WEB ! -s 10.0.0.0/8 -j REJECT --reject-with icmp-port-unreachable
[0:0] -A WEB -j ACCEPT
[2:120] -A OUTPUT -d 10.9.9.9/32 -p tcp -m tcp --dport 5432 -j DROP
COMMIT
"""


def saved(text=SAVED):
    rules = Ruleset()
    iptables.parse(text, "iptables", rules)
    return rules


def recorded():
    rules = Ruleset()
    assert nft.parse(json.loads(RECORDED.read_text()), rules) == set()
    return rules


def into(rules, port, **more):
    return decide(rules, Packet(dport=port, **more), ("prerouting", "input"))


def test_a_dump_of_iptables():
    rules = saved()
    filters = rules.hooked("input", 4)
    assert [(chain.name, chain.policy, chain.packets, len(chain.rules)) for chain in filters] == [
        ("INPUT", "drop", 7, 5)
    ]
    office = rules.chains["iptables", "ip filter", "WEB"].rules[0]
    assert (office.verdict, office.packets) == ("return", 3)
    assert office.text == '-s 192.0.2.0/24 -m comment --comment "our office" -j RETURN'
    assert rules.hooked("input", 6) == []


@pytest.mark.parametrize(
    ("port", "more", "verdict", "rule", "exceptions"),
    [
        (80, {"source": "10.1.1.1"}, "accept", "-j ACCEPT", []),
        (8042, {"source": "198.51.100.1"}, "reject", "! -s 10.0.0.0/8", []),
        (80, {"source": "192.0.2.7"}, "drop", None, []),
        (8042, {}, "accept", "-j ACCEPT", ["! -s 10.0.0.0/8"]),
        (9999, {}, "drop", None, []),
        (9999, {"iif": "lo"}, "accept", "-i lo", []),
        (9999, {"state": "established"}, "accept", "-m conntrack", []),
        (22, {}, "drop", None, ["-p tcp -m tcp --dport 22"]),
        (53, {}, "drop", None, []),
        (53, {"protocol": "udp"}, "accept", "-p udp", []),
    ],
)
def test_what_iptables_does(port, more, verdict, rule, exceptions):
    found = into(saved(), port, **more)
    assert found.verdict == verdict
    assert found.rule.text.startswith(rule) if rule else found.rule is None
    assert len(found.exceptions) == len(exceptions)
    assert all(one.text.startswith(text) for one, text in zip(found.exceptions, exceptions, strict=True))


def test_what_leaves():
    found = decide(saved(), Packet(target="10.9.9.9", dport=5432), ("output",))
    assert (found.verdict, found.rule.packets) == ("drop", 2)
    assert decide(saved(), Packet(target="10.9.9.8", dport=5432), ("output",)).verdict == "accept"


def test_what_nftables_does():
    rules = recorded()
    dropped = into(rules, 8080)
    assert (dropped.verdict, dropped.rule.text, dropped.chain.name) == ("drop", 'drop comment "go away"', "in")
    assert [rule.text for rule in dropped.exceptions] == ["ip saddr 10.0.0.0/24 accept"]
    assert dropped.path[0].text == "tcp dport vmap jump web"
    assert into(rules, 8080, source="10.0.0.7").verdict == "accept"
    assert into(rules, 8080, iif="lo").rule.text == "meta iifname lo accept"
    assert into(rules, 443).verdict == "accept"
    refused = decide(rules, Packet(target="10.9.9.9", dport=5432), ("output",))
    assert (refused.verdict, refused.rule.text) == ("reject", "ip daddr 10.9.9.9 tcp dport 5432 reject")


def ruleset(*expressions, policy="accept", more=()):
    chain = {"family": "inet", "table": "t", "name": "in", "type": "filter", "hook": "input", "prio": 0}
    rules = [{"rule": {"family": "inet", "table": "t", "chain": "in", "expr": list(each)}} for each in expressions]
    found = Ruleset()
    nft.parse({"nftables": [{"chain": chain | {"policy": policy}}, *more, *rules]}, found)
    return found


PORT = {"payload": {"protocol": "tcp", "field": "dport"}}


@pytest.mark.parametrize(
    ("operator", "right", "verdict"),
    [
        ("==", 80, "drop"),
        ("!=", 80, "accept"),
        ("==", {"range": [1, 100]}, "drop"),
        ("==", {"set": [22, {"elem": {"val": 80, "timeout": 5}}]}, "drop"),
        ("==", "@ports", "drop"),
        ("<", 80, "accept"),
        ("<=", 80, "drop"),
        (">", 79, "drop"),
    ],
)
def test_operators_of_nftables(operator, right, verdict):
    named = {"set": {"family": "inet", "table": "t", "name": "ports", "elem": [80, 443]}}
    rules = ruleset([{"match": {"op": operator, "left": PORT, "right": right}}, {"drop": None}], more=[named])
    assert into(rules, 80).verdict == verdict


def test_what_is_not_understood_is_an_exception():
    rules = ruleset([{"match": {"op": "==", "left": {"fib": {}}, "right": "local"}}, {"drop": None}])
    found = into(rules, 80)
    assert (found.verdict, [rule.verdict for rule in found.exceptions]) == ("accept", ["drop"])


def test_nobody_has_translated_a_first_packet_yet():
    rules = ruleset([{"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}}, {"accept": None}])
    assert into(rules, 80).rule is None
    assert (
        into(saved("*filter\n:INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstatus DNAT -j ACCEPT\n"), 80).exceptions
        == []
    )


def test_rules_that_jump_in_circles_end():
    rules = ruleset([{"jump": {"target": "in"}}], [{"jump": {"target": "in"}}], [{"jump": {"target": "in"}}])
    assert into(rules, 80).given_up


@pytest.mark.parametrize("data", [None, [], {"nftables": 7}, {"nftables": [{"rule": {"expr": 7}}, {"chain": 1}, 7]}])
def test_nonsense_is_no_ruleset(data):
    rules = Ruleset()
    nft.parse(data, rules)
    assert rules.rules == []


@pytest.mark.parametrize("line", ['-A INPUT -m comment --comment "open', "-A", "[x:y] -A INPUT", "-A INPUT -j"])
def test_lines_that_are_none_do_no_harm(line):
    saved(f"*filter\n:INPUT ACCEPT [0:0]\n{line}\nCOMMIT\n")


def test_an_interface_that_is_not_known_is_not_loopback():
    packet = Packet()
    assert holds(Match("meta iifname", ("lo",)), packet) is Answer.NO
    assert holds(Match("meta iifname", ("lo",), negated=True), packet) is Answer.YES
    assert holds(Match("meta iifname", ("eth0",)), packet) is Answer.PERHAPS
    assert holds(Match("meta iifname", ("eth*",)), Packet(iif="eth1")) is Answer.YES
