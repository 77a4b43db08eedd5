"""A name as the target would find it: its own hosts file, then its own name servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.collectors.reach.wanted import hosts_entry, is_address
from gotriage.errors import GotriageError, reason_of
from gotriage.host import dnsask, dnswire
from gotriage.host.inroot import InRoot
from gotriage.records.reach import ReachStep
from gotriage.records.text import clean

if TYPE_CHECKING:
    from gotriage.host import Host

MOST_SERVERS: Final = 3
"""As resolv.conf(5): MAXNS."""
SECONDS: Final = 2.5
BOUND: Final = 256 * 1024


def servers(host: Host, pid: int) -> list[str]:
    """The name servers of the target's resolv.conf; package net asks 127.0.0.1 and ::1 where there is none."""
    try:
        with InRoot(host.proc.path(pid, "root")) as root:
            text = root.read("/etc/resolv.conf", BOUND).decode("utf-8", "replace")
    except (GotriageError, OSError):
        text = ""
    words = [line.split() for line in text.splitlines()[:1000]]
    found = [one[1] for one in words if len(one) > 1 and one[0] == "nameserver" and is_address(one[1])]
    return found[:MOST_SERVERS] or ["127.0.0.1", "::1"]


def resolved(host: Host, pid: int, name: str) -> tuple[ReachStep, str]:
    """The name's first address, IPv4 before IPv6."""
    if is_address(name):
        return ReachStep(step="name", says=f"{name} is an address"), name
    try:
        with InRoot(host.proc.path(pid, "root")) as root:
            entry = hosts_entry(root.read("/etc/hosts", BOUND).decode("utf-8", "replace"), name)
    except (GotriageError, OSError):
        entry = ""
    if entry or name == "localhost":
        return ReachStep(step="name", says=f"{entry or '127.0.0.1'} by its hosts file"), entry or "127.0.0.1"
    if not dnswire.valid_name(name):
        return ReachStep(step="name", state="failed", says="no name that could be asked for", finding="dns-failure"), ""
    asked = servers(host, pid)
    queries = [dnsask.Query(server, name, kind) for kind in ("A", "AAAA") for server in asked]
    try:
        replies = dnsask.ask(host.proc.path(pid, "ns", "net"), queries, SECONDS)
    except (GotriageError, OSError) as error:
        return ReachStep(step="name", state="unknown", says=clean(reason_of(error), 300)), ""
    told = []
    for query, reply in zip(queries, replies, strict=True):
        try:
            message = dnswire.parse(reply.data) if reply.data else None
        except dnswire.BadMessage:
            message = None
        found = [text for kind, text, _ in message.answers if kind == query.kind] if message is not None else []
        if found and is_address(found[0]):
            return ReachStep(step="name", says=f"{found[0]} by {query.server}"), found[0]
        told.append(f"{query.server} ({query.kind}): {reply.error or (message.rcode if message else 'no answer')}")
    return (
        ReachStep(
            step="name",
            state="failed",
            says=f"{name} is not found",
            evidence=tuple(clean(text, 200) for text in told),
            fix="gotriage show dns names the traps; search domains were not tried",
            finding="dns-failure",
        ),
        "",
    )
