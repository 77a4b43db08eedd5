"""systemd's journal: what to match, and what every way of reading it offers.

The matches of a unit are those of `journalctl -u` (add_matches_for_unit and add_matches_for_user_unit of
src/shared/logs-show.c, systemd 252; `SYSTEMD_LOG_LEVEL=debug journalctl -u X` prints them).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.host.journal_entry import Entry, Message

Match = tuple[tuple[str, ...], ...]
"""Alternatives, each a set of FIELD=value that must all hold (of one field: any), as after `journalctl` with `+`."""

Found = tuple["Entry", int, str, "Message"]
"""The fields of an entry but its MESSAGE, its __REALTIME_TIMESTAMP in microseconds, its cursor, and the MESSAGE."""

COREDUMP = "MESSAGE_ID=fc2e22bc6ee647b6b90729ab34a250b1"


def unit_match(unit: str, user_uid: int | None = None) -> Match:
    """What `journalctl -u UNIT` or, with a uid, `journalctl --user-unit UNIT` of that user matches."""
    if user_uid is None:
        found: list[tuple[str, ...]] = [
            (f"_SYSTEMD_UNIT={unit}",),
            ("_PID=1", f"UNIT={unit}"),
            ("_UID=0", f"OBJECT_SYSTEMD_UNIT={unit}"),
            (COREDUMP, "_UID=0", f"COREDUMP_UNIT={unit}"),
        ]
        if unit.endswith(".slice"):
            found.append((f"_SYSTEMD_SLICE={unit}",))
        return tuple(found)
    own = f"_UID={user_uid}"
    found = [
        (f"_SYSTEMD_USER_UNIT={unit}", own),
        (f"USER_UNIT={unit}", own),
        (f"COREDUMP_USER_UNIT={unit}", own, "_UID=0"),
        (f"OBJECT_SYSTEMD_USER_UNIT={unit}", own, "_UID=0"),
    ]
    if unit.endswith(".slice"):
        found.append((f"_SYSTEMD_USER_SLICE={unit}", own))
    return tuple(found)


def process_match(pids: tuple[int, ...], boot_id: str) -> Match:
    """What these processes of this boot wrote themselves, and their core dumps."""
    boot = f"_BOOT_ID={boot_id.replace('-', '')}"
    return tuple(
        match for pid in pids for match in ((f"_PID={pid}", boot), (COREDUMP, "_UID=0", f"COREDUMP_PID={pid}", boot))
    )


def container_match(container_id: str) -> Match:
    """What docker's or podman's journald log driver wrote for the container."""
    return ((f"CONTAINER_ID_FULL={container_id}",),)


@dataclass(frozen=True, slots=True)
class Place:
    """Which journal: the host's own files, or those of one log namespace (LogNamespace= in systemd.exec(5))."""

    namespace: str = ""
    folders: tuple[str, ...] = ()
    """The namespace's folders, as openable paths."""


class JournalReader(Protocol):
    """What both ways of reading offer; a place in the journal that moves forward."""

    backend: str
    with_cursors: bool
    """Whether entries come with their cursors, which cost time; without, they are "" where that is cheaper."""

    def newest(self, count: int) -> Iterator[Found]:
        """The newest `count` matching entries, oldest first; `more` goes on behind them."""
        ...

    def more(self, count: int) -> Iterator[Found]:
        """At most `count` entries that came since."""
        ...

    def between(self, since_us: int | None, until_us: int | None, count: int) -> Iterator[Found]:
        """The newest `count` entries between two times, oldest first; the place of `more` stays."""
        ...

    def boots(self) -> int | None:
        """How many boots the journal knows of."""
        ...

    def close(self) -> None:
        """Let go."""
        ...
