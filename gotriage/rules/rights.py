"""The target was refused something that takes a capability (capabilities(7)), as its log says in Go's own words.

Go tells the operation and what it was about: "listen tcp :80: bind: permission denied" (net.OpError), "chown /x:
operation not permitted" (io/fs.PathError). What the process holds is known from records.namespaces.Namespaces; where it
does hold the capability, something else refuses: a seccomp filter, a user namespace that owns too little, mandatory
access control. The log counts for five minutes, as for files (rules.access).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gotriage.records.namespaces import Namespaces
from gotriage.records.units import clock, count
from gotriage.rules import remedies
from gotriage.rules.access import ID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.logs import LogLine
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

MOST: Final = 5
LONGEST: Final = 4096
"""Signs of a log line that are looked at."""
PRIVILEGED: Final = 1024
"""Ports below need CAP_NET_BIND_SERVICE unless ip_unprivileged_port_start says otherwise (ip(7))."""
BIND: Final = "CAP_NET_BIND_SERVICE"
REFUSED: Final = ("permission denied", "operation not permitted", "cannot allocate memory")


@dataclass(frozen=True, slots=True)
class Need:
    """An operation in Go's words, the capability that it takes, and what the group of the pattern is."""

    pattern: re.Pattern[str]
    capability: str
    what: str


def _need(pattern: str, capability: str, what: str) -> Need:
    return Need(re.compile(pattern, re.IGNORECASE), capability, what)


NEEDS: Final = (
    _need(r"\blisten (?:tcp|udp)[46]? \S{0,256}?:(\d{1,5}): bind: permission denied", BIND, "listen on port"),
    _need(
        r"\b(?:listen|dial) (ip[46]?:[\w-]{1,32})\b.{0,128}?: socket: operation not permitted",
        "CAP_NET_RAW",
        "open a raw socket",
    ),
    _need(r"\b(?:l|f)?chown (/[^\s:\"']{1,1024}): operation not permitted", "CAP_CHOWN", "give away"),
    _need(r"\bf?chmod (/[^\s:\"']{1,1024}): operation not permitted", "CAP_FOWNER", "change the mode of"),
    _need(r"\b(mlock(?:all)?|lock memory)\b.{0,64}: cannot allocate memory", "CAP_IPC_LOCK", "lock memory:"),
    _need(r"\b(setrlimit)\b.{0,64}: operation not permitted", "CAP_SYS_RESOURCE", "raise a limit:"),
    _need(r"\b(set(?:res|re)?[ug]id|setgroups)\b.{0,64}: operation not permitted", "CAP_SETUID", "change its user:"),
)
"""The first that fits a line counts."""


@dataclass(slots=True)
class Refusal:
    """What was refused, and the lines that say so, the oldest first."""

    need: Need
    about: str
    lines: list[LogLine]


def capabilities(evidence: Evidence) -> Iterator[Claim]:
    """A finding for each thing that was refused."""
    record = evidence.latest(Namespaces)
    for refusal in list(_said(evidence).values())[:MOST]:
        if refusal.need.capability != BIND or _is_privileged(refusal.about, record):
            yield _finding(evidence, refusal, record)


def _said(evidence: Evidence) -> dict[tuple[str, str], Refusal]:
    found: dict[tuple[str, str], Refusal] = {}
    for words in REFUSED:
        for line in evidence.lines(words, evidence.limit(ID, "log_seconds"), most=200):
            for text in (line.message, *line.fields.values()):
                match = _first(text[:LONGEST])
                if match is not None:
                    need, about = match
                    found.setdefault((need.capability, about), Refusal(need, about, [])).lines.append(line)
                    break
    return found


def _first(text: str) -> tuple[Need, str] | None:
    for need in NEEDS:
        if match := need.pattern.search(text):
            return need, match[1]
    return None


def _is_privileged(port: str, record: Namespaces | None) -> bool:
    """Only such ports are refused for want of a capability."""
    known = record is not None and record.port_start is not None
    return int(port) < (record.port_start if known and record is not None and record.port_start else PRIVILEGED)


def _finding(evidence: Evidence, refusal: Refusal, record: Namespaces | None) -> Claim:
    need, capability = refusal.need, refusal.need.capability
    holds = record is not None and capability in record.effective
    why = f"it has {capability}, something else refuses" if holds else f"it lacks {capability}"
    if record is None:
        why = f"that takes {capability}"
    return evidence.finding(
        ID,
        "warning" if evidence.running else "critical",
        f"may not {need.what} {refusal.about}: {why}",
        evidence=(_counted(refusal.lines), *_witnesses(refusal, record, holds=holds)),
        fix=_elsewhere(record) if holds else _fix(evidence, refusal, record),
        view="namespaces",
        subject=f"port {refusal.about}" if capability == BIND else refusal.about,
        since=refusal.lines[0].at,
    )


def _counted(lines: list[LogLine]) -> str:
    times = "once" if len(lines) == 1 else f"{count(len(lines))} times"
    return f"the log says so {times}, last at {clock(max(line.at for line in lines))}"


def _witnesses(refusal: Refusal, record: Namespaces | None, *, holds: bool) -> Iterator[str]:
    """What is known of its rights."""
    if record is None:
        return
    held = f"{len(record.effective)} capabilities" if record.effective else "no capability"
    yield f"pid {record.pid} runs as uid {record.uid} with {held} in effect"
    if refusal.need.capability == BIND and record.port_start is not None:
        yield f"in its network namespace ports below {record.port_start} need one (ip_unprivileged_port_start)"
    if refusal.need.capability not in record.bounding and not holds:
        yield "it is not in its bounding set either: no program that it starts can have it"
    if record.seccomp == 2 and holds:
        yield "a seccomp filter is in force"
    if holds and any(row.type == "user" and row.host is False for row in record.rows):
        yield "its user namespace is its own: the capability holds for what that namespace owns, only"


def _elsewhere(record: Namespaces | None) -> str:
    """Where else to look for who refuses."""
    if record is not None and record.seccomp == 2:
        return "try it without the seccomp filter; see the kernel's log for SECCOMP, and for AVC or apparmor denials"
    return "see who owns what it asks for (view namespaces), and the kernel's log for AVC or apparmor denials"


def _fix(evidence: Evidence, refusal: Refusal, record: Namespaces | None) -> str:
    capability = refusal.need.capability
    short = capability.removeprefix("CAP_")
    exe = evidence.target.exe if evidence.target is not None else ""
    program = remedies.word(exe) if exe else "its executable"
    bare = f"setcap {capability.lower()}=+ep {program}, and start it again"
    if record is not None and record.no_new_privs:
        bare = f"start it with {capability} (its no_new_privs makes setcap of no use)"
    fix = remedies.keep(evidence, line=f"AmbientCapabilities={capability}", option=f"--cap-add={short}", otherwise=bare)
    return f"{fix}\nor let it listen on a port from {PRIVILEGED} on" if capability == BIND else fix
