"""A name as the target would find it: its own hosts file, then its own name servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.errors import GotriageError, reason_of
from gotriage.host import dnswire, nameless
from gotriage.host.inroot import InRoot
from gotriage.records.reach import ReachStep
from gotriage.records.text import clean

if TYPE_CHECKING:
    from gotriage.host import Host

NOT_FOUND = "dns-failure"


def servers(host: Host, pid: int) -> list[str]:
    """The name servers that the target asks."""
    try:
        with InRoot(host.proc.path(pid, "root")) as root:
            return nameless.servers(root)
    except (GotriageError, OSError):
        return list(nameless.USUAL)


def resolved(host: Host, pid: int, name: str) -> tuple[ReachStep, str]:
    """The name's first address, IPv4 before IPv6."""
    if nameless.is_address(name):
        return ReachStep(step="name", says=f"{name} is an address"), name
    if not dnswire.valid_name(name):
        return ReachStep(step="name", state="failed", says="no name that could be asked for", finding=NOT_FOUND), ""
    try:
        with InRoot(host.proc.path(pid, "root")) as root:
            found = nameless.look_up(root, host.proc.path(pid, "ns", "net"), name)
    except (GotriageError, OSError) as error:
        return ReachStep(step="name", state="unknown", says=clean(reason_of(error), 300)), ""
    if found.addresses:
        return ReachStep(step="name", says=f"{found.addresses[0]} by {found.by}"), found.addresses[0]
    fix = "gotriage show dns names the traps; search domains were not tried"
    failed = ReachStep(
        step="name", state="failed", says=f"{name} is not found", evidence=found.told, fix=fix, finding=NOT_FOUND
    )
    return failed, ""
