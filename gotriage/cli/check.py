"""`gotriage check`: the findings as text or JSON, and as the exit status."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from gotriage.cli.source import with_session
from gotriage.errors import EXIT_CRITICAL, EXIT_OK, EXIT_WARNINGS
from gotriage.render import jsonl, text

if TYPE_CHECKING:
    import argparse

    from gotriage.records.findings import Verdict
    from gotriage.session.store import Session


def run(arguments: argparse.Namespace) -> int:
    """Judge once, print, and return 0, 1 or 2 by the worst severity."""
    if getattr(arguments, "reach", None) is not None or getattr(arguments, "reach_from_target", None) is not None:
        from gotriage.cli import reach

        return reach.run(arguments)

    def print_findings(session: Session) -> int:
        return report(session, as_json=arguments.json, config=getattr(arguments, "config", None))

    return with_session(arguments, print_findings)


def report(session: Session, *, as_json: bool = False, config: str | None = None) -> int:
    """Print the verdict on the session at its cursor; returns the exit status."""
    from gotriage.config import load
    from gotriage.rules.engine import THRESHOLDS, judge

    settings = load(config, THRESHOLDS)
    for remark in settings.unread:
        print(f"gotriage: {remark}", file=sys.stderr)
    verdict = judge(session, settings.thresholds)
    lines = [jsonl.line(item) for item in verdict.findings] if as_json else _text(session, verdict)
    for line in lines:
        print(line)
    return exit_status(verdict)


def _text(session: Session, verdict: Verdict) -> list[str]:
    from gotriage.records.target import TargetState

    state = session.latest(TargetState)
    heading = [text.identity(state, session.moment), ""] if state else []
    return [*heading, *text.verdict(verdict, session.gaps())]


def exit_status(verdict: Verdict) -> int:
    """The contract's exit status for a verdict."""
    severities = {finding.severity for finding in verdict.findings}
    if "critical" in severities:
        return EXIT_CRITICAL
    return EXIT_WARNINGS if "warning" in severities else EXIT_OK
