"""`gotriage demo`: bundled recordings of real incidents, on the usual screens."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import TYPE_CHECKING

from gotriage.cli.opened import open_recording
from gotriage.errors import EXIT_OK, BadRecording, UsageError

if TYPE_CHECKING:
    import argparse

SUFFIX = ".gts.jsonl.zst"


def run(arguments: argparse.Namespace) -> int:
    """Open the named incident, the first one by default; `--list` names them."""
    found = recordings()
    if not found:
        raise BadRecording("this installation holds no demo recordings")
    if arguments.list:
        for name in found:
            print(name)
        return EXIT_OK
    name = arguments.name or next(iter(found))
    if name not in found:
        raise UsageError(f"no demo {name!r}: {', '.join(found)}")
    return open_recording(str(found[name]), arguments)


def recordings() -> dict[str, Path]:
    """Name to path of the bundled recordings."""
    folder = Path(str(importlib.resources.files("gotriage"))) / "demos"
    return {path.name.removesuffix(SUFFIX): path for path in sorted(folder.glob(f"*{SUFFIX}"))}
