"""`gotriage show goroutines` and `show runtime`: JSON as the contract has it, text, and other tools' formats."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from gotriage.cli.files import write_new
from gotriage.cli.gather import pump
from gotriage.cli.source import from_file, with_session
from gotriage.errors import EXIT_OK, BadRecording, GotriageError, NotPermitted, UsageError
from gotriage.host import clock
from gotriage.records.goroutines import Goroutines
from gotriage.records.stream import Heartbeat, Reply
from gotriage.render import compared, goroutines, jsonl, runtime, text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from gotriage.catalog import View
    from gotriage.records.stream import Gap
    from gotriage.session.link import Link
    from gotriage.session.store import Session

FORMATS = ("debug2", "pprof", "folded")
MOST = 200_000
"""Goroutines that are asked for one by one; the agent has the same bound."""
PATIENCE = 90.0
"""Seconds that the first look at a huge process, or an answer, may take."""
SOURCES = {"goroutines": ("goroutines", "files"), "runtime": ("runtime", "goroutines")}
"""What a view needs: descriptors for their peers, and the number of goroutines."""


def run(arguments: argparse.Namespace, view: View) -> int:
    """Print the view, or write the export."""
    _check(arguments, view)
    whole = view.id == "goroutines" and (
        arguments.export == "debug2" or (arguments.json and not arguments.group and not arguments.export)
    )

    def more(session: Session, link: Link) -> None:
        wait_for(session, link, view.id, whole=whole)

    def show(session: Session) -> int:
        if arguments.export is not None:
            return _export(session, view, arguments.export, arguments.output)
        # In the front, which has given root away: the file may come from anyone.
        before = from_file(arguments.against) if arguments.against is not None else None
        printed = False
        for line in _lines(session, view, arguments) if before is None else _compared(before, session, arguments):
            printed = True
            print(line)
        single = arguments.json and not arguments.group and before is None
        return _closing(session, view, printed=printed, single=single)

    return with_session(arguments, show, sources=SOURCES[view.id], rates=False, more=more)


def _check(arguments: argparse.Namespace, view: View) -> None:
    if arguments.export is not None and arguments.export not in FORMATS:
        raise UsageError(f"goroutines are exported as {', '.join(FORMATS)}")
    if view.id != "goroutines" and (arguments.group or arguments.against or arguments.export is not None):
        raise UsageError("--group, --against and --export go with show goroutines")
    if arguments.against is not None and (arguments.group or arguments.export is not None):
        raise UsageError("--against excludes --group and --export")
    if arguments.output is not None and arguments.export is None:
        raise UsageError("-o goes with --export")
    if arguments.export is not None and (arguments.json or arguments.group):
        raise UsageError("--export excludes --json and --group")
    if arguments.export == "pprof" and arguments.output in (None, "-") and os.isatty(1):
        raise UsageError("a profile is no text: -o FILE")


# -- all of them


def wait_for(session: Session, link: Link, source: str, *, whole: bool) -> None:
    """Wait for the first look, which may take long where there is much; with `whole` ask for every goroutine."""
    until = clock.monotonic() + PATIENCE
    pump(link, session.feed, lambda: clock.monotonic() > until or _answered(session, source))
    record = session.latest(Goroutines)
    if not whole or record is None or not record.omitted:
        return
    number = link.request("goroutines", ("goroutines",), limit=MOST)
    pump(link, session.feed, lambda: clock.monotonic() > until or _replied(session, number))


def _answered(session: Session, source: str) -> bool:
    beat = session.latest(Heartbeat)
    state = beat.collectors.get(source) if beat is not None else None
    if any(gap.source == source for gap in session.gaps()):
        return True
    return state is not None and (state.last is not None or state.state in ("failed", "off"))


def _replied(session: Session, number: int) -> bool:
    return any(reply.id == number for reply in session.series(Reply))


# -- text and JSON


def _lines(session: Session, view: View, arguments: argparse.Namespace) -> Iterator[str]:
    if view.id == "runtime":
        found = runtime.runtime_object(session)
        if arguments.json:
            yield from [] if found is None else [jsonl.line(found)]
        else:
            yield from runtime.lines(session)
    elif arguments.json:
        yield from map(jsonl.line, goroutines.objects(session, grouped=arguments.group))
    elif arguments.group:
        yield from goroutines.stacks_text(session)
    else:
        width = os.get_terminal_size(1).columns if sys.stdout.isatty() else None
        yield from goroutines.table_text(session, width)


def _compared(before: Session, session: Session, arguments: argparse.Namespace) -> Iterator[str]:
    found = compared.two_sessions(before, session)
    if found is None:
        if before.latest(Goroutines) is None:
            raise BadRecording(f"{arguments.against} holds no look at goroutines")
        return
    yield from map(jsonl.line, compared.objects(found)) if arguments.json else compared.lines(found)


def _closing(session: Session, view: View, *, printed: bool, single: bool = False) -> int:
    """What lacks, on standard error; the exit status of a view of which nothing could be shown.

    `single`: goroutines were printed one by one.
    """
    from gotriage.cli.main import complain

    gaps = [gap for gap in session.gaps() if gap.source.partition(".")[0] == view.id]
    for gap in gaps:
        print(text.gap_line(gap), file=sys.stderr)
    record = session.latest(Goroutines)
    if printed and single and view.id == "goroutines" and record is not None and record.omitted:
        complain(f"{record.omitted:,} goroutines are not here one by one; --group counts all of them")
    if printed or gaps:
        return EXIT_OK if printed else _status(gaps)
    reason = runtime.not_go(session)
    complain(f"{reason}: it has no goroutines and no Go runtime" if reason else f"nothing is known about its {view.id}")
    return GotriageError.exit_code


def _status(gaps: list[Gap]) -> int:
    return NotPermitted.exit_code if any(gap.permission for gap in gaps) else GotriageError.exit_code


# -- other tools' formats


def _export(session: Session, view: View, form: str, output: str | None) -> int:
    from gotriage.goruntime import exports

    record = session.latest(Goroutines)
    if record is None:
        return _closing(session, view, printed=False)
    dump = goroutines.dump_of(record, goroutines.last_look(session))
    if form == "pprof":
        data = exports.pprof(dump)
    else:
        found = exports.debug2(dump) if form == "debug2" else exports.folded(dump)
        data = "".join(f"{line}\n" for line in found).encode("utf-8", "replace")
    write_new(data, output)
    if form == "debug2":
        return _closing(session, view, printed=True, single=True)
    return EXIT_OK
