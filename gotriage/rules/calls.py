"""System calls that fail, and programs started over and over.

syscall-errors
    Most errors are normal work: EAGAIN of sockets that have nothing, ENOENT of files that are looked for in several
    places, EPERM of epoll_ctl for plain files, ETIMEDOUT of futex. Told are only errors that mean that something has
    run out or is broken, at the calls where they mean that (`BAD`): EIO of read is what a closed terminal gives, that
    of fsync is a disk that lost data. Twice, for once may have been a probe.
exec-storm
    A fork and an exec cost a few milliseconds of CPU, copy page tables, and wait for the disk. Ten a second are
    some percent of a CPU for nothing but starting; services that do so were written as scripts are. The number of
    children is the lesser of threads and processes made (clone, fork) and of ends waited for (wait4, waitid), for Go
    makes threads by clone too, and waiters may ask in vain.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.records.errnos import WORDS
from gotriage.records.findings import Fine, Severity
from gotriage.records.goroutines import Goroutines
from gotriage.records.units import count, counted, rate, seconds, share
from gotriage.rules import golook, tracelook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.findings import Finding
    from gotriage.records.syscalls import Caller
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence
    from gotriage.rules.tracelook import Window

ERRORS: Final = "syscall-errors"
STORM: Final = "exec-storm"
DEFAULTS: Final = {
    ERRORS: {"errors": 2.0, "seconds": 60.0},
    STORM: {"warning": 10.0, "seconds": 60.0},
}
MOST: Final = 4
"""Errors that become a finding of their own."""
LONGEST: Final = 160
"""Characters of a command or a function."""


class Bad(NamedTuple):
    """An error that says something: at which calls (all, when none is named), how bad, and what helps."""

    calls: frozenset[str]
    severity: Severity
    fix: str


def _bad(calls: str, severity: Severity, fix: str) -> Bad:
    return Bad(frozenset(calls.split()), severity, fix)


_WRITES: Final = (
    "write pwrite64 writev pwritev pwritev2 fsync fdatasync sync_file_range syncfs msync fallocate ftruncate"
    " copy_file_range"
)
_MAKES: Final = "clone clone3 fork vfork"
_MAPS: Final = "mmap mremap brk execve execveat"

BAD: Final = {
    "EMFILE": _bad("", "critical", "raise the limit of descriptors, and find what is not closed: the files view (7)"),
    "ENFILE": _bad("", "critical", "sysctl fs.file-max, or whoever holds so many files: cat /proc/sys/fs/file-nr"),
    "ENOMEM": _bad(
        f"{_MAKES} {_MAPS}",
        "critical",
        "see the limits view (4): memory.max, RLIMIT_AS; and sysctl vm.max_map_count vm.overcommit_memory",
    ),
    "EAGAIN": _bad(_MAKES, "critical", "raise TasksMax= (pids.max) or ulimit -u: no process or thread can be started"),
    "EIO": _bad(_WRITES, "critical", "look at the disk: dmesg -T | tail, smartctl -a; what was written may be lost"),
    "EUCLEAN": _bad("", "critical", "the file system is damaged: dmesg -T | tail, then fsck while it is not mounted"),
    "EROFS": _bad(
        f"open openat openat2 creat mkdir mkdirat unlink unlinkat rename renameat renameat2 {_WRITES}",
        "warning",
        "findmnt -T the path: mounted read-only, by a unit's ProtectSystem= or ReadOnlyPaths=, or after a disk error",
    ),
    "EFBIG": _bad(_WRITES, "warning", "raise ulimit -f (LimitFSIZE=), or rotate the file sooner"),
    "ESTALE": _bad("", "warning", "mount the network file system anew: its server has forgotten these files"),
    "ENOBUFS": _bad(
        "sendto sendmsg sendmmsg write writev",
        "warning",
        "sysctl net.core.wmem_max, and the queue of the device: ip -s link",
    ),
    "EADDRNOTAVAIL": _bad(
        "connect bind sendto sendmsg",
        "critical",
        "keep connections alive instead of making new ones; sysctl net.ipv4.ip_local_port_range, and ss -s",
    ),
    "EBADF": _bad(
        "read write pread64 pwrite64 readv writev recvfrom sendto recvmsg sendmsg fsync fstat",
        "warning",
        "a descriptor is used after it was closed: the data may go to another file that got its number",
    ),
}
"""What means that something has run out or is broken; a full disk, a refused file or peer have rules of their own."""


def errors(evidence: Evidence) -> Iterator[Claim]:
    """A finding an error."""
    if not evidence.running:
        return
    window = tracelook.syscalls(evidence, evidence.limit(ERRORS, "seconds"))
    if window is None:
        yield tracelook.unseen(evidence, ERRORS, tracelook.SYSCALLS)
        return
    failed = tracelook.failures(window)
    bad: dict[str, Counter[str]] = {}
    for (call, name), number in failed.items():
        known = BAD.get(name)
        if known is not None and (not known.calls or call in known.calls):
            bad.setdefault(name, Counter())[call] += number
    told = [name for name in BAD if name in bad and bad[name].total() >= evidence.limit(ERRORS, "errors")]
    for name in told[:MOST]:
        yield _failing(evidence, window, name, bad[name])
    if not told:
        total = sum(failed.values())
        seen = f"{counted(total, 'call')} failed in usual ways" if total else "no call failed"
        yield Fine(ERRORS, f"{seen}, in {seconds(window.seconds)} of tracing")


def _failing(evidence: Evidence, window: Window, name: str, which: Counter[str]) -> Finding:
    known, number = BAD[name], which.total()
    told = [
        f"{call}: {count(times)} times in {seconds(window.seconds)} of tracing" for call, times in which.most_common(4)
    ]
    words = "no process or thread can be started" if name == "EAGAIN" else WORDS.get(name, "")
    told += [f"{name}: {words}"] if words else []
    told += [f"{path.call} of {path.path}" for path in window.now.paths if path.error == name and path.call in which][
        :3
    ]
    if (who := _whose(evidence, window.now.goroutines, which)) != "":
        told.append(who)
    what = " and ".join(call for call, _ in which.most_common(2))
    more = f" and {counted(len(which) - 2, 'other call')}" if len(which) > 2 else ""
    verb = "fails" if len(which) == 1 else "fail"
    return evidence.finding(
        ERRORS,
        known.severity,
        f"{what}{more} {verb} with {name}: {counted(number, 'time')} in {seconds(window.seconds)}",
        evidence=tuple(told),
        fix=known.fix,
        view="syscalls",
        subject=name,
    )


def _whose(evidence: Evidence, callers: tuple[Caller, ...], which: Counter[str]) -> str:
    """The goroutine whose calls failed most, and where it is now."""
    failed = [(sum(one.calls[call].errors for call in which if call in one.calls), one.id) for one in callers if one.id]
    most, goid = max(failed, default=(0, 0))
    if not most:
        return ""
    table = evidence.current(Goroutines)
    group = golook.group_of(table, goid) if table is not None else None
    return f"most of it by goroutine {goid}" + (f", at {golook.where(group)}" if group is not None else "")


# -- exec-storm

MADE: Final = frozenset(_MAKES.split())
WAITED: Final = ("wait4", "waitid")


def storm(evidence: Evidence) -> Iterator[Claim]:
    """Programs that are started all the time."""
    if not evidence.running:
        return
    window = tracelook.syscalls(evidence, evidence.limit(STORM, "seconds"))
    if window is None:
        yield tracelook.unseen(evidence, STORM, tracelook.SYSCALLS)
        return
    made = tracelook.calls(window)
    children = min(sum(made[call] for call in MADE), max(made[call] for call in WAITED))
    pace = children / window.seconds if window.seconds > 0 else 0.0
    if pace < evidence.limit(STORM, "warning"):
        yield Fine(STORM, f"{rate(pace)} programs started" if children else "no programs started")
        return
    yield evidence.finding(
        STORM,
        "warning",
        f"{rate(pace)} programs started: {count(children)} in {seconds(window.seconds)}",
        evidence=(*_of_what(window, made, children), *_which(evidence)),
        fix="see which, and who in the program asks for them: gotriage show probes --option probe=execs\n"
        "do it in the program itself, or start one that stays and is asked",
        view="syscalls",
    )


def _of_what(window: Window, made: Counter[str], children: int) -> Iterator[str]:
    by = ", ".join(f"{call} {count(made[call])}" for call in sorted((*MADE, *WAITED)) if made[call])
    yield f"{counted(children, 'child', 'children')} made and waited for: {by}"
    waited = sum(row.seconds or 0.0 for row in window.now.rows if row.call in MADE)
    if window.now.attached > 0 and waited / window.now.attached >= 0.01:
        yield f"making them took {share(waited / window.now.attached)} of the time"


def _which(evidence: Evidence) -> Iterator[str]:
    """The commands that the probe saw start, the most frequent first, and who asked for them."""
    events = tracelook.events(evidence, "execs", evidence.limit(STORM, "seconds"))
    for (what, by), number in Counter((one.what.partition(" ")[0], one.by) for one in events).most_common(MOST):
        yield f"{what[:LONGEST]}: {counted(number, 'time')}" + (f", asked for by {by[:LONGEST]}" if by else "")
