"""Packet filters on the way to the target's ports and peers: which rule decides, and whether its counter moves."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from gotriage.errors import AS_ROOT, GotriageError, NotPermitted
from gotriage.host import clock, ownsockets
from gotriage.host.cgroupfs import Cgroups
from gotriage.host.firewall import groups, read, zones
from gotriage.host.firewall.evaluate import decide
from gotriage.host.firewall.model import REFUSES, Packet
from gotriage.host.ownsockets import split
from gotriage.records.firewall import Filtered, FilterRule, Firewall, GroupProgram
from gotriage.records.stream import Gap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gotriage.host import Host
    from gotriage.host.firewall.evaluate import Decision
    from gotriage.host.firewall.model import Rule
    from gotriage.host.firewall.read import Found
    from gotriage.records import Record
    from gotriage.target.model import Target

MOST_PORTS: Final = 100
MOST_PEERS: Final = 100
MOST_RULES: Final = 40
TALKING: Final = ("ESTABLISHED", "SYN_SENT")
FIRST_PAUSE: Final = 0.4
"""Seconds between two looks at counters, at the first look only: whether they move is known at once."""
SHARE: Final = 0.02
FREE: Final = 0.6
"""The part of the time that looks may take, beyond the first `FREE` seconds of each."""
ZONES_EVERY: Final = 60.0
OWN, MACHINE = "own", "machine"

Wanted = tuple[str, str, str, str]
"""Direction, protocol, address and state of one row."""


def wanted_of(sockets: list[tuple[str, str, str, str]]) -> list[Wanted]:
    """What there is to decide on, out of (protocol, state, local, peer): each port and peer once, ports first.

    Accepted connections are not asked about: they came through.
    """
    ports: dict[Wanted, None] = {}
    peers: dict[Wanted, None] = {}
    listening = {split(local)[1] for protocol, state, local, _ in sockets if state == "LISTEN"}
    for protocol, state, local, peer in sockets:
        kind = protocol.removesuffix("6")
        if kind == "tcp" and state == "LISTEN":
            ports["in", "tcp", local, state] = None
        elif kind == "udp" and not peer and split(local)[1]:
            ports["in", "udp", local, ""] = None
        elif kind == "tcp" and state in TALKING and split(local)[1] not in listening:
            peers["out", "tcp", peer, state] = None
        elif kind == "udp" and peer:
            peers["out", "udp", peer, ""] = None
    tried = sorted(peers, key=lambda one: one[3] != "SYN_SENT")
    return [*list(ports)[:MOST_PORTS], *tried[:MOST_PEERS]]


def packet_of(wanted: Wanted) -> Packet | None:
    """The first packet of a connection there; None for an address that is none."""
    direction, protocol, address, _ = wanted
    text, port = split(address)
    try:
        parsed = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    wildcard = parsed.is_unspecified
    version = 4 if wildcard else parsed.version  # [::] takes IPv4 connections too (net.ipv6.bindv6only is 0)
    lo = "lo" if parsed.is_loopback else None
    target = None if wildcard else str(parsed)
    if direction == "in":
        return Packet(version, protocol, target if lo else None, target, None, port, iif=lo)
    return Packet(version, protocol, target if lo else None, target, None, port, oif=lo)


class FirewallCollector:
    """One `Firewall` a look."""

    backend = "nft, iptables-save"

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._last: list[Record] = []
        self._not_before = 0.0
        self._zones_known: tuple[float, dict[str, str]] | None = None
        self._before: dict[tuple[str, str, str, int], int] = {}
        self._now: dict[tuple[str, str, str, int], int] = {}

    def collect(self) -> Iterator[Record]:
        """Look, or tell again what the last look has told where that took long. Raises NotPermitted."""
        pid, begun = self._target.pid, clock.monotonic()
        if pid is None:
            return
        if begun >= self._not_before:
            self._last = list(self._look(pid))
            self._not_before = clock.monotonic() + (clock.monotonic() - begun - FREE) / SHARE
        yield from self._last

    def _look(self, pid: int) -> Iterator[Record]:
        at, begun = clock.now(), clock.monotonic()
        own = self._own(pid)
        shared = self._host.proc.shares(pid, "net")
        machine = None if shared else self._machine()
        quick = clock.monotonic() - begun < FREE
        if quick and not self._now and any(rule.packets for rule in own.rules.rules if rule.verdict in REFUSES):
            self._now = _counters(own, machine)
            clock.sleep(FIRST_PAUSE)
            own = self._own(pid)
        self._before, self._now = self._now, _counters(own, machine)
        table, why = ownsockets.sockets(self._host, self._target.pids)
        wanted = wanted_of([row[:4] for row in table.values()])
        rows = [row for one in wanted if (row := self._row(one, own, machine, pid)) is not None]
        yield self._record(at, rows, own, shared=shared)
        for what, reason, remedy in dict.fromkeys([*own.lacks, *(machine.lacks if machine else [])]):
            yield Gap(at=at, source=f"firewall.{what}", reason=reason, lost="rules that may decide", remedy=remedy)
        if why:
            yield Gap(
                at=at,
                source="firewall.sockets",
                reason=why,
                lost="the target's ports and peers",
                remedy=AS_ROOT,
                permission="ermission denied" in why,
            )

    def _own(self, pid: int) -> Found:
        try:
            return read.read(self._host, pid)
        except PermissionError as error:
            raise NotPermitted(f"{error.filename}: permission denied; {AS_ROOT}") from error

    def _machine(self) -> Found | None:
        """The rules of the machine, which packets to another namespace are forwarded by."""
        try:
            return read.read(self._host, "self")
        except (GotriageError, OSError):
            return None

    def _record(self, at: datetime, rows: list[Filtered], own: Found, *, shared: bool) -> Firewall:
        rules, manager = own.rules.rules, _manager(own)
        refusing = sorted((rule for rule in rules if rule.verdict in REFUSES), key=lambda rule: -(rule.packets or 0))
        return Firewall(
            at=at,
            rows=tuple(rows),
            tables=own.tables,
            chains=len(own.rules.chains),
            rules_count=len(rules) + own.rules.more,
            rules=tuple(self._filter_rule(rule, own) for rule in refusing[:MOST_RULES]),
            tools=tuple(own.tools),
            manager=manager,
            zones=self._zones() if manager == "firewalld" else {},
            programs=tuple(self._programs()),
            shared=shared,
        )

    def _filter_rule(self, rule: Rule, own: Found) -> FilterRule:
        before = self._before.get(_key(rule))
        moved = rule.packets - before if rule.packets is not None and before is not None else None
        hook = next((c.hook for c in own.rules.chains.values() if (c.table, c.name) == (rule.table, rule.chain)), "")
        return FilterRule(_place(rule), _text(rule), rule.packets, moved, hook)

    def _row(self, wanted: Wanted, own: Found, machine: Found | None, pid: int) -> Filtered | None:
        packet = packet_of(wanted)
        if packet is None:
            return None
        hooks = ("prerouting", "input") if wanted[0] == "in" else ("output", "postrouting")
        answers = [(OWN, decide(own.rules, packet, hooks))]
        if machine is not None and machine.tables and "lo" not in (packet.iif, packet.oif):
            answers += [
                (MACHINE, decide(machine.rules, forwarded, ("prerouting", "forward")))
                for forwarded in self._forwarded(packet, wanted[0], pid)
            ]
        where, answer = next((one for one in answers if one[1].verdict in REFUSES), answers[0])
        return self._filtered(wanted, where, answer)

    def _forwarded(self, packet: Packet, direction: str, pid: int) -> list[Packet]:
        """The packet as the machine forwards it, to or from an address of the target's namespace."""
        own = [a for a in ownsockets.addresses(self._host, pid) if (":" in a) == (packet.version == 6)][:4]
        if direction == "out":
            return [Packet(packet.version, packet.protocol, a, packet.target, None, packet.dport) for a in own[:1]]
        return [Packet(packet.version, packet.protocol, None, a, None, packet.dport) for a in own]

    def _filtered(self, wanted: Wanted, where: str, answer: Decision) -> Filtered:
        rule, chain = answer.rule, answer.chain
        moving, packets, text, place = None, None, "", ""
        if rule is not None:
            text, place, packets = _text(rule), _place(rule), rule.packets
            key = _key(rule)
        elif chain is not None:
            text, place, packets = f"policy {chain.policy}", f"{chain.kind} {chain.table} {chain.name}", chain.packets
            key = (chain.kind, chain.table, chain.name, -1)
        if packets is not None and key in self._before:
            moving = packets > self._before[key]
        port = split(wanted[2])[1]
        return Filtered(
            direction=wanted[0],
            protocol=wanted[1],
            address=wanted[2],
            state=wanted[3],
            where=where,
            verdict=answer.verdict,
            rule=text,
            chain=place,
            packets=packets,
            moving=moving,
            names_port=any(_names_port(one, port) for one in (*answer.path, *([rule] if rule else []))),
            exceptions=tuple(_text(one) for one in answer.exceptions[:8]),
        )

    def _zones(self) -> dict[str, str]:
        """What firewalld says of itself, asked every minute."""
        if self._zones_known is None or clock.monotonic() - self._zones_known[0] > ZONES_EVERY:
            self._zones_known = (clock.monotonic(), zones.zones(self._host))
        return self._zones_known[1]

    def _programs(self) -> list[GroupProgram]:
        """BPF programs at the target's cgroup; none where they may not be asked for."""
        group = Cgroups(self._host).v2(self._target.cgroup) if self._target.cgroup else None
        if group is None:
            return []
        try:
            found = groups.programs(group.leaf.folder)
        except (GotriageError, OSError):
            return []
        return [GroupProgram(*one) for one in found]

    def close(self) -> None:
        """Nothing is held."""


def _key(rule: Rule) -> tuple[str, str, str, int]:
    return rule.kind, rule.table, rule.chain, rule.number


def _counters(*all_found: Found | None) -> dict[tuple[str, str, str, int], int]:
    """Rule or, with number -1, policy to packets."""
    counted: dict[tuple[str, str, str, int], int] = {}
    for found in all_found:
        for chain in found.rules.chains.values() if found is not None else ():
            if chain.packets is not None:
                counted[chain.kind, chain.table, chain.name, -1] = chain.packets
            counted |= {_key(rule): rule.packets for rule in chain.rules if rule.packets is not None}
    return counted


def _place(rule: Rule) -> str:
    return f"{rule.kind} {rule.table} {rule.chain}"


def _text(rule: Rule) -> str:
    """The rule's own words, not longer than a line can show."""
    return rule.text if len(rule.text) <= 200 else rule.text[:199] + "…"


def _names_port(rule: Rule, port: int | None) -> bool:
    """The rule is about that port, and not about most others too."""
    for match in rule.matches:
        if match.field.endswith(" dport") and not match.negated and port is not None:
            return any(
                isinstance(value, tuple) and value[0] <= port <= value[1] and value[1] - value[0] < 1024
                for value in match.values
            )
    return False


def _manager(found: Found) -> str:
    """Who has made the rules, as far as names tell."""
    names = {(chain.table, chain.name) for chain in found.rules.chains.values()}
    if any("firewalld" in table or name.startswith(("IN_public", "INPUT_ZONES")) for table, name in names):
        return "firewalld"
    return "ufw" if any(name.startswith("ufw-") for _, name in names) else ""
