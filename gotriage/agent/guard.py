"""Takes a trace off the target when its own thread cannot: it waits for a reader of the stream who does not read.

A front that was stopped (SIGSTOP), or a terminal that nobody looks at, holds up whoever writes. A trace must not stay
attached for that: not beyond its time, and not for long at all where it costs much.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gotriage.host import clock

if TYPE_CHECKING:
    from gotriage.agent.output import Output
    from gotriage.agent.run import Run

EVERY: Final = 1.0
"""Seconds between two looks."""
UNREAD: Final = 5
"""Looks in a row at which nobody has read, after which a trace that is not light is taken off."""
OVERDUE: Final = 1.0
"""Seconds after the time at which its own thread should have taken it off."""
REASON: Final = "nobody read what it told, so it was taken off the target"


def watch(run: Run, output: Output, *, light: bool) -> None:
    """Watch over a run until its end. A thread that cannot be started is done without."""
    with suppress(RuntimeError):
        threading.Thread(target=_watch, args=(run, output, light), name="guard", daemon=True).start()


def _watch(run: Run, output: Output, light: bool) -> None:
    unread = 0
    while not run.over.wait(EVERY):
        unread = unread + 1 if output.stalled else 0
        late = clock.monotonic() > min(run.until, run.switch_at) + OVERDUE
        if unread > 1 and run.attached and (late or (unread >= UNREAD and not light)):
            run.dropped = True
            with suppress(Exception):  # its own thread undoes the rest, and says what did not work
                run.tracer.detach()
            return
