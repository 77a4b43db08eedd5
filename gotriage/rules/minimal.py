"""What a program takes for granted is not there: time zones, devices, random numbers, a kernel that is new enough.

Each is told by the look at the target's own root and kernel (records.minimal), and by its log, in the words of Go and
the C library. What is unusual and often harmless is no finding: a program from scratch without a time zone database
that never names a zone is in order.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gotriage.records.findings import Fine
from gotriage.records.minimal import Minimal
from gotriage.rules import tracelook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.findings import Severity
    from gotriage.records.minimal import Condition
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

ZONES: Final = "zoneinfo-missing"
DEVICES: Final = "entropy-or-device-missing"
KERNEL: Final = "kernel-too-old"
DEFAULTS: Final = {ZONES: {"log_seconds": 300.0}, DEVICES: {"log_seconds": 300.0}, KERNEL: {"log_seconds": 300.0}}
MOST: Final = 4
_ZONE = re.compile(r"unknown time zone ([A-Za-z0-9_+/-]{1,64})")
_DEVICE = re.compile(
    r"\bopen (/dev/[a-z0-9/]{1,32}): "
    r"(?:no such file or directory|permission denied|operation not permitted|no such device)"
)
_BLOCKED = re.compile(r"()crypto/rand: blocked for 60 seconds waiting to read random data")
"""Go's own words (crypto/rand)."""
_OLD = re.compile(r"()FATAL: kernel too old")
"""glibc's words, when the kernel is older than it was built for (sysdeps/unix/sysv/linux/dl-osinfo.h)."""


def zones(evidence: Evidence) -> Iterator[Claim]:
    """Local time falls back to UTC, or a zone could not be loaded."""
    record = evidence.current(Minimal)
    said = tracelook.said(evidence, "unknown time zone", _ZONE, evidence.limit(ZONES, "log_seconds"))
    row = _row(record, "local time")
    fault = row if row is not None and row.state == "fault" else None
    if fault is None and not said:
        if row is not None and row.state == "ok":
            yield Fine(ZONES, f"local time {record.zone if record is not None else ''}".strip())
        elif evidence.running:
            yield evidence.unknown(ZONES, "minimal")
        return
    names = ", ".join(list(said)[:MOST])
    told = [fault.value, fault.detail] if fault is not None else []
    told += [f"unknown time zone {name}: {lines}" for name, lines in list(said.items())[:MOST]]
    base = _row(record, "time zones")
    told += [f"time zone database: {base.value}"] if base is not None else []
    fix = fault.fix if fault is not None else ""
    yield evidence.finding(
        ZONES,
        _severity(evidence, said=bool(said)),
        f"time zone {names} is not found" if names else "local time is UTC: the zone in TZ is not found",
        evidence=tuple(filter(None, told)),
        fix=fix or 'import _ "time/tzdata" (or build with -tags timetzdata), or put tzdata into the image',
        view="minimal",
        subject=names or "TZ",
    )


def devices(evidence: Evidence) -> Iterator[Claim]:
    """A finding a device, and one for random numbers that are not ready."""
    record, long = evidence.current(Minimal), evidence.limit(DEVICES, "log_seconds")
    said = tracelook.said(evidence, "open /dev/", _DEVICE, long)
    rows = [row for row in record.rows if row.group == "devices"] if record is not None else []
    faults = [row for row in rows if row.state == "fault"]
    found = bool(faults or said)
    for row in faults:
        yield _device(evidence, row.name, row, said.pop(row.name, None))
    known = {row.name: row for row in rows}
    for path, lines in list(said.items())[:MOST]:
        yield _device(evidence, path, known.get(path), lines)
    if (claim := _random(evidence, record)) is not None:
        found = True
        yield claim
    if found:
        return
    if record is not None:
        yield Fine(DEVICES, "/dev/null and random numbers there")
    elif evidence.running:
        yield evidence.unknown(DEVICES, "minimal")


def _device(evidence: Evidence, path: str, row: Condition | None, lines: tracelook.Said | None) -> Claim:
    told = [f"{path}: {row.value}", row.detail] if row is not None and row.state != "ok" else []
    told += [str(lines)] if lines is not None else []
    what = row.value if row is not None and row.state != "ok" else "cannot be opened, says its log"
    return evidence.finding(
        DEVICES,
        _severity(evidence, said=lines is not None),
        f"{path}: {what}",
        evidence=tuple(filter(None, told)),
        fix=row.fix if row is not None and row.fix else "run containers with the engine's own /dev; see ls -l /dev",
        view="minimal",
        subject=path,
    )


def _random(evidence: Evidence, record: Minimal | None) -> Claim | None:
    row = _row(record, "random numbers")
    fault = row if row is not None and row.state == "fault" else None
    blocked = tracelook.said(evidence, "crypto/rand: blocked", _BLOCKED, evidence.limit(DEVICES, "log_seconds"))
    if fault is None and not blocked:
        return None
    return evidence.finding(
        DEVICES,
        "critical",
        "random numbers are not ready: crypto/rand and TLS wait for the kernel",
        evidence=(*([fault.value] if fault is not None else []), *(str(lines) for lines in blocked.values())),
        fix=fault.fix if fault is not None else "give the machine a random number device (virtio-rng), or run rngd",
        view="minimal",
        subject="getrandom",
    )


def kernel(evidence: Evidence) -> Iterator[Claim]:
    """The kernel is older than Go or the C library needs."""
    record = evidence.current(Minimal)
    said = tracelook.said(evidence, "kernel too old", _OLD, evidence.limit(KERNEL, "log_seconds"))
    row = _row(record, "kernel")
    fault = row if row is not None and row.state == "fault" else None
    if fault is None and not said:
        if record is not None:
            needs = f", needs {record.kernel_least}" if record.kernel_least else ""
            yield Fine(KERNEL, f"kernel {record.kernel}{needs}")
        elif evidence.running:
            yield evidence.unknown(KERNEL, "minimal")
        return
    told = [f"kernel {fault.value}", fault.detail] if fault is not None else []
    told += [f"FATAL: kernel too old: {lines}" for lines in said.values()]
    yield evidence.finding(
        KERNEL,
        _severity(evidence, said=bool(said)),
        f"kernel {record.kernel} is too old: {record.kernel_least} is needed"
        if fault is not None and record is not None
        else "the C library refuses this kernel: too old",
        evidence=tuple(filter(None, told)),
        fix=fault.fix
        if fault is not None
        else "a newer kernel, or a build against an older C library (or without cgo)",
        view="minimal",
    )


def _row(record: Minimal | None, name: str) -> Condition | None:
    return next((row for row in record.rows if row.name == name), None) if record is not None else None


def _severity(evidence: Evidence, *, said: bool) -> Severity:
    """What its log complains of and what is down since is critical."""
    return "critical" if said and not evidence.running else "warning"
