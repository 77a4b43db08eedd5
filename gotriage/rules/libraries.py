"""Libraries that no rule of the loader finds, and symbol versions that those found do not have.

For what does not run either is why: the loader ends the program with status 127 before main (ld.so(8)). For what runs
it is a warning: it has them in memory, and the next start fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.records.findings import Fine
from gotriage.records.libraries import Libraries
from gotriage.records.units import count, counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.findings import Severity
    from gotriage.records.libraries import Library
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

MISSING: Final = "missing-library"
VERSION: Final = "symbol-version-missing"
DEFAULTS: Final[dict[str, dict[str, float]]] = {}
MOST: Final = 5
"""Libraries that become a finding of their own; more are counted."""


def libraries(evidence: Evidence) -> Iterator[Claim]:
    """Both ids, from the newest look at the executable."""
    found = evidence.latest(Libraries)
    if found is None:
        if evidence.running:
            yield evidence.unknown(MISSING, "libraries")
        return
    severity: Severity = "warning" if evidence.running else "critical"
    absent = [row for row in found.rows if row.path is None and row.depth > 0 and not row.error]
    if found.interpreter and found.interpreter_found is False:
        yield _no_loader(evidence, found, severity)
    for row in absent[:MOST]:
        yield _missing(evidence, row, severity, len(absent))
    short = [row for row in found.rows if row.missing_versions]
    for row in short[:MOST]:
        yield _version(evidence, found, row, severity)
    if not absent and not short and found.interpreter_found is not False:
        yield Fine(MISSING, _fine(found))


def _fine(found: Libraries) -> str:
    if found.linkage.startswith("static"):
        return "linked statically"
    number = sum(row.depth > 0 for row in found.rows)
    return f"{counted(number, 'library', 'libraries')} found" if number else "needs no libraries"


def _later(evidence: Evidence) -> str:
    return "; it runs, the next start fails" if evidence.running else ""


def _no_loader(evidence: Evidence, found: Libraries, severity: Severity) -> Claim:
    return evidence.finding(
        MISSING,
        severity,
        f"the dynamic loader {found.interpreter} is not there{_later(evidence)}",
        evidence=(
            f"PT_INTERP of {found.executable}",
            "execve(2) then says “No such file or directory” about the executable itself",
        ),
        fix="install the C library it was built for, or build with CGO_ENABLED=0",
        view="libraries",
        subject=found.interpreter,
    )


def _missing(evidence: Evidence, row: Library, severity: Severity, number: int) -> Claim:
    told = [f"needed by {row.needed_by}"] if row.needed_by else []
    if row.loaded:
        gone = ", deleted since" if row.loaded_deleted else ""
        told.append(f"in memory it is {row.loaded}{gone}")
    if number > MOST:
        told.append(f"{count(number)} libraries are missing in all")
    fix = f"install {row.install}" if row.install else f"put {row.name} where the loader looks, or set LD_LIBRARY_PATH"
    return evidence.finding(
        MISSING,
        severity,
        f"{row.name} is not found by any rule of the loader{_later(evidence)}",
        evidence=tuple(told),
        fix=fix,
        view="libraries",
        subject=row.name,
    )


def _version(evidence: Evidence, found: Libraries, row: Library, severity: Severity) -> Claim:
    missing = ", ".join(row.missing_versions[:3]) + (" …" if len(row.missing_versions) > 3 else "")
    told = [f"{row.path} does not define {version}" for version in row.missing_versions[:MOST]]
    if found.libc == "glibc" and found.libc_version:
        told.append(f"the C library here is glibc {found.libc_version}")
    return evidence.finding(
        VERSION,
        severity,
        f"{row.name} lacks {missing}{_later(evidence)}",
        evidence=tuple(told),
        fix="build it on the oldest system it has to run on, or with CGO_ENABLED=0; or take a newer "
        f"{row.package or row.name}",
        view="libraries",
        subject=row.name,
    )
