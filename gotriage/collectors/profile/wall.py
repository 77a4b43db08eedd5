"""Wall-clock profiles: where all goroutines are, some ten times a second, by reads of memory that stop nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from gotriage.collectors import NOT_GO, Meter, Unavailable
from gotriage.collectors.profile import building, options
from gotriage.collectors.profile.building import Key, Sums, Table
from gotriage.errors import TargetGone
from gotriage.goruntime.profileparts import Place
from gotriage.goruntime.profiling import Profiling
from gotriage.goruntime.refusals import NotGo
from gotriage.host import clock
from gotriage.records.profile import WallProfile
from gotriage.records.tracing import Price

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gotriage.goruntime.profileparts import WallGroup, WallLook
    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.target.model import Target

HZ: Final = 10
SLICE: Final = 0.45
"""Seconds of sampling in one look of the agent."""
ON_CPU: Final = "running"
ON_A_CPU: Final = Place("[on a CPU]", kind="runtime")
NOT_READ: Final = Place("[moved while it was read]", kind="runtime")

_REFUSED = NOT_GO


class WallTracer:
    """Samples all goroutines in a process of its own, at idle priority."""

    backend = "process_vm_readv"
    runs: ClassVar[int] = 0

    def __init__(self, host: Host, target: Target) -> None:
        self._target = target
        _REFUSED.check(target)
        self._names: Profiling | None = None
        self._options = options.Options(HZ)
        self._began = clock.now()
        self._from = clock.monotonic()
        self._fresh = True
        self._attached = True
        self._run = self._looks = 0

    def price(self, given: Mapping[str, str]) -> Price:
        """Raises UsageError."""
        wanted = options.parse(given, "wall", HZ)
        return Price(
            hits_per_second=float(wanted.hz),
            words=(
                f"Reads where all goroutines are {wanted.hz} times a second, from memory, with CPU time that nobody"
                " else wants; nothing is stopped.",
            ),
        )

    def start(self, given: Mapping[str, str]) -> None:
        """Raises UsageError, TargetGone, NotPermitted, Unavailable."""
        self._options = options.parse(given, "wall", HZ)
        if self._target.pid is None:
            raise TargetGone("nothing of the target runs")
        self._names = Profiling(self._target.pid)
        try:
            self._names.identity()
            self._names.wall(0.0, self._options.hz, begin=True)
        except NotGo as error:
            refused = _REFUSED.refuse(self._target, str(error))
            raise Unavailable(f"{refused}: it has no goroutines", lost=False) from error
        self._begin()

    def _begin(self) -> None:
        WallTracer.runs += 1
        self._run, self._fresh = WallTracer.runs, True
        self._began, self._from = clock.now(), clock.monotonic()

    def attach(self) -> None:
        """Go on."""
        self._attached = True

    def detach(self) -> None:
        """Pause: nothing is read but in `collect`."""
        self._attached = False

    def collect(self) -> Iterator[Record]:
        """Sample for a while; the profile so far."""
        if self._names is None or not self._attached:
            return
        look = self._names.wall(SLICE, self._options.hz, begin=self._fresh)
        self._looks += look.samples if self._fresh else 0
        self._fresh = False
        yield self._record(look)
        if self._options.window is not None and clock.monotonic() - self._from >= self._options.window - 0.05:
            self._begin()

    def _record(self, look: WallLook) -> WallProfile:
        table, sums = Table(), Sums()
        for group in look.groups:
            sums.add(_key(look, group, table), group.count)
        sums.omitted += look.omitted
        sums.samples += look.omitted
        notes = []
        wanted = look.seconds * self._options.hz + 1
        if look.samples < 0.8 * wanted:
            notes.append(f"{look.samples} of {wanted:.0f} looks were in time: the machine has little CPU time to spare")
        return WallProfile(
            at=clock.now(),
            run=self._run,
            began=self._began,
            seconds=round(look.seconds + 1 / self._options.hz, 3) if look.samples else 0.0,
            hz=self._options.hz,
            looks=look.samples,
            took=look.took,
            attributed=sums.samples,
            notes=tuple(notes),
            **building.parts(sums, table, first="own"),  # type: ignore[arg-type]  # fields of the record by name
        )

    def meter(self) -> Meter:
        """Looks are not counted one by one."""
        return Meter()

    def stop(self) -> None:
        """End the process that reads."""
        names, self._names = self._names, None
        if names is not None:
            names.close()

    def close(self) -> None:
        """As `stop`."""
        self.stop()


def _key(look: WallLook, group: WallGroup, table: Table) -> Key:
    """Of one that is on a CPU, or that moved while it was read, only the first function is known."""
    places = [look.places[number] for number in look.stacks[group.stack]] if group.stack >= 0 else []
    if not places:
        places = [NOT_READ if group.state != ON_CPU else ON_A_CPU]
        places += [look.sites[group.start]] if group.start >= 0 else []
    return Key(
        frames=tuple(table.number(place) for place in places),
        creator=building.frame_of(look.sites[group.creator]) if group.creator >= 0 else None,
        labels=building.labels_of(look.labels[group.labels]) if group.labels >= 0 else (),
        state=group.reason or group.state,
        system=group.system,
    )
