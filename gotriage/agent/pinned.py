"""The target in a thread of its own: resolved once, then kept up to date; nothing waits for a manager that hangs."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gotriage.agent.beat import following
from gotriage.agent.gaps import Gaps, gap_of
from gotriage.agent.output import Closed
from gotriage.errors import EXIT_NOT_INSPECTED, GotriageError
from gotriage.host import clock
from gotriage.records.stream import CollectorState, End, Gap
from gotriage.records.text import clean
from gotriage.target.model import CORE_DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable

    from gotriage.agent.output import Output
    from gotriage.host import Host
    from gotriage.records.target import TargetSpec, TargetState
    from gotriage.target.by_core import CoreFiles
    from gotriage.target.model import Target

EVERY = 1.0
"""Seconds between two looks at who the target is."""
DEADLINE = 10.0
"""Seconds after which resolving the target counts as hung; D-Bus and the engines have shorter ones of their own."""


class Pinned:
    """Resolves and refreshes the target; writes TargetState and Events.

    Attributes:
        ended: the stream's End when the target cannot be attached at all.
        news: becomes readable when there is something for the main thread.
    """

    def __init__(
        self,
        spec: TargetSpec,
        host: Host,
        output: Output,
        attached: Callable[[Target], None],
        moved: Callable[[], None],
        files: CoreFiles | None = None,
    ) -> None:
        self._spec, self._host, self._output, self._files = spec, host, output, files
        self._deadline = CORE_DEADLINE if spec.kind == "core" else DEADLINE
        self._attached, self._moved = attached, moved
        self._gaps = Gaps(output.write)
        self._stop = threading.Event()
        self._begun: float | None = None
        self._late = False
        self._state: TargetState | None = None
        self._took: float | None = None
        self.ended: End | None = None
        self.news, self._tell = os.pipe()
        os.set_blocking(self._tell, False)

    def start(self) -> None:
        """Begin. Without a thread to be had (limit of processes) the target is resolved here, once."""
        try:
            threading.Thread(target=self._run, name="target", daemon=True).start()
        except RuntimeError as error:
            self._gaps.put(gap_of("target", error, "restarts of the target are not noticed"))
            self._resolve()

    def stop(self) -> None:
        """No more looks."""
        self._stop.set()

    def state(self) -> CollectorState:
        """For the heartbeat; notices a manager that does not answer."""
        begun = self._begun
        if begun is not None and not self._late and not self._output.stalled:
            self._late = clock.monotonic() - begun > self._deadline
            if self._late:
                reason = f"who {self._spec} is: no answer within {self._deadline:g} s"
                self._output.write(Gap(at=clock.now(), source="target", reason=reason))
        last = self._state.at if self._state is not None else None
        late = self._late and begun is not None
        return CollectorState(last=last, took=self._took, state="late" if late else "ok" if last else "waiting")

    def _run(self) -> None:
        try:
            target = self._resolve()
            if target is None:
                return
            while not self._stop.wait(following(now := clock.monotonic(), EVERY, 0) - now):
                self._timed(lambda: self._refresh(target))
        except Closed:
            return

    def _timed(self, work: Callable[[], None]) -> None:
        """Run `work`; what it raises is a gap of the target, and a late answer closes the gap of being late."""
        self._begun = begun = clock.monotonic()
        problem: Exception | None = None
        try:
            work()
        except Closed:
            raise
        except Exception as error:  # supervised boundary: a failing manager ends neither the stream nor the sources
            problem = error
        self._begun = None
        self._took = round(clock.monotonic() - begun, 4)
        if self._late:
            self._late = False
            self._output.write(Gap(at=clock.now(), source="target", closed=True))
            self._gaps.again("target")
        if problem is not None:
            self._gaps.only(gap_of("target", problem))
        else:
            self._gaps.begin()
            self._gaps.end()

    def _resolve(self) -> Target | None:
        """The target, or None and an End that says why not."""
        from gotriage.target.model import Target

        if self._spec.kind == "none":
            target = Target(spec=self._spec, host=self._host)
            self._attached(target)
            return None
        from gotriage.target.resolve import resolve

        found: list[Target] = []

        def attach() -> None:
            try:
                found.append(resolve(self._spec, self._host, self._files))
                self._write_state(found[0])
            except GotriageError as error:
                self._refuse(str(error), error.exit_code)
            except OSError as error:
                self._refuse(f"{self._spec}: {error.strerror or error}", EXIT_NOT_INSPECTED)

        self._timed(attach)
        if not found or self.ended is not None:
            if self.ended is None:
                self._refuse(f"{self._spec}: it could not be resolved", EXIT_NOT_INSPECTED)
            return None
        self._attached(found[0])
        return found[0]

    def _refuse(self, reason: str, code: int) -> None:
        self.ended = End(at=clock.now(), reason=clean(reason, 2000), exit_code=code)
        self.tell()

    def tell(self) -> None:
        """Wake the main thread."""
        with suppress(BlockingIOError):
            os.write(self._tell, b"!")

    def _refresh(self, target: Target) -> None:
        from gotriage.target.resolve import refresh

        generation, pid = target.generation, target.pid
        for event in refresh(target):
            self._output.write(event)
        self._write_state(target)
        if (target.generation, target.pid) != (generation, pid):
            self._moved()

    def _write_state(self, target: Target) -> None:
        from gotriage.target.state import state_of

        state = state_of(target)
        if self._state is None or replace(state, at=self._state.at) != self._state:
            self._output.write(state)
        self._state = state
