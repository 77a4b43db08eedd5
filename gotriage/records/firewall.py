"""What packet filters do with connections to the target's ports and to its peers."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from gotriage.records.base import Record, Row


class Filtered(Row, frozen=True, kw_only=True):
    """One listening port (`direction` in), or one peer that the target has connected to or tries to (out).

    Attributes:
        address: "0.0.0.0:8080" the port's own, or the peer's.
        state: of the socket, in the kernel's words: LISTEN, ESTABLISHED, SYN_SENT; "" for UDP.
        where: whose rules decide: "own" of the target's network namespace, "machine" of the one that gotriage is in,
            on the way to a namespace of the target's own.
        verdict: accept, drop, reject or queue: what becomes of a new connection of an unknown sender.
        rule: the text of the rule that decides; "policy drop" for a chain's policy, "" where no rule is asked.
        chain: the chain of that rule: "nftables inet filter input".
        packets: the rule's counter since it was made, None where it counts nothing; `moving`: it has risen since the
            look before, None when that is not known.
        names_port: the rule that decides is about this very port.
        exceptions: rules before it that decide otherwise for some senders, or perhaps do.
    """

    direction: str
    protocol: str
    address: str
    state: str = ""
    where: str = "own"
    verdict: str = "accept"
    rule: str = ""
    chain: str = ""
    packets: int | None = None
    moving: bool | None = None
    names_port: bool = False
    exceptions: tuple[str, ...] = ()


class FilterRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rule, as its tool writes it; `packets` None where it has no counter.

    `moved` is by how much the counter has risen since the look before, None when that is not known; `hook` the hook of
    its chain, "" for a chain that is only jumped to.
    """

    chain: str
    text: str
    packets: int | None = None
    moved: int | None = None
    hook: str = ""


class GroupProgram(msgspec.Struct, frozen=True, omit_defaults=True):
    """A BPF program that filters at the target's cgroup or one above: where it is attached, its id and name."""

    at: str
    id: int
    name: str = ""


class Firewall(Record, frozen=True, kw_only=True, tag="firewall"):
    """All packet filters that the target's connections pass.

    Attributes:
        tables, chains, rules_count: how much there is, of nftables and iptables, in the target's network namespace.
        rules: rules that refuse, those that have refused most first, at most 40.
        tools: with what they were read.
        manager: "firewalld" or "ufw" where its tables are there; `zones` of
            firewalld: what belongs to each, and what it lets in.
        programs: BPF programs at cgroups; what those decide is not evaluated.
        shared: the target is in the network namespace of the machine.
    """

    keep: ClassVar[int] = 60

    rows: tuple[Filtered, ...] = ()
    omitted: int = 0
    tables: int | None = None
    chains: int | None = None
    rules_count: int | None = None
    rules: tuple[FilterRule, ...] = ()
    tools: tuple[str, ...] = ()
    manager: str = ""
    zones: dict[str, str] = {}
    programs: tuple[GroupProgram, ...] = ()
    shared: bool | None = None
