"""Names of users and groups where `host` looks; from files alone: a name service may hang when the network does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.host.inroot import InRoot
from gotriage.records.text import clean

if TYPE_CHECKING:
    from gotriage.host import Host

MAX_PASSWD: Final = 1024 * 1024


def parse_passwd(text: str) -> dict[int, str]:
    """Uid to name of passwd(5), or gid to name of group(5); the first line of a number counts."""
    found: dict[int, str] = {}
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) >= 3 and fields[2].isascii() and fields[2].isdigit():
            found.setdefault(int(fields[2]), clean(fields[0], 64))
    return found


def names(host: Host, path: str = "/etc/passwd") -> dict[int, str]:
    """All of them; empty when the file cannot be read. "/etc/group" gives the groups."""
    try:
        with InRoot(str(host.view)) as root:
            return parse_passwd(root.read(path, MAX_PASSWD).decode("utf-8", "replace"))
    except OSError:
        return {}
