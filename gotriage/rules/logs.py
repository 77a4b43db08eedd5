"""The log itself: lost at the next boot, or with holes.

log-volatile is worth knowing and no more: without /var/log/journal journald keeps its files in /run (journald.conf(5),
Storage=auto). log-rate-limited is a warning, for what one looks for may be among the lines that were thrown away
(RateLimitIntervalSec=, RateLimitBurst=).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.records.findings import Fine, Unknown
from gotriage.records.units import count
from gotriage.rules import remedies
from gotriage.session.logs import log_state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.logs import LogSource
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

VOLATILE: Final = "log-volatile"
LIMITED: Final = "log-rate-limited"
DEFAULTS: Final[dict[str, dict[str, float]]] = {}
PERSIST: Final = (
    "mkdir -p /var/log/journal && systemd-tmpfiles --create --prefix /var/log/journal && journalctl --flush\n"
    "(and Storage=persistent or auto in journald.conf(5))"
)


def log_keeping(evidence: Evidence) -> Iterator[Claim]:
    """Each source of the target's log."""
    state = log_state(evidence.session)
    if state is None:
        yield from _unseen(evidence)
        return
    fine: list[str] = []
    for source in state.sources:
        if source.state == "unreadable":
            yield Unknown(VOLATILE, f"{source.name}: {source.detail or 'unreadable'}", source.remedy)
        elif source.state == "volatile":
            yield _volatile(evidence, source)
        elif source.state == "ok":
            fine.append(source.name)
        if source.state == "rate-limited" or source.dropped:
            yield _limited(evidence, source)
    if fine:
        yield Fine(VOLATILE, "log kept in " + ", ".join(sorted(set(fine))))


def _unseen(evidence: Evidence) -> Iterator[Claim]:
    for source in ("journal", "container_log", "file_log"):
        if (gap := evidence.gap(source)) is not None:
            yield Unknown(VOLATILE, gap.reason, gap.remedy)


def _volatile(evidence: Evidence, source: LogSource) -> Claim:
    return evidence.finding(
        VOLATILE,
        "info",
        f"the log is kept in memory only ({source.where or '/run/log/journal'}): lost at the next boot",
        evidence=(source.detail,) if source.detail else (),
        fix=source.remedy or PERSIST,
        view="logs",
        subject=source.name,
    )


def _limited(evidence: Evidence, source: LogSource) -> Claim:
    lost = f"{count(source.dropped)} log lines" if source.dropped else "log lines"
    fix = source.remedy
    if not fix and remedies.unit_name(evidence):
        fix = remedies.drop_in(evidence, "LogRateLimitIntervalSec=0")
    return evidence.finding(
        LIMITED,
        "warning",
        f"{lost} were thrown away by {source.name}'s rate limit",
        evidence=(source.detail,) if source.detail else (),
        fix=fix or "log less, or raise RateLimitBurst= in journald.conf(5)",
        view="logs",
        subject=source.name,
    )
