"""`gotriage check --reach`: the walk to a port of the target, or from it to a peer; the cause is the exit status."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from gotriage import catalog
from gotriage.cli.gather import pump
from gotriage.cli.source import with_session
from gotriage.cli.traced import ATTACH, Wanted, look
from gotriage.errors import EXIT_CRITICAL, EXIT_OK, EXIT_WARNINGS, UsageError
from gotriage.host import clock
from gotriage.records.reach import Reach, ReachStep
from gotriage.records.target import TargetState
from gotriage.render import jsonl, reach, text
from gotriage.rules.engine import judge
from gotriage.session.store import Session

if TYPE_CHECKING:
    import argparse

    from gotriage.session.link import Link

VIEW = "reach"
NOT_RUNNING = "not-running"


def run(arguments: argparse.Namespace) -> int:
    """Walk, print the steps; 0 reached, 2 not, 1 not known."""
    file = getattr(arguments, "source", None)
    place = arguments.reach or arguments.reach_from_target
    direction = "in" if arguments.reach is not None else "out"
    port = place.rpartition(":")[2]
    if not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise UsageError(f"{place!r} is no {'[HOST:]PORT' if direction == 'in' else 'HOST:PORT'}")
    if file is not None:
        raise UsageError("--reach walks now, on a live target: not with --from")
    row = catalog.source(VIEW)
    assert row is not None
    options = {"to" if direction == "in" else "from_target": place}
    wanted = Wanted(row, options, arguments.seconds or row.lasts, agreed=True)

    def walk(link: Link) -> Session:
        session = Session()
        link.attach(ATTACH)
        until = clock.monotonic() + ATTACH
        pump(link, session.feed, lambda: session.latest(TargetState) is not None or clock.monotonic() >= until)
        state = session.latest(TargetState)
        if state is not None and state.state != "running":
            says = f"nothing of it runs{f': {state.reason}' if state.reason else ''}"
            step = ReachStep(step="running", state="failed", says=says, finding=NOT_RUNNING, fix="start it")
            session.feed(Reach(at=clock.now(), direction=direction, port=int(port), rows=(step,), reached=False))
            return session
        return look(link, wanted, session)

    return with_session(arguments, lambda session: _report(session, as_json=arguments.json), sources=(VIEW,), look=walk)


def _report(session: Session, *, as_json: bool) -> int:
    record = session.latest(Reach)
    if record is None:
        print("gotriage: the walk has given no answer", file=sys.stderr)
        return EXIT_WARNINGS
    if as_json:
        for finding in judge(session).findings:
            if finding.view == VIEW or (finding.id == NOT_RUNNING and record.cause is not None):
                print(jsonl.line(finding))
    else:
        state = session.latest(TargetState)
        width = os.get_terminal_size(1).columns if sys.stdout.isatty() else None
        for line in [*([text.identity(state, session.moment), ""] if state else []), *reach.lines(session, width)]:
            print(line)
    return {True: EXIT_OK, False: EXIT_CRITICAL, None: EXIT_WARNINGS}[record.reached]
