"""`gotriage snapshot` and `gotriage record`: the stream into a file that `open` shows in the same screens."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from gotriage.cli.gather import CORE_PATIENCE, PATIENCE, all_looked, attach_core, pump
from gotriage.cli.parser import needed_target
from gotriage.errors import EXIT_OK, UsageError
from gotriage.host import clock

if TYPE_CHECKING:
    import argparse

    from gotriage.records import Record
    from gotriage.session.link import Link
    from gotriage.session.recording import Writer

ATTACH = 5.0
"""Seconds to wait for the target before the file is made, so that a wrong target leaves no file behind."""


def run(arguments: argparse.Namespace) -> int:
    """Write the file; Ctrl-C and SIGTERM end a recording cleanly."""
    spec = needed_target(arguments)
    from gotriage.agent.launcher import launch

    once = arguments.command == "snapshot"
    if spec.kind == "core":
        if not once:
            raise UsageError("a core file does not change: there is nothing to record; gotriage snapshot keeps it")
        return launch(spec, lambda link: _write_core(link, arguments.output, spec.value, arguments.seconds))
    seconds = arguments.seconds if arguments.seconds is not None else (PATIENCE if once else None)

    def front(link: Link) -> int:
        return _write(link, arguments.output, seconds, once=once)

    return launch(spec, front)


def _write_core(link: Link, path: str, core: str, seconds: float | None) -> int:
    """Everything that is in a core file: once each source has looked, there is no more to come."""
    from gotriage.session.recording import Writer
    from gotriage.session.store import Session

    attach_core(link, core)
    ends = clock.monotonic() + (seconds if seconds is not None else CORE_PATIENCE)
    session = Session()
    with Writer(path) as writer:

        def take(record: Record) -> None:
            writer.pack(record)
            session.feed(record)

        pump(link, take, lambda: all_looked(session) or clock.monotonic() >= ends)
    return _wrote(writer)


def _wrote(writer: Writer) -> int:
    print(f"gotriage: wrote {writer.path}: {writer.records} records, {writer.size} bytes", file=sys.stderr)
    return EXIT_OK


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
    return _wrote(writer)
