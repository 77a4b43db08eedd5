"""Go's own account of its goroutines (`/debug/pprof/goroutine?debug=2`, SIGQUIT), to compare with ours."""

from __future__ import annotations

import re
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gotriage.goruntime import symbols

if TYPE_CHECKING:
    from gotriage.goruntime.report import Dump, Goroutine

_HEAD = re.compile(r"^goroutine (\d+)(?: gp=\S+)?(?: m=\S+)?(?: mp=\S+)? \[([^\]]*)\].*:$")
_PLACE = re.compile(r"^\t(.+):(\d+)(?: \+0x[0-9a-f]+)?(?: .*)?$")
_MAKER = re.compile(r"^created by (.+?)(?: in goroutine (\d+))?$")
_MINUTES = re.compile(r"^\d+ minutes$")

Place = tuple[str, str, int]
ELIDED = ("...", "", 0)
"""Stands for the frames in the middle of a stack of more than 100, which Go does not print."""


@dataclass
class Told:
    """One goroutine as Go tells it."""

    state: str
    locked: bool
    stack: list[Place] = field(default_factory=list)
    created_by: Place | None = None
    parent: int | None = None


def shown(function: str) -> bool:
    """Whether Go's printer shows a function."""
    return function == "panic" or symbols.shown(function)


def fetch(address: str, timeout: float = 60) -> dict[int, Told]:
    """The dump of a service that serves net/http/pprof."""
    with urllib.request.urlopen(f"http://{address}/debug/pprof/goroutine?debug=2", timeout=timeout) as answer:
        return parse(answer.read().decode())


def parse(text: str) -> dict[int, Told]:
    """Goroutines by id."""
    found: dict[int, Told] = {}
    told, waiting = None, ""
    for line in text.splitlines():
        head, place = _HEAD.match(line), _PLACE.match(line)
        if head:
            words = [word for word in head[2].split(", ") if not _MINUTES.match(word)]
            state = words[0].removesuffix(" (scan)").removesuffix(" (durable)")
            told = found[int(head[1])] = Told(state, "locked to thread" in words)
        elif not line:
            told = None
        elif told is not None and line.startswith("..."):
            told.stack.append(ELIDED)
        elif told is not None and place:
            where = (waiting, place[1], int(place[2]))
            if told.created_by is not None and told.created_by[1] == "":
                told.created_by = where
            else:
                told.stack.append(where)
        elif told is not None and (made := _MAKER.match(line)):
            waiting, told.parent = made[1], int(made[2]) if made[2] else None
            told.created_by = (waiting, "", 0)
        else:
            waiting = line[: line.rfind("(")] if line.endswith(")") else line
    return found


def ours(dump: Dump, one: Goroutine) -> Told:
    """The same of our dump, without what Go's printer leaves out."""
    frames = dump.stacks[one.stack].frames if one.stack >= 0 else ()
    maker = dump.sites[one.created_by] if one.created_by >= 0 else None
    return Told(
        state=one.wait_reason or one.state,
        locked=one.locked,
        stack=[(frame.function, frame.file, frame.line) for frame in frames if shown(frame.function)],
        created_by=(maker.function, maker.file, maker.line) if maker and shown(maker.function) else None,
        parent=one.created_by_id,
    )


def differences(dump: Dump, told: dict[int, Told], parents: bool = True) -> list[str]:
    """What is not the same, of all goroutines that both know, that stood still and were on no CPU."""
    found: list[str] = []
    mine = {one.id: one for one in dump.goroutines}
    for goid in sorted(mine.keys() & told.keys()):
        one, theirs = mine[goid], told[goid]
        if one.moved or one.state in ("running", "runnable") or theirs.state in ("running", "runnable"):
            continue
        own = ours(dump, one)
        own.stack = _elided(own.stack, theirs.stack)
        names = ["state", "locked", "stack", "created_by", *(["parent"] if parents and theirs.created_by else [])]
        found += [
            f"goroutine {goid} {name}: {getattr(own, name)} is not {getattr(theirs, name)}"
            for name in names
            if getattr(own, name) != getattr(theirs, name)
        ]
    return found


def _elided(stack: list[Place], theirs: list[Place]) -> list[Place]:
    """Our stack with what Go left out of its own left out."""
    if ELIDED not in theirs:
        return stack
    before = theirs.index(ELIDED)
    after = len(theirs) - before - 1
    return [*stack[:before], ELIDED, *stack[len(stack) - after :]]
