"""Which finding explains which: consequences fold under their cause, and a cause is at least as bad as what it does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from gotriage.records.findings import SEVERITIES
from gotriage.rules.descriptors import EMFILE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gotriage.records.findings import Finding

_DOWN: Final = ("start-failure", "crash-loop", "not-running")


def _always(_cause: Finding, _effect: Finding) -> bool:
    return True


def _of_descriptors(_cause: Finding, effect: Finding) -> bool:
    return any(EMFILE in text.lower() for text in (effect.title, *effect.evidence))


def _of_access(cause: Finding, effect: Finding) -> bool:
    """The path or the words stand in the consequence, or systemd names a step that is about files."""
    texts = " ".join((effect.title, *effect.evidence)).lower()
    return cause.subject.lower() in texts or "permission denied" in texts


def _of_disk(_cause: Finding, effect: Finding) -> bool:
    return any(text in _whole(effect) for text in ("no space left on device", "disk quota exceeded"))


def _of_point(cause: Finding, effect: Finding) -> bool:
    """The consequence is about the mount point, or about a path below it."""
    return effect.subject == cause.subject or effect.subject.startswith(cause.subject.rstrip("/") + "/")


def _of_peer(cause: Finding, effect: Finding) -> bool:
    """The peer is named."""
    return bool(cause.subject) and cause.subject.lower() in _whole(effect)


def _of_names(_cause: Finding, effect: Finding) -> bool:
    return any(text in _whole(effect) for text in ("lookup ", "name server", ":53 "))


def _whole(finding: Finding) -> str:
    return " ".join((finding.title, *finding.evidence)).lower()


def _of_panic(cause: Finding, _effect: Finding) -> bool:
    """One that net/http recovered, or that is long past, ended nothing."""
    return cause.severity == "critical"


def _of_library(cause: Finding, effect: Finding) -> bool:
    """The loader ends with 127; a missing loader makes execve(2) fail, which systemd tells as 203."""
    return cause.severity == "critical" and effect.severity == "critical"


def _of_goroutines(cause: Finding, effect: Finding) -> bool:
    """Both are about one object in memory, or about one place in the code."""
    known = set(_ADDRESS.findall(" ".join(cause.evidence))) | set(_PLACE.findall(f"{cause.title} {cause.evidence}"))
    return any(word in known for pattern in (_ADDRESS, _PLACE) for word in pattern.findall(_text(effect)))


def _text(finding: Finding) -> str:
    return " ".join((finding.title, *finding.evidence[:2]))


_ADDRESS: Final = re.compile(r"\b0x[0-9a-f]{4,16}\b")
_PLACE: Final = re.compile(r"\([^()\s]{1,200}\.\w{1,8}:\d{1,7}\)")

Link = tuple[str, tuple[str, ...], "Callable[[Finding, Finding], bool]"]
LINKS: Final[tuple[Link, ...]] = (
    ("oom-killed", _DOWN, lambda cause, _: cause.severity == "critical"),
    ("fd-exhaustion", ("panic", "permission-denied"), _of_descriptors),
    ("fd-exhaustion", ("fd-leak",), _always),
    ("fd-exhaustion", ("close-wait-leak", "listen-backlog-overflow"), _always),
    ("fd-leak", ("close-wait-leak",), _always),
    ("port-exhaustion", ("error-responses",), _of_peer),
    ("fd-exhaustion", ("syscall-errors",), lambda _, effect: effect.subject == "EMFILE"),
    ("disk-full", ("panic", *_DOWN, "error-responses"), _of_disk),
    ("inodes-exhausted", ("disk-full",), _of_point),
    ("inodes-exhausted", ("panic", *_DOWN, "error-responses"), _of_disk),
    ("read-only-filesystem", ("panic", *_DOWN, "error-responses"), lambda _, effect: "read-only" in _whole(effect)),
    ("zoneinfo-missing", ("panic", *_DOWN), lambda _, effect: "unknown time zone" in _whole(effect)),
    ("entropy-or-device-missing", ("panic", *_DOWN, "permission-denied"), _of_peer),
    ("uninterruptible-sleep", ("thread-explosion",), _always),
    ("connection-refused", (*_DOWN, "error-responses"), _of_peer),
    ("peer-timeout", ("slow-requests", "error-responses"), _of_peer),
    ("dns-slow", ("slow-requests", "peer-timeout"), _of_names),
    ("dns-failure", ("dns-slow",), _always),
    ("dns-failure", (*_DOWN, "error-responses", "slow-requests", "peer-timeout"), _of_names),
    ("ca-bundle-missing", ("certificate-untrusted",), lambda _, effect: effect.subject != "clients"),
    ("certificate-expired", ("certificate-untrusted",), lambda _, effect: effect.subject == "clients"),
    ("cpu-throttled", ("slow-requests",), _always),
    ("missing-library", (*_DOWN, "symbol-version-missing"), _of_library),
    ("symbol-version-missing", _DOWN, _of_library),
    ("permission-denied", (*_DOWN, "panic"), _of_access),
    ("permission-denied", ("port-not-listening",), lambda cause, effect: cause.subject == effect.subject),
    ("start-failure", ("crash-loop", "not-running"), _always),
    ("panic", _DOWN, _of_panic),
    ("crash-loop", ("not-running",), _always),
    ("deadlock", ("lock-contention", "goroutine-leak", "channel-blocked"), _of_goroutines),
    ("goroutine-leak", ("channel-blocked", "lock-contention"), _of_goroutines),
    ("gomaxprocs-mismatch", ("cpu-throttled",), lambda cause, _: cause.severity != "info"),
)
"""Cause, what follows from it, and whether it does in this case; earlier links win."""


def fold(findings: Sequence[Finding]) -> list[Finding]:
    """The findings with `because` and `explains` set, each consequence pointing to the first cause of its chain."""
    cause_of: dict[int, int] = {}
    for cause_id, effects, follows in LINKS:
        for place, effect in enumerate(findings):
            if effect.id not in effects or place in cause_of:
                continue
            for other, cause in enumerate(findings):
                if cause.id == cause_id and _root(cause_of, other) != place and follows(cause, effect):
                    cause_of[place] = other
                    break
    roots = {place: _root(cause_of, place) for place in range(len(findings))}
    return [_linked(findings, roots, place) for place in range(len(findings))]


def _root(cause_of: dict[int, int], place: int) -> int:
    while place in cause_of:
        place = cause_of[place]
    return place


def _linked(findings: Sequence[Finding], roots: dict[int, int], place: int) -> Finding:
    finding = findings[place]
    if roots[place] != place:
        return msgspec.structs.replace(finding, because=findings[roots[place]].id)
    effects = [findings[other] for other, root in roots.items() if root == place and other != place]
    if not effects:
        return finding
    worst = min((SEVERITIES.index(one.severity) for one in (finding, *effects)), default=0)
    explains = tuple(dict.fromkeys(effect.id for effect in effects))
    return msgspec.structs.replace(finding, explains=explains, severity=SEVERITIES[worst])
