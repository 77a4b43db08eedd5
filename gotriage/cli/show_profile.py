"""`gotriage show profile`: take one, or read one from a file; as text, JSON, another tool's format, against another."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from gotriage import catalog
from gotriage.cli.files import write_new
from gotriage.cli.source import from_file, with_session
from gotriage.cli.traced import Wanted, look
from gotriage.errors import EXIT_OK, BadRecording, GotriageError, MissingFacility, UsageError
from gotriage.records.profile import CpuProfile, WallProfile
from gotriage.records.tracing import Traces
from gotriage.render import flame, jsonl, profile, profile_export, text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from gotriage.catalog import View
    from gotriage.records.profile import Profile
    from gotriage.session.store import Session

KINDS: dict[str, type[Profile]] = {"profile": CpuProfile, "wall": WallProfile}
"""Which record each trace gives."""
TOP = 25
"""Functions and threads that are printed; JSON has all."""


def run(arguments: argparse.Namespace, view: View) -> int:
    """Print the profile, or write the export."""
    _check(arguments)
    name = arguments.trace or view.sources[0]
    before = _newest(from_file(arguments.against), name) if arguments.against is not None else None
    if arguments.against is not None and before is None:
        raise BadRecording(f"{arguments.against} holds no profile of this kind")

    def show(session: Session) -> int:
        found = _newest(session, name)
        if found is None:
            return _nothing(session, view, name)
        if arguments.export is not None:
            write_new(profile_export.export(found, arguments.export), arguments.output)
            return EXIT_OK
        for line in _json(found, before) if arguments.json else _text(found, before, view):
            print(line)
        return EXIT_OK

    if arguments.source is not None:
        return with_session(arguments, show, sources=view.sources)
    traces = [row for each in view.sources if (row := catalog.source(each)) is not None and row.asked]
    wanted = Wanted.of(arguments, view.id, traces)
    return with_session(arguments, show, sources=(name,), look=lambda link: look(link, wanted))


def _check(arguments: argparse.Namespace) -> None:
    forms = profile_export.FORMS
    if arguments.export is not None and arguments.export not in forms:
        raise UsageError(f"a profile is exported as {', '.join(forms)}")
    if arguments.output is not None and arguments.export is None:
        raise UsageError("-o goes with --export")
    if arguments.export is not None and (arguments.json or arguments.against):
        raise UsageError("--export excludes --json and --against")
    if arguments.export == "pprof" and arguments.output in (None, "-") and os.isatty(1):
        raise UsageError("a profile is no text: -o FILE")
    if arguments.group:
        raise UsageError("--group goes with show goroutines")
    if arguments.trace is not None and arguments.trace not in KINDS:
        raise UsageError(f"no trace {arguments.trace!r} of profile; there are: {', '.join(KINDS)}")
    if arguments.source is not None and (arguments.option or arguments.yes):
        raise UsageError("--option and --yes go with a live target")


def _newest(session: Session, name: str) -> Profile | None:
    return session.latest(KINDS[name])


def _nothing(session: Session, view: View, name: str) -> int:
    from gotriage.cli.main import complain

    gaps = [gap for gap in session.gaps() if gap.source.partition(".")[0] in view.sources]
    for gap in gaps:
        print(text.gap_line(gap), file=sys.stderr)
    traces = session.latest(Traces)
    row = traces.of(name) if traces is not None else None
    if row is not None:
        complain(f"{name}: no profile: {': '.join(word for word in (row.state, row.reason) if word)}")
    elif not gaps:
        complain("no profile of this kind is there")
    return MissingFacility.exit_code if gaps else GotriageError.exit_code


def _json(found: Profile, before: Profile | None) -> Iterator[str]:
    """The profile itself first, then its functions; against another one only what differs."""
    if before is not None:
        yield from map(jsonl.line, profile.changes(found, before))
        return
    yield jsonl.line(found, without=("rows",))
    yield from map(jsonl.line, found.rows)


def _text(found: Profile, before: Profile | None, view: View) -> Iterator[str]:
    yield profile.summary(found)
    if isinstance(found, CpuProfile) and (told := profile.waits(found)):
        yield told
    yield from (f"note: {note}" for note in found.notes)
    yield ""
    if before is not None:
        yield from profile.change_lines(found, before)
        return
    width = os.get_terminal_size(1).columns if sys.stdout.isatty() else None
    yield from (line if width is None else line[:width] for line in profile.calls(flame.tree(found, flame.Look())))
    yield ""
    yield from text.table(found.rows[:TOP], view.columns, width)
    if isinstance(found, CpuProfile) and found.threads:
        yield ""
        yield from text.table(found.threads[:TOP], profile.THREADS, width)
