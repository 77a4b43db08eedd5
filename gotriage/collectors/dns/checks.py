"""Questions to the target's name servers, from its network namespace, when somebody asks for them."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from gotriage.collectors import Meter, Over, Unavailable, check_options
from gotriage.collectors.dns import walk
from gotriage.collectors.dns.names import given_names
from gotriage.collectors.dns.settings import ASSUMED, opened_root, read_files
from gotriage.errors import GotriageError, NoSuchTarget, UsageError, reason_of
from gotriage.host import clock, dnsask, dnswire
from gotriage.host.dnsask import Query, Reply
from gotriage.records.dns import Answer, DnsChecks
from gotriage.records.text import clean
from gotriage.records.tracing import Price

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gotriage.collectors.dns.files import ResolvConf
    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.records.dns import HostsEntry
    from gotriage.target.model import Target

MOST_NAMES: Final = 4
LONGEST: Final = 5.0
"""Seconds that an answer is waited for at most; half of that by default: who takes longer counts as silent."""
USUAL: Final = 2.5
KEPT: Final = 8
"""Addresses of an answer that are kept."""
ROOT: Final = "."


class Plan:
    """What is going to be asked."""

    def __init__(self, host: Host, target: Target, options: Mapping[str, str]) -> None:
        self.names, server, self.timeout = parse_options(options)
        pid = target.pid
        if pid is None:
            raise NoSuchTarget("nothing of the target runs")
        with opened_root(host, pid) as root:
            files = read_files(root)
        self.conf: ResolvConf = files.conf
        self.hosts: list[HostsEntry] = files.hosts or []
        self.order = [place.name for place in files.places if place.name in ("files", "dns")] or ["files", "dns"]
        self.net = host.proc.path(pid, "ns", "net")
        if not self.names:
            self.names = _given(host, pid)[:MOST_NAMES] or [ROOT]
        self.servers = [server] if server else (files.conf.servers or list(ASSUMED))
        wanted = [
            (name, Query(address, asked_as, kind))
            for name in self.names
            for asked_as in (files.conf.names_for(name) if name != ROOT else [ROOT])
            for kind in (walk.ADDRESSES if name != ROOT else ("NS",))
            for address in self.servers
        ]
        self.queries, self.left_out = wanted[: dnsask.MOST], max(0, len(wanted) - dnsask.MOST)

    def words(self) -> str:
        """What is sent, and to whom."""
        about = "the root's name servers (NS)" if self.names == [ROOT] else f"{', '.join(self.names)} (A and AAAA)"
        return (
            f"sends {len(self.queries)} DNS questions about {about} to port 53 of {', '.join(self.servers)}, from the"
            " target's network namespace; by UDP, by TCP where an answer is cut"
        )


class DnsTracer:
    """One round of questions; then it is over."""

    backend = "questions by UDP and TCP"

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._plan: Plan | None = None
        self._sent = 0

    def price(self, options: Mapping[str, str]) -> Price:
        """What is sent; the target takes no part in it."""
        return Price(words=(self._planned(options).words(),))

    def start(self, options: Mapping[str, str]) -> None:
        """Only plan: the asking is done by the first look."""
        self._plan = self._planned(options)

    def _planned(self, options: Mapping[str, str]) -> Plan:
        try:
            return Plan(self._host, self._target, options)
        except OSError as error:
            raise Unavailable(f"the target's files: {reason_of(error)}", lost=True) from error

    def attach(self) -> None:
        """It runs once, and is not switched on and off."""

    def detach(self) -> None:
        """Nothing is held."""

    def collect(self) -> Iterator[Record]:
        """Ask, and tell. Raises Over; NotPermitted and OSError when the namespace cannot be entered."""
        plan = self._plan
        if plan is None:
            return
        replies = dnsask.ask(plan.net, [query for _, query in plan.queries], plan.timeout)
        rows = [_answer(name, query, reply) for (name, query), reply in zip(plan.queries, replies, strict=True)]
        cut = [place for place, row in enumerate(rows) if row.truncated]
        again = [_by_tcp(plan.queries[place][1]) for place in cut]
        self._sent = len(plan.queries) + len(again)
        by_tcp = dnsask.ask(plan.net, again, plan.timeout) if again else []
        rows += [_answer(plan.queries[p][0], q, reply) for p, q, reply in zip(cut, again, by_tcp, strict=True)]
        best = {(row.server, row.name, row.type): row for row in rows if not (row.transport == "tcp" and row.dead)}
        names = tuple(
            walk.look_up(name, plan.conf, plan.order, plan.hosts, best) for name in plan.names if name != ROOT
        )
        yield DnsChecks(
            at=clock.now(),
            rows=(*_from_hosts(plan), *rows),
            names=names,
            sent=self._sent,
            left_out=plan.left_out,
            traps=walk.traps(plan.conf, plan.hosts, rows, names),
        )
        answered = sum(not row.dead for row in rows)
        raise Over(f"{answered} of {self._sent} questions answered")

    def meter(self) -> Meter:
        """Questions sent."""
        return Meter(self._sent)

    def stop(self) -> None:
        """Nothing is held."""

    close = stop


def parse_options(options: Mapping[str, str]) -> tuple[list[str], str, float]:
    """Names, the only server to ask ("" for those of resolv.conf), seconds to wait. Raises UsageError."""
    check_options(options, "dns_checks", name="NAME,NAME", server="ADDRESS", timeout="SECONDS")
    names = [word.strip() for word in options.get("name", "").split(",") if word.strip()]
    bad = next((name for name in names if not dnswire.valid_name(name)), "")
    if bad:
        raise UsageError(f"{clean(bad, 80)!r} is no name that could be asked")
    if len(names) > MOST_NAMES:
        raise UsageError(f"{MOST_NAMES} names at once at most")
    server = options.get("server", "").strip()
    try:
        server = str(ipaddress.ip_address(server)) if server else ""
        timeout = float(options.get("timeout", USUAL))
    except ValueError:
        raise UsageError("server takes an IP address, timeout a number of seconds") from None
    if not 0.0 < timeout <= LONGEST:
        raise UsageError(f"timeout may be {LONGEST:g} seconds at most")
    return names, server, timeout


def _given(host: Host, pid: int) -> list[str]:
    """Names of its configuration; none where it may not be read."""
    try:
        return given_names(host.proc.cmdline(pid), host.proc.environ(pid))
    except (GotriageError, OSError):
        return []


def _by_tcp(query: Query) -> Query:
    return Query(query.server, query.name, query.kind, tcp=True)


def _from_hosts(plan: Plan) -> Iterator[Answer]:
    for name in plan.names:
        found = walk.in_hosts(name, plan.hosts)
        for kind in walk.ADDRESSES:
            mine = tuple(one for one in found if (":" in one) == (kind == "AAAA"))
            if mine:
                yield Answer(
                    server="hosts file", wanted=name, name=name, type=kind, transport="file", rcode="NOERROR",
                    seconds=0.0, records=len(mine), addresses=mine[:KEPT],
                )  # fmt: skip


def _answer(wanted: str, query: Query, reply: Reply) -> Answer:
    row = Answer(
        server=query.server,
        wanted=wanted,
        name=query.name,
        type=query.kind,
        transport="tcp" if query.tcp else "udp",
        error=clean(reply.error, 200),
    )
    if reply.seconds is None:
        return row
    return _told(row, query, reply)


def _told(row: Answer, query: Query, reply: Reply) -> Answer:
    """The row with what the answer says."""
    seconds = round(reply.seconds or 0.0, 4)
    try:
        message = dnswire.parse(reply.data)
    except dnswire.BadMessage as error:
        return replace(row, seconds=seconds, rcode="malformed", error=f"the answer cannot be read: {error}")
    mine = [(text, ttl) for kind, text, ttl in message.answers if kind == query.kind]
    return replace(
        row,
        seconds=seconds,
        rcode=message.rcode,
        records=len(mine),
        addresses=tuple(clean(text, 256) for text, _ in mine[:KEPT]),
        truncated=message.truncated,
        ttl=min((ttl for _, ttl in mine), default=None),
    )
