"""From the stream into the session: the only worker of the screens.

A thread polls the link; what it gets is fed to the session in the event loop's thread, in batches, ten times a
second at most, and the record types that came are announced with one message a batch.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from textual.message import Message

from gotriage.host import clock
from gotriage.records.stream import Gap
from gotriage.records.target import Event
from gotriage.ui.tab import WARM_UP

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection

    from textual.app import App

    from gotriage.records import Record
    from gotriage.session.link import Link
    from gotriage.ui.front import Front

EVERY = 0.1
"""Seconds between two batches at least."""
SLICE = 0.02
"""Seconds that one batch may keep the event loop; the rest waits for the next turn."""
BACKLOG = 20_000
"""Records that may wait; the thread stops polling while there are more, which the agent notices as a full pipe."""
GATHER = 0.12
"""Seconds that the thread waits, once records trickle, for those of the same beat: one batch a beat is one repaint."""
FEW = 64
"""Records of one poll that are a trickle; more are a flood, and nobody waits for it to grow."""
POLL = 1.0


class Arrived(Message):
    """Records of these types have entered the session."""

    def __init__(self, *kinds: type[Record]) -> None:
        super().__init__()
        self.kinds = kinds


class StreamEnded(Message):
    """Nothing more will come; `reason` is one line, "" when it was closed on purpose."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class Bridge:
    """Carries records from a link to a session. `start` in the event loop's thread, `stop` any time."""

    def __init__(self, app: App[int], front: Front, link: Link) -> None:
        self._app = app
        self._front = front
        self._link = link
        self._waiting: deque[Record] = deque()
        self._stop = threading.Event()
        self._due = False
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._born = clock.monotonic()
        self._last = 0.0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to poll. A daemon thread: quitting never waits for an agent that hangs."""
        self._loop = loop
        threading.Thread(target=self._poll, name="bridge", daemon=True).start()

    def stop(self) -> None:
        """Stop polling; what waits is dropped."""
        self._stop.set()

    # -- in the thread

    def _poll(self) -> None:
        reason = ""
        try:
            while not self._stop.is_set():
                if len(self._waiting) > BACKLOG:
                    self._stop.wait(EVERY)
                    continue
                records = self._link.poll(POLL)
                if records is None:
                    break
                if records:
                    self._waiting.extend(records)
                    if len(records) < FEW and clock.monotonic() - self._born > WARM_UP:
                        self._stop.wait(GATHER)
                        self._waiting.extend(self._link.poll(0) or ())
                    self._wake()
        except (
            Exception
        ) as error:  # supervised boundary: whatever the link raises ends the stream with a line, not the app
            reason = str(error) or type(error).__name__
        if not self._stop.is_set():
            self._call(lambda: self._ended(reason))

    def _wake(self) -> None:
        with self._lock:
            if self._due:
                return
            self._due = True
        self._call(self._plan)

    def _call(self, function: object) -> None:
        assert self._loop is not None and callable(function)
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the loop has closed: the app is gone
            self._stop.set()

    # -- in the event loop

    def _plan(self) -> None:
        assert self._loop is not None
        self._loop.call_later(max(0.0, self._last + EVERY - clock.monotonic()), self.flush)

    def flush(self) -> None:
        """Feed what waits and announce it."""
        with self._lock:
            self._due = False
        if self._stop.is_set():
            return
        begun = self._last = clock.monotonic()
        kinds = self._feed(begun + SLICE)
        if kinds:
            self._app.post_message(Arrived(*kinds))
        if self._waiting:
            self._wake()

    def _feed(self, until: float) -> Collection[type[Record]]:
        feed = self._front.session.feed
        kinds: dict[type[Record], None] = {}
        while self._waiting:
            record = self._waiting.popleft()
            feed(record)
            kinds[type(record)] = None
            self._notice(record)
            if clock.monotonic() > until:
                break
        return kinds

    def _notice(self, record: Record) -> None:
        """Trouble of the stream itself goes to the banner; an event of the agent that came back clears it."""
        if isinstance(record, Gap) and record.source == "agent":
            self._front.trouble = "" if record.closed else record.reason
        elif isinstance(record, Event) and record.what == "agent-restarted":
            self._front.trouble = ""

    def _ended(self, reason: str) -> None:
        while self._waiting:
            self._app.post_message(Arrived(*self._feed(clock.monotonic() + 1.0)))
        self._front.finished = True
        if reason:
            self._front.trouble = reason
        self._app.post_message(StreamEnded(reason))
