"""The collectors of one source, best first: which of them serves, for the target as it is now."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from gotriage.collectors import Answering, Collector, Unavailable
from gotriage.errors import UsageError
from gotriage.host import own_group

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.catalog import Source
    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.records.stream import Request
    from gotriage.target.model import Target


class Backends:
    """Runs the collector in use, or the first that serves.

    Attributes:
        name: the backend in use, as `?` shows it; "" when none serves.
    """

    def __init__(self, source: Source, host: Host, target: Target) -> None:
        self._source, self._host, self._target = source, host, target
        self._collector: Collector | None = None
        self.name = ""

    def collect(self) -> Iterator[Record]:
        """One look. Raises Unavailable when no backend serves and that is a loss; yields nothing when it is none."""
        if self._collector is not None:
            try:
                yield from self._collector.collect()
            except Unavailable:
                self.close()
            else:
                return
        yield from self._first_that_serves()

    def _first_that_serves(self) -> Iterator[Record]:
        check_room(self._source, self._host)
        problem: Unavailable | None = None
        for backend in self._source.backends:
            try:
                collector = load(backend)(self._host, self._target)
                self._collector, self.name = collector, collector.backend
                yield from collector.collect()
            except Unavailable as error:
                self.close()
                # The first backend's reason is about the real source, unless a later one says that it is a loss.
                problem = error if problem is None or error.lost else problem
            else:
                self.name = collector.backend
                return
        if problem is not None and self._is_loss(problem):
            raise problem

    def _is_loss(self, error: Unavailable) -> bool:
        """A source that speaks of what the target does not have (a PID without a unit) is off, and no loss."""
        if error.lost is not None:
            return error.lost
        return not self._source.needs or getattr(self._target, self._source.needs) is not None

    def answer(self, request: Request) -> Iterator[Record]:
        """The records that answer a request. Raises UsageError when nothing here answers it."""
        if not hasattr(self._collector, "answer"):
            raise UsageError(f"{self._source.name} has no history here")
        yield from cast("Answering", self._collector).answer(request)

    def close(self) -> None:
        """Let go of the collector in use; the next look begins with the best one again."""
        collector, self._collector, self.name = self._collector, None, ""
        if collector is not None:
            collector.close()


def check_room(source: Source, host: Host) -> None:
    """Raises Unavailable where the source's code and data would take the last memory."""
    left = own_group.room(host) if source.memory else None
    if left is not None and left < source.memory:
        raise Unavailable(
            f"it needs up to {source.memory >> 20} MB of memory, of which {left >> 20} MB are left here",
            lost=True,
            remedy="run gotriage where it may take more",
        )


def load(backend: str) -> type[Collector]:
    """The class that "module:Class" names."""
    module, _, name = backend.partition(":")
    return cast("type[Collector]", getattr(importlib.import_module(module), name))
