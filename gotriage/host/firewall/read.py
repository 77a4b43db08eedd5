"""The rules of a network namespace, by the tools of nftables and iptables, which join that namespace and no other.

Whether there is anything to list is asked of the kernel: a dump of nftables' tables (nfnetlink, include/uapi/linux/
netfilter/nfnetlink.h and nf_tables.h), and /proc/PID/net/ip_tables_names. Without rules no tool is needed or run.
"""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gotriage.errors import AS_ROOT, GotriageError, MissingFacility, NotPermitted
from gotriage.host import tools
from gotriage.host.firewall import iptables, nft
from gotriage.host.firewall.model import Ruleset
from gotriage.host.inside import entering, in_network

if TYPE_CHECKING:
    from gotriage.host import Host

NETLINK_NETFILTER: Final = 12
GET_TABLES: Final = 10 << 8 | 1
"""NFNL_SUBSYS_NFTABLES, NFT_MSG_GETTABLE."""
NLM_F_REQUEST_DUMP: Final = 0x301
NLMSG_ERROR, NLMSG_DONE = 2, 3
LONGEST: Final = 12 * 1024 * 1024
"""Bytes of a listing: about 30,000 rules."""
SECONDS: Final = 8.0
LEGACY: Final = (("iptables", "ip_tables_names"), ("ip6tables", "ip6_tables_names"))


@dataclass(slots=True)
class Found:
    """The rules of a namespace; `lacks` is what could not be read, as (what, reason, remedy)."""

    rules: Ruleset = field(default_factory=Ruleset)
    lacks: list[tuple[str, str, str]] = field(default_factory=list)
    tables: int = 0
    """Tables of nftables and iptables together."""
    tools: list[str] = field(default_factory=list)
    """What was read, with which tool."""


def read(host: Host, pid: int | str) -> Found:
    """All rules that hold in the network namespace of a process ("self": ours). Raises NotPermitted, OSError."""
    found = Found()
    enter = entering(host, pid)
    found.tables = table_count(host, pid)
    foreign = _nftables(enter, found) if found.tables else set()
    for kind, names in LEGACY:
        listed = _names(host, pid, names)
        if listed:
            found.tables += len(listed)
            _save(enter, kind, "legacy", found)
        if ("ip6" if kind == "ip6tables" else "ip") in foreign:
            _save(enter, kind, "nft", found)
    return found


def _nftables(enter: list[str], found: Found) -> set[str]:
    """Add what nft lists; the families that iptables-nft has to list."""
    result = _run(enter, ["nft", "-j", "list", "ruleset"], found, "nftables", "apt install nftables")
    if result is None:
        return {"ip", "ip6"}
    try:
        data: Any = json.loads(result)
    except (ValueError, RecursionError):
        found.lacks.append(("nftables", "nft printed what is no JSON", ""))
        return set()
    foreign = nft.parse(data, found.rules)
    found.tools.append("nft")
    return foreign


def _save(enter: list[str], kind: str, flavour: str, found: Found) -> None:
    """Add what iptables-save lists; tables of iptables-nft take the place of what nft said of them."""
    names = [f"{kind}-{flavour}-save", f"{kind}-save"]
    name = next((name for name in names if tools.find(name)), "")
    if not name:
        found.lacks.append((kind, f"{kind}-{flavour}-save is not installed", "apt install iptables"))
        return
    result = _run(enter, [name, "-c"], found, kind, "")
    if result is None:
        return
    if flavour == "nft":
        family = "ip6" if kind == "ip6tables" else "ip"
        own = (f"{family} {table}" for table in ("filter", "nat", "mangle", "raw", "security"))
        tables = set(own)
        for key in [key for key in found.rules.chains if key[0] == "nftables" and key[1] in tables]:
            del found.rules.chains[key]
    shown = kind if flavour == "legacy" else f"{kind}-nft"
    iptables.parse(result.decode("utf-8", "replace"), shown, found.rules)
    found.tools.append(name)


def _run(enter: list[str], words: list[str], found: Found, what: str, remedy: str) -> bytes | None:
    """A tool's output from inside the namespace, None when there is none; why is added to what lacks."""
    tool = tools.find(words[0])
    if tool is None:
        found.lacks.append((what, f"{words[0]} is not installed: {what} rules are in force here", remedy))
        return None
    try:
        result = tools.run([*enter, tool, *words[1:]], timeout=SECONDS, limit=LONGEST)
    except (MissingFacility, OSError) as error:
        found.lacks.append((what, str(error), "apt install util-linux"))
        return None
    if result.timed_out or result.cut:
        found.lacks.append((what, "its rules are too many to be listed in time", ""))
        return None
    if result.status:
        said = result.err.strip().splitlines()
        found.lacks.append((what, said[-1][:200] if said else f"{words[0]}: status {result.status}", ""))
        return None
    return result.out


def _names(host: Host, pid: int | str, name: str) -> list[str]:
    """The tables that iptables-legacy has in use in the namespace."""
    try:
        return host.proc.text(pid, "net", name).split()
    except (GotriageError, OSError):
        return []


def table_count(host: Host, pid: int | str) -> int:
    """How many tables nftables has in the namespace; 0 where there is no nftables. Raises NotPermitted, OSError."""
    try:
        return int(in_network(host, pid, lambda: str(count_tables()).encode(), SECONDS))
    except OSError as error:
        if "not permitted" in str(error) or "as root" in str(error):
            raise NotPermitted(f"nftables: {error}; {AS_ROOT}") from error
        raise


def count_tables() -> int:
    """In the namespace that we are in."""
    request = struct.pack("=IHHII", 20, GET_TABLES, NLM_F_REQUEST_DUMP, 1, 0) + b"\0\0\0\0"
    try:
        link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    except OSError:
        return 0  # no nfnetlink in this kernel
    with link:
        link.settimeout(3.0)
        link.sendto(request, (0, 0))
        number = 0
        for _ in range(1000):
            data, at = link.recv(1 << 17), 0
            while at + 16 <= len(data):
                length, kind = struct.unpack_from("=IH", data, at)
                if kind == NLMSG_DONE or length < 16:
                    return number
                if kind == NLMSG_ERROR:
                    code = -struct.unpack_from("=i", data, at + 16)[0]
                    if code == 1:
                        raise NotPermitted(f"nftables: operation not permitted; {AS_ROOT}")
                    return number  # no nf_tables in this kernel
                number += 1
                at += (length + 3) & ~3
        return number
