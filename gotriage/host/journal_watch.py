"""Following the journal of one target: history first, then what comes, and how the journal itself fares."""

from __future__ import annotations

import os
from itertools import chain, islice
from typing import TYPE_CHECKING

from gotriage.host import clock
from gotriage.host.journal_entry import Converter, time_of
from gotriage.host.journal_files import journal_files, places, settings
from gotriage.records.logs import LogLines, LogSource, LogState
from gotriage.records.stream import Gap
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from gotriage.host import Host
    from gotriage.host.journal import Found, JournalReader, Match, Place
    from gotriage.host.journal_files import JournalFile
    from gotriage.records import Record
    from gotriage.records.logs import LogLine

    Opener = Callable[[Host, Place, Match, int], JournalReader]

HISTORY = 2000
"""Lines shown at attach; older ones are read on request."""
BATCH = 5000
"""Most entries of one look."""
SURVEY_EVERY = 10.0
"""Seconds between two looks at the journal's files and namespaces."""
REMEDY_VOLATILE = "mkdir -p /var/log/journal && systemctl restart systemd-journald"
REMEDY_UNREADABLE = "run with sudo, or join the group systemd-journal"
REMEDY_NONE = "Storage=persistent in /etc/systemd/journald.conf, then systemctl restart systemd-journald"
REMEDY_RATE = "LogRateLimitIntervalSec=0 in the unit, or RateLimitBurst= in /etc/systemd/journald.conf"
REMEDY_DAMAGED = "journalctl --verify names the files; journalctl --rotate starts new ones"


class JournalWatch:
    """The journal of one target by one way of reading; makes LogLines, LogState and Gap records."""

    def __init__(self, host: Host, opener: Opener, match: Match, *, sure: bool = True, cursors: bool = False) -> None:
        """Opens the host's own journal; raises MissingFacility or OSError when that way of reading does not work.

        Where it is not `sure` that the target writes to the journal, its state is told only once a line was seen.
        """
        self._host, self._opener, self._match, self._sure = host, opener, match, sure
        self._converter = Converter(cursors=cursors)
        self._start_us = self._seen_us = int(clock.now().timestamp() * 1e6)
        self._readers: dict[str, JournalReader] = {}
        self._places: dict[str, Place] = {}
        self._dropped = 0
        self._dropped_at: datetime | None = None
        self._surveyed = 0.0
        self._state: LogState | None = None
        self._gap: Gap | None = None
        self._began = False
        self._places = {place.namespace: place for place in places(host)}
        self._cursors = cursors
        self._readers[""] = self._opened(self._places[""], self._start_us)
        self.backend = self._readers[""].backend

    def _opened(self, place: Place, start_us: int) -> JournalReader:
        reader = self._opener(self._host, place, self._match, start_us)
        reader.with_cursors = reader.with_cursors or self._cursors
        return reader

    def look(self) -> Iterator[Record]:
        """What came since the last look; at first the newest lines and the state of the journal."""
        due = not self._began or clock.monotonic() - self._surveyed > SURVEY_EVERY
        if due:
            self._surveyed = clock.monotonic()
            self._find_namespaces()
        dropped = self._dropped
        lines = self._lines()
        now = clock.now()
        if lines:
            yield LogLines(at=now, rows=tuple(lines))
            due = due or not self._sure or self._dropped > dropped
            self._sure = True
        if due:
            yield from self._survey(now)
        if self._gap is not None:
            yield self._gap  # a gap that a look does not name is over

    def _lines(self) -> list[LogLine]:
        found: list[Found] = []
        for reader in self._readers.values():
            found += reader.more(BATCH) if self._began else reader.newest(HISTORY)
        self._began = True
        if len(self._readers) > 1:
            found.sort(key=_by_time)
        self._converter.add_all(found)
        if found:
            self._seen_us = max(self._seen_us, found[-1][1])
        lines = self._converter.take(int(clock.now().timestamp() * 1e6))
        for line in lines:
            if line.kind == "dropped":
                self._dropped += int(line.fields.get("N_DROPPED", "1") or 1)
                self._dropped_at = line.at
        return lines

    def _find_namespaces(self) -> None:
        """Read also the log namespaces that hold lines of the target (LogNamespace= of its unit)."""
        self._places = {place.namespace: place for place in places(self._host)}
        for name, place in self._places.items():
            if name in self._readers:
                continue
            try:
                reader = self._opened(place, self._start_us)
            except OSError:
                continue
            if not any(True for _ in reader.newest(1)):
                reader.close()
                continue
            reader.close()
            self._readers[name] = self._opened(place, self._start_us)
            if self._began:
                self._converter.add_all(self._readers[name].newest(HISTORY))

    def rematch(self, match: Match) -> None:
        """Follow something else from here on (the processes of the target have changed)."""
        if match == self._match:
            return
        self._match = match
        for name in list(self._readers):
            self._readers[name].close()
            self._readers[name] = self._opened(self._places[name], self._seen_us + 1)

    def history(self, since: datetime | None, until: datetime | None, limit: int) -> Iterator[Record]:
        """The newest `limit` entries between two times, as history batches."""
        yield from history(list(self._readers.values()), since, until, limit)

    def close(self) -> None:
        """Let go of all readers."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    # -- how the journal fares

    def _survey(self, now: datetime) -> Iterator[Record]:
        sources, oldest, unreadable = [], None, False
        for name in self._readers:
            files = list(journal_files(self._host, self._places[name], headers=True))
            source = self._source(self._places[name], files)
            unreadable = unreadable or source.state == "unreadable"
            sources.append(source)
            times = [file.oldest_us for file in files if file.oldest_us]
            if times and (oldest is None or min(times) < oldest):
                oldest = min(times)
        state = LogState(
            at=now,
            collector="journal",
            sources=tuple(sources),
            oldest=None if oldest is None else time_of(oldest),
            boots=self._boots(),
        )
        self._gap = _gap(now) if unreadable else None
        if not self._sure:
            return
        if self._state is None or (state.sources, state.boots) != (self._state.sources, self._state.boots):
            self._state = state
            yield state

    def _boots(self) -> int | None:
        if self._state is not None and self._state.boots is not None:
            return self._state.boots  # a boot of this machine cannot end while gotriage runs
        try:
            return self._readers[""].boots()
        except OSError:
            return None

    def _source(self, place: Place, files: list[JournalFile]) -> LogSource:
        """The state of one journal; the gravest first, all in the detail."""
        found = list(self._troubles(place, files))
        if self._dropped and not place.namespace:
            when = f", last at {self._dropped_at:%H:%M:%S} UTC" if self._dropped_at else ""
            found.append(("rate-limited", f"journald threw away {self._dropped} lines{when}", REMEDY_RATE))
        size = sum(file.size for file in files)
        where = " ".join(clean(folder) for folder in place.folders)
        state, _, remedy = found[0] if found else ("ok", "", "")
        return LogSource(
            name=f"journal of namespace {place.namespace}" if place.namespace else "journal",
            where=where,
            backend=self.backend,
            state=state,
            detail="; ".join(detail for _, detail, _ in found) or f"{len(files)} files, {size >> 20} MiB",
            remedy=remedy,
            dropped=None if place.namespace else self._dropped,
        )

    def _troubles(self, place: Place, files: list[JournalFile]) -> Iterator[tuple[str, str, str]]:
        if not files:
            if any(not os.access(folder, os.R_OK | os.X_OK) for folder in place.folders):
                yield "unreadable", "the journal's folder may not be read", REMEDY_UNREADABLE
            else:
                yield "none", "there are no journal files", "systemctl status systemd-journald"
        elif not any(file.readable for file in files if _is_system(file.path)):
            yield "unreadable", f"{len(files)} files, none of the system's may be read", REMEDY_UNREADABLE
        if settings(self._host, place.namespace).get("Storage", "").lower() == "none":
            yield "none", "journald keeps nothing (Storage=none); older lines may still show", REMEDY_NONE
        elif files and not any(file.persistent for file in files):
            yield "volatile", "kept in memory only, lost at the next boot (/run/log/journal)", REMEDY_VOLATILE
        damaged = [file for file in files if file.damage]
        if damaged:
            names = ", ".join(f"{clean(file.path.rpartition('/')[2], 80)}: {file.damage}" for file in damaged[:3])
            yield "damaged", f"{len(damaged)} of {len(files)} files are damaged ({names})", REMEDY_DAMAGED


def history(
    readers: list[JournalReader], since: datetime | None, until: datetime | None, limit: int
) -> Iterator[LogLines]:
    """The newest `limit` entries between two times, in batches; no more than one batch is held at a time."""
    since_us, until_us = (None if time is None else int(time.timestamp() * 1e6) for time in (since, until))
    parts = [reader.between(since_us, until_us, limit) for reader in readers]
    found = parts[0] if len(parts) == 1 else iter(sorted(chain(*parts), key=_by_time)[-limit:])
    converter, now = Converter(), clock.now()
    while (last_us := converter.add_all(islice(found, BATCH))) is not None:
        if lines := converter.take(last_us):
            yield LogLines(at=now, rows=tuple(lines), history=True)
    if lines := converter.take():
        yield LogLines(at=now, rows=tuple(lines), history=True)


def _gap(now: datetime) -> Gap:
    return Gap(
        at=now,
        source="journal.files",
        reason=f"journal files may not be read by uid {os.geteuid()}",
        lost="the lines that systemd's journal holds",
        remedy=REMEDY_UNREADABLE,
        permission=True,
    )


def _by_time(found: Found) -> int:
    return found[1]


def _is_system(path: str) -> bool:
    return path.rpartition("/")[2].startswith("system")
