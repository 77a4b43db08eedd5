"""A run of log lines in columns: about 60 bytes a line besides its text.

The text of a line is its message, then for each field RS name US value (U+001E and U+001F, which `records.text`
never lets through), then NUL. So one search over the bytes of a chunk finds a word in all its lines at once.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

from gotriage.records.logs import LogLine
from gotriage.records.logtext import RANKS

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 2048
"""Lines of a full chunk."""
MAX_BYTES = 4 * 1024 * 1024
"""Text at which a chunk is full whatever its number of lines."""
UNRANKED = 8
"""Rank of a line that has neither a level nor a priority; below debug (7)."""
_END, _FIELD, _VALUE = b"\x00", b"\x1e", b"\x1f"
_KIND_RANKS = {"panic": 2, "fatal error": 2, "race": 3, "oom": 2, "dropped": 4, "coredump": 2}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_serials = count(1)


def to_us(time: datetime) -> int:
    """A time as microseconds since the epoch."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def from_us(us: int) -> datetime:
    """Microseconds since the epoch as a time, UTC."""
    return _EPOCH + timedelta(microseconds=us)


def rank_of(line: LogLine) -> int:
    """Syslog priority 0..7 of a line: its own level, what kind it is, else its priority; `UNRANKED` without any."""
    rank = RANKS.get(line.level)
    if rank is None:
        rank = UNRANKED if line.priority is None else min(max(line.priority, 0), 7)
    return min(rank, _KIND_RANKS.get(line.kind, UNRANKED)) if line.kind else rank


class Names:
    """Short texts that repeat, by number; number 0 is "" and stands for all that come after 65,535 distinct ones."""

    def __init__(self) -> None:
        self.texts = [""]
        self._numbers = {"": 0}

    def number(self, text: str) -> int:
        """The number of a text, given out on first sight."""
        found = self._numbers.get(text)
        if found is None:
            if len(self.texts) > 0xFFFF:
                return 0
            found = self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return found

    def known(self, text: str) -> int:
        """The number of a text, -1 when no line has it."""
        return self._numbers.get(text, -1)


class Chunk:
    """Lines in time order. `serial` is unique; a chunk that is rebuilt gets a new one."""

    __slots__ = (
        "blob",
        "counts",
        "ends",
        "flags",
        "kinds",
        "names",
        "pids",
        "ranks",
        "serial",
        "templates",
        "times",
        "words",
    )

    WORDS = ("source", "level", "identifier", "stream", "boot", "kind")
    """The columns that hold numbers of `names`, in the order of `words`."""

    def __init__(self, names: Names) -> None:
        self.serial = next(_serials)
        self.names = names
        self.times = array("q")
        self.ends = array("I")
        self.blob = bytearray()
        self.ranks = bytearray()
        self.flags = bytearray()
        self.pids = array("i")
        self.counts = array("I")
        self.words = tuple(array("H") for _ in self.WORDS)
        self.kinds: set[int] = set()
        """Which kinds, by number, occur: most chunks need not be looked at for one."""
        self.templates = array("I")
        """Template numbers of the first lines; filled in by `loggroups` as far as it has come."""

    def __len__(self) -> int:
        return len(self.times)

    @property
    def full(self) -> bool:
        """Whether the next line goes into a new chunk."""
        return len(self.times) >= SIZE or len(self.blob) >= MAX_BYTES

    @property
    def size(self) -> int:
        """Bytes of memory, about."""
        return len(self.blob) + 44 * len(self.times)

    def append(self, line: LogLine, us: int) -> None:
        """Add a line at the end; `us` is its time."""
        blob = self.blob
        blob += line.message.encode("utf-8", "replace")
        for name, value in line.fields.items():
            blob += f"\x1e{name}\x1f{value}".encode("utf-8", "replace")
        blob += _END
        self.times.append(us)
        self.ends.append(len(blob))
        self.ranks.append(rank_of(line))
        self.flags.append((0 if line.priority is None else (line.priority & 7) + 1) | (16 if line.truncated else 0))
        self.pids.append(-1 if line.pid is None or not 0 <= line.pid < 1 << 31 else line.pid)
        self.counts.append(min(max(line.count, 0), 0xFFFFFFFF))
        number = self.names.number
        source, level, identifier, stream, boot, kind = self.words
        source.append(number(line.source))
        level.append(number(line.level))
        identifier.append(number(line.identifier))
        stream.append(number(line.stream))
        boot.append(number(line.boot))
        kind.append(number(line.kind))
        if line.kind:
            self.kinds.add(kind[-1])

    def take_row(self, other: Chunk, row: int) -> None:
        """Add a line of another chunk of the same store."""
        self.blob += other.blob[other.start(row) : other.ends[row]]
        self.times.append(other.times[row])
        self.ends.append(len(self.blob))
        self.ranks.append(other.ranks[row])
        self.flags.append(other.flags[row])
        self.pids.append(other.pids[row])
        self.counts.append(other.counts[row])
        for mine, theirs in zip(self.words, other.words, strict=True):
            mine.append(theirs[row])
        if self.words[-1][-1]:
            self.kinds.add(self.words[-1][-1])

    def start(self, row: int) -> int:
        """Where a line's text begins."""
        return self.ends[row - 1] if row else 0

    def raw(self, row: int) -> bytes:
        """A line's text with its fields."""
        return bytes(self.blob[self.start(row) : self.ends[row] - 1])

    def message(self, row: int) -> str:
        """A line's message."""
        return self.raw(row).partition(_FIELD)[0].decode("utf-8", "replace")

    def line(self, row: int) -> LogLine:
        """A line as the record that it was."""
        message, *pairs = self.raw(row).split(_FIELD)
        fields = {}
        for pair in pairs:
            name, _, value = pair.partition(_VALUE)
            fields[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        flags, pid, texts = self.flags[row], self.pids[row], self.names.texts
        source, level, identifier, stream, boot, kind = (texts[column[row]] for column in self.words)
        return LogLine(
            at=from_us(self.times[row]),
            source=source,
            message=message.decode("utf-8", "replace"),
            level=level,
            priority=(flags & 15) - 1 if flags & 15 else None,
            identifier=identifier,
            pid=None if pid < 0 else pid,
            stream=stream,
            boot=boot,
            fields=fields,
            kind=kind,
            count=self.counts[row],
            truncated=bool(flags & 16),
        )

    def word(self, name: str, row: int) -> str:
        """One of the repeating texts of a line: source, level, identifier, stream, boot or kind."""
        return self.names.texts[self.words[self.WORDS.index(name)][row]]

    def until(self, us: int | None) -> int:
        """How many lines, from the first, are not later than `us`."""
        if us is None or not self.times or self.times[-1] <= us:
            return len(self.times)
        return bisect_right(self.times, us)

    def find(self, needle: bytes, start: int = 0, *, fold: bool = True) -> list[int]:
        """The lines from row `start` on whose text holds the needle; `fold` ignores the case of ASCII letters."""
        begin = self.start(start)
        hay = bytes(self.blob[begin:])
        if fold:
            hay, needle = hay.lower(), needle.lower()
        rows: list[int] = []
        at = hay.find(needle)
        while at >= 0:
            row = bisect_right(self.ends, at + begin)
            rows.append(row)
            at = hay.find(needle, self.ends[row] - begin)
        return rows

    def with_word(self, name: str, value: str) -> Iterator[int]:
        """The lines whose repeating text is the value."""
        number = self.names.known(value)
        if number < 0 or (name == "kind" and number and number not in self.kinds):
            return iter(())
        column = self.words[self.WORDS.index(name)]
        return (row for row, word in enumerate(column) if word == number)
