"""`gotriage snapshot` and `gotriage record`: the stream into a file that `open` shows in the same screens."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gotriage import catalog
from gotriage.cli.gather import CORE_PATIENCE, PATIENCE, all_looked, attach_core, pump
from gotriage.cli.parser import needed_target
from gotriage.errors import EXIT_OK, UsageError
from gotriage.host import clock
from gotriage.records.stream import Heartbeat

if TYPE_CHECKING:
    import argparse

    from gotriage.catalog import Source
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

    traces = [Asked.of(text, arguments.yes) for text in arguments.trace]

    def front(link: Link) -> int:
        return _write(link, arguments.output, seconds, once=once, traces=traces)

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


@dataclass(frozen=True, slots=True)
class Asked:
    """A trace that runs while the file is written: "NAME" or "NAME:KEY=VALUE:KEY=VALUE"."""

    source: Source
    options: dict[str, str]

    @classmethod
    def of(cls, text: str, agreed: bool) -> Asked:
        """Raises UsageError."""
        name, *pairs = text.split(":")
        row = catalog.source(name)
        if row is None or not row.asked:
            known = ", ".join(row.name for row in catalog.SOURCES if row.asked)
            raise UsageError(f"no trace {name!r}; there are: {known}")
        if row.price == "stops" and not agreed:
            raise UsageError(f"{name} stops the target while it runs; --yes starts it")
        options = dict(pair.partition("=")[::2] for pair in pairs)
        if "" in options.values():
            raise UsageError(f"--trace {text}: an option is KEY=VALUE")
        return cls(row, options)


class Starter:
    """Starts traces once the agent has their sources."""

    def __init__(self, link: Link, traces: list[Asked], seconds: float | None) -> None:
        self._link, self._left, self._seconds = link, traces, seconds

    def see(self, record: Record) -> None:
        """A record that passes."""
        if not self._left or not isinstance(record, Heartbeat):
            return
        for one in [one for one in self._left if one.source.name in record.collectors]:
            seconds = min(self._seconds or one.source.longest, one.source.longest)
            self._link.request("start", (one.source.name,), seconds=seconds, options=one.options)
            self._left.remove(one)


def _write(link: Link, path: str, seconds: float | None, *, once: bool, traces: list[Asked]) -> int:
    from gotriage.session.recording import Writer

    starter = Starter(link, traces, seconds)

    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: asked.append(received))
    link.attach(ATTACH)
    ends = clock.monotonic() + seconds if seconds is not None else None

    def ended() -> bool:
        return bool(asked) or (ends is not None and clock.monotonic() >= ends)

    with Writer(path) as writer:
        write = writer.pack if once else writer.add

        def take(record: Record) -> None:
            write(record)
            starter.see(record)

        pump(link, take, ended)
    return _wrote(writer)
