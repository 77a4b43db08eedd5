"""Log lines and the state of the places that they come from."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import msgspec

from gotriage.records.base import Record, Row


class LogLine(Row, frozen=True, kw_only=True, gc=False):
    """One entry. `priority` is the syslog level 0 (emerg) to 7 (debug), None when the source has none.

    Attributes:
        at: the time that the source gives.
        source: "journal", "docker", "podman", "cri", "file", "kernel".
        level: the level that the message itself carries (slog, zap, logrus, klog ...), in lower case, or ""; the words
            are those of `records.logtext.RANKS`. It says more than `priority`, which for a line of standard output is
            only journald's or the engine's default.
        message: the text; for a structured line its message field. May hold several lines (a panic with its stack).
        identifier: who wrote it: SYSLOG_IDENTIFIER=, the container's name, or the file's name.
        stream: "stdout" or "stderr" where the source tells.
        boot: _BOOT_ID= of the journal.
        fields: the structured fields of the message (JSON or logfmt), as text; for systemd's own lines EXIT_CODE,
            EXIT_STATUS, UNIT_RESULT, N_RESTARTS, JOB_RESULT, MESSAGE_ID (systemd.journal-fields(7)).
        count: how many physical lines were kept together.
        truncated: the text was longer than the bound and is cut.
    """

    at: datetime
    source: str
    message: str
    level: str = ""
    priority: int | None = None
    identifier: str = ""
    pid: int | None = None
    stream: str = ""
    boot: str = ""
    cursor: str = ""
    fields: dict[str, str] = {}
    kind: str = ""
    """What the line was recognised as, or "": "panic", "fatal error" and "race" hold the whole trace (a panic that
    net/http recovered has fields["recovered"]); "systemd" is the service manager's own line about the unit, "oom" its
    line about an OOM kill, "coredump" systemd-coredump's, "dropped" journald's about lines that it threw away."""
    count: int = 1
    truncated: bool = False


class LogLines(Record, frozen=True, kw_only=True, tag="logs"):
    """A batch of entries in time order; `history` marks a batch that was asked for and lies before the live ones."""

    keep: ClassVar[int] = 0
    """Kept by the log store of the session, not by a ring."""

    rows: tuple[LogLine, ...] = ()
    history: bool = False


class LogSource(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place where log lines come from and how it does.

    `state` is ok, volatile (lost at reboot), rate-limited (lines were dropped), damaged (files that are cut or
    overwritten), unreadable or none; where several hold, `detail` names them all, and `dropped` counts lines that
    journald threw away, whatever the state.
    """

    name: str
    where: str = ""
    backend: str = ""
    state: str = "ok"
    detail: str = ""
    remedy: str = ""
    dropped: int | None = None


class LogState(Record, frozen=True, kw_only=True, tag="log_state"):
    """The log sources that one collector found, and what systemd-journald said about itself.

    Each collector of logs writes its own; `session.logs.log_state(session)` puts the newest of each together.
    """

    keep: ClassVar[int] = 100

    collector: str = ""
    """Name of the source in the catalogue: journal, container_log, file_log."""
    sources: tuple[LogSource, ...] = ()
    oldest: datetime | None = None
    boots: int | None = None


class OomKill(Record, frozen=True, kw_only=True, tag="oom_kill"):
    """The kernel killed a process of the target for memory (mm/oom_kill.c: the "Killed process" line)."""

    keep: ClassVar[int] = 200

    pid: int | None = None
    comm: str = ""
    cgroup: str = ""
    constraint: str = ""
    """CONSTRAINT_MEMCG when a cgroup limit was the cause, CONSTRAINT_NONE when the machine was out of memory."""
    rss_bytes: int | None = None
    message: str = ""
