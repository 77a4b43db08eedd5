"""The TUI on a live target; as text where there is no terminal that could show it."""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gotriage.cli.parser import target_of
from gotriage.errors import UsageError
from gotriage.records.target import TargetSpec

if TYPE_CHECKING:
    import argparse

    from gotriage.session.link import Link
    from gotriage.session.store import Session


ATTACH = 1.5
"""Seconds to wait for the target before the first screen is drawn; usually it is known before Textual is loaded."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the screens look; `config` is the settings file that was named, or None."""

    theme: str | None = None
    color: bool = True
    config: str | None = None


def options(arguments: argparse.Namespace) -> Options:
    """The screen options of the command line and of NO_COLOR (no-color.org)."""
    color = not getattr(arguments, "no_color", False) and not os.environ.get("NO_COLOR")
    return Options(getattr(arguments, "theme", None), color, getattr(arguments, "config", None))


def terminal_problem() -> str | None:
    """Why this terminal cannot show the TUI, or None. Textual itself would draw anywhere."""
    if not (os.isatty(0) and os.isatty(1)):
        return "no terminal"
    if os.environ.get("TERM", "") in ("", "dumb"):
        return f"TERM={os.environ.get('TERM', '')} cannot show screens"
    return None


def without_screen(problem: str, session: Session, config: str | None = None) -> int:
    """The findings as text instead."""
    from gotriage.cli.check import report
    from gotriage.cli.main import complain

    complain(f"{problem}: the findings as text (gotriage check)")
    return report(session, config=config)


def run(arguments: argparse.Namespace) -> int:
    """Start the agent and the screens; without a target the picker."""
    return run_target(target_of(arguments), arguments)


def run_target(spec: TargetSpec, arguments: argparse.Namespace) -> int:
    """The same, for a target."""
    problem = terminal_problem()
    if problem is not None and spec.kind == "none":
        raise UsageError(f"{problem}, and no target: try gotriage check --pid N, --unit NAME or --container REF")
    chosen = options(arguments)
    from gotriage.agent.launcher import launch
    from gotriage.cli.gather import attach_core

    core = spec.kind == "core"

    def front(link: Link) -> int:
        if problem is not None:
            from gotriage.cli.gather import CORE_PATIENCE, PATIENCE, gather

            if core:
                attach_core(link, spec.value)
            session = gather(link, None, patience=CORE_PATIENCE if core else PATIENCE)
            return without_screen(problem, session, chosen.config)
        gc.disable()  # the screens switch it on again after the first paint: a fifth of the time until then
        from gotriage.ui.app import run as run_screens

        if core:
            attach_core(link, spec.value)
        elif spec.kind != "none":
            # A wrong target is one line and no screen; one that takes long is waited for on the screen.
            link.attach(ATTACH)
        return run_screens(link, options=chosen)

    if spec.kind == "none":
        picked = pick(spec, chosen)
        if isinstance(picked, int):
            return picked
        spec = picked
    return launch(spec, front)


MAX_CHOICE = 4096


def pick(spec: TargetSpec, chosen: Options) -> TargetSpec | int:
    """The picker, in a front of its own: what the user chose, or the exit status when it is not to go on.

    The front has given root away, so the choice comes back through a pipe, and is read as a target and nothing else.
    """
    import msgspec

    from gotriage.agent.launcher import launch

    read_end, write_end = os.pipe()
    me = os.getpid()

    def front(link: Link) -> int:
        gc.disable()  # as above
        from gotriage.ui.app import pick as show_picker

        status, choice = show_picker(link, options=chosen)
        if choice is not None:
            os.write(write_end, msgspec.json.encode(choice))
        return status

    status = launch(spec, front)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        data = pipe.read(MAX_CHOICE) if os.getpid() == me else b""
    if not data or status != 0:
        return status
    choice = msgspec.json.decode(data, type=TargetSpec)
    if choice.kind not in ("pid", "unit", "container"):
        raise UsageError(f"the picker offers no {choice.kind}")
    return msgspec.structs.replace(choice, root_pid=spec.root_pid)
