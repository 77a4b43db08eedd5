"""All rules, in the order of their weight, and the one function that asks them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.records.findings import SEVERITIES, Finding, Fine, Unknown, Verdict
from gotriage.records.target import LOOK_LIVE, NOT_IN_CORE
from gotriage.rules import (
    access,
    build,
    calls,
    cpu,
    descriptors,
    disk,
    filesystems,
    firewall,
    fulldisk,
    garbage,
    goroutines,
    health,
    heap,
    libraries,
    locks,
    logs,
    lookups,
    mandatory,
    memory,
    minimal,
    panics,
    peers,
    postmortem,
    reach,
    requests,
    restarts,
    rights,
    scheduler,
    sockets,
    starts,
    threads,
    tracing,
    trust,
)
from gotriage.rules.causes import fold
from gotriage.rules.evidence import Evidence

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gotriage.rules import Claim, Rule
    from gotriage.rules.evidence import Thresholds
    from gotriage.session.store import Session

RULES: Final[tuple[Rule, ...]] = (
    memory.oom_killed,
    descriptors.descriptors,
    libraries.libraries,
    access.own_files,
    rights.capabilities,
    minimal.devices,
    minimal.kernel,
    minimal.zones,
    mandatory.denied,
    filesystems.inodes,
    filesystems.read_only,
    filesystems.hanging,
    fulldisk.full,
    calls.errors,
    starts.start_failure,
    panics.panics,
    restarts.crash_loop,
    restarts.not_running,
    memory.memory_limit,
    requests.errors,
    health.unhealthy,
    lookups.failures,
    trust.bundle,
    trust.expired,
    trust.untrusted,
    peers.refused,
    peers.silent,
    peers.names,
    sockets.backlogs,
    sockets.ports,
    sockets.forgotten,
    reach.walked,
    reach.listening,
    firewall.blocked,
    locks.deadlocks,
    goroutines.leaks,
    goroutines.blocked_channels,
    requests.slow,
    threads.threads,
    heap.memory_leak,
    garbage.thrashing,
    locks.contention,
    cpu.throttling,
    scheduler.hot_loops,
    calls.storm,
    garbage.memory_limits,
    scheduler.processors,
    disk.deleted_files,
    tracing.traced,
    build.binary_replaced,
    logs.log_keeping,
)
"""Every rule once. Findings of one severity stand in this order: what ends the service first, then what slows it."""

OF_A_CORE: Final[tuple[Rule, ...]] = (
    postmortem.died,
    locks.deadlocks,
    goroutines.leaks,
    goroutines.blocked_channels,
    locks.contention,
)
"""Those that one look at the memory of a process answers, all that a core file holds; the first one only there."""

_MODULES = (
    access,
    build,
    calls,
    cpu,
    descriptors,
    disk,
    filesystems,
    firewall,
    fulldisk,
    garbage,
    goroutines,
    health,
    heap,
    libraries,
    locks,
    logs,
    mandatory,
    lookups,
    memory,
    minimal,
    panics,
    peers,
    reach,
    requests,
    restarts,
    scheduler,
    sockets,
    starts,
    threads,
    tracing,
    trust,
)
THRESHOLDS: Final[dict[str, dict[str, float]]] = {
    rule: dict(values) for module in _MODULES for rule, values in sorted(module.DEFAULTS.items())
}
"""Rule id to threshold name to default value: what a settings file may change. Reasons stand with the rules."""


def judge(session: Session, thresholds: Thresholds | None = None) -> Verdict:
    """What all rules say about the session at its cursor. Pure: the same session and cursor give the same verdict.

    `thresholds` change defaults by rule id and name; names that do not exist are ignored here and refused by
    `config.load`.
    """
    evidence = Evidence(session, _in_force(thresholds or {}))
    if evidence.target is None:
        return Verdict(at=session.moment)
    claims: list[tuple[int, Claim]] = []
    core = evidence.target.state == "core"
    for rank, rule in enumerate(OF_A_CORE if core else RULES):
        claims += [(rank, claim) for claim in _asked(rule, evidence)]
    if core:
        claims.append((len(OF_A_CORE), Unknown("everything else", NOT_IN_CORE, LOOK_LIVE)))
    ranked = [(rank, claim) for rank, claim in claims if isinstance(claim, Finding)]
    return Verdict(
        at=session.moment,
        findings=tuple(_ordered(ranked)),
        fine=tuple(dict.fromkeys(claim for _, claim in claims if isinstance(claim, Fine))),
        unknown=tuple(_once(claim for _, claim in claims if isinstance(claim, Unknown))),
    )


def _in_force(changes: Mapping[str, Mapping[str, float]]) -> Thresholds:
    if not changes:
        return THRESHOLDS
    return {rule: {**values, **changes.get(rule, {})} for rule, values in THRESHOLDS.items()}


def _asked(rule: Rule, evidence: Evidence) -> list[Claim]:
    """The claims of one rule. A rule that fails on what a target has made up must not take the others with it."""
    try:
        return list(rule(evidence))
    except Exception as error:
        reason = f"the rule {rule.__name__} failed: {type(error).__name__}: {str(error)[:200]}"
        return [Unknown(rule.__name__, reason, "please report this with a snapshot (gotriage snapshot)")]


def _ordered(ranked: list[tuple[int, Finding]]) -> list[Finding]:
    """Each claim once, worst first, consequences right after their cause."""
    once: dict[tuple[str, str], tuple[int, Finding]] = {}
    for rank, finding in ranked:
        known = once.get((finding.id, finding.subject))
        if known is None or _weight(finding) < _weight(known[1]):
            once[finding.id, finding.subject] = (rank, finding)
    ranks = [rank for rank, _ in once.values()]
    folded = fold([finding for _, finding in once.values()])
    rank_of = {finding.id: rank for finding, rank in zip(folded, ranks, strict=True)}
    keyed = [
        (_weight(finding), rank_of.get(finding.because, rank), bool(finding.because), rank, place)
        for place, (finding, rank) in enumerate(zip(folded, ranks, strict=True))
    ]
    return [folded[key[-1]] for key in sorted(keyed)]


def _weight(finding: Finding) -> int:
    return SEVERITIES.index(finding.severity)


def _once(claims: Iterable[Unknown]) -> list[Unknown]:
    """One line a reason, however many rules met it; the ids of the others stand in `also`."""
    merged: dict[tuple[str, str], list[str]] = {}
    for claim in claims:
        ids = merged.setdefault((claim.reason, claim.remedy), [])
        if claim.id not in ids:
            ids.append(claim.id)
    return [Unknown(ids[0], reason, remedy, tuple(ids[1:])) for (reason, remedy), ids in merged.items()]
