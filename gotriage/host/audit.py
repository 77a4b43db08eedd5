"""Refusals of security modules, as the kernel's audit records tell them, out of the kernel log, audit.log, the journal.

Forms: "audit: type=1400 audit(SECONDS.MS:SERIAL): ..." of the kernel log (kernel/audit.c), "type=AVC msg=audit(...):"
of audit.log (auditd(8)). What a record says is from security/selinux/avc.c, security/apparmor/audit.c, kernel/auditsc.c
audit_seccomp, security/landlock/audit.c (Linux 6.15).
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError, MissingFacility, reason_of
from gotriage.host import clock, tools
from gotriage.host.callnames import call_name
from gotriage.host.kmsg import KernelLog
from gotriage.host.tail import Tail, open_in_view
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from gotriage.host import Host

AUDIT_LOG: Final = "/var/log/audit/audit.log"
HISTORY: Final = 4 * 1024 * 1024
"""Bytes of audit.log that the first look reads."""
LONGEST: Final = 8192
JOURNAL_LINES: Final = 2000
SECCOMP, AVC, LANDLOCK_ACCESS, LANDLOCK_DOMAIN = "1326", "1400", "1423", "1424"
NAMES: Final = {"AVC": AVC, "USER_AVC": AVC, "SECCOMP": SECCOMP, "LANDLOCK_ACCESS": LANDLOCK_ACCESS,
                "LANDLOCK_DOMAIN": LANDLOCK_DOMAIN, "APPARMOR_DENIED": AVC, "1107": AVC}  # fmt: skip
"""include/uapi/linux/audit.h."""
_HEAD = re.compile(r"\btype=(?P<type>[A-Z_]+|\d+) (?:msg=)?audit\((?P<time>\d+)\.(?P<ms>\d+):(?P<serial>\d+)\): ?")
_FIELD = re.compile(r"(\w+)=(\"[^\"]*\"|'[^']*'|[^\s\"']+)")
_DENIED = re.compile(r"avc: +denied +\{ ([^}]{1,200}) \}")
_HEX = re.compile(r"^(?:[0-9A-F]{2}){1,4096}$")


@dataclass(frozen=True, slots=True)
class Denial:
    """One refusal; `serial` is the audit event's, which all sources of the same event share.

    `mask` is what AppArmor refused of a file (r, w, x ...); `port` that of a socket.
    """

    at: datetime
    serial: str
    module: str
    operation: str
    name: str = ""
    kind: str = ""
    subject: str = ""
    label: str = ""
    pid: int | None = None
    comm: str = ""
    exe: str = ""
    permissive: bool = False
    mask: str = ""
    port: int | None = None


def parse(line: str, domains: dict[str, tuple[int | None, str, str]]) -> Denial | None:
    """The refusal that a record tells of; None for any other. `domains` keeps who is in which Landlock domain."""
    head = _HEAD.search(line[:LONGEST])
    if head is None:
        return None
    kind = NAMES.get(head["type"], head["type"])
    rest = line[head.end() : LONGEST]
    fields = dict(_FIELD.findall(rest)[:64])
    at = clock.from_epoch(int(head["time"]) + int(head["ms"]) / 1000)
    serial = f"{head['time']}.{head['ms']}:{head['serial']}"
    if kind == SECCOMP:
        return _seccomp(at, serial, fields)
    if kind == LANDLOCK_DOMAIN and len(domains) < 4096:
        domains[_plain(fields, "domain")] = _who(fields)
        return None
    if kind == LANDLOCK_ACCESS:
        pid, comm, exe = domains.get(_plain(fields, "domain"), (None, "", ""))
        name, port = _string(fields, "path"), _port(fields)
        operation = _plain(fields, "blockers")
        return Denial(at, serial, "landlock", operation, name, pid=pid, comm=comm, exe=exe, port=port)
    if "apparmor" in fields:
        return _apparmor(at, serial, fields)
    denied = _DENIED.search(rest)
    return _avc(at, serial, denied[1], fields) if denied else None


def _seccomp(at: datetime, serial: str, fields: dict[str, str]) -> Denial:
    number = _plain(fields, "syscall")
    with suppress(MissingFacility, ValueError):
        number = call_name(int(number))
    pid, comm, exe = _who(fields)
    # sig=0 is a filter that logs, or sends an error and logs (SECCOMP_RET_LOG, SECCOMP_FILTER_FLAG_LOG).
    kind = "killed" if _plain(fields, "sig") == "31" else "refused"
    return Denial(at, serial, "seccomp", number, number, kind, pid=pid, comm=comm, exe=exe)


def _apparmor(at: datetime, serial: str, fields: dict[str, str]) -> Denial | None:
    verdict = _string(fields, "apparmor")
    if verdict not in ("DENIED", "ALLOWED"):
        return None
    pid, comm, exe = _who(fields)
    return Denial(
        at,
        serial,
        "apparmor",
        _string(fields, "operation"),
        _string(fields, "name") or _string(fields, "capname"),
        _string(fields, "class"),
        subject=_string(fields, "profile"),
        pid=pid,
        comm=comm,
        exe=exe,
        permissive=verdict == "ALLOWED",
        mask=_string(fields, "denied_mask"),
        port=_port(fields),
    )


def _avc(at: datetime, serial: str, operations: str, fields: dict[str, str]) -> Denial:
    pid, comm, exe = _who(fields)
    port = _port(fields)
    name = _string(fields, "path") or _string(fields, "name") or (f"port {port}" if port is not None else "")
    return Denial(
        at,
        serial,
        "selinux",
        clean(operations.strip(), 100),
        name,
        _plain(fields, "tclass"),
        subject=_plain(fields, "scontext"),
        label=_plain(fields, "tcontext"),
        pid=pid,
        comm=comm,
        exe=exe,
        permissive=_plain(fields, "permissive") == "1",
        port=port,
    )


def _who(fields: dict[str, str]) -> tuple[int | None, str, str]:
    pid = _plain(fields, "pid")
    return (int(pid) if pid.isdigit() and len(pid) < 10 else None), _string(fields, "comm"), _string(fields, "exe")


def _port(fields: dict[str, str]) -> int | None:
    for name in ("src", "dest", "src_port", "dest_port"):
        text = _plain(fields, name)
        if text.isdigit() and len(text) < 6 and int(text):
            return int(text)
    return None


def _plain(fields: dict[str, str], name: str) -> str:
    return clean(fields.get(name, "").strip("\"'"), 300)


def _string(fields: dict[str, str], name: str) -> str:
    """A string of the target's: quoted, or in hexadecimal where it has blanks or quotes (audit_log_untrustedstring)."""
    raw = fields.get(name, "")
    if raw and raw[0] not in "\"'" and _HEX.match(raw):
        return clean(bytes.fromhex(raw).rstrip(b"\0"), 1024)
    return clean(raw.strip("\"'"), 1024)


class AuditRecords:
    """Refusals as they come, from all places that may be read; each once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._seen: dict[str, None] = {}
        self._domains: dict[str, tuple[int | None, str, str]] = {}
        self._kernel: KernelLog | None = None
        self._file: Tail | None = None
        self.looked: list[str] = []
        self.refused = ""
        """Why the kernel log may not be read."""
        try:
            self._kernel = KernelLog()
            self.looked.append("kernel log")
        except (GotriageError, OSError) as error:
            self.refused = reason_of(error)
        try:
            self._file = Tail(lambda: open_in_view(host, AUDIT_LOG), history=HISTORY)
            self.looked.append("audit.log")
        except OSError:
            self._file = None
        self._journal_since: float | None = 0.0 if self._file is None else None

    def more(self, *, journal: bool) -> list[Denial]:
        """What came since the last call; with `journal` also what the journal has kept (a run of journalctl)."""
        found = [*self._parsed(line.text for line in self._kernel.read())] if self._kernel is not None else []
        if self._file is not None:
            with suppress(OSError):
                found += self._parsed(line.decode("utf-8", "replace") for line in self._file.lines(HISTORY))
        if journal and self._journal_since is not None:
            found += self._parsed(self._journal())
        return found

    def _parsed(self, lines: Iterable[str]) -> list[Denial]:
        found = []
        for line in lines:
            if "audit(" not in line:
                continue
            one = parse(line, self._domains)
            if one is None or one.serial + one.operation in self._seen:
                continue
            self._seen[one.serial + one.operation] = None
            if len(self._seen) > 10_000:
                self._seen.pop(next(iter(self._seen)))
            found.append(one)
        return found

    def _journal(self) -> list[str]:
        """Audit records of the journal's kernel messages since the last call, at first those of an hour."""
        since = max(self._journal_since or 0.0, clock.now().timestamp() - 3600)
        self._journal_since = clock.now().timestamp()
        words = [
            "journalctl",
            "--no-pager",
            "--quiet",
            "--output=cat",
            f"--since=@{since:.0f}",
            "-n",
            str(JOURNAL_LINES),
        ]
        if self._host.root_pid is not None:
            words.append(f"--root={self._host.view}")
        try:
            result = tools.run([*words, "_TRANSPORT=kernel"], timeout=5.0, limit=8 * 1024 * 1024)
        except (MissingFacility, OSError):
            self._journal_since = None
            return []
        if "journal" not in self.looked:
            self.looked.append("journal")
        return result.out.decode("utf-8", "replace").splitlines()

    def close(self) -> None:
        """Let go of both files."""
        for one in (self._kernel, self._file):
            if one is not None:
                one.close()
