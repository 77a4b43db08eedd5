"""Settings that make look-ups slow or fail, seen in the files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.collectors.dns.resolver import SINCE_1_20
from gotriage.records.dns import Trap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.collectors.dns.files import ResolvConf
    from gotriage.collectors.dns.resolver import Choice, Given
    from gotriage.records.dns import HostsEntry, NameServer

MANY_NDOTS: Final = 2
"""From here on ordinary names ("api.example.com" has two dots) go through the search list first."""
EXAMPLE: Final = "api.example.com"
OWN: Final = frozenset(
    "localhost ip6-localhost ip6-loopback ip6-localnet ip6-mcastprefix ip6-allnodes ip6-allrouters".split()  # noqa: SIM905
)
"""Names that distributions and engines put into every hosts file."""


def traps(
    given: Given, choice: Choice, servers: tuple[NameServer, ...], hosts: list[HostsEntry] | None
) -> tuple[Trap, ...]:
    """All of them, what fails before what is slow."""
    found = [*_servers(given, servers), *_order(given, choice), *_hosts(hosts)]
    if given.conf.search:
        found += _search(given.conf)
    return (*found, *_options(given, choice))


def _servers(given: Given, servers: tuple[NameServer, ...]) -> Iterator[Trap]:
    if any(server.assumed for server in servers):
        why = "resolvers then ask 127.0.0.1 and ::1, and nothing listens there as a rule"
        if given.conf_error:
            yield Trap("no-resolv-conf", f"/etc/resolv.conf: {given.conf_error}", why, "give it a resolv.conf")
        else:
            yield Trap("no-nameserver", "resolv.conf names no name server", why, "add a line: nameserver ADDRESS")
    for server in servers:
        if server.listening is False and not server.assumed:
            yield Trap(
                "loopback-server",
                f"name server {server.address}: nothing listens on its port 53 in the target's network namespace",
                "the address of a local resolver means another machine in each network namespace",
                "name the resolver's real address (docker run --dns, DNS= of resolved.conf, dnsPolicy of a pod)",
            )
    ignored = [server.address for server in servers if server.ignored]
    if ignored:
        yield Trap("ignored-servers", f"resolvers ask the first three name servers, not {', '.join(ignored)}")


def _order(given: Given, choice: Choice) -> Iterator[Trap]:
    words = choice.order.split()
    if choice.resolver == "go" and "dns" not in words:
        yield Trap("no-dns", "nsswitch.conf does not name dns: only the hosts file is looked in")
    others = [name for name, _ in given.places if name not in ("files", "dns", "myhostname")]
    if choice.resolver == "go" and others:
        yield Trap(
            "nss-ignored",
            f"{', '.join(others)} of nsswitch.conf is not asked by the resolver of Go",
            "names that only such a module knows are found by getent and not by the program",
            "GODEBUG=netdns=cgo, where the program is built with cgo",
        )


def _hosts(hosts: list[HostsEntry] | None) -> Iterator[Trap]:
    """One name with several addresses of one family: a stale line is easily among them."""
    known: dict[tuple[str, bool], list[str]] = {}
    for entry in hosts or ():
        for name in entry.names:
            if name.lower() not in OWN:
                known.setdefault((name.lower(), ":" in entry.address), []).append(entry.address)
    for (name, _), addresses in known.items():
        if len(set(addresses)) > 1:
            yield Trap(
                "hosts-twice", f"the hosts file has {name} {len(set(addresses))} times: {', '.join(addresses[:4])}"
            )


def _search(conf: ResolvConf) -> Iterator[Trap]:
    names = conf.names_for(EXAMPLE)
    in_vain = names.index(f"{EXAMPLE}.")
    if conf.ndots >= MANY_NDOTS and in_vain:
        yield Trap(
            "search-amplification",
            f"ndots:{conf.ndots} with {len(conf.search)} search domains: a name like {EXAMPLE} is asked"
            f" {in_vain} times in vain first, for A and AAAA: {2 * len(names[: in_vain + 1])} questions instead of 2",
            "a name with fewer dots than ndots goes through the search list before it is asked as it is",
            f'end names with a dot ("{EXAMPLE}."), or set options ndots:1',
        )


def _options(given: Given, choice: Choice) -> Iterator[Trap]:
    conf, unknown = given.conf, [word for word in given.unknown if word not in SINCE_1_20]
    if unknown and choice.resolver == "go":
        yield Trap("unknown-option", f"the resolver of Go does not know {', '.join(unknown[:4])} of resolv.conf")
    if conf.single_request:
        yield Trap("single-request", "single-request: A and AAAA are asked one after the other: two round trips a name")
    if conf.timeout * conf.attempts >= 20:
        yield Trap(
            "long-timeout",
            f"timeout:{conf.timeout} attempts:{conf.attempts}: a server that does not answer holds a look-up for"
            f" {conf.timeout * conf.attempts} s",
            fix="options timeout:2 attempts:2",
        )
