"""The shell command that shows about what a view shows, filled in for the target."""

from __future__ import annotations

import shlex
from string import Formatter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gotriage.records.target import TargetState


def values(target: TargetState | None) -> dict[str, str]:
    """What the placeholders of a command stand for; those that the target does not have are missing."""
    if target is None:
        return {}
    known = {
        "pid": str(target.pid) if target.pid is not None else "",
        "unit": target.unit or "",
        "container": (target.container_name or target.container_id or "")[:64],
        "target": " ".join(shlex.quote(word) for word in str(target.spec).split(" ")),
    }
    quoted = {name: text if name == "target" else shlex.quote(text) for name, text in known.items() if text}
    # A recording may come from anyone: what reads as an option is no name of a unit or container.
    safe = {name: text for name, text in quoted.items() if not text.startswith("-") or name == "target"}
    return safe | {"scope": "--user " if target.spec.user else ""}


def filled(command: str, target: TargetState | None) -> list[str]:
    """The commands, one a line; those that need something which this target does not have are left out."""
    known = values(target)
    lines = []
    for part in command.split("; "):
        needs = {name for _, name, _, _ in Formatter().parse(part) if name}
        if needs <= known.keys():
            lines.append(part.format(**known))
    return lines
