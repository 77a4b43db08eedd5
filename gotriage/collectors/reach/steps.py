"""Each step of a walk: a look, and what it says."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gotriage.collectors.reach.wanted import is_any, is_loopback
from gotriage.errors import GotriageError, reason_of
from gotriage.host import ownsockets, reaching, text_file
from gotriage.host.audit import AuditRecords
from gotriage.host.firewall import read
from gotriage.host.firewall.evaluate import decide
from gotriage.host.firewall.model import REFUSES, Packet
from gotriage.records.reach import ReachStep
from gotriage.records.text import clean
from gotriage.records.units import count, counted, latency

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.host import Host
    from gotriage.host.firewall.evaluate import Decision
    from gotriage.host.reaching import Listener
    from gotriage.records.reach import StepWord
    from gotriage.target.model import Target

FIREWALL, SELINUX, NOT_LISTENING = "firewall-blocked", "selinux-denied", "port-not-listening"
BACKLOG, REFUSED, TIMEOUT = "listen-backlog-overflow", "connection-refused", "peer-timeout"
MOST_PORTS: Final = 20


def running(target: Target) -> ReachStep:
    """Whether there is a process."""
    if target.main is None:
        says = "nothing of it runs" + (f": {target.reason}" if target.reason else "")
        return ReachStep(step="running", state="failed", says=clean(says, 300), fix="start it")
    return ReachStep(step="running", says=f"pid {target.main.pid}")


def listening(port: int, own: list[Listener], all_found: list[Listener], why: str) -> tuple[ReachStep, list[Listener]]:
    """Whether the target itself listens on the port, and its listeners there."""
    mine = [one for one in own if one.port == port]
    if mine:
        return ReachStep(
            step="listening", says=" and ".join(f"{show(one.address)}:{one.port}" for one in mine[:4])
        ), mine
    if why:
        return ReachStep(step="listening", state="unknown", says=why), []
    others = sorted({one.port for one in own})
    told = [f"it listens on {', '.join(map(str, others[:MOST_PORTS]))}" if others else "it listens on no TCP port"]
    if any(one.port == port for one in all_found):
        told.append(f"another process of its network namespace listens on port {port}")
    return (
        ReachStep(
            step="listening",
            state="failed",
            says=f"it does not listen on port {port}",
            evidence=tuple(told),
            fix="see its log for a failed bind, and the address or port that it was given (flags, environment, file)",
            finding=NOT_LISTENING,
        ),
        [],
    )


def address(host: str, mine: list[Listener], own: list[str], *, shared: bool) -> tuple[ReachStep, str]:
    """Whether the listener takes connections to the address, and which address to go to."""
    step = "address"
    where = "the machine's network namespace" if shared else "its own network namespace"
    bound = [one.address for one in mine]
    fits = [one for one in bound if is_any(one) or one == host or (is_loopback(one) and is_loopback(host))]
    if host and not is_loopback(host) and host not in own:
        return ReachStep(
            step=step,
            state="failed",
            says=f"{host} is no address of {where}",
            evidence=(f"its addresses: {', '.join(own[:6]) or 'loopback only'}",),
            fix="publish the port (-p), or go to an address of its own"
            if not shared
            else "go to an address of its own",
            finding=NOT_LISTENING,
        ), ""
    if host and not fits:
        return _only_there(step, bound, host), ""
    if host:
        return ReachStep(step=step, says=f"{host} is an address of {where}"), host
    if all(is_loopback(one) for one in bound):
        return _only_there(step, bound, "other machines"), ""
    chosen = next((one for one in bound if not is_any(one) and not is_loopback(one)), "")
    six = all(":" in one for one in bound) and not any(is_any(one) for one in bound)
    chosen = chosen or next((one for one in own if (":" in one) == six), "")
    if not chosen:
        said = f"{where} has no address but loopback"
        return ReachStep(
            step=step, state="failed", says=said, fix="give the container a network", finding=NOT_LISTENING
        ), ""
    return ReachStep(step=step, says=f"{chosen}, in {where}"), chosen


def _only_there(step: str, bound: list[str], host: str) -> ReachStep:
    return ReachStep(
        step=step,
        state="failed",
        says=f"it listens on {', '.join(map(show, bound[:4]))} only: nobody reaches that by way of {host}",
        fix="listen on 0.0.0.0 or [::], or on the address that it is to be reached at",
        finding=NOT_LISTENING,
    )


def show(address_: str) -> str:
    """An IPv6 address in brackets."""
    return f"[{address_}]" if ":" in address_ else address_


def routed(host: Host, pid: int | str, address_: str, whose: str) -> tuple[ReachStep, str]:
    """Whether there is a route, and the own address that it begins at."""
    found = reaching.route(host, pid, address_)
    if found.error:
        state: StepWord = "unknown" if found.unknown else "failed"
        says = found.error if found.unknown else f"{whose} has no route to {address_}: {found.error}"
        fix = "" if found.unknown else "see its addresses and routes: ip address; ip route"
        return ReachStep(step="route", state=state, says=says, fix=fix, finding=TIMEOUT), ""
    way = f" over {found.gateway}" if found.gateway else ""
    return ReachStep(step="route", says=f"from {found.source or whose} by {found.device}{way}"), found.source


Passage = tuple[str, int | str, Packet, tuple[str, ...]]
"""Whose rules, the process in whose namespace they are, the packet, the hooks that it passes."""


def filtered(host: Host, pid: int, packets: list[Passage]) -> ReachStep:
    """What packet filters do with each of the packets."""
    asked, remarks, told = 0, list[str](), list[str]()
    known: dict[int | str, read.Found] = {}
    for whose, place, packet, hooks in packets:
        try:
            found = known.setdefault(place, read.read(host, place)) if place not in known else known[place]
        except (GotriageError, OSError) as error:
            return ReachStep(step="firewall", state="unknown", says=clean(reason_of(error), 300), fix="run it as root")
        asked += len(found.rules.rules)
        remarks += [f"{reason}" for _, reason, _ in found.lacks]
        answer = decide(found.rules, packet, hooks)
        if answer.verdict in REFUSES and not (answer.exceptions and packet.source is None):
            return _refused(whose, answer, pid if place == pid else None)
        told += [f"{whose}: perhaps {rule.verdict} by: {rule.text}" for rule in answer.exceptions[:3]]
    if remarks:
        return ReachStep(step="firewall", state="unknown", says=remarks[0], evidence=tuple(told))
    says = f"{counted(asked, 'rule')}, none refuses" if asked else "no rules"
    return ReachStep(step="firewall", says=says, evidence=tuple(dict.fromkeys(told)))


def _refused(whose: str, answer: Decision, pid: int | None) -> ReachStep:
    rule, chain = answer.rule, answer.chain
    text = rule.text if rule is not None else f"policy {chain.policy}" if chain is not None else ""
    packets = rule.packets if rule is not None else chain.packets if chain is not None else None
    at = rule if rule is not None else chain
    place = f"{at.kind} {at.table} {rule.chain if rule is not None else chain.name if chain else ''}" if at else ""
    met = (f"it has met {counted(packets, 'packet')}",) if packets is not None else ()
    enter = f"nsenter -t {pid} -n " if pid is not None else ""
    return ReachStep(
        step="firewall",
        state="failed",
        says=f"{'dropped' if answer.verdict == 'drop' else 'rejected'} by {whose}: {text}",
        evidence=(place, *met, *(f"except {one.text}" for one in answer.exceptions[:3])),
        fix=f"see the rule with its neighbours: {enter}nft -a list ruleset; {enter}iptables-save -c",
        finding=FIREWALL,
    )


def mandatory(host: Host, target: Target, operation: str, port: int) -> ReachStep:
    """Whether SELinux is on and has refused the operation to the target."""
    enforce = text_file.small_text(host.sys / "fs/selinux/enforce")
    if enforce is None:
        return ReachStep(step="SELinux", says="not enabled")
    records = AuditRecords(host)
    try:
        denials = records.more(journal=True)
    finally:
        records.close()
    own = [
        one
        for one in denials
        if one.module == "selinux" and operation in one.operation and one.port == port and one.pid in target.pids
    ]
    mode = "enforcing" if enforce == "1" else "permissive"
    if not own or own[-1].permissive:
        return ReachStep(step="SELinux", says=f"{mode}, has not refused it {operation}")
    return ReachStep(
        step="SELinux",
        state="failed",
        says=f"denies {operation} on port {port}",
        evidence=(f"{own[-1].subject} on {own[-1].label}", counted(len(own), "time")),
        fix="gotriage show security names the cure",
        finding=SELINUX,
    )


def queued(host: Host, pid: int, mine: list[Listener]) -> ReachStep:
    """Whether the accept queue has room."""
    fullest = max(mine, key=lambda one: (one.waiting or 0) / max(one.bound or 1, 1))
    dropped = reaching.overflows(host, pid)
    told = (f"{count(dropped)} connections were lost to full queues in this namespace",) if dropped else ()
    if fullest.waiting is None or fullest.bound is None:
        return ReachStep(step="backlog", state="unknown", says="the kernel does not tell the accept queue")
    says = f"{count(fullest.waiting)} of {count(fullest.bound)} wait to be accepted"
    if fullest.waiting > fullest.bound:
        return ReachStep(
            step="backlog",
            state="failed",
            says=says,
            evidence=told,
            fix="it does not call accept: see what its goroutines do; the bound is net.core.somaxconn",
            finding=BACKLOG,
        )
    return ReachStep(step="backlog", says=says, evidence=told)


def answering(host: Host, pid: int | str, address_: str, port: int) -> ReachStep:
    """One TCP connection, closed again."""
    try:
        seconds, error = reaching.connect(host, pid, address_, port)
    except (GotriageError, OSError) as failure:
        return ReachStep(step="answering", state="unknown", says=clean(reason_of(failure), 300))
    if not error:
        return ReachStep(step="answering", says=f"connected in {latency(seconds)}", seconds=seconds)
    says, finding = {
        "ECONNREFUSED": ("refused: nobody listens there, or a firewall rejects", REFUSED),
        "ETIMEDOUT": (f"no answer in {reaching.LONGEST:g} s: dropped on the way, or the host is down", TIMEOUT),
        "EHOSTUNREACH": ("no route to the host: it is down, or a firewall rejects", TIMEOUT),
        "ENETUNREACH": ("network unreachable", TIMEOUT),
    }.get(error, (error, TIMEOUT))
    return ReachStep(step="answering", state="failed", says=says, seconds=seconds, finding=finding)


def rest(steps: list[ReachStep], names: tuple[str, ...]) -> Iterator[ReachStep]:
    """The steps that were not taken, because one failed."""
    taken = {step.step for step in steps}
    yield from (ReachStep(step=name, state="left out") for name in names if name not in taken)


def own_listeners(host: Host, target: Target) -> tuple[list[Listener], str]:
    """Listening sockets that the target itself has open."""
    table, why = ownsockets.sockets(host, target.pids)
    return reaching.listening(table), why


def shares_network(host: Host, pid: int) -> bool:
    """The process is in our network namespace."""
    with suppress(GotriageError, OSError):
        return host.proc.shares(pid, "net")
    return True
