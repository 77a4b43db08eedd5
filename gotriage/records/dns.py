"""How the target turns names into addresses: which resolver, by which files; what name servers answer when asked."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from gotriage.records.base import Record, Row


class NameServer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A name server that the target asks.

    Attributes:
        assumed: resolv.conf names none, and resolvers ask this one then.
        ignored: it stands after the third, which resolvers leave out (MAXNS of resolv.conf(5)).
        listening: whether anything listens on UDP port 53 of a loopback address, in the target's network namespace;
            None for others, and when that could not be seen.
    """

    address: str
    assumed: bool = False
    ignored: bool = False
    listening: bool | None = None


class Trap(msgspec.Struct, frozen=True, omit_defaults=True):
    """A setting that makes look-ups slow, fail, or differ from what others see; why, and what to change."""

    id: str
    what: str
    why: str = ""
    fix: str = ""


class HostsEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of /etc/hosts."""

    address: str
    names: tuple[str, ...] = ()


class Dns(Record, frozen=True, kw_only=True, tag="dns"):
    """Read from the target's own files; nothing was asked.

    Attributes:
        resolver: "go" (package net sends the questions itself), "cgo" (getaddrinfo(3)), "" when that is not known.
        order: where names are looked up, in order: "files dns"; for cgo what nsswitch.conf says.
        reasons: how package net comes to that.
        resolv_conf: "" when it was read, else why not; so with `nsswitch_conf` and `hosts_file`.
        servers: in the order in which they are asked.
        search: domains that are put behind a name with fewer than `ndots` dots, before it is asked as it is.
        timeout: seconds for one question to one server; `attempts`: rounds through all servers.
        options: as they stand in resolv.conf; `unknown_options`: those among them that package net does not know.
        hosts: entries other than the machine's own; at most 40 of `hosts_count`.
        names: hosts that the target was given in arguments and variables.
        variables: those that change the resolver.
    """

    keep: ClassVar[int] = 60

    pid: int | None = None
    resolver: str = ""
    order: str = ""
    reasons: tuple[str, ...] = ()
    resolv_conf: str = ""
    nsswitch_conf: str = ""
    hosts_file: str = ""
    servers: tuple[NameServer, ...] = ()
    search: tuple[str, ...] = ()
    search_from: str = ""
    ndots: int = 1
    timeout: int = 5
    attempts: int = 2
    options: tuple[str, ...] = ()
    unknown_options: tuple[str, ...] = ()
    nsswitch: str = ""
    hosts: tuple[HostsEntry, ...] = ()
    hosts_count: int | None = None
    names: tuple[str, ...] = ()
    variables: dict[str, str] = {}
    traps: tuple[Trap, ...] = ()


class Answer(Row, frozen=True, kw_only=True):
    """One question to one name server, and what came back.

    Attributes:
        server: its address, or "hosts file".
        wanted: the name that it is about; `name`: as it was asked, with a domain of the search list.
        type: "A", "AAAA", "NS".
        transport: "udp", "tcp", "file".
        seconds: until the answer; None when none came.
        rcode: "NOERROR", "NXDOMAIN", "SERVFAIL" ...; "" without an answer.
        error: why there is none: "no answer in 2 s", "connection refused" ...
        records: how many of the type; `addresses`: at most 8 of them, or what the name is another name of.
        truncated: the answer did not fit into a UDP message.
        ttl: seconds that the answer may be kept.
    """

    server: str
    wanted: str
    name: str
    type: str
    transport: str = "udp"
    seconds: float | None = None
    rcode: str = ""
    error: str = ""
    records: int = 0
    addresses: tuple[str, ...] = ()
    truncated: bool = False
    ttl: int | None = None

    @property
    def dead(self) -> bool:
        """Whether nothing came back."""
        return self.seconds is None

    @property
    def answered(self) -> bool:
        """Whether it says something about the name: also that it does not exist."""
        return self.rcode in ("NOERROR", "NXDOMAIN")

    @property
    def result(self) -> str:
        """Addresses, else how many records, else the code, else why there was no answer."""
        if self.addresses:
            return ", ".join(self.addresses)
        if self.rcode == "NOERROR":
            return f"{self.records} records" if self.records else "no such record"
        return self.rcode or self.error


class NameChecked(msgspec.Struct, frozen=True, omit_defaults=True):
    """What looking one name up comes to, as the target's resolver would do it.

    Attributes:
        questions: how many are asked before the answer is there; `in_vain`: those to names of the search list or to
            servers that do not answer.
        seconds: how long that takes: servers that do not answer cost the timeout of resolv.conf each.
        result: "ok", or the error in the words of package net.
        addresses: what comes out.
        by: "hosts file", or the server.
    """

    name: str
    result: str = ""
    seconds: float | None = None
    questions: int = 0
    in_vain: int = 0
    addresses: tuple[str, ...] = ()
    by: str = ""
    asked_as: str = ""


class DnsChecks(Record, frozen=True, kw_only=True, tag="dns_checks"):
    """Questions to each name server, sent from inside the target's network namespace, on request.

    Attributes:
        names: what looking up each name comes to.
        sent: questions that were sent; `left_out`: those that would have been too many.
        traps: what only the answers show: a dead first server, answers that differ, a stale entry of the hosts file.
    """

    keep: ClassVar[int] = 20

    rows: tuple[Answer, ...] = ()
    names: tuple[NameChecked, ...] = ()
    sent: int = 0
    left_out: int = 0
    traps: tuple[Trap, ...] = ()
