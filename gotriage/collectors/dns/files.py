"""resolv.conf, nsswitch.conf and hosts as package net of Go reads them (net/dnsconfig_unix.go, net/nss.go, Go 1.26)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from gotriage.host.nameless import is_address
from gotriage.records.dns import HostsEntry
from gotriage.records.text import clean

LIMIT: Final = 256 * 1024
"""Bytes of each file that are read."""
MAXNS: Final = 3
"""Name servers that resolvers ask (resolv.conf(5))."""
MOST_WORDS: Final = 64
MOST_SERVERS: Final = 16
NDOTS_MAX: Final = 15
KNOWN: Final = frozenset(
    "rotate single-request single-request-reopen use-vc usevc tcp trust-ad edns0 no-reload".split()  # noqa: SIM905
)
"""Options that package net knows, besides ndots:, timeout: and attempts:. After another it leaves look-ups to
libc where it can."""
COUNTED: Final = ("ndots:", "timeout:", "attempts:")


@dataclass(slots=True)
class ResolvConf:
    """What resolv.conf says. `extra`: name servers after the third; `unknown`: what Go does not know."""

    servers: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    search: list[str] = field(default_factory=list)
    search_from: str = ""
    ndots: int = 1
    timeout: int = 5
    attempts: int = 2
    options: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def single_request(self) -> bool:
        """Whether A and AAAA are asked one after the other."""
        return "single-request" in self.options or "single-request-reopen" in self.options

    def names_for(self, name: str) -> list[str]:
        """What is asked for a name, in order: with the search list, as it is (net/dnsclient_unix.go, nameList)."""
        bare = name.rstrip(".")
        if name.endswith("."):
            return [f"{bare}."]
        with_search = [f"{bare}.{domain.rstrip('.')}." for domain in self.search]
        with_search = [one for one in with_search if len(one) <= 254]
        if bare.count(".") >= self.ndots:
            return [f"{bare}.", *with_search]
        return [*with_search, f"{bare}."]


def parse_resolv_conf(data: bytes) -> ResolvConf:
    """Any bytes; what cannot be read is left out, as Go does."""
    conf = ResolvConf()
    for raw in data.decode("utf-8", "replace").split("\n"):
        words = raw.split()[:MOST_WORDS]
        if not words or raw[:1] in ";#":
            continue
        what, rest = words[0], [clean(word, 256) for word in words[1:]]
        if what == "nameserver":
            if rest and is_address(rest[0]) and len(conf.servers) + len(conf.extra) < MOST_SERVERS:
                (conf.servers if len(conf.servers) < MAXNS else conf.extra).append(rest[0])
        elif what == "domain":
            if rest:
                conf.search, conf.search_from = rest[:1], "domain"
        elif what == "search":
            conf.search, conf.search_from = [word for word in rest if word != "."], "search"
        elif what == "options":
            for word in rest:
                _option(conf, word)
        elif what != "lookup":
            conf.unknown.append(clean(what, 40))
    return conf


def _option(conf: ResolvConf, word: str) -> None:
    conf.options.append(word)
    if word.startswith(COUNTED):
        name, _, text = word.partition(":")
        digits = re.match(r"[0-9]{1,6}", text)
        number = int(digits[0]) if digits else 0
        setattr(conf, name, min(number, NDOTS_MAX) if name == "ndots" else max(number, 1))
    elif word not in KNOWN:
        conf.unknown.append(word)


class Place(NamedTuple):
    """A source of nsswitch.conf, and whether its criteria are the standard ones."""

    name: str
    standard: bool


def parse_nsswitch(data: bytes) -> list[Place]:
    """The sources of `hosts:` (nsswitch.conf(5)); empty when there is no such line.

    Raises ValueError for one that Go would not read either.
    """
    for raw in data.decode("utf-8", "replace").split("\n"):
        line = raw.partition("#")[0].strip()
        name, colon, rest = line.partition(":")
        if colon and name.strip() == "hosts":
            return _sources(rest)
    return []


def _sources(text: str) -> list[Place]:
    found: list[Place] = []
    for word, criteria in re.findall(r"([^\s\[\]]+)|\[([^\]]*)\]", text)[:MOST_WORDS]:
        if word:
            found.append(Place(clean(word, 40), True))
        elif not found:
            raise ValueError("criteria without a source")
        else:
            found[-1] = Place(found[-1].name, _standard(criteria))
    return found


def _standard(criteria: str) -> bool:
    """Whether they say what holds anyway (net/nss.go, standardCriteria)."""
    usual = {"success": "return", "notfound": "continue", "unavail": "continue", "tryagain": "continue"}
    for word in criteria.lower().split():
        status, _, action = word.partition("=")
        if usual.get(status) != action:
            return False
    return True


def parse_hosts(data: bytes) -> list[HostsEntry]:
    """Every line with an address and a name (hosts(5))."""
    found = []
    for raw in data.decode("utf-8", "replace").split("\n"):
        words = raw.partition("#")[0].split()[:MOST_WORDS]
        if len(words) > 1 and is_address(words[0].partition("%")[0]):
            found.append(HostsEntry(clean(words[0], 80), tuple(clean(word, 256) for word in words[1:])))
    return found
