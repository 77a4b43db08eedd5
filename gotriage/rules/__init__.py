"""WHAT IT MEANS: pure functions from the session's evidence to findings, one file a subject.

A rule takes the evidence (the session at its cursor), and yields `Finding`s, or `Fine` when it checked and all is well,
or `Unknown` when it could not check. It reads no clock and no file: the same recording gives the same verdict for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gotriage.records.findings import Finding, Fine, Unknown

if TYPE_CHECKING:
    from gotriage.rules.evidence import Evidence

Claim = Finding | Fine | Unknown
Rule = Callable[["Evidence"], Iterator[Claim]]
