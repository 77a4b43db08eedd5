"""The target's lines in systemd's journal, read by systemd-python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.collectors import Unavailable
from gotriage.errors import MissingFacility, reason_of
from gotriage.host.journal_library import LibraryReader
from gotriage.host.journal_target import TargetJournal

if TYPE_CHECKING:
    from gotriage.host import Host
    from gotriage.target.model import Target


class JournalCollector(TargetJournal):
    """LogLines and LogState from the journal; answers requests for its history."""

    backend = LibraryReader.backend

    def __init__(self, host: Host, target: Target) -> None:
        """Raises Unavailable when systemd-python or the journal cannot be opened."""
        try:
            super().__init__(host, target, LibraryReader)
        except (MissingFacility, OSError) as error:
            raise Unavailable(reason_of(error)) from error
