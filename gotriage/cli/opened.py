"""`gotriage open FILE`: the TUI on a snapshot or recording; as text where there is no terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gotriage.cli.source import from_file
from gotriage.host import privilege

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> int:
    """Open the file on the usual screens. Root's rights are given away first: a recording needs none."""
    return open_recording(arguments.file, arguments)


def open_recording(path: str, arguments: argparse.Namespace) -> int:
    """Show the recording at `path`."""
    from gotriage.cli.tui import options, terminal_problem, without_screen

    session = from_file(path)
    problem = terminal_problem()
    if problem is not None:
        return without_screen(problem, session, getattr(arguments, "config", None))
    privilege.drop_to(privilege.invoker())
    from gotriage.ui.app import run_session

    return run_session(session, title=Path(path).name, options=options(arguments))
