"""CPU samples by perf_event_open(2): stacks of user and kernel, without a tool, as far as the kernel permits.

The event is the software clock (PERF_COUNT_SW_CPU_CLOCK), which every machine has, also a virtual one. Everything is a
file descriptor of this process: the kernel undoes it when the process ends, however that ends. Layouts and numbers are
those of include/uapi/linux/perf_event.h.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import struct
from contextlib import suppress
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.errors import GotriageError, MissingFacility, NotPermitted, TargetGone
from gotriage.host import privilege
from gotriage.host.text_file import small_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gotriage.host import Host

_CALLS: Final = {"x86_64": 298, "aarch64": 241, "riscv64": 241}
"""perf_event_open by machine: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h."""
_REGISTERS: Final = {"x86_64": (22, None), "aarch64": (28, 30)}
"""PERF_REG_X86_R14, PERF_REG_ARM64_X28: where Go keeps g while Go code runs (src/cmd/compile/abi-internal.md); and
PERF_REG_ARM64_LR, the link register."""
WORDS: Final = 4
"""Words of the stack, from the stack pointer on, that go along with a sample."""
_ATTR: Final = struct.Struct("=IIQQQQQIIQQQQIiQIHH")
SOFTWARE, CPU_CLOCK = 1, 0
_TID, _TIME, _CALLCHAIN, _REGS_USER, _STACK_USER = 1 << 1, 1 << 2, 1 << 5, 1 << 12, 1 << 13
_DISABLED, _INHERIT, _NO_KERNEL, _NO_HYPERVISOR, _BY_FREQUENCY = 1 << 0, 1 << 1, 1 << 5, 1 << 6, 1 << 10
_CLOEXEC: Final = 8
ENABLE, DISABLE, SET_OUTPUT = 0x2400, 0x2401, 0x2405
LOST, SAMPLE = 2, 9
"""PERF_RECORD_LOST, PERF_RECORD_SAMPLE."""
_IN_KERNEL, _IN_USER = (1 << 64) - 128, (1 << 64) - 512
"""PERF_CONTEXT_KERNEL, PERF_CONTEXT_USER: they stand in a call chain before the addresses that they tell of."""
_MARKS: Final = (1 << 64) - 4095
"""PERF_CONTEXT_MAX: from here on upwards a word of a call chain is no address."""
_HEAD, _TAIL, _DATA = 1024, 1032, 1040
"""Places of data_head, data_tail, data_offset in perf_event_mmap_page."""
PAGES: Final = 64
"""Pages of a CPU's ring: 256 KB hold about 400 samples, 4 s of one CPU. perf itself takes 128 (perf_event_mlock_kb)."""
MOST_EVENTS: Final = 4096
"""Threads times CPUs; where there are more, whole CPUs are sampled."""
ALLOW: Final = "sysctl kernel.perf_event_paranoid=1, or run gotriage as root (sudo)"

_libc = ctypes.CDLL(None, use_errno=True)


class Sample(NamedTuple):
    """One look at a thread on a CPU, in our PID namespace; addresses innermost first.

    Attributes:
        kernel, user: its stacks; the first address of each is that of an instruction, the others return addresses.
        words: the top of its stack; link: the link register, 0 on machines without one.
        g: what stands where Go keeps its g, 0 when it was not told: whoever uses it has to check it.
    """

    pid: int
    tid: int
    at: int
    kernel: tuple[int, ...]
    user: tuple[int, ...]
    words: tuple[int, ...] = ()
    link: int = 0
    g: int = 0


def cpus(host: Host) -> list[int]:
    """The CPUs that are online (Documentation/admin-guide/cputopology.rst)."""
    found: list[int] = []
    for part in (small_text(host.sys / "devices/system/cpu/online") or "0").split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def open_clock(pid: int, cpu: int, hz: int, *, samples: bool = True, inherit: bool = False, kernel: bool = True) -> int:
    """A disabled event that fires `hz` times a second of CPU time; pid -1 is whoever runs on that CPU, cpu -1 any CPU.

    Its descriptor. `samples`: it writes samples; otherwise it only fires, for a program to be attached.
    Raises NotPermitted, MissingFacility, TargetGone, OSError.
    """
    number = _CALLS.get(platform.machine())
    if number is None:
        raise MissingFacility(f"perf_event_open(2) is not used on {platform.machine()}")
    wanted = _registers() if samples else []
    kind = _TID | _TIME | _CALLCHAIN | (_REGS_USER | _STACK_USER if wanted else 0) if samples else 0
    flags = _DISABLED | _NO_HYPERVISOR | _BY_FREQUENCY | (_INHERIT if inherit else 0) | (0 if kernel else _NO_KERNEL)
    registers, stack = sum(1 << register for register in wanted), 8 * WORDS if wanted else 0
    attributes = _ATTR.pack(
        SOFTWARE, _ATTR.size, CPU_CLOCK, hz, kind, 0, flags, 0, 0, 0, 0, 0, registers, stack, 0, 0, 0, 0, 0
    )
    fd: int = _libc.syscall(
        ctypes.c_long(number), attributes, ctypes.c_int(pid), ctypes.c_int(cpu), ctypes.c_int(-1),
        ctypes.c_ulong(_CLOEXEC),
    )  # fmt: skip
    if fd >= 0:
        return fd
    raise refusal(ctypes.get_errno(), pid)


def refusal(code: int, pid: int) -> Exception:
    """The error for an errno of perf_event_open(2)."""
    if code == errno.ESRCH:
        return TargetGone(f"thread {pid} has ended")
    if code in (errno.EPERM, errno.EACCES):
        return NotPermitted(f"{why_refused()}; {ALLOW}")
    if code in (errno.ENOSYS, errno.ENOENT, errno.EOPNOTSUPP):
        return MissingFacility("the kernel has no perf events (CONFIG_PERF_EVENTS), or a seccomp filter hides them")
    return OSError(code, f"perf_event_open: {os.strerror(code)}")


def why_refused() -> str:
    """In words why perf_event_open(2) says no (Documentation/admin-guide/perf-security.rst)."""
    level = small_text(Path("/proc/sys/kernel/perf_event_paranoid")) or "?"
    may = {"CAP_PERFMON", "CAP_SYS_ADMIN"} & set(privilege.capabilities())
    if may:
        return "perf events are refused: a seccomp filter, a security module or kernel lockdown forbids them"
    return f"perf events are not permitted: kernel.perf_event_paranoid is {level}, and CAP_PERFMON is lacking"


# -- what the kernel writes


def _registers() -> list[int]:
    """The registers that samples have, in the order in which they are written."""
    return [register for register in _REGISTERS.get(platform.machine(), ()) if register is not None]


def parse(data: bytes, registers: int) -> tuple[list[Sample], int]:
    """Records of a ring: the samples, and how many were lost. What makes no sense ends the reading.

    registers: how many each sample has: of g, of the link register; with none there is no stack either.
    """
    found: list[Sample] = []
    lost = at = 0
    while at + 8 <= len(data):
        kind, _, size = struct.unpack_from("=IHH", data, at)
        if size < 8 or at + size > len(data):
            break
        if kind == SAMPLE and (sample := _sample(data[at + 8 : at + size], registers)) is not None:
            found.append(sample)
        elif kind == LOST and size >= 24:
            lost += struct.unpack_from("=Q", data, at + 16)[0]
        at += size
    return found, lost


def _sample(body: bytes, registers: int) -> Sample | None:
    try:
        pid, tid, when, count = struct.unpack_from("=IIQQ", body)
        if count > len(body):
            return None
        kernel, user = _chains(struct.unpack_from(f"={count}Q", body, 24))
        words: tuple[int, ...] = ()
        values = [0, 0]
        at = 24 + 8 * count
        if registers:
            (abi,) = struct.unpack_from("=Q", body, at)
            at += 8
            if abi:
                values[:registers] = struct.unpack_from(f"={registers}Q", body, at)
                at += 8 * registers
            (size,) = struct.unpack_from("=Q", body, at)
            if size > len(body):
                return None
            (used,) = struct.unpack_from("=Q", body, at + 8 + size) if size else (0,)
            words = struct.unpack_from(f"={min(used, size) // 8}Q", body, at + 8)
    except struct.error:
        return None
    return Sample(pid, tid, when, kernel, user, words, values[1], values[0])


def _chains(words: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Addresses of the kernel, addresses of user space."""
    chains: dict[int, list[int]] = {_IN_KERNEL: [], _IN_USER: []}
    chain = chains[_IN_USER]
    for word in words:
        if word >= _MARKS:
            chain = chains.get(word, [])
        else:
            chain.append(word)
    return tuple(chains[_IN_KERNEL]), tuple(chains[_IN_USER])


class Ring:
    """The memory that the events of one CPU write to."""

    def __init__(self, fd: int, pages: int = PAGES) -> None:
        """Of the event at `fd`, which stays the caller's. Raises NotPermitted when it may not be locked in memory."""
        self.fd = fd
        self._size = pages * mmap.PAGESIZE
        try:
            self._map = mmap.mmap(fd, self._size + mmap.PAGESIZE)
        except PermissionError as error:
            raise NotPermitted(
                "the rings of perf events may not be locked in memory: kernel.perf_event_mlock_kb and RLIMIT_MEMLOCK"
            ) from error

    def read(self) -> bytes:
        """What was written since the last call, as records."""
        head, tail = struct.unpack_from("=QQ", self._map, _HEAD)
        if head == tail:
            return b""
        (start,) = struct.unpack_from("=Q", self._map, _DATA)
        start = start or mmap.PAGESIZE
        low, high = tail % self._size, head % self._size
        base = self._map[start + low : start + (high if high > low else self._size)]
        if high <= low:
            base += self._map[start : start + high]
        struct.pack_into("=Q", self._map, _TAIL, head)
        return base

    def close(self) -> None:
        """Let go of it."""
        self._map.close()


@dataclass(slots=True)
class Limits:
    """What was left out: kernel stacks, which were not permitted; `whole`: other processes are sampled too."""

    kernel: bool = True
    whole: bool = False


class Sampler:
    """Samples of some processes: an event for each thread on each CPU, inherited by the threads that they start.

    Where that would be more than MOST_EVENTS, or more than descriptors may be opened, an event for each CPU, of which
    samples of others are dropped here; that takes CAP_PERFMON, or kernel.perf_event_paranoid 0.
    """

    def __init__(self, host: Host, pids: Iterable[int], hz: int, *, kernel: bool = True) -> None:
        """Open, not sampling yet. Raises NotPermitted, MissingFacility, TargetGone, OSError."""
        self._host, self._hz = host, hz
        self.pids = frozenset(pids)
        self.limits = Limits(kernel=kernel)
        self._cpus = cpus(host)
        self._fds: list[int] = []
        self._rings: dict[int, Ring] = {}
        self.lost = 0
        try:
            threads = list(self._threads())
            if len(threads) * len(self._cpus) <= min(MOST_EVENTS, _room()):
                self._open_threads(threads)
            else:
                self.limits.whole = True
                self._open_all((-1,))
        except BaseException:
            self.close()
            raise

    def _threads(self) -> Iterator[int]:
        for pid in sorted(self.pids):
            with suppress(TargetGone):
                yield from sorted(int(name) for name in self._host.proc.names(pid, "task") if name.isdigit())

    def _open_threads(self, threads: list[int]) -> None:
        """All of them, and those that were started meanwhile by one that had no event yet."""
        seen: set[int] = set()
        for _ in range(5):
            fresh = [tid for tid in threads if tid not in seen]
            if not fresh:
                break
            seen.update(fresh)
            self._open_all(fresh)
            threads = list(self._threads())
        if not self._fds:
            raise TargetGone("the target has no thread left to sample")

    def _open_all(self, tids: Iterable[int]) -> None:
        for tid in tids:
            for cpu in self._cpus:
                with suppress(TargetGone):
                    self._open_one(tid, cpu)

    def _open_one(self, tid: int, cpu: int) -> None:
        try:
            fd = open_clock(tid, cpu, self._hz, inherit=tid >= 0, kernel=self.limits.kernel)
        except NotPermitted:
            if not self.limits.kernel or self._fds:
                raise
            fd = open_clock(tid, cpu, self._hz, inherit=tid >= 0, kernel=False)
            self.limits.kernel = False
        except OSError as error:
            if error.errno == errno.ENXIO:  # the CPU went offline
                return
            raise
        self._fds.append(fd)
        if cpu in self._rings:
            ioctl(fd, SET_OUTPUT, self._rings[cpu].fd)
        else:
            self._rings[cpu] = Ring(fd)

    def attach(self) -> None:
        """Begin, or go on."""
        for fd in self._fds:
            ioctl(fd, ENABLE, 0)

    def detach(self) -> None:
        """Pause."""
        for fd in self._fds:
            ioctl(fd, DISABLE, 0)

    def read(self) -> list[Sample]:
        """The samples since the last call."""
        found: list[Sample] = []
        registers = len(_registers())
        for ring in self._rings.values():
            samples, lost = parse(ring.read(), registers)
            self.lost += lost
            found += samples if not self.limits.whole else [one for one in samples if one.pid in self.pids]
        return found

    def close(self) -> None:
        """End it; may be called twice."""
        for ring in self._rings.values():
            ring.close()
        self._rings.clear()
        while self._fds:
            os.close(self._fds.pop())


def _room() -> int:
    """Descriptors that this process may still open, some kept for others (getrlimit(2))."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, MOST_EVENTS + 512) if hard != resource.RLIM_INFINITY else MOST_EVENTS + 512
    if soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    try:
        used = len(os.listdir("/proc/self/fd"))
    except (OSError, GotriageError):
        used = 64
    return max(0, soft - used - 128)
