"""What a log line says about itself: level, message and fields, in the forms that Go programs write.

Pure functions over bytes of the target; every text that leaves has passed `records.text.clean_lines`, and the secrets
in it are masked (`records.secrets`).

Forms: JSON (log/slog, zap, zerolog, logrus), logfmt (log/slog TextHandler, logrus, go-kit), klog, the standard `log`
package with and without slog's default handler, zap's and logrus's console forms, and the `STAMP [level]` forms of
nginx, nats-server and PostgreSQL.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from gotriage.records.secrets import mask_text, mask_value, suspicious
from gotriage.records.text import MAX_TEXT, clean, clean_lines

MAX_FIELDS = 64
"""Most fields kept of one message."""
MAX_VALUE = 8 * 1024
"""Longest field value kept, in characters; a zap stack trace fits."""
MAX_KEY = 128

RANKS = {
    "emergency": 0,
    "alert": 1,
    "panic": 2,
    "fatal": 2,
    "critical": 2,
    "error": 3,
    "warn": 4,
    "notice": 5,
    "info": 6,
    "debug": 7,
    "trace": 7,
}
"""Level to syslog priority (syslog(3)): 0 emerg ... 3 err, 4 warning, 6 info, 7 debug."""

_ALIASES = {
    "emerg": "emergency",
    "dpanic": "panic",
    "pani": "panic",
    "fata": "fatal",
    "ftl": "fatal",
    "crit": "critical",
    "err": "error",
    "erro": "error",
    "eror": "error",
    "warning": "warn",
    "wrn": "warn",
    "inf": "info",
    "information": "info",
    "log": "info",
    "dbg": "debug",
    "debu": "debug",
    "trc": "trace",
    "trac": "trace",
}

_LEVEL_KEYS = ("level", "lvl", "severity", "Level", "L", "log.level", "levelname", "loglevel")
_MESSAGE_KEYS = ("msg", "message", "M", "Message", "event")
_NUMERIC_LEVELS = {10: "trace", 20: "debug", 30: "info", 40: "warn", 50: "error", 60: "fatal"}
"""bunyan's and pino's numbers."""


Said = tuple[str, str, dict[str, str] | None, bool]
"""What a line says: its message, its own level ("" when it has none), its fields, and whether it was cut."""


def level_name(text: str) -> str:
    """A level in our words: "WARNING" -> "warn", "INFO+2" (log/slog) -> "info"; "" for what is no level."""
    known = _KNOWN.get(text)
    if known is not None:
        return known
    low = _SLOG_OFFSET.sub("", text[:32].strip().lower())
    return _ALIASES.get(low) or (low if low in RANKS else "")


_SLOG_OFFSET = re.compile(r"[+-]\d+$")
_KNOWN = {
    form: _ALIASES.get(word, word) for word in (*RANKS, *_ALIASES) for form in (word, word.upper(), word.capitalize())
}


def understand(raw: bytes) -> Said:
    """Read one line or message as the program wrote it, without its end of line."""
    if not suspicious(raw):
        return _read(raw)
    message, level, fields, cut = _read(raw)
    return mask_text(message), level, mask_fields(fields) if fields else fields, cut


def mask_fields(fields: dict[str, str]) -> dict[str, str]:
    """The fields of a line without secrets: a value whole when its name is a secret's, else what is inside it."""
    return {name: mask_value(name, value) for name, value in fields.items()}


def _read(raw: bytes) -> Said:
    if len(raw) > MAX_TEXT:
        return _long(raw)
    first = raw[:1]
    if first == b"{" and raw.rstrip()[-1:] == b"}" and (said := _json(raw)):
        return said
    text = raw.decode("utf-8", "replace")
    if not (text.isascii() and text.isprintable()):
        if "\x1b" in text:
            text = _COLOUR.sub("", text)
            first = text[:1].encode()
        text = clean_lines(text)
    elif text[4:5] == "/" and text[20:21].islower() and _go_stamp(text):
        return text[20:], "", {"time": text[:19]}, False
    if first in _LOGFMT_FIRST and (said := _logfmt(text)):
        return said
    return _led(text)


def _go_stamp(text: str) -> bool:
    """Whether a line begins with "2009/11/10 23:00:00 " (package log): the commonest stamp, without a regex."""
    return text[7] + text[10] + text[13] + text[16] + text[19] == "/ :: " and text[:4].isdigit()


_COLOUR = re.compile(r"\x1b\[[0-9;]{0,16}m")
"""Select Graphic Rendition of ECMA-48, which console loggers write: it carries nothing but colour."""


def _long(raw: bytes) -> Said:
    """A message longer than the bound: cut, and not taken apart."""
    return (clean_lines(raw[: MAX_TEXT + 4].decode("utf-8", "replace")), "", None, True)


# -- JSON


_object = msgspec.json.Decoder(dict[str, Any]).decode


def _json(raw: bytes) -> Said | None:
    try:
        document: dict[str, Any] = _object(raw)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    if not document:
        return None
    level = _pop_level(document)
    message = _pop_message(document)
    if len(raw) < MAX_VALUE and b"\\" not in raw and len(document) <= MAX_FIELDS and _plain(raw):
        fields = document  # nothing in it needs cleaning; what is no text becomes text in place
        for key, item in document.items():
            kind = item.__class__
            if kind is str:
                continue
            if kind is int:
                document[key] = str(item)
            elif kind is dict and item:
                fields = {}
                _flatten(document, "", fields, 0)
                break
            else:
                document[key] = _value(item)
        return raw.decode("ascii") if message is None else message, level, fields or None, False
    fields = {}
    _flatten(document, "", fields, 0)
    return clean_lines(raw if message is None else message), level, fields or None, False


def _plain(raw: bytes) -> bool:
    """Whether a text has printable ASCII only."""
    return raw.isascii() and raw.decode("ascii").isprintable()


def _pop_level(document: dict[str, Any]) -> str:
    usual = document.get("level")
    if usual.__class__ is str and (known := _KNOWN.get(usual)):
        del document["level"]
        return known
    for key in _LEVEL_KEYS:
        if key in document:
            value = document[key]
            name = ""
            if isinstance(value, str):
                name = level_name(value)
            elif isinstance(value, int):
                name = _NUMERIC_LEVELS.get(value, "")
            if name:
                del document[key]
                return name
    return ""


def _pop_message(document: dict[str, Any]) -> str | None:
    usual = document.get("msg")
    if usual.__class__ is str:
        del document["msg"]
        return usual
    for key in _MESSAGE_KEYS:
        if isinstance(document.get(key), str):
            return str(document.pop(key))
    return None


def _flatten(value: dict[str, Any], prefix: str, into: dict[str, str], depth: int) -> None:
    """Nested objects become dotted names, three deep; anything else becomes text."""
    for key, item in value.items():
        if len(into) >= MAX_FIELDS:
            return
        if isinstance(item, dict) and item and depth < 3:
            _flatten(item, f"{prefix}{key}.", into, depth + 1)
        else:
            into[clean(prefix + key, MAX_KEY)] = _value(item)


def _value(item: object) -> str:
    if isinstance(item, str):
        return clean_lines(item, MAX_VALUE)
    if item is None:
        return "null"
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, float) and item.is_integer() and abs(item) < 1e15:
        return str(int(item))
    if isinstance(item, (int, float)):
        return str(item)[:MAX_KEY]
    try:
        return clean_lines(msgspec.json.encode(item), MAX_VALUE)
    except (msgspec.EncodeError, RecursionError, OverflowError):
        return "…"


# -- logfmt

_LOGFMT_FIRST = frozenset((b"t", b"l", b"s", b"m", b"c", b"@"))
_LOGFMT_START = re.compile(r"(?:time|ts|t|timestamp|@timestamp|level|lvl|severity|msg|caller|logger|source|component)=")
_PAIR = re.compile(r'([A-Za-z_@][\w.@/-]{0,127})=("(?:[^"\\]|\\.)*"|[^\s"]*)(?:\s+|$)')


def _logfmt(text: str) -> Said | None:
    if not _LOGFMT_START.match(text):
        return None
    quick = _plain_pairs(text) if "\\" not in text else None
    pairs, end = (quick, len(text)) if quick is not None else _pairs(text, 0)
    level = _pop_level(pairs)
    if end < len(text):
        return (text, level, pairs, False) if level else None
    message = _pop_message(pairs)
    if message is None:
        return (text, level, pairs or None, False) if level else None
    return message, level, pairs or None, False


def _pairs(text: str, start: int) -> tuple[dict[str, str], int]:
    """The run of key=value from `start`, and where it ends."""
    pairs: dict[str, str] = {}
    while len(pairs) < MAX_FIELDS and (match := _PAIR.match(text, start)):
        key, value = match.groups()
        pairs[key] = _unquoted(value) if value[:1] == '"' else value
        start = match.end()
    return pairs, start


_KEYS = re.compile(r"[\w.@/-]+")


def _plain_pairs(text: str) -> dict[str, str] | None:
    """All of `text` as key=value pairs when no quoted value holds an escape; None when it is not so simple."""
    words: list[str] = []
    parts = text.split('"')
    if len(parts) % 2 == 0 or len(text) > MAX_VALUE:
        return None
    quoted = False
    for part in parts:
        if not quoted:
            words += part.split()
        elif words and words[-1][-1] == "=":
            words[-1] += part
        else:
            return None
        quoted = not quoted
    try:
        pairs = dict([word.split("=", 1) for word in words])
    except ValueError:
        return None
    keys = "".join(pairs)
    return pairs if len(pairs) <= MAX_FIELDS and (keys.isidentifier() or _KEYS.fullmatch(keys)) else None


def _unquoted(value: str) -> str:
    """A Go-quoted string (strconv.Quote) without its quotes."""
    inner = value[1:-1]
    if "\\" not in inner:
        return inner[:MAX_VALUE]
    return clean_lines(_ESCAPE.sub(_unescaped, inner), MAX_VALUE)


_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)")
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def _unescaped(match: re.Match[str]) -> str:
    body = match[0][1:]
    if body[0] in "xuU" and len(body) > 1:
        code = int(body[1:], 16)
        return chr(code) if code < 0x110000 else "\ufffd"
    return _SIMPLE.get(body, body)


# -- forms that begin with a stamp or a level

_KLOG = re.compile(r"([IWEF])(\d{4} \d\d:\d\d:\d\d\.\d{1,9})\s+(\d+) ([^\s\]]+:\d+)\] ")
"""k8s.io/klog/v2: Lmmdd hh:mm:ss.uuuuuu threadid file:line] msg."""
_KLOG_LEVELS = {"I": "info", "W": "warn", "E": "error", "F": "fatal"}

_STAMP = re.compile(
    r"(?:\[\d+\] )?"
    r"(\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d| UTC| [+-]\d{4})?"
    r"|\d\d?:\d\d(?:AM|PM))"
    r"[\t |]+(?:\[\d+\] )?"
)
"""The stamp of log.LstdFlags and of ISO 8601 loggers, nats-server's and PostgreSQL's [pid] around it."""

_LEVEL = re.compile(
    r"(?:(TRACE|TRC|DEBUG|DBG|INFO|INF|NOTICE|WARNING|WARN|WRN|ERROR|ERR|FATAL|FTL|DPANIC|PANIC|CRITICAL|CRIT|LOG)"
    r"(?:[+-]\d)?(?=[:\s|]|$)"
    r"|[\[<(]([A-Za-z]{3,9})[\]>)]"
    r"|(TRAC|DEBU|INFO|WARN|ERRO|FATA|PANI)\[[^\]]{1,40}\]"
    r"|(?<=\t)(debug|info|warn|error|dpanic|panic|fatal)(?=\t))"
    r"[:|]?\s*"
)


def _led(text: str) -> Said:
    first = text[:1]
    if first in _KLOG_LEVELS and (match := _KLOG.match(text)):
        return _klog(text, match)
    if first.isdigit() or first == "[":
        return _stamped(text)
    if first in "TDINWEFPCL<(" and (match := _LEVEL.match(text)):
        return (text[match.end() :] if match[3] else text, _matched_level(match), None, False)
    return (text, "", None, False)


def _stamped(text: str) -> Said:
    stamp = _STAMP.match(text)
    start = stamp.end() if stamp else 0
    fields = {"time": stamp[1]} if stamp else None
    if text[start : start + 1].islower() and text[start - 1 : start] != "\t":
        return text[start:], "", fields, False
    match = _LEVEL.match(text, start)
    level = _matched_level(match) if match else ""
    if not match or not level:
        return (text[start:], "", fields, False)
    rest = text[match.end() :]
    if stamp and "\t" in text[start : match.end()] and (said := _zap_console(rest, level, stamp[1])):
        return said
    return (rest, level, fields, False)


def _matched_level(match: re.Match[str]) -> str:
    return level_name(next(filter(None, match.groups()), ""))


def _zap_console(rest: str, level: str, stamp: str) -> Said | None:
    """zap's console encoder: time, level, [logger,] [caller,] message and a JSON object, tab-separated."""
    parts = rest.split("\t")
    fields = {"time": stamp}
    if len(parts) > 1 and parts[-1][:1] == "{" and (inner := _json(parts[-1].encode())):
        fields.update(inner[2] or {})
        parts.pop()
    if len(parts) > 1 and ".go:" in parts[0]:
        fields["caller"] = clean(parts.pop(0), MAX_KEY)
    return ("\t".join(parts), level, fields, False)


def _klog(text: str, match: re.Match[str]) -> Said:
    fields = {"time": match[2], "caller": match[4]}
    rest = text[match.end() :]
    if rest[:1] == '"' and (quoted := _QUOTED.match(rest)):
        pairs, _ = _pairs(rest, quoted.end())
        return (_unquoted(quoted[1]), _KLOG_LEVELS[match[1]], fields | pairs, False)
    return (rest, _KLOG_LEVELS[match[1]], fields, False)


_QUOTED = re.compile(r'("(?:[^"\\]|\\.)*")\s*')


# -- the time that a line carries

STAMP_KEYS = ("time", "ts", "timestamp", "@timestamp", "T", "t")
"""Fields that hold the time of the line, by the names that loggers use."""
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)")
_EPOCH = re.compile(r"\d{10}(?:\.\d{1,9})?|\d{13}|\d{16}|\d{19}")


def stamp_of(fields: dict[str, str]) -> datetime | None:
    """The time in the fields of a line, UTC: RFC 3339 with a zone, or seconds, ms, µs or ns since the epoch.

    None for anything else: a stamp without a zone is the target's local time, which is not known here.
    """
    text = next((fields[key] for key in STAMP_KEYS if key in fields), "")
    try:
        if match := _ISO.match(text):
            fraction = (match[3] or "0")[:6].ljust(6, "0")
            zone = "+00:00" if match[4] == "Z" else match[4]
            return datetime.fromisoformat(f"{match[1]}T{match[2]}.{fraction}{zone}").astimezone(UTC)
        if _EPOCH.fullmatch(text):
            whole = text.partition(".")[0]
            return datetime.fromtimestamp(float(text) / 10 ** (len(whole) - 10), UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None
