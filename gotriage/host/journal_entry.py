"""A journal entry becomes a LogLine; the same for systemd-python's raw fields and for `journalctl -o json`.

Fields are those of systemd.journal-fields(7), of docker's journald log driver (CONTAINER_*) and of podman's.
"""

from __future__ import annotations

import gc
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from gotriage.records.logs import LogLine
from gotriage.records.logtext import MAX_FIELDS, MAX_VALUE, mask_fields, understand
from gotriage.records.logtrace import Joiner
from gotriage.records.secrets import mask_text
from gotriage.records.text import MAX_TEXT, clean, clean_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Entry = dict[str, Any]
"""Field name to bytes, or to a list of bytes where the entry has the field more than once; without the MESSAGE."""
Message = bytes | list[bytes]
Plain = tuple[str, str, int | None, int | None]
"""What a line of standard output says besides its message: identifier, boot, pid, priority."""


class Alike(dict[str, Any]):
    """Fields that many entries have in common; `plain` is what they say, once that is known: () for nothing plain."""

    __slots__ = ("plain",)

    plain: Plain | tuple[()] | None

    def __init__(self, *pairs: Iterable[tuple[str, bytes]]) -> None:
        super().__init__(*pairs)
        self.plain = None


MESSAGE_DROPPED = b"a596d6fe7bfa4994828e72309e95d61e"
"""SD_MESSAGE_JOURNAL_DROPPED of sd-messages.h: "Suppressed N messages from UNIT"."""
MESSAGE_COREDUMP = b"fc2e22bc6ee647b6b90729ab34a250b1"
"""SD_MESSAGE_COREDUMP."""
MESSAGE_OOM = b"fe6faa94e7774663a0da52717891d8ef"
"""SD_MESSAGE_UNIT_OUT_OF_MEMORY: a process of the unit was killed by the kernel's OOM killer."""

KEPT = ("MESSAGE_ID", "EXIT_CODE", "EXIT_STATUS", "UNIT_RESULT", "N_RESTARTS", "JOB_TYPE", "JOB_RESULT", "COMMAND")
KEPT_ELSE = ("INVOCATION_ID", "N_DROPPED", "COREDUMP_PID", "COREDUMP_SIGNAL_NAME", "COREDUMP_FILENAME", "COREDUMP_EXE")
_OWN_FIELDS = (*KEPT, *KEPT_ELSE)
FIELDS = (
    "MESSAGE",
    "PRIORITY",
    "SYSLOG_IDENTIFIER",
    "SYSLOG_PID",
    "_COMM",
    "_PID",
    "_UID",
    "_BOOT_ID",
    "_TRANSPORT",
    "_LINE_BREAK",
    "CONTAINER_ID_FULL",
    "CONTAINER_NAME",
    "CONTAINER_PARTIAL_MESSAGE",
    "UNIT",
    *_OWN_FIELDS,
)
"""What `journalctl --output-fields` is asked for."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PRIORITIES: dict[bytes | None, int] = {b"%d" % number: number for number in range(8)}
_STANDARD = frozenset(
    (
        "MESSAGE",
        "PRIORITY",
        "ERRNO",
        "CODE_FILE",
        "CODE_LINE",
        "CODE_FUNC",
        "INVOCATION_ID",
        "TID",
        "DOCUMENTATION",
        "UNIT",
    )
)
"""Trusted or standard names that say nothing about the program's own message."""
_PARTS = 8
"""Most pieces of one long line that are put together; journald cuts at LineMax=, 48 KiB."""


def time_of(us: int) -> datetime:
    """Microseconds since the epoch as UTC time."""
    return _EPOCH + timedelta(microseconds=us)


class Converter:
    """Entries in, lines out; keeps what a line needs from the entries before it (pieces, open traces)."""

    def __init__(self, *, cursors: bool = False) -> None:
        """With `cursors`, each line carries its entry's cursor."""
        self._cursors = cursors
        self._joiner = Joiner()
        self._parts: dict[bytes | None, list[bytes]] = {}
        self._texts: dict[bytes, str] = {}
        self._pids: dict[bytes | None, int] = {}
        self._streams: dict[bytes | None, tuple[str, str]] = {}

    def add(self, entry: Mapping[str, Any], us: int, cursor: str = "") -> None:
        """Take one entry of the journal, with its MESSAGE; `us` is its __REALTIME_TIMESTAMP."""
        fields = dict(entry)
        self.add_all(((fields, us, cursor, fields.pop("MESSAGE", b"")),))

    def add_all(self, found: Iterable[tuple[Entry, int, str, Message]]) -> int | None:
        """Take entries with their microseconds, cursors and messages; a million of them must not take long.

        Returns the microseconds of the last one, None when there was none.

        What is made here holds no cycles, so the cyclic garbage collector rests meanwhile: a tenth of the time.
        """
        collecting = gc.isenabled()
        gc.disable()
        try:
            return self._add_all(found)
        finally:
            if collecting:
                gc.enable()

    def _add_all(self, found: Iterable[tuple[Entry, int, str, Message]]) -> int | None:
        us: int | None = None
        push, parts, cursors, epoch = self._joiner.push, self._parts, self._cursors, _EPOCH
        for entry, us, cursor, raw in found:
            if entry.__class__ is Alike:
                plain = entry.plain
                if plain is None:
                    plain = entry.plain = self._plain(entry)
            else:
                plain = self._plain(entry)
            if not plain or parts:
                self._special(entry, us, cursor, _one(raw))
                continue
            message, level, fields, cut = understand(raw if raw.__class__ is bytes else _one(raw))
            line = LogLine(
                at=epoch + timedelta(0, 0, us),
                source="journal",
                message=message,
                level=level,
                priority=plain[3],
                identifier=plain[0],
                pid=plain[2],
                boot=plain[1],
                fields=fields or {},
                truncated=cut,
                cursor=cursor if cursors else "",
            )
            push(line, us)
        return us

    def _plain(self, entry: Entry) -> Plain | tuple[()]:
        """What a plain line of standard output says besides its message; () for any other entry."""
        get = entry.get
        if get("_TRANSPORT") != b"stdout" or "_LINE_BREAK" in entry:
            return ()
        identifier, boot = self._streams.get(stream := get("_STREAM_ID")) or self._stream(stream, entry)
        pid = get("_PID")
        return identifier, boot, self._pids.get(pid) or self._pid(pid), _PRIORITIES.get(get("PRIORITY"))

    def _special(self, entry: Entry, us: int, cursor: str, raw: bytes) -> None:
        """An entry that is no plain line of standard output: pieces, containers, the journal's own protocol, syslog."""
        if "_LINE_BREAK" in entry or self._parts:
            whole = self._whole(entry, entry.get("_PID"), raw)
            if whole is None:
                return
            raw = whole
        raw = raw.rstrip(b"\r\n") if raw[-1:] == b"\n" else raw
        convert = self._container if "CONTAINER_ID_FULL" in entry else self._native
        self._joiner.push(convert(entry, raw, us, cursor), us)

    def _stream(self, stream: bytes | None, entry: Entry) -> tuple[str, str]:
        """Identifier and boot of a stdout stream, which do not change in it (_STREAM_ID=)."""
        found = (
            self._text(entry.get("SYSLOG_IDENTIFIER") or entry.get("_COMM") or b""),
            self._text(entry.get("_BOOT_ID", b"")),
        )
        if isinstance(stream, bytes):
            if len(self._streams) > 4096:
                self._streams.clear()
            self._streams[stream] = found
        return found

    def take(self, now_us: int | None = None) -> list[LogLine]:
        """The lines that are whole, in time order; without a time, also those that might go on."""
        return self._joiner.take(now_us)

    def _text(self, value: bytes | list[bytes]) -> str:
        """A short text that repeats: identifiers, boot ids."""
        if isinstance(value, list):
            value = value[0]
        known = self._texts.get(value)
        if known is None:
            if len(self._texts) > 4096:
                self._texts.clear()
            known = self._texts[value] = clean(value, 256)
        return known

    def _pid(self, value: bytes | list[bytes] | None) -> int | None:
        """A _PID= as a number, remembered."""
        number = _number(_one(value or b""))
        if number is not None and isinstance(value, bytes):
            if len(self._pids) > 4096:
                self._pids.clear()
            self._pids[value] = number
        return number

    def _whole(self, entry: Entry, pid: bytes | None, raw: bytes) -> bytes | None:
        """Put together what journald cut at LineMax= (_LINE_BREAK=line-max); None until the last piece."""
        parts = self._parts.get(pid, [])
        if entry.get("_LINE_BREAK") == b"line-max" and len(parts) < _PARTS and len(self._parts) < 1024:
            self._parts[pid] = [*parts, raw[: MAX_TEXT + 4] if sum(map(len, parts)) <= MAX_TEXT else b""]
            return None
        self._parts.pop(pid, None)
        return b"".join([*parts, raw]) if parts else raw

    def _container(self, entry: Entry, raw: bytes, us: int, cursor: str) -> LogLine:
        """docker's and podman's journald driver: PRIORITY is only the stream, 3 for stderr and 6 for stdout."""
        message, level, fields, cut = understand(raw)
        return LogLine(
            at=time_of(us),
            source="docker" if entry.get("_COMM") == b"dockerd" else "podman",
            message=message,
            level=level,
            identifier=self._text(entry.get("CONTAINER_NAME") or entry.get("SYSLOG_IDENTIFIER") or b""),
            stream={b"3": "stderr", b"6": "stdout"}.get(_one(entry.get("PRIORITY", b"")), ""),
            boot=self._text(entry.get("_BOOT_ID", b"")),
            cursor=cursor if self._cursors else "",
            fields=fields or {},
            truncated=cut,
        )

    def _native(self, entry: Entry, raw: bytes, us: int, cursor: str) -> LogLine:
        """Entries by the journal's own protocol: systemd's lines, journald's, and programs that use sd_journal_send."""
        kind = _kind(entry)
        if kind:
            message, level, cut = mask_text(clean_lines(raw)), "", len(raw) > MAX_TEXT
            fields = mask_fields(
                {name: clean_lines(_one(entry[name]), MAX_VALUE) for name in _OWN_FIELDS if name in entry}
            )
        else:
            message, level, said, cut = understand(raw)
            fields = {**mask_fields(_custom(entry)), **(said or {})}
        return LogLine(
            at=time_of(us),
            source="journal",
            message=message,
            level=level,
            priority=_PRIORITIES.get(_one(entry.get("PRIORITY", b""))),
            identifier=self._text(entry.get("SYSLOG_IDENTIFIER") or entry.get("_COMM") or b""),
            pid=_number(_one(entry.get("_PID") or entry.get("SYSLOG_PID") or b"")),
            boot=self._text(entry.get("_BOOT_ID", b"")),
            cursor=cursor if self._cursors else "",
            fields=fields,
            kind=kind,
            truncated=cut,
        )


def _kind(entry: Entry) -> str:
    """Who speaks: the service manager, journald about lost lines, systemd-coredump, or "" for the program."""
    message_id = entry.get("MESSAGE_ID")
    if message_id == MESSAGE_DROPPED:
        return "dropped"
    if message_id == MESSAGE_COREDUMP:
        return "coredump"
    if message_id == MESSAGE_OOM:
        return "oom"
    if entry.get("_PID") == b"1" or (entry.get("SYSLOG_IDENTIFIER") == b"systemd" and "USER_UNIT" in entry):
        return "systemd"
    return ""


def _custom(entry: Entry) -> dict[str, str]:
    """The fields that the program itself sent along (sd_journal_send(3))."""
    found: dict[str, str] = {}
    for name, value in entry.items():
        if name[:1] == "_" or name in _STANDARD or name.startswith("SYSLOG_"):
            continue
        if len(found) >= MAX_FIELDS:
            break
        found[clean(name, 64)] = clean_lines(_one(value), MAX_VALUE)
    return found


def _one(value: bytes | list[bytes]) -> bytes:
    return value[0] if isinstance(value, list) else value


def _number(value: bytes) -> int | None:
    return int(value) if value.__class__ is bytes and value.isdigit() and len(value) < 11 else None


def from_json(document: Mapping[str, Any]) -> tuple[Entry, int, str, Message]:
    """An object of `journalctl -o json` (Journal Export Formats): fields, microseconds, cursor and message.

    Values are text, a list of byte values where the bytes are no printable UTF-8, null where too long, or a list
    of such where the field occurs more than once. Raises ValueError when the time is missing.
    """
    entry: Entry = {}
    for name, value in document.items():
        if not name.startswith("__"):
            entry[name] = _json_bytes(value)
    time = document.get("__REALTIME_TIMESTAMP")
    if not isinstance(time, str) or not time.isdigit():
        raise ValueError("a journal entry without __REALTIME_TIMESTAMP")
    return entry, int(time), str(document.get("__CURSOR", "")), entry.pop("MESSAGE", b"")


def _json_bytes(value: object) -> bytes | list[bytes]:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, list):
        if all(isinstance(item, int) for item in value):
            return bytes(item & 0xFF for item in value)
        return [part if isinstance(part := _json_bytes(item), bytes) else part[0] for item in value]
    return b"" if value is None else str(value).encode()
