"""Others that the target depends on: names that take long, peers that refuse, peers that do not answer.

Witnesses are the probes "dns" and "connects" while they run, calls that failed at once, sockets and goroutines that
wait, and the log, where Go names the peer ("dial tcp 10.0.0.9:5432: connect: connection refused"). Two in a minute: one
may have met a restart.

dns-slow
    An answer within a second is usual even from far away; then resolvers ask again, after five seconds by default
    (resolv.conf(5)). NXDOMAIN is an answer.
connection-refused
    Nobody listens there.
peer-timeout
    A connection that is not made in five seconds has lost its first segments twice (1 s and 3 s after the first:
    net.ipv4.tcp_syn_retries). Go gives up attempts that lose a race (Happy Eyeballs) sooner than that, which is no
    failure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.records.files import FileTable
from gotriage.records.findings import Fine
from gotriage.records.goroutines import Goroutines
from gotriage.records.network import Network
from gotriage.records.units import clock, count, counted, seconds
from gotriage.rules import golook, lookups, remedies, tracelook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gotriage.records.goroutines import GoroutineGroup
    from gotriage.records.probes import ProbeEvent
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

DNS: Final = "dns-slow"
REFUSED: Final = "connection-refused"
TIMEOUT: Final = "peer-timeout"
DEFAULTS: Final = {
    DNS: {"slow": 1.0, "times": 2.0, "seconds": 60.0},
    REFUSED: {"times": 2.0, "seconds": 60.0},
    TIMEOUT: {"times": 2.0, "connect": 5.0, "answer": 10.0, "seconds": 60.0},
}
MOST: Final = 3
"""Peers and names that become a finding of their own."""
LOOPBACK: Final = re.compile(r"^(127\.\d+\.\d+\.\d+|\[?::1\]?|localhost):(\d+)$")
SILENT: Final = frozenset({"ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH"})
UNANSWERED: Final = "no answer"
"""The result of a question that nobody answered, of the probe dns."""
SYN_SENT: Final = "SYN_SENT"

_LOOKUP: Final = re.compile(
    r"\blookup ([A-Za-z0-9_.-]{1,253})(?: on \S+)?: (?:(?:read|dial|write) \S+ \S+: )?"
    r"(?:i/o timeout|server misbehaving)"
)
_DIAL_REFUSED: Final = re.compile(r"\bdial (?:tcp|udp|unix)[46]? (\S{1,300}?): connect: connection refused")
_DIAL_SILENT: Final = re.compile(
    r"\bdial (?:tcp|udp)[46]? (\S{1,300}?): (?:i/o timeout|connect: (?:connection timed out|no route to host"
    r"|network is unreachable))"
)
_ASKED_IN_VAIN: Final = re.compile(
    r"\b(?:Get|Post|Put|Patch|Delete|Head) \"https?://([^/\"\s]{1,300})[^\"]{0,1000}\": (?:context deadline exceeded"
    r"|net/http: (?:request canceled|TLS handshake timeout|timeout awaiting response headers))"
)


class Witnesses(NamedTuple):
    """What speaks for something about one peer or name."""

    times: int
    told: tuple[str, ...]
    since: datetime | None


class Seen:
    """Peers or names, and what speaks for something about each."""

    def __init__(self) -> None:
        self.times: dict[str, int] = {}
        self._told: dict[str, list[str]] = {}
        self._since: dict[str, datetime] = {}

    def add(self, name: str, times: int, words: str, since: datetime | None = None) -> None:
        """One witness. Two of the same events do not count twice: the larger number holds.

        Port 0 is nobody's: a program that was told to take any port dials it when it takes its own setting for its
        address (etcd does).
        """
        if name.endswith(":0"):
            return
        self.times[name] = max(self.times.get(name, 0), times)
        self._told.setdefault(name, []).append(words)
        if since is not None:
            self._since[name] = min(since, self._since.get(name, since))

    def log(self, said: dict[str, tracelook.Said]) -> None:
        """What log lines say."""
        for name, lines in said.items():
            self.add(name, lines.number, str(lines), lines.first)

    def worst(self, least: float) -> list[tuple[str, Witnesses]]:
        """Those with so many, the most first."""
        names = sorted((name for name, number in self.times.items() if number >= least), key=lambda n: -self.times[n])
        return [
            (name, Witnesses(self.times[name], tuple(self._told[name]), self._since.get(name))) for name in names[:MOST]
        ]


def _nothing(evidence: Evidence, rule: str, probe: str, what: str) -> Claim:
    """Fine where the probe ran, else why nobody could see."""
    if tracelook.probed(evidence, probe):
        number = len(tracelook.events(evidence, probe, evidence.limit(rule, "seconds")))
        return Fine(rule, f"{counted(number, what)} seen, none of that")
    return tracelook.unseen(evidence, rule, tracelook.PROBES)


# -- dns-slow


def names(evidence: Evidence) -> Iterator[Claim]:
    """A finding for all names together: the server is what they have in common."""
    if not evidence.running:
        return
    long, slow = evidence.limit(DNS, "seconds"), evidence.limit(DNS, "slow")
    events = tracelook.events(evidence, "dns", long)
    late = [one for one in events if (one.took or 0.0) >= slow or one.result in (UNANSWERED, "SERVFAIL")]
    said = tracelook.said(evidence, "lookup ", _LOOKUP, long)
    waiting = _asking(evidence, slow)
    number = max(len(late), sum(lines.number for lines in said.values()))
    asked = lookups.slow(evidence, slow)
    if number < evidence.limit(DNS, "times") and not waiting and not asked:
        yield _answered(evidence, events)
        return
    told = [_look_up(one) for one in sorted(late, key=lambda one: -(one.took or 1e9))[:4]]
    told += [f"{name}: {lines}" for name, lines in list(said.items())[:MOST]]
    told += [
        f"{count(group.count)} goroutines ask a name server; {golook.oldest(evidence, group)}" for group in waiting
    ]
    traps = lookups.slowing(evidence)
    told += [*asked[:MOST], *(trap.what for trap in traps[:MOST])]
    server = next((one.by for one in late if one.by), "")
    yield evidence.finding(
        DNS,
        "warning",
        _slow_title(late, said, waiting, asked) + (f" ({server})" if server else ""),
        evidence=tuple(told),
        fix="\n".join(
            [
                *(trap.fix for trap in traps[:MOST] if trap.fix),
                "ask the servers from inside: press D and s, or: gotriage show dns"
                f" {lookups.target(evidence)} --trace dns_checks --option name=NAME",
            ]
        ),
        view="probes" if late else "goroutines" if waiting and not said else "logs" if said else "dns",
        since=min((lines.first for lines in said.values()), default=None),
    )


def _answered(evidence: Evidence, events: list[ProbeEvent]) -> Claim:
    if events:
        longest = max((one.took or 0.0 for one in events), default=0.0)
        return Fine(DNS, f"{counted(len(events), 'look-up')}, the slowest took {seconds(longest)}")
    if golook.is_go(evidence) and evidence.current(Goroutines) is not None:
        return Fine(DNS, "no goroutine waits for a name server")
    return _nothing(evidence, DNS, "dns", "look-up")


def _look_up(one: ProbeEvent) -> str:
    if one.result == UNANSWERED:
        return f"{one.what}: no answer at {clock(one.at)}"
    return f"{one.what}: {one.result} after {seconds(one.took)}"


def _slow_title(
    late: list[ProbeEvent], said: dict[str, tracelook.Said], waiting: list[GoroutineGroup], asked: list[str]
) -> str:
    if late:
        unanswered = sum(one.result == UNANSWERED for one in late)
        longest = max((one.took for one in late if one.took is not None), default=None)
        if longest is None:
            return f"{counted(unanswered, 'DNS look-up')} without an answer"
        return f"{counted(len(late), 'slow DNS look-up')}, up to {seconds(longest)}"
    if said:
        return f"DNS look-ups of {next(iter(said))} fail: no answer in time, says its log"
    if waiting:
        return f"{counted(sum(group.count for group in waiting), 'goroutine')} wait for a name server"
    return f"look-ups are slow: {asked[0].removeprefix('asked by gotriage: ')}"


_RESOLVERS: Final = ("net.(*Resolver).exchange", "net.cgoLookupHostIP", "net.doBlockingWithCtx")


def _asking(evidence: Evidence, slow: float) -> list[GoroutineGroup]:
    """Groups of goroutines that have waited for a name server for long."""
    table = evidence.current(Goroutines)
    if table is None:
        return []
    return [
        group
        for group in table.rows
        if golook.waited(evidence, group.since) >= max(slow, 2.0)
        and 0 <= group.stack < len(table.stacks)
        and any(frame.function.startswith(_RESOLVERS) for frame in table.stacks[group.stack].frames)
    ]


# -- connection-refused


def refused(evidence: Evidence) -> Iterator[Claim]:
    """A finding a peer."""
    if not evidence.running:
        return
    long = evidence.limit(REFUSED, "seconds")
    seen = Seen()
    _connects(evidence, seen, "connects", frozenset({"ECONNREFUSED"}), long)
    seen.log(tracelook.said(evidence, "connection refused", _DIAL_REFUSED, long))
    strace = tracelook.strace(evidence)
    for row in strace.failures if strace is not None else ():
        if row.error == "ECONNREFUSED" and row.where:
            seen.add(row.where, row.count, f"strace saw {row.call} fail so {counted(row.count, 'time')}", row.last_at)
    window = tracelook.syscalls(evidence, long)
    named = seen.worst(evidence.limit(REFUSED, "times"))
    if not named and window is not None:
        failed = {call: n for (call, error), n in tracelook.failures(window).items() if error == "ECONNREFUSED"}
        if sum(failed.values()) >= evidence.limit(REFUSED, "times"):
            told = tuple(f"{call} failed with ECONNREFUSED {counted(n, 'time')}" for call, n in failed.items())
            named = [("", Witnesses(sum(failed.values()), told, None))]
    for peer, one in named:
        yield evidence.finding(
            REFUSED,
            "warning",
            f"{peer or 'a peer'} refuses connections: nobody listens there",
            evidence=one.told,
            fix=_who_listens(evidence, peer),
            view="probes" if any("probe" in words for words in one.told) else "logs" if one.since else "syscalls",
            subject=peer or evidence.name,
            since=one.since,
        )
    if not named:
        yield _nothing(evidence, REFUSED, "connects", "connect")


def _connects(evidence: Evidence, seen: Seen, probe: str, results: frozenset[str], long: float) -> None:
    by_peer: dict[str, list[ProbeEvent]] = {}
    for event in tracelook.events(evidence, probe, long):
        if event.result in results:
            by_peer.setdefault(event.what, []).append(event)
    for peer, events in by_peer.items():
        words = f"the probe saw {counted(len(events), 'connect')} end with {events[-1].result}"
        seen.add(peer, len(events), words, events[0].at)


def _who_listens(evidence: Evidence, peer: str) -> str:
    local = LOOPBACK.match(peer)
    if local is None:
        return f"see there whether it runs, and which address it listens on: ss -ltnp   ({peer or 'the peer'})"
    enter = (
        f"nsenter -t {evidence.target.pid} -n " if evidence.target is not None and evidence.target.container_id else ""
    )
    return f"see what listens on port {local[2]} of the target's network: {enter}ss -ltnp 'sport = :{local[2]}'"


# -- peer-timeout


def silent(evidence: Evidence) -> Iterator[Claim]:
    """A finding a peer."""
    if not evidence.running:
        return
    long, least = evidence.limit(TIMEOUT, "seconds"), evidence.limit(TIMEOUT, "times")
    seen = Seen()
    _connects(evidence, seen, "connects", SILENT, long)
    for event in tracelook.events(evidence, "connects", long):
        if event.result == "given up" and (event.took or 0.0) >= evidence.limit(TIMEOUT, "connect"):
            seen.add(event.what, int(least), f"the probe saw a connect given up after {seconds(event.took)}", event.at)
    seen.log(tracelook.said(evidence, "dial ", _DIAL_SILENT, long))
    seen.log(tracelook.said(evidence, '": ', _ASKED_IN_VAIN, long))
    for peer, number in _unanswered(evidence).items():
        seen.add(
            peer, int(least), f"{counted(number, 'socket')} in SYN_SENT in two looks: no answer to the first packets"
        )
    for peer, words in _again_and_again(evidence).items():
        seen.add(peer, int(least), words)
    for peer, ages in _waiting(evidence).items():
        words = f"{counted(len(ages), 'request')} without an answer, the oldest for {seconds(max(ages))}"
        seen.add(peer, int(least), words)
    named = seen.worst(least)
    for peer, one in named:
        where = remedies.word(peer.rpartition(":")[0].strip("[]") or peer)
        yield evidence.finding(
            TIMEOUT,
            "warning",
            f"{peer} does not answer",
            evidence=one.told,
            fix=f"see whether it runs and what is on the way: ip route get {where}; a firewall that drops says"
            " nothing\nask with a deadline, so that one silent peer does not hold everything",
            view="probes" if any("probe" in words for words in one.told) else "logs" if one.since else "network",
            subject=peer,
            since=one.since,
        )
    if not named:
        yield _nothing(evidence, TIMEOUT, "connects", "connect")


def _unanswered(evidence: Evidence) -> dict[str, int]:
    """Peers of sockets whose connection is asked for in two looks in a row."""
    tables = evidence.series(FileTable, 30.0)
    if len(tables) < 2 or (tables[-1].at - tables[-2].at).total_seconds() < evidence.limit(TIMEOUT, "connect") * 0.8:
        return {}
    before = {(row.local, row.peer) for row in tables[-2].rows if row.state == SYN_SENT}
    found: dict[str, int] = {}
    for key in {(row.local, row.peer) for row in tables[-1].rows if row.state == SYN_SENT} & before:
        found[key[1]] = found.get(key[1], 0) + 1
    return found


def _again_and_again(evidence: Evidence) -> dict[str, str]:
    """Peers to whom the kernel sends the same segment again and again, as the last look at the network saw it."""
    record = evidence.current(Network)
    found = {}
    for row in record.rows if record is not None else ():
        if row.what == "out" and row.unanswered:
            found[row.peer] = (
                f"{counted(row.unanswered, 'socket')} of {count(row.count)} in {row.state} send the same segment again"
                f" and again: {counted(row.retransmits or 0, 'segment')} sent again so far"
            )
    return found


def _waiting(evidence: Evidence) -> dict[str, list[float]]:
    """Ages of requests to others that are in flight for long, by peer, where others of its route are answered soon."""
    found: dict[str, list[float]] = {}
    for now, _ in tracelook.http(evidence, evidence.limit(TIMEOUT, "seconds")):
        soon = {
            row.key[:2] + row.key[3:]: row.p99 for row in now.rows if row.direction == "out" and row.p99 is not None
        }
        for call in now.in_flight:
            key = (call.direction, call.call, call.method, call.route, call.peer)
            if (call.seconds or 0.0) >= evidence.limit(TIMEOUT, "answer") and soon.get(key, 1e9) < 1.0:
                found.setdefault(call.peer or call.remote, []).append(call.seconds or 0.0)
    return found
