"""From samples to rows of a profile: addresses become functions, goroutines their go statements and labels."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from gotriage.collectors.profile.building import Key, Sums, Table, caller_of, creator_of, labels_of
from gotriage.errors import TargetGone
from gotriage.goruntime.profileparts import Origin, Place
from gotriage.host.kallsyms import KernelSymbols

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gotriage.collectors.profile.samplers import Taken
    from gotriage.goruntime.profiling import Chain, Profiling
    from gotriage.host import Host

MOST_CHAINS: Final = 50_000
"""Stacks whose names are remembered."""
DEEPEST: Final = 127
"""kernel.perf_event_max_stack: addresses of a stack that the kernel gives at most."""
NOWHERE: Final = Place("[process has ended]", named=False)

Named = tuple[tuple[int, ...], bool]
"""Numbers of frames, and whether the walk went astray."""


class Namer:
    """Names samples of one target; what it has looked up once it remembers."""

    def __init__(self, host: Host, names: Profiling, *, go: bool, linked: bool) -> None:
        """`go`: the main process's Go runtime is understood; `linked`: the machine has a link register."""
        self._names, self.go, self._linked = names, go, linked
        self._kernel = KernelSymbols(host)
        self.table = Table()
        self._sizes: dict[tuple[int, int], int] = {}
        self._chains: dict[tuple[int, Chain], Named] = {}
        self._origins: dict[tuple[int, int, int], Origin] = {}
        self._kernel_frames: dict[int, int] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What has no names, and why."""
        return (self._kernel.hidden,) if self._kernel.hidden else ()

    def add(self, samples: Sequence[Taken], sums: Sums) -> None:
        """Count samples. Raises what `Profiling` raises when the main process is gone."""
        if len(self._chains) > MOST_CHAINS:
            self._chains.clear()
        self._learn_kernel({address for one in samples for address in one.kernel})
        for pid in {one.pid for one in samples}:
            self._add_process(pid, [one for one in samples if one.pid == pid], sums)

    def _add_process(self, pid: int, samples: list[Taken], sums: Sums) -> None:
        try:
            self._learn_sizes(pid, {one.user[0] for one in samples if one.user})
            chains = [self._chain(pid, one) for one in samples]
            self._learn_chains(pid, {chain for chain in chains if chain[1]})
            self._learn_origins(pid, {(one.gopc, one.startpc) for one in samples if one.goid})
            pointers = sorted({one.labels for one in samples if one.labels})
            labels = dict(zip(pointers, self._names.labels(pid, pointers), strict=True)) if pointers else {}
        except TargetGone:
            chains, labels = [(0, one.user, ()) for one in samples], {}
        keys: Counter[Key] = Counter()
        for one, chain in zip(samples, chains, strict=True):
            keys[self._key(pid, one, chain, labels)] += 1
            sums.attributed += bool(one.goid)
        for key, count in keys.items():
            sums.add(key, count)
            sums.cut += count if key.cut else 0
            outer = [self.table.frames[number] for number in key.frames[key.kernel :]]
            sums.user_frames += len(outer) * count
            sums.named_frames += sum(frame.named for frame in outer) * count

    def _key(self, pid: int, one: Taken, chain: Chain, labels: dict[int, dict[str, str] | None]) -> Key:
        frames, cut = (
            self._chains.get((pid, chain)) or ((self.table.number(NOWHERE),), True) if one.user else ((), False)
        )
        origin = self._origins.get((pid, one.gopc, one.startpc)) if one.goid else None
        kernel = tuple(self._kernel_frames[address] for address in one.kernel)
        return Key(
            frames=kernel + frames,
            kernel=len(kernel),
            creator=creator_of(origin),
            labels=labels_of(labels.get(one.labels)),
            thread=one.thread,
            system=origin.system if origin is not None else self.go,
            cut=cut or len(one.user) >= DEEPEST,
        )

    def _chain(self, pid: int, one: Taken) -> Chain:
        """The Go code further out matters only where the sample is outside of Go code."""
        size = self._sizes.get((pid, one.user[0]), -1) if one.user else -1
        outer = one.outer if size < 0 else ()
        return caller_of(size, one.words, one.link, linked=self._linked), one.user, outer

    # -- each thing looked up once

    def _learn_sizes(self, pid: int, pcs: Iterable[int]) -> None:
        new = [pc for pc in pcs if (pid, pc) not in self._sizes]
        if new:
            self._sizes.update(zip(((pid, pc) for pc in new), self._names.frame_sizes(pid, new), strict=True))

    def _learn_chains(self, pid: int, chains: Iterable[Chain]) -> None:
        new = [chain for chain in chains if (pid, chain) not in self._chains]
        if not new:
            return
        named, cut = self._names.name(pid, new)
        for number, (chain, places) in enumerate(zip(new, named, strict=True)):
            frames = tuple(self.table.number(place) for place in places)
            self._chains[pid, chain] = (frames, number in cut)

    def _learn_origins(self, pid: int, pairs: Iterable[tuple[int, int]]) -> None:
        new = [pair for pair in pairs if (pid, *pair) not in self._origins]
        if new:
            self._origins.update(zip(((pid, *pair) for pair in new), self._names.origins(pid, new), strict=True))

    def _learn_kernel(self, addresses: Iterable[int]) -> None:
        new = [address for address in addresses if address not in self._kernel_frames]
        if not new:
            return
        for address, name in self._kernel.names(new).items():
            place = Place(name or "[kernel]", kind="kernel", named=bool(name))
            self._kernel_frames[address] = self.table.number(place)
