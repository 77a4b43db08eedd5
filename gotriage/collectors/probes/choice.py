"""Which backend runs which probe here: the best one that can, and why better ones cannot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gotriage.collectors.probes import by_bcc, by_bpftrace, by_libbpf, by_tracefs
from gotriage.collectors.probes.raw import NOTHING
from gotriage.errors import UsageError
from gotriage.probes.library import BY_ID, PROBES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

    from gotriage.host import Host
    from gotriage.probes.library import Probe
    from gotriage.target.model import Target

BACKENDS: Final[tuple[ModuleType, ...]] = (by_libbpf, by_bpftrace, by_bcc, by_tracefs)
"""Best first. Each has BACKEND, `unavailable` and `engines`."""
NAMES: Final = tuple(module.BACKEND for module in BACKENDS)
MOST_PROBES: Final = 12


@dataclass(slots=True)
class Choice:
    """For one probe.

    Attributes:
        backends: those that seem to be able to, the best first; none is unavailable.
        passed_over: the others, and why not.
        failed: why it did not start, or broke.
    """

    probe: Probe
    backends: list[ModuleType] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    failed: str = ""

    def break_off(self, reason: str) -> None:
        """It is not tried any further."""
        self.backends.clear()
        self.failed = reason

    def pass_over(self, reason: str) -> None:
        """The first of them does not do it after all."""
        module = self.backends.pop(0)
        self.passed_over.append(f"{module.BACKEND}: {reason}")


def choose(probe: Probe, host: Host, target: Target, backend: str = "") -> Choice:
    """The backends for a probe; only `backend` when one is named."""
    choice = Choice(probe)
    no_go = bool(probe.functions) and target.go_of is not None and target.go is None
    for module in BACKENDS:
        if backend and module.BACKEND.lower() != backend.lower():
            continue
        reason = "the target is no Go program" if no_go else module.unavailable(probe, host)
        if backend and reason == NOTHING:
            reason = f"it has nothing for {probe.id}"
        if not reason:
            choice.backends.append(module)
        elif not choice.backends and reason != NOTHING:
            choice.passed_over.append(f"{module.BACKEND}: {reason}")
    return choice


def wanted(options: Mapping[str, str]) -> list[Probe]:
    """The option "probe": ids with commas between, none for a look at what there is. Raises UsageError."""
    ids = [word.strip() for word in options.get("probe", "").split(",") if word.strip()]
    for name in ids:
        if name not in BY_ID:
            raise UsageError(f"no probe {name[:40]!r}; there are: {', '.join(BY_ID)}")
    if len(ids) > MOST_PROBES:
        raise UsageError(f"{MOST_PROBES} probes at once at most")
    return [probe for probe in PROBES if probe.id in ids]


def library(host: Host, target: Target) -> Sequence[Choice]:
    """All of the library."""
    return [choose(probe, host, target) for probe in PROBES]
