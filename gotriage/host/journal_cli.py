"""The journal by `journalctl -o json`: the fall-back where systemd-python is not installed. Bounded runs, no shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gotriage.errors import MissingFacility, NotPermitted
from gotriage.host import tools
from gotriage.host.journal_entry import FIELDS, from_json
from gotriage.host.journal_files import journal_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.host import Host
    from gotriage.host.journal import Found, Match, Place

MAX_BYTES = 8 * 1024 * 1024
"""Longest output of one run, about 10,000 entries; the next look goes on behind it."""
TIMEOUT = 10.0


class CommandReader:
    """The journal by runs of journalctl(1); raises MissingFacility when there is none."""

    backend = "journalctl -o json"

    def __init__(self, host: Host, place: Place, match: Match, start_us: int) -> None:
        """`start_us`: where `more` begins while nothing has matched yet."""
        if tools.find("journalctl") is None:
            raise MissingFacility("journalctl is not installed")
        self._host, self._place = host, place
        self._start_us = start_us
        self.with_cursors = True
        self._cursor = ""
        self._seen: object = None
        terms: list[str] = []
        for alternative in match:
            terms += [*(["+"] if terms else []), *alternative]
        self._terms = terms

    def _words(self, *options: str) -> list[str]:
        """The command line; every match is FIELD=value, so none reads as an option."""
        words = ["journalctl", "--no-pager", "--quiet", *options]
        if self._place.namespace:
            words.append(f"--directory={self._place.folders[0]}")
        elif self._host.root_pid is not None:
            words.append(f"--root={self._host.view}")
        return words

    def _run(self, *options: str) -> Iterator[Found]:
        words = self._words("--output=json", "--all", f"--output-fields={','.join(FIELDS)}", *options)
        result = tools.run([*words, *self._terms], timeout=TIMEOUT, limit=MAX_BYTES)
        if result.status > 0 and not result.out:
            if "ermission" in result.err:
                raise NotPermitted(f"journalctl: {result.err.strip()[:200]}")
            if "ailed to" in result.err:
                raise MissingFacility(f"journalctl: {result.err.strip()[:200]}")
        whole, _, _ = result.out.rpartition(b"\n")
        for line in whole.split(b"\n"):
            try:
                yield from_json(msgspec.json.decode(line))
            except (msgspec.DecodeError, ValueError, TypeError, AttributeError):
                continue

    def newest(self, count: int) -> Iterator[Found]:
        """See JournalReader."""
        yield from self._forward(f"--lines={count}")

    def more(self, count: int) -> Iterator[Found]:
        """See JournalReader. Runs journalctl only when a journal file has changed since."""
        changed = [(file.path, file.size, file.modified_ns) for file in journal_files(self._host, self._place)]
        if changed == self._seen:
            return
        where = f"--after-cursor={self._cursor}" if self._cursor else f"--since=@{self._start_us / 1e6:.6f}"
        for given, found in enumerate(self._forward(where), 1):
            yield found
            if given >= count:
                return
        self._seen = changed

    def _forward(self, *options: str) -> Iterator[Found]:
        for found in self._run(*options):
            self._cursor = found[2]
            yield found

    def between(self, since_us: int | None, until_us: int | None, count: int) -> Iterator[Found]:
        """See JournalReader."""
        options = [f"--lines={count}"]
        if since_us is not None:
            options.append(f"--since=@{since_us // 1_000_000}.{since_us % 1_000_000:06d}")
        if until_us is not None:
            options.append(f"--until=@{until_us // 1_000_000}.{until_us % 1_000_000:06d}")
        yield from self._run(*options)

    def boots(self) -> int | None:
        """See JournalReader."""
        result = tools.run(self._words("--field=_BOOT_ID"), timeout=TIMEOUT, limit=1 << 20)
        return len(result.out.split()) if result.status == 0 else None

    def close(self) -> None:
        """Nothing is held between two runs."""
