"""The target may not use files of its own.

Three witnesses: the modes and ACLs of what it was given (records.environment.Access), its own log, where Go writes
"open PATH: permission denied" (io/fs.PathError), and its system calls that failed so, by path. Either is a warning: it
goes without the file; when it is down since, it is critical. The log counts for five minutes: a program that needs the
file tries again. Of calls two on one path are needed, for programs try what they need not have, and files of the kernel
(/proc, /sys) are left out, which libraries try at their start.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gotriage.records.environment import Access, AccessProblem
from gotriage.records.errnos import WORDS
from gotriage.records.findings import Fine
from gotriage.records.paths import Paths
from gotriage.records.probes import ProbeEvents
from gotriage.records.units import clock, count, counted
from gotriage.rules import remedies, tracelook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.logs import LogLine
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

ID: Final = "permission-denied"
DEFAULTS: Final = {ID: {"log_seconds": 300.0, "calls": 2.0, "seconds": 60.0}}
MOST: Final = 5
"""Paths that become a finding of their own."""
DENIED: Final = "permission denied"
DENIES: Final = ("EACCES", "EPERM")
KERNEL: Final = ("/proc/", "/sys/", "/dev/")
LONGEST: Final = 1024
_SAID = re.compile(r"\b(open|openat|mkdir|chdir|stat|lstat|readdirent|unlink|remove|rename|bind|exec|fork/exec) "
                   r"(/[^\s:\"']{1,1024}): permission denied", re.IGNORECASE)  # fmt: skip


def own_files(evidence: Evidence) -> Iterator[Claim]:
    """A finding a path, and the number of paths that are in order."""
    access = evidence.current(Access)
    problems = (*(access.problems if access is not None else ()), *_refused(evidence, access))
    said, traced = _said(evidence), _traced(evidence)
    for problem in problems[:MOST]:
        calls = traced.pop(problem.path, None)
        told = [str(calls)] if calls is not None else []
        yield _problem(evidence, problem, said.pop(problem.path, []), told, len(problems))
    for path, calls in list(traced.items())[:MOST]:
        yield _only_traced(evidence, path, calls, said.pop(path, []))
    for path, lines in list(said.items())[:MOST]:
        yield _only_said(evidence, path, lines)
    if problems or said or traced:
        return
    paths = evidence.current(Paths)
    checked = access.checked if access is not None else len(paths.rows) if paths is not None else None
    if checked is not None:
        yield Fine(ID, f"{counted(checked, 'own path')} accessible")
    elif evidence.running:
        yield evidence.unknown(ID, "access")


def _refused(evidence: Evidence, access: Access | None) -> Iterator[AccessProblem]:
    """What the look at its paths knows besides: other user namespaces, immutable files, noexec mounts."""
    known = {problem.path for problem in access.problems} if access is not None else set()
    record = evidence.current(Paths)
    for row in record.rows if record is not None else ():
        if row.state == "refused" and row.path not in known:
            yield AccessProblem(row.path, row.needs, row.reason, row.owner, row.mode, row.source)


def _said(evidence: Evidence) -> dict[str, list[LogLine]]:
    """Path to the log lines that say it was refused, the oldest first."""
    found: dict[str, list[LogLine]] = {}
    for line in evidence.lines(DENIED, evidence.limit(ID, "log_seconds"), most=200):
        for text in (line.message, *line.fields.values()):
            if match := _SAID.search(text[:4096]):
                found.setdefault(match[2], []).append(line)
                break
    return found


@dataclass(slots=True)
class Refusals:
    """Calls on one path that were refused."""

    times: int
    call: str
    error: str
    witness: str

    def __str__(self) -> str:
        return f"{self.witness} saw {self.call} fail with {self.error} {counted(self.times, 'time')}"


def _traced(evidence: Evidence) -> dict[str, Refusals]:
    """Path to the calls on it that were refused, the most first."""
    long, found = evidence.limit(ID, "seconds"), dict[str, Refusals]()

    def add(path: str, times: int, call: str, error: str, witness: str) -> None:
        if error in DENIES and path.startswith("/") and not path.startswith(KERNEL) and len(path) < LONGEST:
            known = found.setdefault(path, Refusals(0, call, error, witness))
            if known.witness == witness:
                known.times += times

    window = tracelook.syscalls(evidence, long)
    for one in window.now.paths if window is not None else ():
        if (evidence.ago(one.last_at) or 0.0) <= long:
            add(one.path, one.count, one.call, one.error, "the kernel")
    strace = tracelook.strace(evidence)
    for row in strace.failures if strace is not None else ():
        add(row.where, row.count, row.call, row.error, "strace")
    for event in (row for record in evidence.series(ProbeEvents, long) for row in record.rows):
        if event.probe == "open-errors":
            add(event.what, 1, "open", event.result, "a probe")
    least = evidence.limit(ID, "calls")
    return {path: one for path, one in sorted(found.items(), key=lambda pair: -pair[1].times) if one.times >= least}


def _only_traced(evidence: Evidence, path: str, calls: Refusals, lines: list[LogLine]) -> Claim:
    path_word = remedies.word(path)
    return evidence.finding(
        ID,
        "warning",
        f"{path}: {calls.call} is refused ({calls.error}), {counted(calls.times, 'time')}",
        evidence=(str(calls), WORDS[calls.error], *_counted(lines)),
        fix=f"see who may: namei -l {path_word}; getfacl {path_word}; mandatory access control may be the cause too",
        view="syscalls",
        subject=path,
        since=lines[0].at if lines else None,
    )


def _problem(evidence: Evidence, problem: AccessProblem, lines: list[LogLine], calls: list[str], number: int) -> Claim:
    facts = " ".join(word for word in (problem.owner, problem.mode) if word)
    told = [f"{problem.path} is {facts}"] if facts else []
    if problem.source:
        told.append(f"given as {problem.source}" if problem.source != "working directory" else "working directory")
    told += [*_counted(lines), *calls]
    if number > MOST:
        told.append(f"{counted(number, 'path')} in all")
    return evidence.finding(
        ID,
        "warning",
        f"{problem.path}: {problem.reason}",
        evidence=tuple(told),
        fix=_fix(problem),
        view="environment",
        subject=problem.path,
        since=lines[0].at if lines else None,
    )


def _fix(problem: AccessProblem) -> str:
    path = remedies.word(problem.path)
    who = re.search(r"uid (\d+)", problem.reason)
    if who is None:
        return f"chown or chmod {path} for the user of the service"
    rights = "rX" if problem.needs in ("r", "x") else "rwX"
    return f"setfacl -m u:{who[1]}:{rights} {path}   (or chown, chmod); see each folder: namei -l {path}"


def _counted(lines: list[LogLine]) -> list[str]:
    if not lines:
        return []
    times = "once" if len(lines) == 1 else f"{count(len(lines))} times"
    return [f"the log says so {times}, last at {clock(lines[-1].at)}"]


def _only_said(evidence: Evidence, path: str, lines: list[LogLine]) -> Claim:
    path_word = remedies.word(path)
    return evidence.finding(
        ID,
        "warning" if evidence.running else "critical",
        f"{path}: permission denied, says its log",
        evidence=tuple(_counted(lines)),
        fix=f"see who may: namei -l {path_word}; getfacl {path_word}; mandatory access control may be the cause too",
        view="logs",
        subject=path,
        since=lines[0].at,
    )
