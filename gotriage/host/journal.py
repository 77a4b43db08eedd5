"""systemd's journal: what to match, and reading it by systemd-python's base class.

The matches of a unit are those of `journalctl -u` (add_matches_for_unit and add_matches_for_user_unit of
src/shared/logs-show.c, systemd 252; `SYSTEMD_LOG_LEVEL=debug journalctl -u X` prints them). systemd-python's Reader
converts every field in Python; its C base class `_Reader` gives the raw bytes and is four times as fast.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gotriage.errors import MissingFacility
from gotriage.host.optional import load_journal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.host import Host
    from gotriage.host.journal_entry import Entry

Match = tuple[tuple[str, ...], ...]
"""Alternatives, each a set of FIELD=value that must all hold (of one field: any), as after `journalctl` with `+`."""

Found = tuple["Entry", int, str]
"""An entry, its __REALTIME_TIMESTAMP in microseconds, its cursor."""

LOCAL_ONLY = 1
OS_ROOT = 16
"""SD_JOURNAL_LOCAL_ONLY and SD_JOURNAL_OS_ROOT of sd-journal.h."""

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


class LibraryReader:
    """The journal by libsystemd; raises MissingFacility when systemd-python is not there or too different."""

    backend = "systemd-python"

    def __init__(self, host: Host, place: Place, match: Match, start_us: int) -> None:
        """`start_us`: where `more` begins while nothing has matched yet."""
        module = load_journal()
        if module is None or not hasattr(module, "_Reader"):
            raise MissingFacility("systemd-python is not installed (apt install python3-systemd)")
        self._base: Any = module._Reader
        self._host, self._place, self._match = host, place, match
        self.with_cursors = False
        self._start_us = start_us
        self._cursor = ""
        self._seen = False
        self._reader: Any = self._opened()
        self._watching = self._watch()

    def _opened(self) -> Any:  # noqa: ANN401  a class of an untyped C extension
        """A reader with the matches set. Raises OSError."""
        if self._place.namespace:
            reader = self._base(0, self._place.folders[0], None)
        elif self._host.root_pid is not None:
            reader = self._base(OS_ROOT, str(self._host.view), None)
        else:
            reader = self._base(LOCAL_ONLY, None, None)
        for number, alternative in enumerate(self._match):
            if number:
                reader.add_disjunction()
            for term in alternative:
                reader.add_match(term)
        return reader

    def _watch(self) -> bool:
        """Have libsystemd notice new and removed files; False when inotify's limits are reached."""
        try:
            self._reader.fileno()
        except OSError:
            return False
        return True

    def newest(self, count: int) -> Iterator[Found]:
        """See JournalReader."""
        reader = self._reader
        reader.seek_tail()
        if not reader._previous(count):
            return
        yield self._current(reader)
        yield from self._forward(count - 1)

    def more(self, count: int) -> Iterator[Found]:
        """See JournalReader."""
        if self._watching:
            self._reader.process()
        else:
            self._reader.close()
            self._reader = self._opened()
            if self._cursor:
                self._reader.seek_cursor(self._cursor)
                self._reader._next()
        if not self._seen:
            self._reader.seek_realtime(self._start_us)
        yield from self._forward(count)

    def _forward(self, count: int) -> Iterator[Found]:
        reader = self._reader
        step, fields, time, cursor = reader._next, reader._get_all, reader._get_realtime, reader._get_cursor
        wanted = self.with_cursors or not self._watching
        while count > 0 and step():
            count -= 1
            try:
                found = fields(), time(), cursor() if wanted else ""
            except OSError as error:  # a damaged object: this entry is lost, the next may be whole
                if error.errno not in (errno.EBADMSG, errno.EIO, errno.EADDRNOTAVAIL):
                    raise
                continue
            self._seen = True
            self._cursor = found[2]
            yield found

    def _current(self, reader: Any) -> Found:  # noqa: ANN401  a class of an untyped C extension
        found = reader._get_all(), reader._get_realtime(), reader._get_cursor()
        self._seen, self._cursor = True, found[2]
        return found

    def between(self, since_us: int | None, until_us: int | None, count: int) -> Iterator[Found]:
        """See JournalReader."""
        reader = self._opened()
        try:
            if until_us is None:
                reader.seek_tail()
            else:
                reader.seek_realtime(until_us)
            if not reader._previous(count):
                return
            while True:
                us = reader._get_realtime()
                if until_us is not None and us > until_us:
                    return
                if since_us is None or us >= since_us:
                    yield reader._get_all(), us, reader._get_cursor()
                count -= 1
                if count <= 0 or not reader._next():
                    return
        finally:
            reader.close()

    def boots(self) -> int | None:
        """See JournalReader."""
        return len(self._reader.query_unique("_BOOT_ID"))

    def close(self) -> None:
        """See JournalReader."""
        self._reader.close()
