"""A host name to addresses as the target would find them, without libc: its hosts file, then its name servers."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.host import dnsask, dnswire
from gotriage.host.dnsask import Query
from gotriage.records.text import clean

if TYPE_CHECKING:
    from gotriage.host.inroot import InRoot

LIMIT: Final = 256 * 1024
SERVERS: Final = 3
"""As resolv.conf(5): MAXNS."""
USUAL: Final = ("127.0.0.1", "::1")
"""Whom package net asks where resolv.conf names nobody (net/dnsconfig.go, defaultNS)."""
SECONDS: Final = 2.5
HOSTS_FILE: Final = "its hosts file"


class Found(NamedTuple):
    """Addresses, IPv4 first; who had them, "" for an address itself; what each server said where there are none."""

    addresses: list[str]
    by: str = ""
    told: tuple[str, ...] = ()


def is_address(text: str) -> bool:
    """Whether it is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def servers(root: InRoot) -> list[str]:
    """The name servers of the root's resolv.conf."""
    words = [line for line in _lines(_text(root, "/etc/resolv.conf")) if line[0] == "nameserver" and len(line) > 1]
    return [line[1] for line in words if is_address(line[1])][:SERVERS] or list(USUAL)


def in_hosts(text: str, name: str) -> list[str]:
    """The addresses of a name in hosts(5)."""
    bare = name.rstrip(".").lower()
    lines = (line for line in _lines(text) if bare in (word.lower() for word in line[1:]))
    return [line[0] for line in lines if is_address(line[0])]


def look_up(root: InRoot, net: str, name: str) -> Found:
    """Files first, then every server; an address is its own.

    The search list is not used: the name is meant as it stands. Raises OSError, NotPermitted, TimeoutError.
    """
    if is_address(name.strip("[]")):
        return Found([str(ipaddress.ip_address(name.strip("[]")))])
    if local := in_hosts(_text(root, "/etc/hosts"), name):
        return Found(local, HOSTS_FILE)
    if not dnswire.valid_name(name):
        return Found([])
    asked, bare = servers(root), f"{name.rstrip('.').lower()}."
    queries = [Query(server, bare, kind) for kind in ("A", "AAAA") for server in asked]
    found: dict[str, str] = {}
    told = []
    for query, reply in zip(queries, dnsask.ask(net, queries, SECONDS), strict=True):
        try:
            message = dnswire.parse(reply.data) if reply.seconds is not None else None
        except dnswire.BadMessage:
            message = None
        for kind, text, _ in message.answers if message is not None else []:
            if kind == query.kind and is_address(text):
                found.setdefault(text, query.server)
        answer = reply.error or (message.rcode if message is not None else "no answer")
        told.append(clean(f"{query.server} ({query.kind}): {answer}", 200))
    return Found(list(found), next(iter(found.values()), ""), () if found else tuple(told))


def addresses(root: InRoot, net: str, name: str) -> list[str]:
    """Only the addresses. Raises OSError, NotPermitted, TimeoutError."""
    return look_up(root, net, name).addresses


def _text(root: InRoot, path: str) -> str:
    try:
        return root.read(path, LIMIT).decode("utf-8", "replace")
    except OSError:
        return ""


def _lines(text: str) -> list[list[str]]:
    return [words for line in text.split("\n") if (words := line.partition("#")[0].split())]
