"""How the target would look up a name: the decision of package net on the target's own files. Nothing is asked."""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.collectors.dns import resolver
from gotriage.collectors.dns.files import LIMIT, Place, ResolvConf, parse_hosts, parse_nsswitch, parse_resolv_conf
from gotriage.collectors.dns.names import given_names
from gotriage.collectors.dns.resolver import CHANGING, MISSING, Given
from gotriage.collectors.dns.traps import OWN, traps
from gotriage.errors import GotriageError, NotPermitted, reason_of
from gotriage.goruntime import buildinfo
from gotriage.goruntime.elf import Elf, ElfError, NotElf
from gotriage.goruntime.evidence import version_of
from gotriage.host import clock, executable
from gotriage.host.inroot import InRoot
from gotriage.records.base import Why
from gotriage.records.dns import Dns, HostsEntry, NameServer
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.target.model import Target

ASSUMED: Final = ("127.0.0.1", "::1")
"""Whom package net asks when resolv.conf names nobody (net/dnsclient_unix.go, defaultNS)."""
SHOWN_HOSTS: Final = 40
DNS_PORT: Final = 53
MDNS_ALLOW: Final = "/etc/mdns.allow"


class Files(NamedTuple):
    """The three files as read; each with the reason why not, "" when it was read."""

    conf: ResolvConf
    conf_error: str
    places: list[Place]
    places_error: str
    hosts: list[HostsEntry] | None
    hosts_error: str
    mdns_allow: bool


def read_files(root: InRoot) -> Files:
    """From the target's own root."""
    data, conf_error = _read(root, "/etc/resolv.conf")
    text, places_error = _read(root, "/etc/nsswitch.conf")
    places: list[Place] = []
    try:
        places = parse_nsswitch(text)
    except ValueError as error:
        places_error = str(error)
    hosts, hosts_error = _read(root, "/etc/hosts")
    return Files(
        parse_resolv_conf(data),
        conf_error,
        places,
        places_error,
        parse_hosts(hosts) if not hosts_error else None,
        hosts_error,
        root.exists(MDNS_ALLOW),
    )


def _read(root: InRoot, path: str) -> tuple[bytes, str]:
    try:
        return root.read(path, LIMIT), ""
    except FileNotFoundError:
        return b"", MISSING
    except OSError as error:
        return b"", clean(error.strerror or str(error), 100)


def listeners(table: str) -> set[str]:
    """Local addresses of port 53 in a text of /proc/PID/net/udp or udp6 (proc_pid_net(5))."""
    found = set()
    for line in table.splitlines()[1:]:
        address, _, port = [*line.split(), "", ""][1].partition(":")
        if port != f"{DNS_PORT:04X}" or len(address) not in (8, 32):
            continue
        try:
            words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
        except ValueError:
            continue
        family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
        found.add(socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words)))
    return found


class DnsCollector:
    """One `Dns` a look."""

    backend = "resolv.conf, nsswitch.conf, hosts"

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._go: tuple[int, int] | None = None
        self._settings: dict[str, str] | None = None
        self._settings_of: executable.Identity | None = None

    def collect(self) -> Iterator[Record]:
        """Look once."""
        pid = self._target.pid
        if pid is None:
            return
        unknown: dict[str, Why] = {}
        env: dict[str, str] = {}
        try:
            env = self._host.proc.environ(pid)
        except NotPermitted as error:
            unknown["variables"] = Why(reason_of(error), permission=True)
        with opened_root(self._host, pid) as root:
            files = read_files(root)
        given = Given(
            self._build_settings(pid), env, files.conf, files.conf_error, files.places, files.places_error,
            files.mdns_allow, self._go,
        )  # fmt: skip
        choice = resolver.choose(given)
        servers = self._servers(pid, files.conf)
        own = [entry for entry in files.hosts or () if not OWN.issuperset(entry.names)]
        conf = files.conf
        search = conf.search or self._own_domain(pid)
        yield Dns(
            at=clock.now(),
            unknown=unknown,
            pid=pid,
            resolver=choice.resolver,
            order=choice.order,
            reasons=choice.reasons,
            resolv_conf=files.conf_error,
            nsswitch_conf=files.places_error,
            hosts_file=files.hosts_error,
            servers=servers,
            search=tuple(search),
            search_from=conf.search_from or ("host name" if search else ""),
            ndots=conf.ndots,
            timeout=conf.timeout,
            attempts=conf.attempts,
            options=tuple(conf.options),
            unknown_options=tuple(given.unknown[:16]),
            nsswitch=" ".join(place.name for place in files.places),
            hosts=tuple(own[:SHOWN_HOSTS]),
            hosts_count=len(own) if files.hosts is not None else None,
            names=tuple(given_names(self._host.proc.cmdline(pid), env)),
            variables={name: clean(env[name], 256) for name in (*CHANGING, "GODEBUG") if name in env},
            traps=traps(given, choice, servers, files.hosts),
        )

    def _build_settings(self, pid: int) -> dict[str, str] | None:
        """Of the file that runs, read once a file; None for a program that has none."""
        try:
            identity = executable.identity(self._host, pid)
            if identity != self._settings_of:
                with Elf(self._host.proc.path(pid, "exe")) as elf:
                    info = buildinfo.read(elf)
                self._settings = info.settings if info is not None else None
                self._go = version_of(info.go_version) if info is not None else None
                self._settings_of = identity
        except (NotElf, ElfError, GotriageError, OSError):
            return None
        return self._settings

    def _servers(self, pid: int, conf: ResolvConf) -> tuple[NameServer, ...]:
        names = [(name, False) for name in conf.servers or ASSUMED] + [(name, True) for name in conf.extra]
        local = self._listeners(pid) if any(_is_loopback(name) for name, _ in names) else set()
        return tuple(
            NameServer(
                clean(name, 80),
                assumed=not conf.servers,
                ignored=ignored,
                listening=_listens(name, local) if _is_loopback(name) and local is not None else None,
            )
            for name, ignored in names
        )

    def _listeners(self, pid: int) -> set[str] | None:
        """None when the tables cannot be read."""
        try:
            return {one for name in ("udp", "udp6") for one in listeners(self._host.proc.text(pid, "net", name))}
        except (GotriageError, OSError):
            return None

    def _own_domain(self, pid: int) -> list[str]:
        """The domain of the host name, where the target has ours (net/dnsconfig_unix.go, dnsDefaultSearch)."""
        try:
            same = self._host.proc.link(pid, "ns", "uts") == self._host.proc.link("self", "ns", "uts")
        except GotriageError:
            return []
        domain = socket.gethostname().partition(".")[2] if same else ""
        return [domain] if domain else []

    def close(self) -> None:
        """Nothing is held."""


def opened_root(host: Host, pid: int) -> InRoot:
    """The target's root. Raises NotPermitted."""
    try:
        return InRoot(host.proc.path(pid, "root"))
    except PermissionError as error:
        raise NotPermitted("the target's root: permission denied; run gotriage as root (sudo)") from error


def _is_loopback(name: str) -> bool:
    return ipaddress.ip_address(name).is_loopback


def _listens(address: str, local: set[str]) -> bool:
    """Docker's own resolver listens on another port, to which its packets are sent by NAT: that of 127.0.0.11."""
    if address == "127.0.0.11":
        return True
    return bool({address, "0.0.0.0", "::"} & local)
