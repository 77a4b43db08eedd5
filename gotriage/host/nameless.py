"""A host name to addresses as the target would find them, without libc: its hosts file, then its first name server."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from gotriage.host import dnsask, dnswire
from gotriage.host.dnsask import Query

if TYPE_CHECKING:
    from gotriage.host.inroot import InRoot

LIMIT: Final = 256 * 1024
SERVERS: Final = 3
SECONDS: Final = 2.5


def addresses(root: InRoot, net: str, name: str) -> list[str]:
    """Addresses of the name, IPv4 first; an address is its own. Empty when there is none.

    The search list is not used: the name is meant as it stands. Raises OSError, NotPermitted, TimeoutError.
    """
    try:
        return [str(ipaddress.ip_address(name.strip("[]")))]
    except ValueError:
        pass
    bare = name.rstrip(".").lower()
    found = [words[0] for words in _lines(root, "/etc/hosts") if bare in (word.lower() for word in words[1:])]
    if found:
        return found
    servers = [words[1] for words in _lines(root, "/etc/resolv.conf") if words[0] == "nameserver" and len(words) > 1]
    servers = [server for server in servers if _is_address(server)][:SERVERS] or ["127.0.0.1"]
    if not dnswire.valid_name(name):
        return []
    queries = [Query(server, f"{bare}.", kind) for server in servers for kind in ("A", "AAAA")]
    for query, reply in zip(queries, dnsask.ask(net, queries, SECONDS), strict=True):
        try:
            message = dnswire.parse(reply.data) if reply.seconds is not None else None
        except dnswire.BadMessage:
            continue
        found += [text for kind, text, _ in message.answers if kind == query.kind] if message is not None else []
    return list(dict.fromkeys(found))


def _lines(root: InRoot, path: str) -> list[list[str]]:
    try:
        text = root.read(path, LIMIT).decode("utf-8", "replace")
    except OSError:
        return []
    return [words for line in text.split("\n") if (words := line.partition("#")[0].split())]


def _is_address(word: str) -> bool:
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return True
