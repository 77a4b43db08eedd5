"""Dispatch: one function a command; every failure ends as one line on standard error and the contract's exit status."""

from __future__ import annotations

import importlib
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gotriage.cli.parser import build
from gotriage.errors import GotriageError, NotPermitted
from gotriage.records.text import clean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

COMMANDS = {
    None: "tui",
    "check": "check",
    "show": "show",
    "snapshot": "write",
    "record": "write",
    "open": "opened",
    "demo": "demo",
    "doctor": "doctor",
    "shell": "shell",
    "agent": "stream",
}
"""Command to the file of this room that runs it; each has `run(arguments) -> exit status`."""


def run(words: list[str]) -> int:
    """Run the command line `words` (without the program's name); returns the exit status."""
    _never_fail_to_print()
    try:
        arguments = build().parse_args(words)
        module = importlib.import_module(f"gotriage.cli.{COMMANDS[arguments.command]}")
        command: Callable[[argparse.Namespace], int] = module.run
        return command(arguments)
    except GotriageError as error:
        complain(str(error))
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output went away (| head): nothing to say, and nothing to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 128 + 13
    except KeyboardInterrupt:
        return 128 + 2
    except PermissionError as error:
        complain(f"{error.filename or 'permission denied'}: {error.strerror}")
        return NotPermitted.exit_code
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return GotriageError.exit_code
    except (
        Exception
    ) as error:  # the last boundary: an error of our own is one line too, and shows nothing of the target
        complain(_internal(error))
        return GotriageError.exit_code


def _internal(error: Exception) -> str:
    """What and where in our code; neither the message nor a local variable, which may hold what the target said."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
    return f"internal error: {type(error).__name__}{place}; the service was not touched"


def _never_fail_to_print() -> None:
    """In a locale without our signs (LC_ALL=C) they become question marks instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def complain(text: str) -> None:
    """One clear line on standard error."""
    print(f"gotriage: {clean(text)}", file=sys.stderr)
