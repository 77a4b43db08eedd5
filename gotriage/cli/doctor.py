"""`gotriage doctor`: what this machine lets gotriage do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.errors import EXIT_MISSING, EXIT_OK
from gotriage.host import Host
from gotriage.host.facilities import survey
from gotriage.render import jsonl, text
from gotriage.render.columns import Column

if TYPE_CHECKING:
    import argparse

COLUMNS = (
    Column("name", "FACILITY"),
    Column("state", "STATE"),
    Column("detail", "WHAT"),
    Column("lost", "WITHOUT IT"),
    Column("remedy", "TO GET IT"),
)
NEEDED = ("kernel", "openat2")


def run(arguments: argparse.Namespace) -> int:
    """Print one row a facility; exit 69 when one that everything builds on is missing."""
    rows = list(survey(Host()))
    for line in (jsonl.line(row) for row in rows) if arguments.json else text.table(rows, COLUMNS):
        print(line)
    lacking = any(row.state == "missing" and row.name in NEEDED for row in rows)
    return EXIT_MISSING if lacking else EXIT_OK
