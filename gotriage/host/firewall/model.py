"""One form for the rules of nftables and iptables, and the packet that they are asked about."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Final

ENDS: Final = frozenset({"accept", "drop", "reject", "queue"})
"""Verdicts after which a chain is not read on."""
REFUSES: Final = frozenset({"drop", "reject"})
PRIORITIES: Final = {
    "raw": -300,
    "mangle": -150,
    "dstnat": -100,
    "filter": 0,
    "security": 50,
    "srcnat": 100,
}
"""Names of priorities (nft(8), include/uapi/linux/netfilter_ipv4.h)."""

Value = str | tuple[int, int]
"""A name ("tcp", "eth0", "new"), or a range of numbers: ports, or addresses as integers."""


@dataclass(frozen=True, slots=True)
class Match:
    """One condition: the field is one of the values, or none of them; `field` "" is a condition that is not understood.

    Fields are named as in nft(8): "tcp dport", "ip saddr", "meta iifname", "ct state", "meta l4proto" ...
    """

    field: str
    values: tuple[Value, ...] = ()
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `verdict`: accept, drop, reject, queue, return, jump, goto, or "" for one that only counts or marks.

    `packets` is None where the rule has no counter; `table` is "inet filter"; `kind`
    nftables, iptables or iptables-nft (or ip6tables).
    """

    kind: str
    table: str
    chain: str
    text: str
    matches: tuple[Match, ...] = ()
    verdict: str = ""
    target: str = ""
    packets: int | None = None
    number: int = 0


@dataclass(slots=True)
class Chain:
    """A chain with its rules; `hook` "" for one that is only jumped to."""

    kind: str
    table: str
    name: str
    hook: str = ""
    priority: int = 0
    policy: str = ""
    nat: bool = False
    rules: list[Rule] = field(default_factory=list)
    packets: int | None = None
    """Packets that the policy has decided on; only iptables counts them."""

    @property
    def family(self) -> str:
        """ip, ip6, inet, bridge, netdev, arp."""
        return self.table.partition(" ")[0]


@dataclass(slots=True)
class Ruleset:
    """All chains by (kind, table, name); `more` rules were not read because a bound was reached."""

    chains: dict[tuple[str, str, str], Chain] = field(default_factory=dict)
    more: int = 0

    @property
    def rules(self) -> list[Rule]:
        """Every rule, in order."""
        return [rule for chain in self.chains.values() for rule in chain.rules]

    def hooked(self, hook: str, version: int) -> list[Chain]:
        """The filter chains of a hook for IPv4 or IPv6, in the order in which packets meet them."""
        families = ("inet", "ip" if version == 4 else "ip6")
        found = [
            chain for chain in self.chains.values() if chain.hook == hook and not chain.nat and chain.family in families
        ]
        return sorted(found, key=lambda chain: chain.priority)


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection, or (`state` "established") a later one; None is not known.

    `iif` and `oif` None: an interface that is not lo.
    """

    version: int = 4
    protocol: str = "tcp"
    source: str | None = None
    target: str | None = None
    sport: int | None = None
    dport: int | None = None
    iif: str | None = None
    oif: str | None = None
    state: str = "new"


def address_range(text: str) -> tuple[int, int] | None:
    """An address or "address/bits" as the range of its integers; None when it is neither."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    return int(network.network_address), int(network.broadcast_address)
