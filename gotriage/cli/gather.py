"""Look for a while: the session that `check`, `show` and `snapshot` judge, from a live agent or from a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.host import clock
from gotriage.records.stream import Heartbeat
from gotriage.session.store import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from gotriage.records import Record
    from gotriage.session.link import Link

PATIENCE = 5.0
"""Seconds that a command without `--for` looks at most; it stops earlier once every collector has looked twice."""
CORE_PATIENCE = 600.0
"""... and at a core file, which may have to be unpacked: those of large services have many gigabytes."""
SOON = 1.5
"""Seconds after which it is said that this takes longer."""
RATES_NEED = 2.2
"""Seconds until rates are there: two looks of the collectors that run once a second."""


def gather(
    link: Link,
    seconds: float | None,
    sources: Collection[str] | None = None,
    *,
    rates: bool = True,
    patience: float = PATIENCE,
) -> Session:
    """Feed a session from the link.

    For `seconds`, or until each of the `sources` (None: all) has looked, and twice where `rates` are wanted,
    but at most `patience`. Raises what the link raises when the target could not be attached.
    """
    session = Session()
    pump(link, session.feed, _enough(session, seconds, sources, rates=rates, patience=patience))
    return session


def attach_core(link: Link, name: str) -> None:
    """Wait until a core file is open, and say so when that takes long. Raises what it could not be opened for."""
    if not link.attach(SOON):
        from gotriage.cli.main import complain

        complain(f"reading {name} ... (large or compressed core files take a while; Ctrl-C ends it)")
        link.attach(CORE_PATIENCE)


def pump(link: Link, take: Callable[[Record], None], done: Callable[[], bool]) -> None:
    """Hand every record of the link to `take` until `done()` or the stream's end."""
    while not done():
        records = link.poll(0.1)
        if records is None:
            return
        for record in records:
            take(record)


def _enough(
    session: Session, seconds: float | None, sources: Collection[str] | None, *, rates: bool, patience: float
) -> Callable[[], bool]:
    begun = clock.monotonic()

    def done() -> bool:
        elapsed = clock.monotonic() - begun
        if seconds is not None:
            return elapsed >= seconds
        if elapsed >= patience:
            return True
        return elapsed >= (RATES_NEED if rates else 0.0) and all_looked(session, sources)

    return done


def all_looked(session: Session, sources: Collection[str] | None = None) -> bool:
    """Whether each source that runs has looked once, or cannot."""
    beat = session.latest(Heartbeat)
    if beat is None:
        return False
    asked = [state for name, state in beat.collectors.items() if sources is None or name in sources]
    return all(state.last is not None or state.state in ("failed", "off", "late") for state in asked)
