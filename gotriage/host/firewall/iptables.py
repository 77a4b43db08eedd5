"""Rules as iptables-save(8) with -c prints them: those of iptables-legacy, and the tables that iptables-nft keeps."""

from __future__ import annotations

import re
import shlex
from typing import Final

from gotriage.host.firewall.model import PRIORITIES, Chain, Match, Rule, Ruleset, Value, address_range
from gotriage.records.text import clean

MOST_RULES: Final = 20_000
HOOKS: Final = {
    "PREROUTING": "prerouting",
    "INPUT": "input",
    "FORWARD": "forward",
    "OUTPUT": "output",
    "POSTROUTING": "postrouting",
}
VERDICTS: Final = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "reject", "QUEUE": "queue", "NFQUEUE": "queue",
                   "RETURN": "return", "TARPIT": "drop"}  # fmt: skip
SILENT: Final = frozenset({"tcp", "udp", "multiport", "conntrack", "state", "comment", "iprange"})
"""Match extensions (-m) whose conditions are all understood here, option by option."""
GOES_ON: Final = frozenset({"LOG", "NFLOG", "MARK", "CONNMARK", "SET", "TRACE", "CT", "NOTRACK", "TCPMSS", "CHECKSUM",
                            "CLASSIFY", "DSCP", "TOS", "TTL", "AUDIT", "SECMARK", "CONNSECMARK", "ULOG"})  # fmt: skip
"""Targets of iptables-extensions(8) after which the chain goes on."""
_COUNTED = re.compile(r"^\[(\d+):\d+\] (.*)$")
_CHAIN = re.compile(r"^:(\S+) (\S+)(?: \[(\d+):\d+\])?")


def parse(text: str, kind: str, into: Ruleset) -> None:
    """Add the tables of one dump; `kind` is iptables or ip6tables, with -nft behind for nftables' tables."""
    family, table, number = ("ip6" if kind.startswith("ip6") else "ip"), "", 0
    for line in text.splitlines():
        if line.startswith("*"):
            table = clean(line[1:].strip(), 64)
        elif match := _CHAIN.match(line):
            name, policy = clean(match[1], 64), match[2].lower()
            base = policy != "-"
            into.chains[kind, f"{family} {table}", name] = Chain(
                kind,
                f"{family} {table}",
                name,
                hook=HOOKS.get(name, "") if base else "",
                priority=PRIORITIES.get(table, 0),
                policy=policy if base else "",
                nat=table == "nat",
                packets=int(match[3]) if match[3] and base else None,
            )
        elif " -A " in line or line.startswith("-A "):
            number += 1
            if number > MOST_RULES:
                into.more += 1
                continue
            rule = parse_rule(line, kind, f"{family} {table}", number)
            chain = into.chains.get((kind, rule.table, rule.chain)) if rule is not None else None
            if rule is not None and chain is not None:
                chain.rules.append(rule)


def parse_rule(line: str, kind: str, table: str, number: int = 0) -> Rule | None:
    """ "[packets:bytes] -A CHAIN ..." as a rule; None when it is none."""
    counted = _COUNTED.match(line)
    packets, text = (int(counted[1]), counted[2]) if counted else (None, line)
    try:
        words = shlex.split(text)
    except ValueError:
        return None
    if len(words) < 2 or words[0] != "-A":
        return None
    found = _Words(words[2:])
    found.read(kind)
    return Rule(
        kind=kind,
        table=table,
        chain=clean(words[1], 64),
        text=clean(text.split(" ", 2)[2] if len(words) > 2 else "", 400),
        matches=tuple(found.matches),
        verdict=found.verdict,
        target=found.target,
        packets=packets,
        number=number,
    )


class _Words:
    """The words of one rule, read from the left."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self.matches: list[Match] = []
        self.verdict = self.target = ""
        self._protocol = "th"

    def read(self, kind: str) -> None:
        family = "ip6" if kind.startswith("ip6") else "ip"
        at, negated = 0, False
        while at < len(self._words):
            word = self._words[at]
            at += 1
            if word == "!":
                negated = True
                continue
            if word in ("-j", "-g"):
                self._end(word, self._words[at] if at < len(self._words) else "")
                return
            values: list[str] = []
            while at < len(self._words) and not self._words[at].startswith("-") and self._words[at] != "!":
                values.append(self._words[at])
                at += 1
            self._option(word, values, family, negated=negated)
            negated = False

    def _end(self, word: str, target: str) -> None:
        if target in VERDICTS:
            self.verdict = VERDICTS[target]
        elif target in GOES_ON:
            self.verdict = ""
        elif target.isupper() and target in ("DNAT", "SNAT", "MASQUERADE", "REDIRECT", "TPROXY", "NETMAP"):
            self.verdict = "accept"
        else:
            self.verdict, self.target = ("goto" if word == "-g" else "jump"), clean(target, 64)

    def _option(self, word: str, values: list[str], family: str, *, negated: bool) -> None:
        value = values[0] if values else ""
        if word in ("-p", "--protocol"):
            self._protocol = value if value in ("tcp", "udp") else "th"
            self._add("meta l4proto", (value,), negated=negated)
        elif word in ("-s", "-d"):
            self._add(f"{family} {'saddr' if word == '-s' else 'daddr'}", _addresses(value), negated=negated)
        elif word in ("-i", "-o"):
            self._add(f"meta {'iifname' if word == '-i' else 'oifname'}", (value,), negated=negated)
        elif word in ("--dport", "--dports", "--sport", "--sports"):
            name = word.strip("-").rstrip("s")
            self._add(f"{self._protocol} {name}", _ports(value), negated=negated)
        elif word in ("--ctstate", "--state"):
            self._add("ct state", tuple(value.lower().split(",")[:16]), negated=negated)
        elif word == "--ctstatus":
            self._add("ct status", tuple(value.lower().split(",")[:16]), negated=negated)
        elif word in ("--src-range", "--dst-range"):
            self._add(f"{family} {'saddr' if 'src' in word else 'daddr'}", _addresses(value), negated=negated)
        elif word in ("--syn", "--tcp-flags"):
            syn = word == "--syn" or (len(values) == 2 and values[1] == "SYN" and "SYN" in values[0].split(","))
            if not syn:
                self.matches.append(Match(""))
            elif negated:
                self._add("ct state", ("established",), negated=False)
        elif (word == "-m" and value not in SILENT) or (word not in ("-m", "--comment") and not self._unknown):
            self.matches.append(Match(""))

    @property
    def _unknown(self) -> bool:
        """A condition that is not understood is there already."""
        return any(not match.field for match in self.matches)

    def _add(self, name: str, values: tuple[Value, ...], *, negated: bool) -> None:
        cleaned = tuple(clean(value, 64) if isinstance(value, str) else value for value in values)
        self.matches.append(Match(name, cleaned, negated) if cleaned else Match(""))


def _ports(text: str) -> tuple[Value, ...]:
    """ "80,443,8000:8099" as ranges; () when a name is among them."""
    found: list[Value] = []
    for part in text.split(",")[:64]:
        low, colon, high = part.partition(":")
        if not colon:
            high = low
        low, high = low or "0", high or "65535"
        if not (low.isdigit() and high.isdigit()):
            return ()
        found.append((int(low), int(high)))
    return tuple(found)


def _addresses(text: str) -> tuple[Value, ...]:
    """ "10.0.0.0/8", "10.0.0.0/255.0.0.0" or "10.0.0.1-10.0.0.9"; () for anything else."""
    low, dash, high = text.partition("-")
    first, last = address_range(low), address_range(high if dash else low)
    return ((first[0], last[1]),) if first is not None and last is not None else ()
