"""Where local time comes from, as Go decides (initLocal of time/zoneinfo_unix.go, loadLocation of zoneinfo_read.go).

The target's files are looked at in its own root; a zone counts as found when a file stands where Go reads it and begins
as one does (tzfile(5)), when the program carries time/tzdata, or when the database of its GOROOT is there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gotriage.goruntime.surroundings import zone_folders
from gotriage.records.minimal import Condition
from gotriage.records.text import clean

if TYPE_CHECKING:
    from gotriage.collectors.minimal.program import Program
    from gotriage.host.inroot import InRoot

MAGIC: Final = b"TZif"
LONGEST: Final = 256
_POSIX: Final = re.compile(r"(?:<[^>]{1,32}>|[A-Za-z]{3,32})[+-]?\d")
"""The beginning of a rule that tzset(3) reads: a name and the hours from UTC."""
NO_ZONES: Final = 'import _ "time/tzdata" (or build with -tags timetzdata), or put tzdata into the image'


def is_zone(root: InRoot, path: str) -> bool:
    """Whether a time zone file stands there."""
    try:
        return root.read(path, 4) == MAGIC
    except OSError:
        return False


def source(root: InRoot, name: str, program: Program, env: dict[str, str]) -> str:
    """Where Go finds the zone of that name: a path, "time/tzdata in the program", or "" for nowhere."""
    for folder in zone_folders(program.go_version):
        if ".." not in name and is_zone(root, f"{folder}/{name}"):
            return f"{folder}/{name}"
    if program.zones is not None and program.zones.embedded:
        return "time/tzdata in the program"
    return _goroot(root, program, env)


def _goroot(root: InRoot, program: Program, env: dict[str, str]) -> str:
    """lib/time/zoneinfo.zip of the GOROOT: of the variable, else that of the build."""
    home = env.get("GOROOT") or (program.zones.goroot if program.zones is not None else "")
    path = f"{home}/lib/time/zoneinfo.zip"
    return path if home.startswith("/") and len(path) < LONGEST and root.exists(path) else ""


def local_zone(root: InRoot, env: dict[str, str], program: Program) -> tuple[str, Condition]:
    """The zone of local time, "UTC" where it falls back to that, and the row about it."""
    given = env.get("TZ")
    if given is None:
        return _system(root)
    name = given.removeprefix(":")[:LONGEST]
    if name in ("", "UTC"):
        return "UTC", Condition(group="time", name="local time", value=f"UTC (TZ={clean(given, 64)!r})")
    if not program.go_version:  # the C library has rules of its own
        return clean(name), Condition(group="time", name="local time", value=clean(f"TZ={given[:LONGEST]}"))
    found = is_zone(root, name) if name.startswith("/") else bool(source(root, name, program, env))
    if found:
        where = "" if name.startswith("/") else f", from {source(root, name, program, env)}"
        return clean(name), Condition(group="time", name="local time", value=clean(f"TZ={given[:LONGEST]}{where}"))
    posix = bool(_POSIX.match(name))
    detail = "Go reads no POSIX rules such as CET-1CEST: name a zone" if posix else ""
    return "UTC", Condition(
        group="time",
        name="local time",
        state="fault",
        value=clean(f"UTC: TZ={given[:LONGEST]} is not found"),
        detail=detail or "the time package falls back to UTC without a word; time.LoadLocation fails",
        fix="TZ=Europe/Berlin (a name of the database)" if posix else NO_ZONES,
    )


def _system(root: InRoot) -> tuple[str, Condition]:
    """Without TZ it is /etc/localtime, else UTC."""
    if not is_zone(root, "/etc/localtime"):
        if not _named(root):
            return "UTC", Condition(group="time", name="local time", value="UTC (no TZ, no /etc/localtime)")
        value, fix = "UTC: /etc/localtime leads to no time zone", "put tzdata into the image, or remove the link"
        return "UTC", Condition(group="time", name="local time", state="note", value=value, fix=fix)
    try:
        real = root.real("/etc/localtime")
    except OSError:
        real = "/etc/localtime"
    name = real.partition("/zoneinfo/")[2] or real
    return clean(name, LONGEST), Condition(
        group="time", name="local time", value=clean(f"/etc/localtime: {name}", LONGEST)
    )


def _named(root: InRoot) -> bool:
    """Whether there is a name /etc/localtime, if only as a link that leads nowhere."""
    try:
        return "localtime" in root.names("/etc", 10_000)
    except OSError:
        return False


def database(root: InRoot, env: dict[str, str], program: Program) -> Condition | None:
    """Whether time.LoadLocation finds zones by name; None when it is no Go program or never loads one."""
    if program.zones is None or not program.zones.loads:
        return None
    folder = next((path for path in zone_folders(program.go_version) if root.exists(path)), "")
    inside = "time/tzdata in the program" if program.zones.embedded else ""
    given = env.get("ZONEINFO", "")[:LONGEST]
    own = clean(given) if given.startswith("/") and root.exists(given) else ""
    found = own or folder or inside or _goroot(root, program, env)
    if found:
        return Condition(group="time", name="time zones", value=found)
    return Condition(
        group="time",
        name="time zones",
        state="note",
        value="none in the root, none in the program",
        detail="time.LoadLocation, which it contains, fails for every name but UTC and Local",
        fix=NO_ZONES,
    )
