"""Two ways to samples of CPUs: a BPF program that sees which goroutine it is, and the kernel's perf events alone."""

from __future__ import annotations

import struct
from contextlib import suppress
from fcntl import ioctl
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from gotriage.errors import TargetGone
from gotriage.host import libbpf, perfevents
from gotriage.probes import object_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gotriage.goruntime.profileparts import GoOffsets
    from gotriage.goruntime.profiling import Profiling
    from gotriage.host import Host

    Numbers = Callable[[Sequence[int]], dict[int, int]]

_SAMPLE: Final = struct.Struct("<QIIQQQQQ4Q16sIIQ")
"""struct sample of probes/profile.bpf.c, up to its stacks."""
_OUTER, _KERNEL = 24, 48
_COUNTS: Final = struct.Struct("<QQ")
MOST_SAMPLES: Final = 200_000
"""Samples that are taken out at once."""


class Taken(NamedTuple):
    """A sample.

    Attributes:
        pid: the process; thread: the thread's name, "" where it was not told.
        user, kernel: addresses, innermost first.
        words: the top of the user's stack; link: the link register, 0 where there is none.
        goid: of the goroutine that the thread worked for, 0 for none or where that is not known.
        gopc, startpc, labels: of that goroutine (runtime.g).
        outer: addresses of the Go code from which it went into C or the kernel, innermost first.
    """

    pid: int
    thread: str
    user: tuple[int, ...]
    kernel: tuple[int, ...]
    words: tuple[int, ...]
    link: int = 0
    goid: int = 0
    gopc: int = 0
    startpc: int = 0
    labels: int = 0
    outer: tuple[int, ...] = ()


class Sampler(Protocol):
    """Takes samples.

    Attributes:
        hits: events that were seen, samples or not; lost: samples that there was no room for.
        notes: what is not as one would think, in sentences.
        kernel: kernel stacks are there.
    """

    hits: int
    lost: int
    notes: tuple[str, ...]
    kernel: bool

    def attach(self) -> None:
        """Begin, or go on."""
        ...

    def detach(self) -> None:
        """Pause."""
        ...

    def follow(self, pids: Iterable[int]) -> None:
        """The target has these processes now."""
        ...

    def read(self) -> list[Taken]:
        """Samples since the last call."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class BpfSampler:
    """Each CPU's clock runs a program, which takes a sample when a thread of the target is on it."""

    def __init__(self, host: Host, numbers: Numbers, hz: int, offsets: GoOffsets, *, kernel: bool) -> None:
        """`numbers`: the kernel's own number of each process to ours. Raises as `libbpf.Object` and `open_clock`."""
        self.hits = self.lost = 0
        self.notes: tuple[str, ...] = ()
        self.kernel, self._numbers = kernel, numbers
        constants: dict[str, int | bytes] = {
            "go_goid": offsets.goid,
            "go_m": offsets.m,
            "go_curg": offsets.curg,
            "go_gopc": offsets.gopc,
            "go_startpc": offsets.startpc,
            "go_labels": offsets.labels,
            "go_syscallsp": offsets.syscallsp,
            "go_syscallpc": offsets.syscallpc,
            "go_syscallbp": offsets.syscallbp,
            "kernel_stacks": int(kernel),
        }
        if offsets.thread_local is not None:
            constants |= {"go_thread_local": 1, "go_tls": offsets.thread_local}
        self._fds: list[int] = []
        self._followed: dict[int, int] = {}
        self._pids: frozenset[int] = frozenset()
        self._loaded = libbpf.Object(object_bytes("profile"), "profile", constants=constants)
        try:
            self._ring = self._loaded.ring("samples")
            for cpu in perfevents.cpus(host):
                with suppress(TargetGone):
                    self._add(perfevents.open_clock(-1, cpu, hz, samples=False))
        except BaseException:
            self.close()
            raise

    def _add(self, fd: int) -> None:
        self._loaded.attach_perf_event("on_cpu", fd)
        self._fds.append(fd)

    def follow(self, pids: Iterable[int]) -> None:
        """The target has these processes now."""
        wanted = frozenset(pids)
        if wanted == self._pids:
            return
        targets, now = self._loaded.map("targets"), self._numbers(sorted(wanted))
        for number, pid in now.items():
            targets.update(struct.pack("<I", number), struct.pack("<I", pid))
        for number in self._followed.keys() - now.keys():
            targets.delete(struct.pack("<I", number))
        self._followed, self._pids = now, wanted

    def attach(self) -> None:
        """Begin, or go on."""
        for fd in self._fds:
            ioctl(fd, perfevents.ENABLE, 0)

    def detach(self) -> None:
        """Pause."""
        for fd in self._fds:
            ioctl(fd, perfevents.DISABLE, 0)

    def read(self) -> list[Taken]:
        """Samples since the last call."""
        counts = self._loaded.map("counted").lookup(bytes(4)) or b""
        pairs = list(_COUNTS.iter_unpack(counts[: len(counts) // _COUNTS.size * _COUNTS.size]))
        self.hits, self.lost = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
        return [taken for data in self._ring.consume(MOST_SAMPLES) if (taken := unpacked(data)) is not None]

    def close(self) -> None:
        """End it; the descriptors belong to the object's links."""
        self._fds.clear()
        self._loaded.close()


def unpacked(data: bytes) -> Taken | None:
    """A sample as the program wrote it; None for one that makes no sense."""
    kernel_at = _SAMPLE.size + 8 * _OUTER
    user_at = kernel_at + 8 * _KERNEL
    if len(data) < user_at:
        return None
    _, pid, _, goid, gopc, startpc, labels, link, *words, comm, inner, count, further = _SAMPLE.unpack_from(data)
    outer = struct.unpack_from(f"<{min(further, _OUTER)}Q", data, _SAMPLE.size)
    kernel = struct.unpack_from(f"<{min(inner, _KERNEL)}Q", data, kernel_at)
    user = struct.unpack_from(f"<{min(count, (len(data) - user_at) // 8)}Q", data, user_at)
    name = comm.partition(b"\0")[0].decode("utf-8", "replace")
    return Taken(pid, name, user, kernel, tuple(words), link, goid, gopc, startpc, labels, outer)


class PerfSampler:
    """Perf events of the target's threads; whose goroutine a sample is follows from a register, checked afterwards."""

    def __init__(self, host: Host, pids: Sequence[int], hz: int, names: Profiling, *, kernel: bool, go: bool) -> None:
        """`go`: its runtime is understood. Raises as `perfevents.Sampler`."""
        self._names, self._go = names, go
        self._sampler = perfevents.Sampler(host, pids, hz, kernel=kernel)
        limits = self._sampler.limits
        self.hits = self.lost = 0
        self.kernel = limits.kernel
        self.notes: tuple[str, ...] = ()
        if kernel and not limits.kernel:
            self.notes += (f"stacks of the kernel are not permitted: {perfevents.why_refused()}",)
        if go:
            self.notes += (
                "only samples in a goroutine's own code tell which it is, not those in the runtime's for it",
            )
        if limits.whole:
            self.notes += ("the target has so many threads that whole CPUs are sampled",)
        self._pids = frozenset(pids)

    def attach(self) -> None:
        """Begin, or go on."""
        self._sampler.attach()

    def detach(self) -> None:
        """Pause."""
        self._sampler.detach()

    def follow(self, pids: Iterable[int]) -> None:
        """New processes of the target inherit the events of those that they come from; names are asked for by pid."""
        self._pids |= set(pids)

    def read(self) -> list[Taken]:
        """Samples since the last call."""
        samples = self._sampler.read()
        self.hits, self.lost = self.hits + len(samples), self._sampler.lost
        known = {}
        if self._go and samples:
            main = min(self._pids & {one.pid for one in samples}, default=None)
            if main is not None:
                addresses = sorted({one.g for one in samples if one.g and one.pid == main})
                known = {(main, one.address): one for one in self._names.known(main, addresses)}
        found = []
        for one in samples:
            g = known.get((one.pid, one.g))
            facts = (g.goid, g.gopc, g.startpc, g.labels) if g is not None else ()
            found.append(Taken(one.pid, "", one.user, one.kernel, one.words, one.link, *facts))
        return found

    def close(self) -> None:
        """End it."""
        self._sampler.close()
