"""Security modules have refused the target something, whatever modes and owners say.

Each denial that did not only warn (permissive) counts for an hour: programs that were refused at their start do not try
again. While the target runs it goes without: a warning; when it is down, that is why, most likely: critical. What a
permissive module has let happen is worth knowing: it ends when the mode is changed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gotriage.records.findings import Fine
from gotriage.records.security import Security
from gotriage.records.units import clock, counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.findings import Severity
    from gotriage.records.security import SecurityRow
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

SELINUX: Final = "selinux-denied"
IDS: Final = {
    "selinux": SELINUX,
    "apparmor": "apparmor-denied",
    "seccomp": "seccomp-refused",
    "landlock": "landlock-denied",
}
DEFAULTS: Final = {name: {"seconds": 3600.0} for name in IDS.values()}
NAMES: Final = {"selinux": "SELinux", "apparmor": "AppArmor", "seccomp": "its seccomp filter", "landlock": "Landlock"}
SLACK: Final = timedelta(seconds=2)
"""Between the kernel's time of a record and systemd's of a start or an end."""
MOST: Final = 3
"""Denials of one module that become a finding of their own."""


def denied(evidence: Evidence) -> Iterator[Claim]:
    """A finding a denied operation and object."""
    security = evidence.latest(Security)
    if security is None:
        if evidence.running:
            yield evidence.unknown(SELINUX, "security")
        return
    found = False
    for module, rule in IDS.items():
        rows = [row for row in security.rows if row.what == "denial" and row.module == module]
        recent = [row for row in rows if _counts(evidence, row, evidence.limit(rule, "seconds"))]
        for row in sorted(recent, key=lambda row: row.permissive)[:MOST]:
            found = True
            yield _finding(evidence, rule, row, len(recent))
    if found:
        return
    if evidence.gap("security.denials") is not None and _may_refuse(security):
        yield evidence.unknown(SELINUX, "security.denials")
    else:
        yield Fine(SELINUX, _state(security))


def _counts(evidence: Evidence, row: SecurityRow, long: float) -> bool:
    """It is recent, and of this life or the last one: other units may have run the same program."""
    if row.last_at is None or (evidence.ago(row.last_at) or 0.0) > long:
        return False
    if evidence.target is None or row.pid in evidence.target.pids:
        return True
    unit = evidence.unit
    began = evidence.target.started_at if evidence.running else unit.exec_main_start if unit is not None else None
    ended = unit.exec_main_exit if unit is not None and not evidence.running else None
    return (began is None or row.last_at >= began - SLACK) and (ended is None or row.last_at <= ended + SLACK)


def _may_refuse(security: Security) -> bool:
    """Something is in force that could have refused it anything."""
    return security.selinux != "disabled" or bool(security.profile) or security.seccomp != 0


def _state(security: Security) -> str:
    parts = [f"SELinux {security.selinux or 'unknown'}"]
    if security.profile:
        parts.append(f"AppArmor {security.profile}")
    if security.seccomp == 2:
        parts.append(f"{counted(security.filters, 'seccomp filter')}" if security.filters else "a seccomp filter")
    return ", ".join([*parts, "nothing denied"])


def _finding(evidence: Evidence, rule: str, row: SecurityRow, number: int) -> Claim:
    severity: Severity = "info" if row.permissive else "warning" if evidence.running else "critical"
    if row.module == "seccomp":
        done = "killed it for" if row.kind == "killed" else "refuses"
        title = f"{NAMES[row.module]} {done} the system call {row.name}"
    else:
        would = "would deny" if row.permissive else "denies"
        title = f"{NAMES[row.module]} {would} it {row.operation} {row.name}".strip()
    who = f"{row.comm} (pid {row.pid})" if row.comm else f"pid {row.pid}"
    told = [f"{counted(row.count, 'time')}, last at {clock(row.last_at)}, {who}"]
    if row.subject and row.label:
        told.append(f"{row.subject} on {row.label} ({row.kind})")
    elif row.subject:
        told.append(f"profile {row.subject}")
    if row.expected and row.expected != row.label:
        told.append(f"by the policy the file should be {row.expected}")
    if number > MOST:
        told.append(f"{counted(number, 'denial')} of other things too")
    return evidence.finding(
        rule,
        severity,
        title,
        evidence=tuple(told),
        fix=row.cure,
        view="security",
        subject=f"{row.operation} {row.name}",
        since=row.first_at,
    )
