"""`gotriage snapshot` and `gotriage record`: the stream into a file that `open` shows in the same screens."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from gotriage.cli.gather import PATIENCE, pump
from gotriage.cli.parser import needed_target
from gotriage.errors import EXIT_OK
from gotriage.host import clock

if TYPE_CHECKING:
    import argparse

    from gotriage.session.link import Link

ATTACH = 5.0
"""Seconds to wait for the target before the file is made, so that a wrong target leaves no file behind."""


def run(arguments: argparse.Namespace) -> int:
    """Write the file; Ctrl-C and SIGTERM end a recording cleanly."""
    spec = needed_target(arguments)
    from gotriage.agent.launcher import launch

    once = arguments.command == "snapshot"
    seconds = arguments.seconds if arguments.seconds is not None else (PATIENCE if once else None)

    def front(link: Link) -> int:
        return _write(link, arguments.output, seconds, once=once)

    return launch(spec, front)


def _write(link: Link, path: str, seconds: float | None, *, once: bool) -> int:
    from gotriage.session.recording import Writer

    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: asked.append(received))
    link.attach(ATTACH)
    ends = clock.monotonic() + seconds if seconds is not None else None

    def ended() -> bool:
        return bool(asked) or (ends is not None and clock.monotonic() >= ends)

    with Writer(path) as writer:
        pump(link, writer.pack if once else writer.add, ended)
    print(f"gotriage: wrote {writer.path}: {writer.records} records, {writer.size} bytes", file=sys.stderr)
    return EXIT_OK
