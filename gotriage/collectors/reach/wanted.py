"""Where a walk leads: what was asked for, and which address that is."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gotriage.collectors import check_options
from gotriage.errors import UsageError
from gotriage.host.nameless import is_address
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME: Final = re.compile(r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})$")


@dataclass(frozen=True, slots=True)
class Wanted:
    """`host` is "" for any address of the target; `port` 0 for the first that it listens on."""

    direction: str
    host: str
    port: int


def wanted_of(options: Mapping[str, str]) -> Wanted:
    """What the options ask for. Raises UsageError."""
    check_options(options, "reach", to="[HOST:]PORT", from_target="HOST:PORT")
    to, out = options.get("to", ""), options.get("from_target", "")
    if to and out:
        raise UsageError("to and from_target exclude each other")
    if out:
        host, port = parse_place(out)
        if not host:
            raise UsageError("from_target needs HOST:PORT")
        return Wanted("out", host, port)
    if not to:
        return Wanted("in", "", 0)
    return Wanted("in", *parse_place(to))


def parse_place(text: str) -> tuple[str, int]:
    """ "8080", ":8080", "10.0.0.1:8080", "[::1]:8080" or "name:8080" as host and port. Raises UsageError."""
    host, _, port = text.strip().rpartition(":")
    bare = host.strip("[]")
    if not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise UsageError(f"{clean(text, 80)!r} is no [HOST:]PORT")
    if bare and not is_address(bare) and not _NAME.match(bare):
        raise UsageError(f"{clean(bare, 80)!r} is neither an address nor a name")
    return bare, int(port)


def is_loopback(address: str) -> bool:
    """Whether it is an address of the loopback interface."""
    return is_address(address) and ipaddress.ip_address(address).is_loopback


def is_any(address: str) -> bool:
    """Whether a socket bound there takes connections to every address."""
    return address in ("*", "") or (is_address(address) and ipaddress.ip_address(address).is_unspecified)
