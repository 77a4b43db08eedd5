"""A packet filter stands between the target and those whom it serves or asks.

Ports: a rule that refuses the very port is a warning once it has refused somebody (or does not count), else worth
knowing. A rule or policy that refuses whatever is not let in is a warning only where it leaves no port of the target
reachable from outside: who opens some ports means the others to be closed. Exceptions by sender's address are rules of
somebody who has thought about it. Ports at loopback addresses are not asked about from outside.

Peers: a connection that is being tried (SYN_SENT) and refused by the filter is a warning. So is a rule that refuses
what leaves a network namespace of the target's own, while its counter rises: nobody else sends there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.records.findings import Fine, Unknown
from gotriage.records.firewall import Firewall
from gotriage.records.units import counted
from gotriage.rules import remedies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.findings import Severity
    from gotriage.records.firewall import Filtered, FilterRule
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

ID: Final = "firewall-blocked"
DEFAULTS: Final = {ID: {"packets": 1.0}}
REFUSES: Final = ("drop", "reject")
SYSTEMD: Final = "sd_fw_"
"""How systemd's programs for IPAddressAllow= and IPAddressDeny= are called (src/core/bpf-firewall.c)."""
MOST: Final = 4
"""Ports and peers that become a finding of their own."""
LOOPBACK: Final = ("127.", "[::1]", "[::ffff:127.")


def blocked(evidence: Evidence) -> Iterator[Claim]:
    """A finding a port or peer that is refused."""
    firewall = evidence.current(Firewall)
    if firewall is None:
        if evidence.running:
            yield evidence.unknown(ID, "firewall")
        return
    claims = [*_peers(evidence, firewall), *_ports(evidence, firewall), *_leaving(evidence, firewall)]
    yield from claims[:MOST]
    if claims:
        return
    if (gap := evidence.gap("firewall")) is not None and not gap.source.endswith(".sockets"):
        yield evidence.unknown(ID, "firewall")
    elif firewall.programs:
        yield _programs(evidence, firewall)
    elif firewall.rules_count == 0:
        yield Fine(ID, "no firewall rules")
    else:
        yield Fine(ID, f"{counted(firewall.rules_count, 'firewall rule')}, none in the way")


def _programs(evidence: Evidence, firewall: Firewall) -> Claim:
    """What BPF programs decide cannot be read from them."""
    names = ", ".join(dict.fromkeys(f"{one.name or one.id} ({one.at})" for one in firewall.programs[:4]))
    unit = remedies.word(remedies.unit_name(evidence) or "UNIT")
    own = any(one.name.startswith(SYSTEMD) for one in firewall.programs)
    remedy = (
        f"{remedies.systemctl(evidence)} show -p IPAddressAllow,IPAddressDeny {unit}"
        if own
        else "ask who has attached them: bpftool cgroup tree"
    )
    return Unknown(ID, f"BPF programs at its cgroup decide too: {names}", remedy)


def _ports(evidence: Evidence, firewall: Firewall) -> Iterator[Claim]:
    outside = [row for row in firewall.rows if row.direction == "in" and not row.address.startswith(LOOPBACK)]
    refused = [row for row in outside if row.verdict in REFUSES]
    none_left = bool(refused) and all(row.verdict in REFUSES and not row.exceptions for row in outside)
    for row in refused:
        if row.names_port:
            seen = row.packets is None or row.packets >= evidence.limit(ID, "packets")
            yield _finding(evidence, firewall, row, "warning" if seen else "info")
        elif none_left:
            yield _finding(evidence, firewall, row, "warning")


def _peers(evidence: Evidence, firewall: Firewall) -> Iterator[Claim]:
    for row in firewall.rows:
        if row.direction == "out" and row.verdict in REFUSES and row.state == "SYN_SENT":
            yield _finding(evidence, firewall, row, "warning")


def _finding(evidence: Evidence, firewall: Firewall, row: Filtered, severity: Severity) -> Claim:
    done = {"drop": "dropped", "reject": "rejected"}[row.verdict]
    port = row.address.rpartition(":")[2]
    title = (
        f"port {port}/{row.protocol}: new connections are {done} by a firewall rule"
        if row.direction == "in"
        else f"connections to {row.address} are {done} by a firewall rule"
    )
    whose = "in its network namespace" if row.where == "own" and not firewall.shared else "of this machine"
    told = [f"{row.chain}: {row.rule}   ({whose})"]
    if row.packets is not None:
        rising = {True: ", and rising", False: ", not rising now", None: ""}[row.moving]
        told.append(f"it has met {counted(row.packets, 'packet')}{rising}")
    told += [f"except {text}" for text in row.exceptions[:3]]
    told += [f"zone {name}: {text}" for name, text in list(firewall.zones.items())[:2] if row.direction == "in"]
    return evidence.finding(
        ID,
        severity,
        title,
        evidence=tuple(told),
        fix=_fix(evidence, firewall, row, port),
        view="firewall",
        subject=row.address,
    )


def _leaving(evidence: Evidence, firewall: Firewall) -> Iterator[Claim]:
    """Rules that refuse what leaves the target's own namespace, and do so now."""
    if firewall.shared is not False:
        return
    for rule in firewall.rules:
        if rule.hook == "output" and (rule.moved or 0) >= evidence.limit(ID, "packets"):
            yield evidence.finding(
                ID,
                "warning",
                f"a firewall rule refuses what it sends: {rule.text}",
                evidence=(
                    f"{rule.chain}: {rule.text}   (in its network namespace)",
                    f"it has met {counted(rule.packets, 'packet')}, {counted(rule.moved, 'packet')} of them just now",
                ),
                fix=_list(evidence, rule),
                view="firewall",
                subject=rule.text,
            )


def _enter(evidence: Evidence, firewall: Firewall, where: str) -> str:
    pid = evidence.target.pid if evidence.target is not None else None
    return f"nsenter -t {pid} -n " if where == "own" and firewall.shared is False and pid else ""


def _list(evidence: Evidence, rule: FilterRule) -> str:
    kind, family, table, chain = (*rule.chain.split(" ", 3), "", "", "")[:4]
    pid = evidence.target.pid if evidence.target is not None else 0
    tool = f"nft -a list chain {family}" if kind == "nftables" else f"{kind} -t"
    words = f"{tool} {remedies.word(table)} {'' if kind == 'nftables' else '-L '}{remedies.word(chain)}"
    return f"see it with its neighbours: nsenter -t {pid} -n {words}"


def _fix(evidence: Evidence, firewall: Firewall, row: Filtered, port: str) -> str:
    enter = _enter(evidence, firewall, row.where)
    if row.direction == "in" and firewall.manager == "firewalld" and row.where == "own":
        option = f"--add-port={port}/{row.protocol}"
        return f"firewall-cmd {option}   (and once more with --permanent, to keep it)"
    if row.direction == "in" and firewall.manager == "ufw" and row.where == "own":
        return f"ufw allow {port}/{row.protocol}"
    kind, family, table, chain = (*row.chain.split(" ", 3), "", "", "")[:4]
    match = f"{row.protocol} dport {port}"
    if kind == "nftables":
        return f"{enter}nft insert rule {family} {remedies.word(table)} {remedies.word(chain)} {match} accept"
    command = kind if kind in ("iptables", "ip6tables", "iptables-nft", "ip6tables-nft") else "iptables"
    command = command.replace("tables", "tables-legacy") if "-nft" not in command else command
    return f"{enter}{command} -I {remedies.word(chain)} -p {row.protocol} --dport {port} -j ACCEPT"
