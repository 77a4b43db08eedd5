"""The executable on disk is another than the one that runs.

That is what a deployment that forgot the restart looks like, so it is worth knowing and no more; when nothing stands at
the path any longer, the next start fails, which is a warning. /proc/PID/exe says " (deleted)" (proc_pid_exe(5)).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.records.environment import Environment
from gotriage.records.findings import Fine, Unknown
from gotriage.records.units import clock, seconds
from gotriage.rules import remedies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

ID: Final = "binary-replaced"
DEFAULTS: Final[dict[str, dict[str, float]]] = {}


def binary_replaced(evidence: Evidence) -> Iterator[Claim]:
    """The file that runs against the file at its path."""
    if not evidence.running:
        return
    record = evidence.current(Environment)
    if record is None or not record.exe:
        yield evidence.unknown(ID, "environment", record.unknown.get("exe") if record else None)
        return
    if not record.exe_deleted and not record.exe_replaced:
        if record.exe_replaced is None and (why := record.unknown.get("exe_replaced")):
            yield Unknown(ID, why.reason, why.remedy)
        else:
            yield Fine(ID, "build on disk is the one that runs")
        return
    told = [_running(evidence, record)]
    restart = remedies.restart(evidence)
    if record.exe_replaced:
        title = f"{record.exe} was replaced since the start: a restart runs another build"
        told.append("another file stands at its path now")
        fix = f"{restart} starts the new build; go version -m {remedies.word(record.exe)} says which that is"
    else:
        title = f"{record.exe} was deleted since the start: a restart fails"
        told.append("nothing stands at its path now")
        fix = f"put the executable back before anybody restarts it; cp /proc/{record.pid}/exe saves the one that runs"
    yield evidence.finding(
        ID,
        "info" if record.exe_replaced else "warning",
        title,
        evidence=tuple(told),
        fix=fix,
        view="environment",
        subject=record.exe,
    )


def _running(evidence: Evidence, record: Environment) -> str:
    words = [f"running since {clock(evidence.target.started_at)}"] if evidence.target else ["running"]
    if evidence.age is not None:
        words.append(f"({seconds(int(evidence.age))})")
    version = record.main_version if record.main_version not in ("", "(devel)") else ""
    revision = record.settings.get("vcs.revision", "")[:12]
    words += [word for word in (record.module, version, f"revision {revision}" if revision else "") if word]
    return " ".join(words)
