"""`gotriage open FILE`: the TUI on a snapshot, a recording or a core file; as text where there is no terminal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gotriage.cli.source import from_file
from gotriage.errors import UsageError
from gotriage.host import privilege, regular, unpack
from gotriage.host.forked import in_child

if TYPE_CHECKING:
    import argparse

HEAD: Final = 64
"""Bytes of the content that tell a core file from a recording, which is text."""
ELF: Final = b"\x7fELF"
SOON: Final = 10.0
"""Seconds that a look at the first bytes may take."""


def run(arguments: argparse.Namespace) -> int:
    """Open the file on the usual screens. Root's rights are given away first: a recording and a core need none."""
    exe = getattr(arguments, "exe", None)
    if is_core(arguments.file):
        from gotriage.cli.parser import core_spec
        from gotriage.cli.tui import run_target

        return run_target(core_spec(arguments.file, exe), arguments)
    if exe is not None:
        raise UsageError(f"--exe goes with a core file, and {arguments.file} is none")
    return open_recording(arguments.file, arguments)


def is_core(path: str) -> bool:
    """Whether it is an ELF file, or a compressed one; of no other file anything is said here.

    Another process looks, which has given root away.
    """
    try:
        fd = regular.opened(path)
    except OSError:
        return False

    def look() -> bytes:
        privilege.drop_to(privilege.invoker())
        return b"core" if unpack.head(fd, HEAD).startswith(ELF) else b""

    try:
        return in_child(look, SOON) == b"core"
    except OSError:
        return False
    finally:
        os.close(fd)


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
