"""Keep a target right: notice its end, an exec, a new main process, new children. Called once a second, and cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError
from gotriage.host import clock
from gotriage.records.target import Event
from gotriage.records.text import clean
from gotriage.target import pinning

if TYPE_CHECKING:
    from gotriage.target.model import Sighting, Target

ASK_EVERY: Final = 5.0
"""Seconds between two questions while the main process lives: the manager may name another (sd_notify MAINPID=)."""


def refresh(target: Target) -> list[Event]:
    """Look at the target again and return what happened to it, oldest first; nothing on a quiet second.

    Changes the target in place: pids, main, generation (+1 at each new main process), cgroup, reason. Events: exited,
    exec, restarted, started, note. Never raises for what the target does.
    """
    events, target.pending = target.pending, []
    if target.main is not None and not target.main.alive():
        events += _after_end(target)
    elif target.main is None:
        events += _while_down(target)
    else:
        events += _while_up(target)
    if target.main is not None and target.follower is not None:
        target.pids = target.follower.members(target) or target.pids
    return events


def event(what: str, detail: str, pid: int | None = None) -> Event:
    """An event of now."""
    return Event(at=clock.now(), what=what, detail=clean(detail, 500), pid=pid)


def _after_end(target: Target) -> list[Event]:
    assert target.main is not None
    old, ended = target.main.pid, target.main.ended()
    pinning.unpin(target)
    sighting = _asked(target)
    if sighting is not None and sighting.pid not in (None, old) and _pinned(target, sighting):
        return [event("restarted", _words(f"pid {old} -> {target.pid}", ended), target.pid)]
    target.reason = (sighting.reason if sighting else "") or ended or "the process has ended"
    return [event("exited", _words(f"pid {old}", ended, sighting.reason if sighting else ""), old)]


def _while_down(target: Target) -> list[Event]:
    again = target.ran
    sighting = _asked(target)
    if sighting is None:
        return []
    if sighting.pid is None or not _pinned(target, sighting):
        target.reason = sighting.reason or target.reason
        return []
    return [event("restarted" if again else "started", f"pid {target.pid}", target.pid)]


def _while_up(target: Target) -> list[Event]:
    assert target.main is not None
    old = target.main.pid
    seen = pinning.image(target, old)
    if seen is not None and target.image is not None and seen != target.image:
        target.image = seen
        pinning.place(target, old)
        return [event("exec", "the process runs another binary now", old)]
    target.image = seen or target.image
    if clock.monotonic() - target.asked_at < ASK_EVERY:
        return []
    sighting = _asked(target)
    if sighting is None or sighting.pid in (None, old) or not _pinned(target, sighting):
        return []
    return [event("restarted", f"pid {old} -> {target.pid}, handed over while the old one runs", target.pid)]


def _asked(target: Target) -> Sighting | None:
    """The manager's or engine's word; None where there is none for this target."""
    if target.follower is None or not target.follower.returns:
        return None
    target.asked_at = clock.monotonic()
    try:
        return target.follower.main(target)
    except (GotriageError, OSError):
        return None


def _pinned(target: Target, sighting: Sighting) -> bool:
    """Attach to the new main process; False when it has ended meanwhile or may not be seen."""
    assert sighting.pid is not None
    again = target.ran
    try:
        pinning.pin(target, sighting.pid)
    except (GotriageError, OSError, ValueError):
        return False
    if again:
        target.generation += 1
    return True


def _words(*parts: str) -> str:
    return ": ".join(part for part in parts if part)
