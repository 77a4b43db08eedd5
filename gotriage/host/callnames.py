"""Names of system calls by number, for the architectures that are traced; tests/lab/callnames.py writes the tables."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import Final

from gotriage.errors import MissingFacility

FOLDER: Final = Path(__file__).with_name("callnames")


@cache
def call_names(machine: str = "") -> dict[int, str]:
    """Number to name on that machine (as uname -m), this one by default. Raises MissingFacility."""
    machine = machine or platform.machine()
    try:
        lines = (FOLDER / f"{machine}.txt").read_text("ascii").splitlines()
    except OSError as error:
        raise MissingFacility(f"no names of system calls are known for {machine}") from error
    return {int(number): name for number, _, name in (line.partition(" ") for line in lines)}


def call_name(number: int) -> str:
    """The name, or "call N" for one that is newer than the tables."""
    return call_names().get(number, f"call {number}")
