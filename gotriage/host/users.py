"""Names of users and groups where `host` looks; from files alone: a name service may hang when the network does.

And whom a process takes itself for: by its own /etc/passwd and its own user namespace (user_namespaces(7)).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError
from gotriage.host import clock
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


MAPS: Final = ("uid_map", "gid_map")
MAX_EXTENTS: Final = 340
"""Lines of a uid_map (user_namespaces(7))."""
LASTS: Final = 300.0
"""Seconds that a passwd file is remembered."""


def inside(host: Host, pid: int, number: int, file: str = "uid_map") -> int | None:
    """What the process's user namespace calls our uid or gid; None when that is ours, or it has none for it."""
    try:
        if host.proc.shares(pid, "user"):
            return None
        return mapped(host.proc.text(pid, file), number)
    except (GotriageError, OSError):
        return None


def extents(text: str) -> list[tuple[int, int, int]]:
    """The lines of a uid_map or gid_map: first id inside, first outside, how many (user_namespaces(7))."""
    found = []
    for line in text.splitlines()[:MAX_EXTENTS]:
        words = line.split()
        if len(words) == 3 and all(word.isascii() and word.isdigit() for word in words):
            first, outside, count = map(int, words)
            found.append((first, outside, count))
    return found


def mapped(text: str, number: int) -> int | None:
    """The id inside of one outside, by such a file's text; None when it is not mapped."""
    fitting = ((first, outside) for first, outside, count in extents(text) if outside <= number < outside + count)
    return next((first + number - outside for first, outside in fitting), None)


def first_extent(host: Host, pid: int) -> str:
    """The first line of the process's uid_map as "inside:outside:count"; "" when its user namespace is ours."""
    try:
        if host.proc.shares(pid, "user"):
            return ""
        lines = host.proc.text(pid, "uid_map").splitlines()
    except (GotriageError, OSError):
        return ""
    return clean(":".join(lines[0].split()), 64) if lines else ""


class Seen:
    """Names of users as a process sees them: of its own /etc/passwd where its mounts are not the host's."""

    def __init__(self, host: Host) -> None:
        self._host, self._here = host, names(host)
        self._of: tuple[str, float, dict[int, str]] = ("", 0.0, {})

    def name(self, pid: int, number: int) -> str:
        """The name, else the number."""
        return self._known(pid).get(number, str(number))

    def _known(self, pid: int) -> dict[int, str]:
        proc = self._host.proc
        try:
            mounts = proc.link(pid, "ns", "mnt") + proc.link(pid, "root")
            if mounts == proc.link(self._host.root_pid or "self", "ns", "mnt") + "/":
                return self._here
            if mounts != self._of[0] or clock.monotonic() > self._of[1]:
                with InRoot(proc.path(pid, "root")) as root:
                    text = root.read("/etc/passwd", MAX_PASSWD).decode("utf-8", "replace")
                self._of = (mounts, clock.monotonic() + LASTS, parse_passwd(text))
        except FileNotFoundError:
            return {}  # an image without users
        except (GotriageError, OSError):
            return self._here if not self._of[0] else self._of[2]
        return self._of[2]
