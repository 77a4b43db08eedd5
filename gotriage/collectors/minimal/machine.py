"""Kernel, random numbers, clock, names: what is the machine's, as the target is told it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError, reason_of
from gotriage.goruntime import surroundings
from gotriage.host import timekeeping
from gotriage.records.minimal import Condition
from gotriage.records.text import clean
from gotriage.records.units import seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.collectors.minimal.program import Program
    from gotriage.host import Host
    from gotriage.host.inroot import InRoot

FAST_CLOCKS: Final = frozenset(
    ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "timebase", "tod"]
)
"""Clock sources that the vDSO reads without a system call (vdso(7))."""
LATE: Final = 1.0
"""Seconds of estimated error from which signatures, tokens and leases may be judged wrongly."""
MAX_HOSTS: Final = 1 << 20


def dotted(version: tuple[int, ...] | None) -> str:
    """(3, 2) as "3.2"."""
    return ".".join(map(str, version)) if version else ""


def kernel(host: Host, pid: int, program: Program) -> tuple[str, Condition]:
    """The release as the target is told it, and the row that holds it against what the program needs."""
    told, disguised = timekeeping.kernel_release(host, pid)
    told = clean(told, 100)
    least, have = program.least_kernel, surroundings.release(told)
    needs = f"; needs {dotted(least)}" if least else ""
    if least and have and have < least:
        by_go = surroundings.least_kernel(program.go_version, program.arch)
        who = clean(program.go_version, 40) if by_go == least else "the C library that it is linked with"
        return told, Condition(
            group="kernel",
            name="kernel",
            state="fault",
            value=f"{told}{needs}",
            detail=f"{who} needs {dotted(least)}" + ("; its personality (UNAME26) hides the real release" * disguised),
            fix="start it without setarch --uname-2.6" if disguised else "a newer kernel, or a build for an older one",
        )
    return told, Condition(
        group="kernel",
        name="kernel",
        state="note" if disguised else "ok",
        value=f"{told}{needs}",
        detail="its personality (UNAME26) hides the real release" if disguised else "",
    )


def random_numbers() -> Condition:
    """Whether getrandom(2) would block."""
    ready = timekeeping.random_ready()
    if ready is False:
        return Condition(
            group="kernel",
            name="random numbers",
            state="fault",
            value="not ready: the kernel has too little entropy",
            detail="crypto/rand, TLS and UUIDs block until the kernel is seeded",
            fix="give the machine a random number device (virtio-rng), or run rngd or haveged",
        )
    value = "ready" if ready else "no getrandom(2): /dev/urandom is read"
    return Condition(group="kernel", name="random numbers", value=value)


def clocks(host: Host) -> Iterator[Condition]:
    """How far the clock may be off, and what reading it costs."""
    state = timekeeping.clock_state()
    if state is None:
        yield Condition(group="time", name="clock", state="unknown", value="adjtimex(2) is refused")
    elif not state.synchronised:
        yield Condition(
            group="time",
            name="clock",
            state="note",
            value="not synchronised: nobody knows how far it is off",
            detail="certificates, tokens and leases are judged by it",
            fix="timedatectl set-ntp true, or run chronyd",
        )
    else:
        off = max(abs(state.offset), state.likely_error)
        late = off >= LATE
        value = "synchronised, " + (f"off by about {seconds(off)}" if late else "off by less than 1 s")
        yield Condition(group="time", name="clock", state="note" if late else "ok", value=value)
    source = timekeeping.clock_source(host)
    if source:
        slow = source not in FAST_CLOCKS
        detail = "each time.Now is a system call" if slow else ""
        yield Condition(
            group="time", name="clock source", state="note" if slow else "ok", value=clean(source, 40), detail=detail
        )


def own_name(host: Host, root: InRoot, pid: int) -> Condition:
    """Whether the host name of the target's UTS namespace stands in its /etc/hosts."""
    try:
        name = timekeeping.host_name(host, pid)
    except (GotriageError, OSError) as error:
        return Condition(group="names", name="host name", state="unknown", value=clean(reason_of(error), 200))
    shown = clean(name, 255)
    try:
        text = root.read("/etc/hosts", MAX_HOSTS).decode("utf-8", "replace")
    except OSError:
        text = ""
    if in_hosts(text, name):
        return Condition(group="names", name="host name", value=f"{shown}, in /etc/hosts")
    detail = "looking up its own name asks a name server"
    return Condition(
        group="names",
        name="host name",
        state="note",
        value=f"{shown}, not in /etc/hosts",
        detail=detail,
        fix=f"add a line to /etc/hosts: 127.0.1.1 {shown}",
    )


def in_hosts(text: str, name: str) -> bool:
    """Whether hosts(5) has the name."""
    wanted = name.lower().rstrip(".")
    for line in text.splitlines()[:10_000]:
        words = line.partition("#")[0].lower().split()
        if wanted in words[1:]:
            return True
    return False
