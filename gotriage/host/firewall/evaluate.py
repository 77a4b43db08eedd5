"""What a ruleset does with a packet, as the kernel goes through it (nft(8), iptables(8)).

Some of a packet is not known beforehand (who sends it, by which interface), and some conditions are not understood: a
rule then matches perhaps. What rules that match perhaps would do is kept as the exceptions of the answer.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from gotriage.host.firewall.model import ENDS, REFUSES

if TYPE_CHECKING:
    from gotriage.host.firewall.model import Chain, Match, Packet, Rule, Ruleset, Value

DEEPEST: Final = 16
"""Jumps in a row (the kernel's NFT_JUMP_STACK_SIZE)."""
MOST_STEPS: Final = 50_000
MOST_EXCEPTIONS: Final = 20
NUMBERS: Final = {"tcp": 6, "udp": 17}
NET_PROTOCOLS: Final = {"tcp", "udp", "icmp", "icmpv6", "sctp", "dccp", "udplite", "ah", "esp", "comp", "vxlan", "gre"}


class Answer(Enum):
    """Whether a condition holds."""

    YES = 1
    NO = 2
    PERHAPS = 3


@dataclass(slots=True)
class Decision:
    """What becomes of the packet: the verdict, the rule that decides (None: a chain's policy), the exceptions.

    `chain` is the base chain that decides, None where no chain is asked at all; `path` are the rules that jump from it
    to the deciding rule. `given_up`: a bound was reached.
    """

    verdict: str = "accept"
    rule: Rule | None = None
    chain: Chain | None = None
    exceptions: list[Rule] = field(default_factory=list)
    path: tuple[Rule, ...] = ()
    given_up: bool = False


def decide(rules: Ruleset, packet: Packet, hooks: tuple[str, ...]) -> Decision:
    """Through all the chains of the hooks. The first that refuses for certain decides; else the last that accepts."""
    answer = Decision()
    for hook in hooks:
        for chain in rules.hooked(hook, packet.version):
            one = _Walk(rules, packet).base(chain)
            answer.given_up |= one.given_up
            if one.verdict in REFUSES:
                one.given_up = answer.given_up
                return one
            refusing = [rule for rule in one.exceptions if rule.verdict in REFUSES or rule.verdict == "queue"]
            answer.exceptions = [*answer.exceptions, *refusing][:MOST_EXCEPTIONS]
            if answer.rule is None or one.rule is not None:
                answer.verdict, answer.rule, answer.chain, answer.path = one.verdict, one.rule, chain, one.path
    return answer


class _Walk:
    """One base chain and what it jumps to."""

    def __init__(self, rules: Ruleset, packet: Packet) -> None:
        self._rules, self._packet = rules, packet
        self._steps = 0
        self._exceptions: list[Rule] = []
        self._path: list[Rule] = []

    def base(self, chain: Chain) -> Decision:
        rule = self._through(chain, certain=True, depth=0)
        verdict = rule.verdict if rule is not None else chain.policy or "accept"
        opposite = [one for one in self._exceptions if (one.verdict in REFUSES) != (verdict in REFUSES)]
        kept = list(dict.fromkeys(opposite))[:MOST_EXCEPTIONS]
        return Decision(verdict, rule, chain, kept, tuple(self._path), self._steps > MOST_STEPS)

    def _through(self, chain: Chain, *, certain: bool, depth: int) -> Rule | None:
        """The rule that decides for certain; None when the chain is left without a decision."""
        for rule in chain.rules:
            self._steps += 1
            if self._steps > MOST_STEPS:
                return None
            answer = matches(rule, self._packet)
            if answer is Answer.NO or not rule.verdict:
                continue
            sure = certain and answer is Answer.YES
            if rule.verdict in ENDS:
                if sure:
                    return rule
                self._exceptions.append(rule)
            elif rule.verdict in ("jump", "goto"):
                inner = self._rules.chains.get((rule.kind, rule.table, rule.target))
                if inner is not None and depth < DEEPEST:
                    found = self._through(inner, certain=sure, depth=depth + 1)
                    if found is not None:
                        self._path.append(rule)
                        return found
            # After "goto" the packet does not come back; "return" leaves the chain.
            if answer is Answer.YES and (rule.verdict in ("return", "goto") or rule.verdict in ENDS):
                return None
        return None


def matches(rule: Rule, packet: Packet) -> Answer:
    """Whether all conditions of the rule hold."""
    worst = Answer.YES
    for match in rule.matches:
        answer = holds(match, packet)
        if answer is Answer.NO:
            return answer
        if answer is Answer.PERHAPS:
            worst = answer
    return worst


def holds(match: Match, packet: Packet) -> Answer:
    """Whether one condition holds."""
    layer, _, name = match.field.partition(" ")
    if not match.field:
        return Answer.PERHAPS
    if layer in ("ip", "ip6") and (layer == "ip") != (packet.version == 4):
        return Answer.NO
    if layer in NET_PROTOCOLS and layer != packet.protocol:
        return Answer.NO
    answers = {_one(layer, name, value, packet) for value in match.values}
    if Answer.YES in answers:
        found = Answer.YES
    elif Answer.PERHAPS in answers:
        found = Answer.PERHAPS
    else:
        found = Answer.NO
    if match.negated and found is not Answer.PERHAPS:
        return Answer.NO if found is Answer.YES else Answer.YES
    return found


def _one(layer: str, name: str, value: Value, packet: Packet) -> Answer:
    """Whether the packet has the value there."""
    if name in ("iifname", "iif", "oifname", "oif"):
        return _interface(packet.iif if name.startswith("i") else packet.oif, value)
    if name in ("saddr", "daddr"):
        return _number(_integer(packet.source if name == "saddr" else packet.target), value)
    if name in ("sport", "dport"):
        return _number(packet.sport if name == "sport" else packet.dport, value)
    if f"{layer} {name}" == "ct status":  # of a first packet nothing is known yet, least of all that it was translated
        return Answer.NO if packet.state == "new" else Answer.PERHAPS
    known = {
        "meta l4proto": (packet.protocol, str(NUMBERS.get(packet.protocol, ""))),
        "ip protocol": (packet.protocol, str(NUMBERS.get(packet.protocol, ""))),
        "ip6 nexthdr": (packet.protocol, str(NUMBERS.get(packet.protocol, ""))),
        "meta nfproto": ("ipv4" if packet.version == 4 else "ipv6",),
        "meta protocol": ("ip" if packet.version == 4 else "ip6",),
        "ct state": (packet.state,),
    }.get(f"{layer} {name}")
    if known is None:
        return Answer.PERHAPS
    text = str(value[0]) if isinstance(value, tuple) else value
    return Answer.YES if text in known else Answer.NO


def _interface(name: str | None, value: Value) -> Answer:
    if not isinstance(value, str):
        return Answer.PERHAPS
    if name is None:
        return Answer.NO if value == "lo" else Answer.PERHAPS
    fits = name.startswith(value[:-1]) if value.endswith(("*", "+")) else name == value
    return Answer.YES if fits else Answer.NO


def _number(number: int | None, value: Value) -> Answer:
    if number is None or isinstance(value, str):
        return Answer.PERHAPS
    return Answer.YES if value[0] <= number <= value[1] else Answer.NO


def _integer(address: str | None) -> int | None:
    if address is None:
        return None
    try:
        return int(ipaddress.ip_address(address))
    except ValueError:
        return None
