"""Names that cannot be looked up, and why: the log, the probe "dns", and name servers that were asked on request.

dns-failure
    Two failures of one name in a minute: one may have met a restart of the server. The name server itself refusing
    (nobody listens there) or none of them answering is critical: no look-up can succeed. NXDOMAIN that the probe sees
    says nothing: a search list makes such questions in vain for every name that is found in the end.

The settings (records.dns.Dns) are no finding by themselves: they explain one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gotriage.records.dns import Dns, DnsChecks
from gotriage.records.findings import Fine
from gotriage.records.units import counted, seconds
from gotriage.rules import remedies, tracelook
from gotriage.session.logfilter import LogFilter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.dns import Trap
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence
    from gotriage.session.store import Session

ID: Final = "dns-failure"
DEFAULTS: Final = {ID: {"times": 2.0, "seconds": 60.0, "check_seconds": 300.0}}
MOST: Final = 3
"""Names that become a finding of their own."""
FAILED: Final = re.compile(
    r"\blookup ([A-Za-z0-9_.-]{1,253})(?: on \S+)?: (?:(?:read|dial|write) \S+ \S+: )?"
    r"(?:no such host|server misbehaving|Temporary failure in name resolution|no address associated|no answer from)"
)
"""The words of net.DNSError (net/net.go), and of getaddrinfo(3) behind it."""
REFUSED: Final = re.compile(
    r"\blookup [A-Za-z0-9_.-]{1,253}(?: on (\S{1,60}))?: (?:read|dial|write) \S+ \S+: (?:read: |connect: |write: )?"
    r"(?:connection refused|network is unreachable|no route to host|operation not permitted)"
)
ANY_FAILURE: Final = re.compile(r"\blookup ([A-Za-z0-9_.-]{1,253})(?: on \S+)?: ")
CONFIGURED: Final = {"loopback-server", "no-resolv-conf", "no-nameserver", "no-dns", "nss-ignored", "hosts-twice"}
"""Traps that make names fail; the others make them slow."""


def failing_names(session: Session) -> list[str]:
    """Names that the log says could not be looked up, the most frequent first: what is worth asking for."""
    found: dict[str, int] = {}
    for line in session.logs.matching(LogFilter(texts=("lookup ",)), session.moment, most=300):
        for text in (line.message, *line.fields.values()):
            if match := ANY_FAILURE.search(text[: tracelook.LONGEST_LINE]):
                found[match[1]] = found.get(match[1], 0) + 1
                break
    return sorted(found, key=lambda name: -found[name])


def checked(evidence: Evidence) -> DnsChecks | None:
    """What name servers answered within the last minutes."""
    record = evidence.current(DnsChecks)
    if record is None or (evidence.ago(record.at) or 0.0) > evidence.limit(ID, "check_seconds"):
        return None
    return record


def failures(evidence: Evidence) -> Iterator[Claim]:
    """The servers first; then a finding a name."""
    if not evidence.running:
        return
    long, least = evidence.limit(ID, "seconds"), evidence.limit(ID, "times")
    yielded = list(_servers(evidence, long, least))
    yielded += _names(evidence, long, least, alone=not yielded)
    yield from yielded or [_fine(evidence)]


def _servers(evidence: Evidence, long: float, least: float) -> Iterator[Claim]:
    """No look-up can succeed: nobody listens, or nobody answers."""
    checks = checked(evidence)
    dead = next((trap for trap in checks.traps if trap.id == "all-servers-dead"), None) if checks is not None else None
    said = tracelook.said(evidence, "lookup ", REFUSED, long)
    number = sum(lines.number for lines in said.values())
    if dead is None and number < least:
        return
    told = [f"asked by gotriage: {dead.what}: {dead.why}"] if dead is not None else []
    server = next((name for name in said if name), "")
    told += [f"{name or 'a look-up'}: {lines}" for name, lines in list(said.items())[:MOST]]
    yield evidence.finding(
        ID,
        "critical",
        dead.what if dead is not None else f"the name server {server or 'of resolv.conf'} cannot be reached",
        evidence=(*told, *settings(evidence)),
        fix=_fix(evidence, "see whether the name server runs and is reachable from there: gotriage check --reach, or"
                 f" dig @{remedies.word(server.rpartition(':')[0].strip('[]') or 'SERVER')} +tries=1 NAME"),
        view="dns",
        since=min((lines.first for lines in said.values()), default=None),
    )  # fmt: skip


def _names(evidence: Evidence, long: float, least: float, *, alone: bool) -> Iterator[Claim]:
    said = tracelook.said(evidence, "lookup ", FAILED, long)
    told = {name: [str(lines)] for name, lines in said.items() if lines.number >= least}
    for event in tracelook.events(evidence, "dns", long):
        if event.result in ("SERVFAIL", "REFUSED"):
            told.setdefault(event.what, [])
            if len(told[event.what]) < MOST:
                told[event.what].append(f"the probe saw {event.by or 'the name server'} answer {event.result}")
    checks = checked(evidence)
    for name in checks.names if checks is not None and alone else ():
        words = f"asked by gotriage: {name.result} after {counted(name.questions, 'question')}"
        if name.result in ("no such host", "server misbehaving") or (name.result != "ok" and name.name in told):
            told.setdefault(name.name, []).append(words)
        elif name.name in told:
            told[name.name].append(f"asked by gotriage it is {', '.join(name.addresses)}, by {name.by}")
    for wanted, witnesses in list(told.items())[:MOST]:
        yield evidence.finding(
            ID,
            "warning",
            f"the name {wanted} cannot be looked up",
            evidence=(*witnesses, *_answers(checks, wanted), *settings(evidence)),
            fix=_fix(evidence, f"correct the name, or the server's zone; ask: gotriage show dns {target(evidence)}"
                     f" --trace dns_checks --option name={remedies.word(wanted)}"),
            view="dns",
            subject=wanted,
            since=said[wanted].first if wanted in said else None,
        )  # fmt: skip


def _answers(checks: DnsChecks | None, name: str) -> list[str]:
    """What each server says of the name as it is."""
    rows = [row for row in checks.rows if row.wanted == name and row.type == "A"] if checks is not None else []
    return [f"{row.server}: {row.name} {row.result}" for row in rows[:4]]


def settings(evidence: Evidence) -> list[str]:
    """The settings in a line, and their traps that make names fail."""
    known = evidence.current(Dns)
    if known is None:
        return []
    resolver = {"go": "Go's own resolver", "cgo": "libc's resolver, by cgo"}.get(known.resolver, "resolver not known")
    servers = ", ".join(server.address for server in known.servers if not server.ignored)
    search = f"; search {' '.join(known.search[:6])}, ndots {known.ndots}" if known.search else ""
    return [f"{resolver}; name servers {servers}{search}", *(t.what for t in known.traps if t.id in CONFIGURED)]


def _fix(evidence: Evidence, otherwise: str) -> str:
    known = evidence.current(Dns)
    mine = [trap.fix for trap in known.traps if trap.id in CONFIGURED and trap.fix] if known is not None else []
    return "\n".join([*mine, otherwise])


def target(evidence: Evidence) -> str:
    """The words that name the target on the command line."""
    if evidence.target is None:
        return ""
    return str(evidence.target.spec)


def _fine(evidence: Evidence) -> Claim:
    checks, known = checked(evidence), evidence.current(Dns)
    if checks is not None and checks.names:
        took = max((name.seconds or 0.0 for name in checks.names), default=0.0)
        return Fine(ID, f"{counted(len(checks.names), 'name')} looked up, {seconds(took)} at most")
    if known is None:
        return evidence.unknown(ID, "dns")
    servers = sum(not server.ignored for server in known.servers)
    return Fine(ID, f"no look-up has failed, {counted(servers, 'name server')}")


# -- for dns-slow


def slow(evidence: Evidence, limit: float) -> list[str]:
    """What questions asked on request say of slow look-ups."""
    checks = checked(evidence)
    if checks is None:
        return []
    told = [
        f"asked by gotriage: {name.name} takes {seconds(name.seconds)}, {counted(name.questions, 'question')}"
        for name in checks.names
        if name.result == "ok" and (name.seconds or 0.0) >= limit
    ]
    wanted = {"dead-first-server", "aaaa-delay", "tcp-blocked"}
    return told + [f"{trap.what}: {trap.why}" for trap in checks.traps if trap.id in wanted]


def slowing(evidence: Evidence) -> list[Trap]:
    """Traps of the settings that make look-ups slow."""
    known = evidence.current(Dns)
    return [trap for trap in known.traps if trap.id not in CONFIGURED] if known is not None else []
