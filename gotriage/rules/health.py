"""The health check that a container's image or its user gave it, as the engine runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.records.findings import Fine
from gotriage.records.units import count
from gotriage.rules import remedies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.service import ContainerState
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

ID: Final = "container-unhealthy"
DEFAULTS: Final[dict[str, dict[str, float]]] = {}
_ABSENT: Final = ("no such file or directory", "executable file not found")
"""What runc says of a check's command that the image does not have (exec: "/bin/sh": stat /bin/sh: no such ...)."""


def unhealthy(evidence: Evidence) -> Iterator[Claim]:
    """What the engine says of the newest checks; nothing where there is no check, or none has ended yet."""
    box = evidence.container
    if box is None or not evidence.running:
        return
    if box.health == "healthy":
        yield Fine(ID, "health check passes")
    if box.health != "unhealthy":
        return
    cannot = "exec" in box.health_output and any(words in box.health_output for words in _ABSENT)
    times = f"{count(box.health_failing)} times in a row" if box.health_failing else "again and again"
    title = f"the health check cannot run: failed {times}" if cannot else f"the health check failed {times}"
    yield evidence.finding(
        ID,
        "warning",
        title,
        evidence=tuple(_told(box)),
        fix=_fix(evidence, cannot=cannot),
        view="container",
    )


def _told(box: ContainerState) -> Iterator[str]:
    if box.health_output:
        yield f"the last one said: {box.health_output[:300]}"
    if box.health_test:
        yield f"it runs {box.health_test[:200]}"


def _fix(evidence: Evidence, *, cannot: bool) -> str:
    if cannot:
        return (
            "let the check run a program that the image has, without a shell:\n"
            'HEALTHCHECK CMD ["/program", "-check"], or --health-cmd with a binary that the image holds'
        )
    return f"see what it asks for and who answers: {remedies.inspect(evidence)}; {remedies.logs(evidence)}"
