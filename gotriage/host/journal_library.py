"""The journal by systemd-python's base class, and its history straight from the files.

systemd-python's Reader converts every field in Python; its C base class `_Reader` gives the raw bytes and is four
times as fast.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from gotriage.errors import MissingFacility
from gotriage.host import journal_scan
from gotriage.host.journal_files import journal_files
from gotriage.host.optional import load_journal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.host import Host
    from gotriage.host.journal import Found, Match, Place

LOCAL_ONLY = 1
OS_ROOT = 16
"""SD_JOURNAL_LOCAL_ONLY and SD_JOURNAL_OS_ROOT of sd-journal.h."""


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
                entry, us, self._cursor = fields(), time(), cursor() if wanted else ""
            except OSError as error:  # a damaged object: this entry is lost, the next may be whole
                if error.errno not in (errno.EBADMSG, errno.EIO, errno.EADDRNOTAVAIL):
                    raise
                continue
            self._seen = True
            yield entry, us, self._cursor, entry.pop("MESSAGE", b"")

    def _current(self, reader: Any) -> Found:  # noqa: ANN401  a class of an untyped C extension
        entry, us, self._cursor = reader._get_all(), reader._get_realtime(), reader._get_cursor()
        self._seen = True
        return entry, us, self._cursor, entry.pop("MESSAGE", b"")

    def between(self, since_us: int | None, until_us: int | None, count: int) -> Iterator[Found]:
        """See JournalReader. From the files where they are as expected, else from where they are not by libsystemd."""
        if not self.with_cursors:
            paths = [file.path for file in journal_files(self._host, self._place) if file.readable]
            try:
                for found in journal_scan.between(paths, self._match, since_us, until_us, count):
                    since_us = found[1]
                    count -= 1
                    yield found
            except (journal_scan.Unreadable, OSError):
                yield from self._between(since_us, until_us, count)
            return
        yield from self._between(since_us, until_us, count)

    def _between(self, since_us: int | None, until_us: int | None, count: int) -> Iterator[Found]:
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
                    entry = reader._get_all()
                    yield entry, us, reader._get_cursor(), entry.pop("MESSAGE", b"")
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
