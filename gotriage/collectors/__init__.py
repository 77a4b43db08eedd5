"""HOW WE LOOK: one file a backend, pure `parse_*` functions above, a few lines of I/O below.

A collector is a class made with `(host, target)` once per attachment. The agent calls `collect()` every so often,
always in the same thread; it yields records. It may keep what it needs to compute rates. Failures are values:
it yields a `Gap` for the part that it could not see and goes on, or lets a GotriageError or OSError out, which the
agent turns into a `Gap` of the whole collector. Raising `Unavailable` makes the agent use the row's next collector.

Gaps: a look yields every gap that holds at it. The agent writes each once, and closes it when a later look that went
through does not yield it any more. Records that equal the collector's previous one of the type are not written again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from gotriage.errors import MissingFacility, UsageError
from gotriage.host import clock
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.records.stream import Request
    from gotriage.records.tracing import Price
    from gotriage.target.model import Target


class Collector(Protocol):
    """The shape of a collector."""

    backend: str
    """Name of the source in use, as `?` shows it: "/proc", "D-Bus", "journalctl -o json" ..."""

    def __init__(self, host: Host, target: Target) -> None: ...

    def collect(self) -> Iterator[Record]:
        """Look once. Bounded in time and size."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class Answering(Protocol):
    """What a collector that also answers requests has besides (log history)."""

    def answer(self, request: Request) -> Iterator[Record]:
        """Records for one request; the agent writes the `Reply`."""
        ...


class Meter(NamedTuple):
    """What a trace has counted since its start; None where that cannot be counted.

    `seconds`: CPU time that the hits have cost the target by estimate, where they do not all cost the same.
    """

    hits: int | None = None
    lost: int | None = None
    seconds: float | None = None


class Over(Exception):
    """Raised by a tracer's `collect` when there will be no more; the text says why. The agent ends the trace."""


class Tracer(Protocol):
    """The shape of a backend of a source that is started on request (`Source.asked`).

    Made new for each start, all in one thread. `Unavailable` from its making, `price` or `start` makes the agent take
    the next backend. What a start has done is undone by `stop`, in the kernel also by the end of the process.
    Those that stop the target are told for how many `seconds` by an option, are told to `detach` before the last
    `collect`, and raise a GotriageError from `detach` or `stop` when not every thread of the target runs afterwards.
    """

    backend: str
    """Name of the source in use: "libbpf", "bpftrace", "perf", "strace" ..."""

    def __init__(self, host: Host, target: Target) -> None: ...

    def price(self, options: Mapping[str, str]) -> Price:
        """What a start with these options would cost. Takes half a second at most; raises UsageError, Unavailable."""
        ...

    def start(self, options: Mapping[str, str]) -> None:
        """Begin, attached. Raises UsageError for bad options, GotriageError, OSError."""
        ...

    def attach(self) -> None:
        """Go on after `detach`; cheap."""
        ...

    def detach(self) -> None:
        """Cost the target nothing until `attach`; cheap, and nothing collected is lost."""
        ...

    def collect(self) -> Iterator[Record]:
        """What is known: asked every so often while attached, after each `detach`, and before `stop`."""
        ...

    def meter(self) -> Meter:
        """Hits and losses since the start."""
        ...

    def stop(self) -> None:
        """Undo everything; may be called at any time, and twice."""
        ...

    def close(self) -> None:
        """As `stop`."""
        ...


GENERAL: Final = frozenset({"backend", "budget", "seconds"})
"""Options of every trace, which the agent sees to (gotriage.agent.tracers)."""


def check_options(options: Mapping[str, str], source: str, **takes: str) -> None:
    """Raises UsageError for an option that the source does not have; `takes`: what each of its options takes."""
    if unknown := sorted(options.keys() - GENERAL - takes.keys()):
        known = ", ".join(f"{name}={value}" for name, value in takes.items()) or "none"
        raise UsageError(f"no option {clean(unknown[0], 40)!r} of {source}; there are {known}")


class Refusals:
    """Remembers for a while which process has no Go in it, so that not each look starts a reader to find out again."""

    LASTS = 600.0
    """Seconds: a library with Go in it may be loaded later."""

    def __init__(self) -> None:
        self._known: tuple[object, float, str] | None = None

    def check(self, target: Target) -> None:
        """Raises Unavailable when the target's process was refused."""
        if self._known is not None and self._known[0] == self._key(target) and clock.monotonic() < self._known[1]:
            raise Unavailable(self._known[2], lost=False)

    def refuse(self, target: Target, reason: str) -> Unavailable:
        """Remember it; the error to raise."""
        self._known = (self._key(target), clock.monotonic() + self.LASTS, reason)
        return Unavailable(reason, lost=False)

    @staticmethod
    def _key(target: Target) -> object:
        main = target.main
        return (main.pid, main.start_ticks, target.image) if main is not None else None


class Unavailable(MissingFacility):
    """This backend cannot serve here; the text says why. The agent takes the row's next collector.

    Attributes:
        lost: whether anything is lost when no other backend serves. True is a gap, False is silence (the source does
            not apply to this target); None leaves it to the catalogue: a loss, unless the target lacks what the
            row's `needs` names.
        remedy: what to type or change so that it can serve.
    """

    def __init__(self, text: str = "", *, lost: bool | None = None, remedy: str = "") -> None:
        super().__init__(text)
        self.lost = lost
        self.remedy = remedy


NOT_GO = Refusals()
"""What any of the sources that read the Go runtime has found out."""
