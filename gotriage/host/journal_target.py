"""What a collector does with the journal of its target, whichever way the journal is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.host.journal_scope import match_of
from gotriage.host.journal_watch import JournalWatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.host import Host
    from gotriage.host.journal_scope import Scope
    from gotriage.host.journal_watch import Opener
    from gotriage.records import Record
    from gotriage.records.stream import Request


class TargetJournal:
    """LogLines and LogState of a target from the journal; answers requests for its history."""

    def __init__(self, host: Host, target: Scope, opener: Opener) -> None:
        """Raises MissingFacility or OSError when that way of reading does not work."""
        self._host, self._target = host, target
        self._seen = self._scope()
        self._watch = JournalWatch(host, opener, match_of(host, target), sure=target.unit is not None)

    def collect(self) -> Iterator[Record]:
        """What came since the last look."""
        if self._target.kind == "pid" and self._scope() != self._seen:
            self._seen = self._scope()
            self._watch.rematch(match_of(self._host, self._target))
        yield from self._watch.look()

    def _scope(self) -> tuple[object, ...]:
        """All that the match is made of."""
        target = self._target
        return target.unit, target.user_uid, target.container_id, target.pids

    def answer(self, request: Request) -> Iterator[Record]:
        """The history that a "logs" request asks for."""
        yield from self._watch.history(request.since, request.until, request.limit)

    def close(self) -> None:
        """Let go of the journal."""
        self._watch.close()
