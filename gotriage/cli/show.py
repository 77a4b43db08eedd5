"""`gotriage show VIEW`: one view's records as text or JSON Lines."""

from __future__ import annotations

import difflib
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from gotriage import catalog
from gotriage.cli.source import with_session
from gotriage.errors import EXIT_OK, UsageError
from gotriage.render import jsonl, text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from gotriage.records import Record
    from gotriage.session.store import Session


def run(arguments: argparse.Namespace) -> int:
    """Print the view, or the list of views."""
    if arguments.list:
        for view in catalog.VIEWS:
            print(f"{view.id:<12} {view.price:<6} {view.about}")
        return EXIT_OK
    view = _wanted(arguments.view)
    if view.id == "findings":
        from gotriage.cli import check

        return check.run(arguments)
    if view.id in ("goroutines", "runtime"):
        from gotriage.cli import show_go

        return show_go.run(arguments, view)
    if view.id == "profile":
        from gotriage.cli import show_profile

        return show_profile.run(arguments, view)
    if any(getattr(arguments, name, None) for name in ("group", "export", "output", "against")):
        raise UsageError("--group goes with show goroutines; --export, --against and -o with that and show profile")

    def print_view(session: Session) -> int:
        if view.id == "probes":
            lines = _probes(session, view, as_json=arguments.json)
        else:
            lines = _json(session, view) if arguments.json else _text(session, view)
        for line in lines:
            print(line)
        return EXIT_OK

    traces = _traces(view, arguments)
    if traces and getattr(arguments, "source", None) is None:
        from gotriage.cli.traced import Wanted, look

        wanted = Wanted.of(arguments, view.id, traces)
        view = catalog.part(wanted.source.name) or view
        return with_session(arguments, print_view, sources=view.sources, look=lambda link: look(link, wanted))
    if any(getattr(arguments, name, None) for name in ("trace", "option", "yes")):
        raise UsageError(
            f"--trace, --option and --yes go with views that are traced, on a live target; not with {view.id}"
        )
    return with_session(arguments, print_view, sources=view.sources, rates=view.id in ("overview", "limits"))


def _traces(view: catalog.View, arguments: argparse.Namespace) -> list[catalog.Source]:
    """What `show` can start for the view; none for one that looks by itself, unless a trace is asked for."""
    rows = [row for name in view.sources if (row := catalog.source(name)) is not None]
    by_itself = bool(rows) and not rows[0].asked
    if by_itself and not any(getattr(arguments, name, None) for name in ("trace", "option", "yes")):
        return []
    return [row for row in rows if row.asked]


def _wanted(name: str | None) -> catalog.View:
    known = [view.id for view in catalog.VIEWS]
    if name is None:
        raise UsageError(f"show needs a VIEW: {', '.join(known)}")
    view = catalog.view(name)
    if view is None:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]}?" if near else f"; views: {', '.join(known)}"
        raise UsageError(f"no view {name!r}{hint}")
    return view


def _probes(session: Session, view: catalog.View, *, as_json: bool) -> Iterator[str]:
    """What the probes that ran have seen, or the library; gaps as in the other views."""
    from gotriage.render import probes

    width = os.get_terminal_size(1).columns if sys.stdout.isatty() else None
    if not as_json:
        yield from probes.lines(session, view.columns, width)
        yield from _gaps(session, view)
        return
    for gap in _gaps(session, view):
        print(gap, file=sys.stderr)
    yield from probes.json_lines(session)


def _json(session: Session, view: catalog.View) -> Iterator[str]:
    """Objects of the view: rows of its table, else its records; gaps go to standard error.

    Where the catalogue says so, an object with the table record's own facts comes first: it has a `kind`, rows do not.
    """
    for gap in _gaps(session, view):
        print(gap, file=sys.stderr)
    if view.table is not None:
        record = session.latest(view.table)
        if view.facts and record is not None:
            yield jsonl.line(record, without=("rows",))
        yield from (jsonl.line(row) for row in _rows(session, view))
        return
    yield from (jsonl.line(record) for record in _records(session, view))


def _text(session: Session, view: catalog.View) -> Iterator[str]:
    width = os.get_terminal_size(1).columns if sys.stdout.isatty() else None
    if view.text:
        if view.table is not None:
            yield from text.table(list(_rows(session, view)), view.columns, width)
            yield ""
        module, _, name = view.text.partition(":")
        yield from getattr(import_module(module), name)(session, width)
        yield from _gaps(session, view)
        return
    for record in _records(session, view):
        page = list(text.page(record, without=("rows",)))
        if type(record) is not view.table or len(page) > 1:
            yield from page
            yield ""
    if view.table is not None:
        yield from text.table(list(_rows(session, view)), view.columns, width)
    yield from _gaps(session, view)


def _records(session: Session, view: catalog.View) -> Iterator[Record]:
    for kind in view.records:
        record = session.latest(kind)
        if record is not None:
            yield record


def _rows(session: Session, view: catalog.View) -> Iterator[object]:
    if view.id == "logs":
        yield from session.logs.tail(1_000_000)
        return
    record = session.latest(view.table) if view.table else None
    yield from getattr(record, "rows", ())


def _gaps(session: Session, view: catalog.View) -> Iterator[str]:
    for gap in session.gaps():
        if gap.source.partition(".")[0] in view.sources:
            yield text.gap_line(gap)
