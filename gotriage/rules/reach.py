"""What a walk has stopped at, and ports that the target was told to listen on and does not.

A walk is taken on request; its cause is a finding for as long as nothing newer is known. For the other: an argument or
variable that is plainly an address to listen on ("listen", "bind"), a process that is old enough to have done so, and
no socket of it on that port, TCP or UDP. Another process may have inherited the socket: all of the target's count.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gotriage.records.environment import Environment
from gotriage.records.files import FileTable
from gotriage.records.findings import Fine
from gotriage.records.reach import Reach
from gotriage.records.units import clock, seconds
from gotriage.rules import remedies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

ID: Final = "port-not-listening"
DEFAULTS: Final = {ID: {"grace": 20.0}}
OF_STEP: Final = {"running": "not-running", "SELinux": "selinux-denied"}
_WORDS: Final = re.compile(r"[^a-z0-9]+")
_TELLING: Final = frozenset({"listen", "bind", "listening"})
_ADDRESS: Final = re.compile(r"^(?:(?:tcp|http|https|udp)://)?(\[[0-9a-fA-F:]*\]|[A-Za-z0-9.*-]*):(\d{1,5})/?$")
_NOT: Final = frozenset({"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"})
"""Variables of systemd's socket activation (sd_listen_fds(3))."""


def walked(evidence: Evidence) -> Iterator[Claim]:
    """The cause that the newest walk has found."""
    walk = evidence.current(Reach)
    cause = walk.cause if walk is not None else None
    if walk is None or cause is None or not cause.finding:
        return
    place = f"{walk.address}:{walk.port}" if walk.address else f"port {walk.port}"
    way = f"it does not reach {place}" if walk.direction == "out" else f"{place} cannot be reached"
    passed = ", ".join(row.step for row in walk.rows if row.state == "ok")
    yield evidence.finding(
        cause.finding,
        "critical",
        f"{way}: {cause.says}",
        evidence=(*cause.evidence, f"in order: {passed or 'nothing'}; asked at {clock(walk.at)}"),
        fix=cause.fix or "see what is on the way there",
        view="reach",
        subject=place,
    )


def listening(evidence: Evidence) -> Iterator[Claim]:
    """Ports that it was told to listen on."""
    given, table = evidence.current(Environment), evidence.current(FileTable)
    if given is None or table is None or table.omitted:
        return
    told = _told(given)
    if not told or (evidence.age or 0.0) < evidence.limit(ID, "grace"):
        return
    held = {
        row.local.rpartition(":")[2] for row in table.rows if row.state == "LISTEN" or row.protocol.startswith("udp")
    }
    missing = {port: source for port, source in told.items() if port not in held}
    for port, source in missing.items():
        ports = sorted({int(one) for one in held if one.isdigit()})[:10]
        yield evidence.finding(
            ID,
            "warning",
            f"nothing of it listens on port {port}, which it was told to",
            evidence=(
                f"{source}; it has run for {seconds(evidence.age)}",
                f"it listens on {', '.join(map(str, ports)) or 'no port'}",
            ),
            fix=f"see {remedies.logs(evidence)} for a failed bind (address already in use, permission denied)",
            view="files",
            subject=f"port {port}",
        )
    if not missing:
        yield Fine(ID, f"listens on {', '.join(told)} as told")


def _told(given: Environment) -> dict[str, str]:
    """Port to what names it."""
    found: dict[str, str] = {}
    flag = ""
    for place, word in enumerate(given.argv[1:200], 1):
        name, equals, value = word.partition("=")
        if word.startswith("-"):
            flag, text = ("" if equals else word), (value if equals else "")
            named = name
        else:
            named, text, flag = flag, word, ""
        if text and _TELLING & set(_WORDS.split(named.lower())):
            for part in text.split(",")[:8]:
                _add(found, part, f"argument {place}: {named.lstrip('-')}={part}")
    for name, value in given.env.items():
        if name not in _NOT and _TELLING & set(_WORDS.split(name.lower())):
            _add(found, value, f"{name}={value}")
    return found


def _add(found: dict[str, str], text: str, source: str) -> None:
    match = _ADDRESS.match(text[:300])
    if match and 0 < int(match[2]) < 65536:
        found.setdefault(str(int(match[2])), source[:200])
