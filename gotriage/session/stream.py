"""The stream's codec: JSON Lines, one record a line, told apart by its "kind" (docs/stream.md).

A reader never trusts what it reads: lines are bounded, unknown kinds and fields are passed over and counted, nesting
cannot exhaust the stack, and text that a terminal would obey is cleaned, whoever wrote the stream.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from gotriage.errors import BadRecording
from gotriage.records import AnyRecord, Record
from gotriage.records.stream import SCHEMA, End, Header, Request
from gotriage.records.text import clean, clean_lines
from gotriage.session.times import timely

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

MAX_LINE = 64 * 1024 * 1024
"""Longest line, bytes: a table of a million rows is shorter."""
MAX_REQUEST = 64 * 1024
"""Longest line of the way back, bytes."""
MAJOR = int(SCHEMA.partition(".")[0])

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AnyRecord)
_request = msgspec.json.Decoder(Request)


class _Outline(msgspec.Struct):
    """As much of a line as can be told when the rest is not understood."""

    kind: str = ""
    schema: str = SCHEMA
    version: str = ""


_outline = msgspec.json.Decoder(_Outline)


def encode(record: Record) -> bytes:
    """One line, newline included. Raises TypeError for what is no record, ValueError for a lone surrogate in a text."""
    if not isinstance(record, Record):
        raise TypeError(f"not a record: {type(record).__name__}")
    return _encoder.encode(record) + b"\n"


def encode_request(request: Request) -> bytes:
    """One request as a line."""
    return _encoder.encode(request) + b"\n"


def decode_request(line: bytes) -> Request:
    """A request. Raises ValueError for anything else."""
    try:
        return _request.decode(line)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from None


class Lines:
    """Whole lines out of pieces of any size, each at most `limit` bytes."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def rest(self) -> int:
        """Bytes of the line that has not ended yet."""
        return self._size

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that `data` completes, without their newlines. Raises BadRecording for a line beyond the limit."""
        head, newline, rest = data.partition(b"\n")
        self._grow(head)
        if not newline:
            return
        yield self._taken()
        *lines, rest = rest.split(b"\n")
        yield from lines
        self._grow(rest)

    def _grow(self, part: bytes) -> None:
        if not part:
            return
        self._parts.append(part)
        self._size += len(part)
        if self._size > self._limit:
            raise BadRecording(f"a line is longer than {self._limit >> 20} MiB")

    def _taken(self) -> bytes:
        line = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return line


# Text that a terminal would obey: JSON holds controls as \uXXXX, and the bidirectional, zero-width, tag and C1
# characters as UTF-8. Escapes of two characters (\n, \t, \", \\) are harmless and pass.
_SUSPECT = re.compile(
    rb"\\[ubfrBFRU]|\x7f|\xc2[\x80-\x9f\xad]|\xd8\x9c|\xe1\xa0\x8e|\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa0-\xaf]"
    rb"|\xef\xbb\xbf|\xef\xbf[\xb9-\xbf]|\xf3\xa0[\x80\x81]"
)


def harmless(value: object) -> object:
    """The decoded JSON `value` with every text in it cleaned, names of fields included."""
    if isinstance(value, str):
        return clean_lines(value)
    if isinstance(value, list):
        return [harmless(item) for item in value]
    if isinstance(value, dict):
        return {clean(key): harmless(item) for key, item in value.items()}
    return value


@dataclass(slots=True)
class Report:
    """What a reader met besides records.

    Attributes:
        records, bytes: how many were understood, and how long all lines are together.
        unknown: kinds that this version does not know, and how many of each.
        invalid: lines of a known kind that did not fit its type.
        garbled: lines that were no JSON.
        ended: the stream's last record was its `End`.
        damage: why reading stopped early, "" when it did not.
        cut: it just stops: no `End`, or in the middle of a line or frame.
        last: time of the newest record.
        version, schema: of the newest header.
    """

    records: int = 0
    bytes: int = 0
    unknown: dict[str, int] = field(default_factory=dict)
    invalid: int = 0
    garbled: int = 0
    ended: bool = False
    damage: str = ""
    cut: bool = False
    last: datetime | None = None
    version: str = ""
    schema: str = ""

    @property
    def whole(self) -> bool:
        """Nothing is missing."""
        return self.ended and not (self.damage or self.cut or self.unknown or self.invalid or self.garbled)

    @property
    def remarks(self) -> list[str]:
        """What the reader of a file should know, one sentence each."""
        said = []
        moment = f" at {self.last:%H:%M:%S} UTC" if self.last else ""
        if self.damage:
            said.append(f"damaged after {self.records} records{moment}: {self.damage}; the rest was not read")
        elif self.cut:
            said.append(f"cut after {self.records} records{moment}: it was not closed")
        if self.unknown:
            kinds = ", ".join(f"{clean(kind, 40)} {count}" for kind, count in sorted(self.unknown.items())[:8])
            said.append(f"records of kinds that this version does not know were left out ({kinds}){self._writer()}")
        if self.invalid:
            said.append(f"{self.invalid} records do not fit this version and were left out{self._writer()}")
        if self.garbled:
            said.append(f"{self.garbled} lines are no JSON and were left out")
        return said

    def _writer(self) -> str:
        return f"; gotriage {self.version} wrote it" if self.version else ""


class Decoder:
    """Lines to records; what is not understood is counted in `report`, never raised."""

    def __init__(self) -> None:
        self.report = Report()

    def decode(self, line: bytes) -> Record | None:
        """The record in a line, None when it holds none that this version knows.

        Raises BadRecording for a header of another major version of the stream.
        """
        self.report.bytes += len(line)
        if not line or line.isspace():
            return None
        try:
            record: Record = timely(_decoder.decode(line) if self._plain(line) else self._cleaned(line))
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            self._count(line, error)
            return None
        self._note(record)
        return record

    @staticmethod
    def _plain(line: bytes) -> bool:
        if line.isascii() and b"\\" not in line and b"\x7f" not in line:
            return True
        return _SUSPECT.search(line) is None

    @staticmethod
    def _cleaned(line: bytes) -> Record:
        found: Record = msgspec.convert(harmless(msgspec.json.decode(line)), AnyRecord, str_keys=True)
        return found

    def _note(self, record: Record) -> None:
        report = self.report
        report.records += 1
        report.ended = isinstance(record, End)
        if report.last is None or record.at > report.last:
            report.last = record.at
        if isinstance(record, Header):
            report.version, report.schema = clean(record.version, 40), clean(record.schema, 20)
            check_schema(record.schema, record.version)

    def _count(self, line: bytes, error: Exception) -> None:
        """Tell an unknown kind from a known one of another shape, and both from no JSON at all."""
        try:
            outline = _outline.decode(line)
        except (msgspec.MsgspecError, RecursionError, ValueError):
            self.report.garbled += 1
            return
        if outline.kind == "header":
            check_schema(outline.schema, outline.version)
        if outline.kind in KINDS or not isinstance(error, msgspec.ValidationError):
            self.report.invalid += 1
        elif len(self.report.unknown) < 100 or outline.kind in self.report.unknown:
            self.report.unknown[outline.kind] = self.report.unknown.get(outline.kind, 0) + 1


KINDS = frozenset(kind.__struct_config__.tag for kind in AnyRecord.__args__)
"""Every "kind" that this version knows."""


def check_schema(schema: str, version: str) -> None:
    """Raises BadRecording when the stream's major version is not ours: its records may mean something else."""
    major = schema.partition(".")[0]
    if not (major.isascii() and major.isdigit() and int(major[:9]) == MAJOR):
        by = f" by gotriage {clean(version, 40)}" if version else ""
        raise BadRecording(f"written{by} in stream version {clean(schema, 20)}; this gotriage reads {MAJOR}.x")
