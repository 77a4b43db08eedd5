"""What looking a name up comes to: the answers put together as package net would ask (net/dnsclient_unix.go)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.records.dns import Answer, NameChecked, Trap

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.collectors.dns.files import ResolvConf
    from gotriage.records.dns import HostsEntry

ADDRESSES: Final = ("A", "AAAA")
Answers = dict[tuple[str, str, str], Answer]
"""By server, name as asked, and type."""
LATE: Final = 1.0
"""Seconds by which AAAA is later than A, to be worth a word."""


class Walk(NamedTuple):
    """One name asked for one type: seconds, questions, those in vain; the answer that ended it, else why none did."""

    seconds: float
    questions: int
    in_vain: int
    answer: Answer | None
    problem: str = ""


def in_hosts(name: str, hosts: Sequence[HostsEntry]) -> tuple[str, ...]:
    """The addresses of the name in the hosts file."""
    bare = name.rstrip(".").lower()
    return tuple(entry.address for entry in hosts if any(one.lower() == bare for one in entry.names))


def look_up(
    name: str,
    conf: ResolvConf,
    order: Sequence[str],
    hosts: Sequence[HostsEntry],
    answers: Answers,
) -> NameChecked:
    """The look-up of a name by files and DNS in that order."""
    servers = list(dict.fromkeys(server for server, _, _ in answers))
    local = in_hosts(name, hosts) if "files" in order else ()
    if local and (order[0] == "files" or "dns" not in order):
        return NameChecked(name, "ok", 0.0, addresses=local, by="hosts file")
    seconds, questions, in_vain, failed = 0.0, 0, 0, "no such host"
    for asked_as in conf.names_for(name) if "dns" in order else ():
        walks = [_ask(servers, asked_as, kind, conf, answers) for kind in ADDRESSES]
        seconds += sum(w.seconds for w in walks) if conf.single_request else max(w.seconds for w in walks)
        questions += sum(walk.questions for walk in walks)
        found = tuple(address for walk in walks if walk.answer for address in walk.answer.addresses)
        if found:
            by = next(walk.answer.server for walk in walks if walk.answer and walk.answer.addresses)
            in_vain += sum(walk.in_vain for walk in walks)
            return NameChecked(name, "ok", round(seconds, 4), questions, in_vain, found, by, asked_as)
        in_vain += sum(walk.questions for walk in walks)
        failed = next((walk.problem for walk in walks if walk.answer is None), failed)
    if local:
        return NameChecked(name, "ok", round(seconds, 4), questions, in_vain, local, "hosts file")
    return NameChecked(name, failed, round(seconds, 4), questions, in_vain)


def _ask(servers: Sequence[str], name: str, kind: str, conf: ResolvConf, answers: Answers) -> Walk:
    """Server after server, in so many rounds as `attempts` says, until one answers for good."""
    seconds, questions, problem = 0.0, 0, ""
    for _ in range(conf.attempts):
        for server in servers:
            answer = answers.get((server, name, kind))
            if answer is None:
                continue
            questions += 1
            at_once = answer.dead and not answer.error.startswith("no answer")
            seconds += answer.seconds if answer.seconds is not None else 0.0 if at_once else float(conf.timeout)
            if answer.answered:
                return Walk(seconds, questions, questions - 1, answer)
            problem = "server misbehaving" if not answer.dead else answer.error if at_once else "i/o timeout"
    return Walk(seconds, questions, questions, None, problem)


# -- what only the answers show


def traps(
    conf: ResolvConf, hosts: Sequence[HostsEntry], answers: Sequence[Answer], names: Sequence[NameChecked]
) -> tuple[Trap, ...]:
    """What is wrong with the servers, then with single names."""
    asked = [one for one in answers if one.transport != "file"]
    found = [*_servers(conf, asked), *_cut(asked), *_late(asked)]
    for name in names:
        mine = [one for one in asked if one.wanted == name.name]
        found += [*_differ(name.name, mine), *_stale(name.name, hosts, mine)]
        if name.in_vain and name.result == "ok":
            text = f"{name.name}: {name.in_vain} of {name.questions} questions are in vain"
            found.append(Trap("questions-in-vain", text, f"it is found as {name.asked_as}" if name.asked_as else ""))
    return tuple(found)


def _servers(conf: ResolvConf, asked: Sequence[Answer]) -> Iterator[Trap]:
    servers = list(dict.fromkeys(one.server for one in asked))
    dead = [name for name in servers if all(one.dead for one in asked if one.server == name)]
    if dead and len(dead) == len(servers):
        why = next(one.error for one in asked)
        yield Trap("all-servers-dead", f"no name server answers: {', '.join(dead)}", why)
    elif dead:
        first = servers[0] in dead
        why = next(one.error for one in asked if one.server == dead[0])
        wait = f"each look-up waits {conf.timeout} s for it first" if first and why.startswith("no answer") else why
        yield Trap(
            "dead-first-server" if first else "dead-server",
            f"name server {', '.join(dead)} does not answer, {', '.join(s for s in servers if s not in dead)} does",
            wait,
            "take it out of resolv.conf, or bring it back",
        )
    for name in servers:
        refusing = {one.rcode for one in asked if one.server == name and one.rcode in ("REFUSED", "SERVFAIL", "NOTIMP")}
        if refusing and not any(one.answered for one in asked if one.server == name):
            yield Trap("server-refuses", f"name server {name} says {', '.join(sorted(refusing))} to every question")


def _cut(asked: Sequence[Answer]) -> Iterator[Trap]:
    for one in asked:
        if one.transport == "tcp" and one.dead:
            yield Trap(
                "tcp-blocked",
                f"the answer of {one.server} about {one.name} does not fit into UDP, and by TCP: {one.error}",
                "a firewall that lets only UDP port 53 through",
                "let TCP port 53 through, too",
            )
            return


def _late(asked: Sequence[Answer]) -> Iterator[Trap]:
    known = {(one.server, one.name, one.type): one for one in asked}
    for (server, name, kind), four in known.items():
        six = known.get((server, name, "AAAA"))
        if kind != "A" or four.seconds is None or six is None:
            continue
        if six.seconds is None or six.seconds - four.seconds >= LATE:
            took = f"after {six.seconds:.1f} s" if six.seconds is not None else "not at all"
            yield Trap(
                "aaaa-delay",
                f"{server} answers A of {name} after {four.seconds:.3f} s, AAAA {took}",
                "a look-up waits for both",
                'mend the server; a program that needs IPv4 only can ask for it: Resolver.LookupIP(ctx, "ip4", name)',
            )
            return


def _differ(name: str, asked: Sequence[Answer]) -> Iterator[Trap]:
    """One server has the name and another says that there is none."""
    for one in asked:
        other = next(
            (two for two in asked if (two.name, two.type) == (one.name, one.type) and two.server != one.server
             and two.rcode == "NXDOMAIN"), None)  # fmt: skip
        if one.addresses and other is not None:
            text = f"{name}: {one.server} says {one.result}, {other.server} that there is no such name"
            yield Trap("servers-differ", text, "the first server that answers decides")
            return


def _stale(name: str, hosts: Sequence[HostsEntry], asked: Sequence[Answer]) -> Iterator[Trap]:
    """The hosts file has another address than the servers."""
    local = in_hosts(name, hosts)
    found = {address for one in asked for address in one.addresses if one.type in ADDRESSES}
    if local and found and not found & set(local):
        yield Trap(
            "stale-hosts-entry",
            f"{name}: the hosts file says {', '.join(local)}, the name servers {', '.join(sorted(found)[:4])}",
            "the hosts file is looked in first",
            f"take {name} out of /etc/hosts (extra_hosts, hostAliases)",
        )
