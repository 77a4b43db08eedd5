"""What rules conclude: claims with evidence, what was checked and is fine, and what could not be checked.

Verdicts are derived from records, never stored among them: the same recording judged by a newer gotriage may
say more.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

Severity = Literal["critical", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A claim with its evidence; the keys are the contract of `check --json`.

    Attributes:
        id: one of the ids of the contract.
        severity: critical is failing now, warning will fail or is degrading, info is worth knowing.
        title: the claim in one line, with the numbers that matter.
        evidence: the measured values, one sentence each.
        fix: what to type or change.
        view: the id of the view where to look.
        subject: what it is about: a path, a peer, a unit.
        explains: ids of findings that follow from this one.
        because: the id of the finding that explains this one, or "".
    """

    id: str
    severity: Severity
    title: str
    evidence: tuple[str, ...] = ()
    fix: str = ""
    view: str = "overview"
    observed_at: datetime
    subject: str = ""
    since: datetime | None = None
    explains: tuple[str, ...] = ()
    because: str = ""


class Fine(msgspec.Struct, frozen=True):
    """Something that was checked and is in order, in a few words with the numbers: "memory 212 of 512 MB"."""

    id: str
    text: str


class Unknown(msgspec.Struct, frozen=True):
    """Something that could not be checked, why, and what would permit it; `also` are other ids with the same reason."""

    id: str
    reason: str
    remedy: str = ""
    also: tuple[str, ...] = ()


class Verdict(msgspec.Struct, frozen=True):
    """All that the rules say at one moment, worst first."""

    at: datetime | None = None
    findings: tuple[Finding, ...] = ()
    fine: tuple[Fine, ...] = ()
    unknown: tuple[Unknown, ...] = ()

    def explained_by(self, cause: Finding) -> list[Finding]:
        """The consequences of a finding. Of several findings of its id, only the one that says so explains them."""
        heads = [other for other in self.findings if other.id == cause.id and other.explains]
        if heads and heads[0] != cause:
            return []
        return [other for other in self.findings if other.because == cause.id]
