"""Which resolver package net takes (net/conf.go of Go 1.18 to 1.26: initConfVal and lookupOrder, for Linux)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gotriage.collectors.dns.files import Place, ResolvConf

CHANGING: Final = ("LOCALDOMAIN", "RES_OPTIONS", "HOSTALIASES")
"""Variables of libc's resolver (resolver(3)); the first one counts also when it is empty."""
SINCE_1_20: Final = frozenset({"trust-ad", "edns0", "no-reload"})
"""Options of resolv.conf that package net knows from Go 1.20 on; systemd-resolved writes the first two."""
MISSING: Final = "missing"
DENIED: Final = "permission denied"
"""Reasons why a file was not read that package net takes for "there is none"."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the decision hangs on.

    Attributes:
        settings: of the build info; None for a program without.
        env: of the process at its start.
        conf: resolv.conf; `conf_error`: why it could not be read, "" when it was; so with `places` of nsswitch.conf.
        mdns_allow: /etc/mdns.allow is there.
        go: the version of Go, None when it is not known.
    """

    settings: Mapping[str, str] | None
    env: Mapping[str, str]
    conf: ResolvConf
    conf_error: str
    places: list[Place]
    places_error: str
    mdns_allow: bool = False
    go: tuple[int, int] | None = None

    @property
    def unknown(self) -> list[str]:
        """What of resolv.conf the program's Go does not know."""
        later = [word for word in self.conf.options if word in SINCE_1_20]
        return [*self.conf.unknown, *(later if self.go is not None and self.go < (1, 20) else ())]


@dataclass(frozen=True, slots=True)
class Choice:
    """resolver "go", "cgo" or ""; the order of look-up; how package net comes to it."""

    resolver: str
    order: str
    reasons: tuple[str, ...]


def choose(given: Given) -> Choice:
    """The choice for an ordinary name; what the program sets itself (net.Resolver.PreferGo) cannot be seen."""
    if given.settings is None:
        return Choice("", "", ("no build info: not known whether it was built with cgo",))
    tags = given.settings.get("-tags", "").replace(",", " ").split()
    mode = netdns(given.env.get("GODEBUG", "")) or netdns(given.settings.get("DefaultGODEBUG", ""))
    cgo = given.settings.get("CGO_ENABLED")
    if cgo is None:
        return Choice("", "", ("the build info does not say whether it was built with cgo",))
    if cgo == "0" or "netgo" in tags:
        why = "built with CGO_ENABLED=0" if cgo == "0" else "built with -tags netgo"
        ignored = ("GODEBUG=netdns=cgo is ignored: the cgo resolver is not in the program",) if mode == "cgo" else ()
        return _by_files(given, (why, *ignored), can_use_cgo=False)
    if mode == "go":
        return _by_files(given, ("GODEBUG=netdns=go",), can_use_cgo=False)
    if "netcgo" in tags or mode == "cgo":
        return _libc(given, "GODEBUG=netdns=cgo" if mode == "cgo" else "built with -tags netcgo")
    for name in CHANGING:
        if given.env.get(name) or (name == "LOCALDOMAIN" and name in given.env):
            return _libc(given, f"built with cgo, and {name} is set")
    if given.conf_error and given.conf_error not in (MISSING, DENIED):
        return _libc(given, f"built with cgo, and resolv.conf cannot be read: {given.conf_error}")
    if given.unknown:
        return _libc(given, f"built with cgo, and its Go does not know {given.unknown[0]!r} of resolv.conf")
    return _by_files(given, ("built with cgo, which nothing asks for here",), can_use_cgo=True)


def netdns(debug: str) -> str:
    """ "go" or "cgo" of a GODEBUG text, "" when it says neither; the last setting wins, "cgo+2" is "cgo"."""
    found = ""
    for part in debug.split(","):
        name, _, value = part.partition("=")
        if name.strip() == "netdns":
            found = next((word for word in value.strip().split("+") if word in ("go", "cgo")), "")
    return found


def _libc(given: Given, reason: str) -> Choice:
    order = " ".join(name for name, _ in given.places) or "files dns"
    return Choice("cgo", order, (reason,))


def _by_files(given: Given, why: tuple[str, ...], *, can_use_cgo: bool) -> Choice:
    """By the sources of nsswitch.conf; without any, files and then DNS."""
    if given.places_error and given.places_error != MISSING:
        reason = f"nsswitch.conf cannot be read: {given.places_error}"
        return _libc(given, reason) if can_use_cgo else Choice("go", "files dns", (*why, reason))
    if not given.places:
        missing = "no nsswitch.conf" if given.places_error else "nsswitch.conf says nothing of hosts"
        return Choice("go", "files dns", (*why, missing))
    order: list[str] = []
    has_dns = any(name == "dns" for name, _ in given.places)
    for name, standard in given.places:
        if name in ("files", "dns"):
            if can_use_cgo and not standard:
                return _libc(given, f"built with cgo, and nsswitch.conf has criteria behind {name!r}")
            order.append(name)
        elif can_use_cgo:
            if name.startswith("mdns") and given.mdns_allow:
                return _libc(given, "built with cgo, and there is an /etc/mdns.allow")
            if name != "myhostname" and not name.startswith("mdns"):
                return _libc(given, f"built with cgo, and Go does not know {name!r} of nsswitch.conf")
        elif not has_dns:
            order.append("dns")  # an unknown source counts as DNS where none is named
    known = list(dict.fromkeys(order)) or ["files", "dns"]
    listed = " ".join(name for name, _ in given.places)
    return Choice("go", " ".join(known), (*why, f"nsswitch.conf: hosts: {listed}"))
