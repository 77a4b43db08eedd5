"""What the kernel lets the target do, as titled lists of names and values: for `show namespaces` and for its tab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.host.privilege import CAPABILITIES
from gotriage.records.capneeds import NEEDS
from gotriage.records.namespaces import Namespaces
from gotriage.render import units
from gotriage.render.sections import NO_WIDTH
from gotriage.render.text import wrap

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.records.namespaces import IdRange
    from gotriage.session.store import Session

Pairs = list[tuple[str, str]]
SECCOMP: Final = {0: "off", 1: "strict", 2: "filter"}
ALL: Final = tuple(f"CAP_{name.upper()}" for name in CAPABILITIES)
NEARLY_ALL: Final = len(ALL) - 6
"""From so many on the few that lack are named instead."""
LABEL: Final = 18
LEAST: Final = 20
"""Cells that a value keeps."""
MOST_RANGES: Final = 8
ALL_IDS: Final = 4294967295
"""Ids of the first user namespace: all but the last, which means none."""
NO_NEW_PRIVS: Final = "set: programs that it starts gain nothing by set-user-ID or file capabilities"


def sections(record: Namespaces) -> Iterator[tuple[str, Pairs]]:
    """Titles and their lists; an empty value is left out by who shows it."""
    yield "User", _user(record)
    yield "Rights", _rights(record)
    lacking = [(short(name), NEEDS[name]) for name in NEEDS if name not in record.effective]
    if lacking:
        yield f"Capabilities it lacks ({len(lacking)} of those that services ask for)", lacking


def lines(session: Session, width: int | None) -> Iterator[str]:
    """The same as plain text."""
    record = session.latest(Namespaces)
    if record is None:
        return
    for title, pairs in sections(record):
        yield title
        for label, text in pairs:
            for number, line in enumerate(wrap(text, max((width or NO_WIDTH) - LABEL - 3, LEAST)) if text else ()):
                yield f"  {'' if number else label:<{LABEL}} {line}"
        yield ""


def short(name: str) -> str:
    """CAP_NET_RAW as units and engines write it where a line is short."""
    return name.removeprefix("CAP_")


def _user(record: Namespaces) -> Pairs:
    own = next((row for row in record.rows if row.type == "user" and row.of == "main process"), None)
    made = f", made by uid {record.owner_uid}" if record.owner_uid is not None else ""
    whose = ""
    if own is not None and own.host is not None:
        whose = "the host's" if own.host else f"its own{made}: rights hold over what this namespace owns, only"
    pid = f"{record.pid}" + (f", {record.inner_pid} inside" if record.inner_pid != record.pid else "")
    return [
        ("pid", pid if record.pid is not None else ""),
        ("uid", f"{record.uid}" if record.uid is not None else ""),
        ("user namespace", whose),
        ("uid map", id_map(record.uid_map)),
        ("gid map", id_map(record.gid_map)),
        ("setgroups", "denied: no further groups can be set" if record.setgroups == "deny" else ""),
        ("PID 1", "" if record.host_initial is not False else "of a container: gotriage itself runs in one"),
    ]


def id_map(ranges: Sequence[IdRange]) -> str:
    """Ranges of ids inside and outside, a line each."""
    if any(one.inside == one.outside == 0 and one.count >= ALL_IDS for one in ranges):
        return "every id is itself"
    shown = [_range(one) for one in ranges[:MOST_RANGES]]
    if len(ranges) > MOST_RANGES:
        shown.append(f"and {len(ranges) - MOST_RANGES} more")
    return "\n".join(shown)


def _range(one: IdRange) -> str:
    if one.count == 1:
        return f"{one.inside} is {one.outside} outside"
    return f"{one.inside}-{one.inside + one.count - 1} are {one.outside}-{one.outside + one.count - 1} outside"


def _rights(record: Namespaces) -> Pairs:
    filters = f", {units.counted(record.seccomp_filters, 'filter')}" if record.seccomp_filters else ""
    refused = ": some system calls fail or end it" if record.seccomp == 2 else ""
    seccomp = f"{SECCOMP.get(record.seccomp, record.seccomp)}{filters}{refused}" if record.seccomp is not None else ""
    privs = {True: NO_NEW_PRIVS, False: "not set", None: ""}[record.no_new_privs]
    return [
        ("cgroup", record.cgroup),
        ("seccomp", seccomp),
        ("no_new_privs", privs),
        ("ports", _ports(record)),
        ("ping", _ping(record)),
        ("effective", names(record.effective)),
        ("permitted", names(record.permitted) if record.permitted != record.effective else ""),
        ("ambient", names(record.ambient) if record.ambient else ""),
        ("inheritable", names(record.inheritable) if record.inheritable else ""),
        ("bounding", names(record.bounding)),
    ]


def _ports(record: Namespaces) -> str:
    if record.port_start is None:
        why = record.unknown.get("port_start")
        return f"not measured: {why.reason}" + (f" ({why.remedy})" if why.remedy else "") if why else ""
    if record.port_start <= 1 or "CAP_NET_BIND_SERVICE" in record.effective:
        return "may listen on any"
    return f"may listen from {record.port_start} on (ip_unprivileged_port_start), not below"


def _ping(record: Namespaces) -> str:
    if len(record.ping_groups) != 2 or "CAP_NET_RAW" in record.effective:
        return ""
    low, high = record.ping_groups
    return "nobody without CAP_NET_RAW" if low > high else f"ICMP sockets for groups {low} to {high}"


def names(held: Sequence[str]) -> str:
    """A set of capabilities in few words: none, all, all but a few, or each."""
    if not held:
        return "none"
    known = [name for name in ALL if name not in held]
    if not known:
        return "all"
    if len(held) >= NEARLY_ALL:
        return "all but " + ", ".join(map(short, known))
    return ", ".join(map(short, held))
