"""What firewalld keeps in its zones, over D-Bus (firewalld.dbus(5)); the rules that it makes of them are nftables'."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError
from gotriage.host.dbus import Bus
from gotriage.records.text import clean

if TYPE_CHECKING:
    from typing import Any

    from gotriage.host import Host

SOCKET: Final = "/run/dbus/system_bus_socket"
NAME: Final = "org.fedoraproject.FirewallD1"
PATH: Final = "/org/fedoraproject/FirewallD1"
MOST: Final = 16


def zones(host: Host) -> dict[str, str]:
    """Active zones and the default one: what belongs to each and what it lets in; empty when nobody answers."""
    try:
        bus = Bus(host.at(SOCKET))
    except (GotriageError, OSError):
        return {}
    try:
        default = str(bus.call(PATH, NAME, "getDefaultZone", to=NAME)[0])
        active = bus.call(PATH, f"{NAME}.zone", "getActiveZones", to=NAME)[0]
        names = list(dict.fromkeys([*active, default]))[:MOST]
        return {clean(name, 64): _words(bus, name, active.get(name, {}), default=name == default) for name in names}
    except (GotriageError, OSError, LookupError, TypeError, AttributeError):
        return {}
    finally:
        bus.close()


def _words(bus: Bus, name: str, belongs: dict[str, Any], *, default: bool) -> str:
    """ "eth0; lets in ssh, 8080/tcp"."""
    ports = bus.call(PATH, f"{NAME}.zone", "getPorts", "s", (name,), to=NAME)[0]
    services = bus.call(PATH, f"{NAME}.zone", "getServices", "s", (name,), to=NAME)[0]
    own = [str(one) for kind in ("interfaces", "sources") for one in belongs.get(kind, ())]
    let_in = [*(str(one) for one in services), *("/".join(str(part) for part in one) for one in ports)]
    whose = ", ".join(own) or ("all other interfaces" if default else "none")
    return clean(f"{whose}; lets in {', '.join(let_in) or 'nothing'}", 400)
