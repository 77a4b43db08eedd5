"""`gotriage agent`: the record stream on standard output (docs/stream.md), requests on standard input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.cli.parser import target_of
from gotriage.host import Host

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> int:
    """Serve until standard output or standard input closes."""
    from gotriage.agent.main import serve_alone
    from gotriage.cli.main import complain

    spec = target_of(arguments)
    status, problem = serve_alone(spec, Host.of(spec.root_pid))
    if problem:
        complain(problem)
    return status
