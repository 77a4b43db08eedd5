"""Which log lines to show: words, a regular expression, level, fields, source, time. And what people type for it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gotriage.errors import UsageError
from gotriage.records.logtext import RANKS, level_name
from gotriage.session.logchunk import to_us

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from gotriage.session.logchunk import Chunk

MAX_SEARCHED = 4096
"""Characters of a line that a regular expression looks at."""
WORDS = ("source", "identifier", "stream", "boot", "kind")


@dataclass(frozen=True, slots=True)
class LogFilter:
    """All of what is set must hold.

    Attributes:
        texts: each must occur in the message or a field; the case of ASCII letters does not matter.
        pattern: a regular expression that must be found in the message or a field (as name=value), case ignored.
        max_rank: syslog priority that is still shown: 3 shows error and worse; lines without level are hidden then.
        fields: name and value of fields of the message, also source, identifier, stream, boot, kind, pid and level.
        since, until: bounds of the time, both included.
    """

    texts: tuple[str, ...] = ()
    pattern: str = ""
    max_rank: int | None = None
    fields: tuple[tuple[str, str], ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    @property
    def trivial(self) -> bool:
        """Whether every line passes."""
        return self == LogFilter()

    def __str__(self) -> str:
        """What one could type for it."""
        words = [f'"{text}"' if " " in text else text for text in self.texts]
        words += [f"/{self.pattern}/"] if self.pattern else []
        if self.max_rank is not None:
            words.append(f"level:{next(name for name, rank in RANKS.items() if rank >= self.max_rank)}")
        words += [f"{name}={value}" for name, value in self.fields]
        words += [f"since:{self.since:%H:%M:%S}Z"] if self.since else []
        words += [f"until:{self.until:%H:%M:%S}Z"] if self.until else []
        return " ".join(words)

    def rows(self, chunk: Chunk, start: int = 0) -> list[int] | None:
        """The lines of a chunk from row `start` on that pass; None when all do."""
        found: list[int] | None = None
        for text in self.texts:
            found = _both(found, chunk.find(text.encode(), start))
        for name, value in self.fields:
            found = _both(found, _with_field(chunk, name, value, start))
        for passes in self._columns(chunk):
            rows = range(start, len(chunk)) if found is None else found
            found = [row for row in rows if passes(row)]
        if self.pattern:
            rows = range(start, len(chunk)) if found is None else found
            search = _compiled(self.pattern).search
            found = [row for row in rows if search(_text(chunk, row))]
        return found

    def _columns(self, chunk: Chunk) -> Iterator[Callable[[int], bool]]:
        if (most := self.max_rank) is not None:
            ranks = chunk.ranks
            yield lambda row: ranks[row] <= most
        if self.since is not None or self.until is not None:
            low = to_us(self.since) if self.since else -(1 << 62)
            high = to_us(self.until) if self.until else 1 << 62
            times = chunk.times
            if not (low <= times[0] and times[-1] <= high):
                yield lambda row: low <= times[row] <= high


def _both(one: list[int] | None, other: list[int]) -> list[int]:
    if one is None:
        return other
    kept = set(other)
    return [row for row in one if row in kept]


def _with_field(chunk: Chunk, name: str, value: str, start: int) -> list[int]:
    if name in WORDS:
        return [row for row in chunk.with_word(name, value) if row >= start]
    if name == "level":
        return [row for row in chunk.with_word(name, level_name(value) or value) if row >= start]
    if name == "pid":
        number = int(value) if value.isdigit() else -2
        return [row for row in range(start, len(chunk)) if chunk.pids[row] == number]
    needle = f"\x1e{name}\x1f{value}".encode()
    ends = (b"\x1e", b"\x00")
    rows = chunk.find(needle, start, fold=False)
    return [row for row in rows if any(needle + end in chunk.raw(row) + b"\x00" for end in ends)]


def _text(chunk: Chunk, row: int) -> str:
    raw = chunk.raw(row)[: MAX_SEARCHED * 2].decode("utf-8", "replace")
    return raw.replace("\x1e", " ").replace("\x1f", "=")[:MAX_SEARCHED]


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.IGNORECASE)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"not a regular expression: {error}") from error


SYNTAX: tuple[tuple[str, str], ...] = (
    ("words", "each of them, in the message or a field"),
    ('"a phrase"', "these words in this order"),
    ("/regex/", "a regular expression, also over fields as name=value"),
    ("level:err", "error and worse"),
    ("name=value", "a field of the line; also source, identifier, stream, pid, kind, boot"),
    ("since:-10m", "no older than that, or than a time as 02:47:10; until: likewise"),
    ("boot:-1", "of the boot before this one"),
)
"""What `parse` understands, an example and what it keeps; all that is typed must hold."""

_TOKEN = re.compile(
    r"/(?P<pattern>(?:[^/\\]|\\.)+)/(?:\s|$)"
    r'|(?P<key>[A-Za-z_@][\w.@/-]*)(?P<sign>[:=])(?:"(?P<quoted>[^"]*)"|(?P<value>\S*))'
    r'|"(?P<phrase>[^"]+)"|(?P<word>\S+)'
)


def parse(text: str, time: Callable[[str], datetime | None], boots: Sequence[str] = ()) -> LogFilter:
    """A filter from what was typed: words, "phrases", /regular expressions/, name=value, level:, since:, until:, boot:.

    `time` reads the value of since: and until:, `boots` are the boot ids, oldest first: boot:0 is the last of them,
    boot:-1 the one before, as in journalctl(1). Raises UsageError for what makes no sense.
    """
    found = LogFilter()
    for match in _TOKEN.finditer(text):
        if match["pattern"]:
            _compiled(match["pattern"])
            found = replace(found, pattern=match["pattern"])
        elif match["key"]:
            value = match["quoted"] if match["quoted"] is not None else match["value"]
            found = _with_key(found, match["key"], match["sign"], value, time, boots)
        else:
            found = replace(found, texts=(*found.texts, match["phrase"] or match["word"]))
    return found


def _with_key(
    found: LogFilter,
    key: str,
    sign: str,
    value: str,
    time: Callable[[str], datetime | None],
    boots: Sequence[str],
) -> LogFilter:
    if sign == "=":
        return replace(found, fields=(*found.fields, (key, value)))
    if key == "level":
        if not (name := level_name(value)):
            raise UsageError(f"{value!r} is no level; one of {', '.join(RANKS)}")
        return replace(found, max_rank=RANKS[name])
    if key == "boot":
        place = -int(value) if re.fullmatch(r"0|-\d{1,6}", value) else -1
        if not 0 <= place < len(boots):
            raise UsageError(f"{value!r} is none of {len(boots)} boots; boot:0 is the last one, boot:-1 the one before")
        return replace(found, fields=(*found.fields, ("boot", boots[-1 - place])))
    if key in ("since", "until"):
        if (moment := time(value)) is None:
            raise UsageError(f"{value!r} is no time; try 02:47:10 or -5m")
        return replace(found, since=moment) if key == "since" else replace(found, until=moment)
    return replace(found, texts=(*found.texts, f"{key}:{value}"))  # "http://x", "error:42": a word like any other
