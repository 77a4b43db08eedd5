"""The walk from a sender to a port, or from the target to a peer: what stands in the way first."""

from __future__ import annotations

from typing import ClassVar, Literal

from gotriage.records.base import Record, Row

StepWord = Literal["ok", "failed", "unknown", "left out"]
"""`left out`: a step before it has failed already."""


class ReachStep(Row, frozen=True, kw_only=True):
    """One step: `says` is the answer in a few words, `finding` the id of the finding that a failure is."""

    step: str
    state: StepWord = "ok"
    says: str = ""
    evidence: tuple[str, ...] = ()
    fix: str = ""
    finding: str = ""
    seconds: float | None = None


class Reach(Record, frozen=True, kw_only=True, tag="reach"):
    """One walk; it stops at the first cause.

    Attributes:
        direction: in (to the target's port) or out (from the target).
        address, port: where to; `sent` names what was sent to whom, "" when it did not come to that.
        reached: somebody answered; None when that is not known.
    """

    keep: ClassVar[int] = 20

    direction: str
    address: str = ""
    port: int
    rows: tuple[ReachStep, ...] = ()
    sent: str = ""
    reached: bool | None = None

    @property
    def cause(self) -> ReachStep | None:
        """The step that failed."""
        return next((row for row in self.rows if row.state == "failed"), None)
