"""Plain text for people and pipes: tables, pages and verdicts. No colour, no escapes; outside text is already clean."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unicodedata import east_asian_width

import msgspec

from gotriage.render import units
from gotriage.render.cells import cell, words
from gotriage.render.loglines import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from gotriage.records import Record
    from gotriage.records.findings import Finding, Verdict
    from gotriage.records.stream import Gap
    from gotriage.records.target import CoreBrief, TargetState
    from gotriage.render.columns import Column

DAY = 86400
FEW = 4
"""Entries of a mapping that stand on one line; more get a line each."""
MARKS = {"critical": "✖", "warning": "▲", "info": "●"}
"""A sign a severity; the word stands beside it, so that nothing hangs on the sign or on a colour."""


def cells_wide(text: str) -> int:
    """How many terminal cells a text takes (UAX #11: wide and full-width characters take two)."""
    return len(text) if text.isascii() else sum(2 if east_asian_width(sign) in "WF" else 1 for sign in text)


def wrap(text: str, width: int) -> Iterator[str]:
    """Lines of at most `width` cells, broken at spaces where there are any; newlines are kept."""
    width = max(width, 1)
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            joined = f"{line} {word}" if line else word
            if cells_wide(joined) <= width:
                line = joined
                continue
            if line:
                yield line
            *full, line = _chop(word, width)
            yield from full
        yield line


def _chop(word: str, width: int) -> list[str]:
    """A word in pieces of at most `width` cells."""
    pieces: list[str] = []
    piece, wide = "", 0
    for sign in word:
        step = cells_wide(sign)
        if wide + step > width and piece:
            pieces.append(piece)
            piece, wide = "", 0
        piece += sign
        wide += step
    return [*pieces, piece]


def fit(text: str, width: int, *, right: bool = False) -> str:
    """The text cut or padded to exactly `width` cells; a cut one ends in an ellipsis."""
    wide = cells_wide(text)
    if wide > width:
        text, wide = _cut(text, width)
    pad = " " * (width - wide)
    return pad + text if right else text + pad


def _cut(text: str, width: int) -> tuple[str, int]:
    kept, wide = [], 0
    for sign in text:
        step = cells_wide(sign)
        if wide + step > width - 1:
            break
        kept.append(sign)
        wide += step
    return "".join(kept) + ("…" if width else ""), wide + (1 if width else 0)


def table(rows: Sequence[object], columns: Sequence[Column], width: int | None = None) -> Iterator[str]:
    """Lines of a table: a heading, then a line a row. With `width` the open column is cut so that lines fit.

    A text of several lines (a panic with its stack) stands whole where there is no width to keep to.
    """
    shown = [column for column in columns if not column.wide or width is None or width > 120]
    texts = [[cell(row, column) for column in shown] for row in rows]
    if width is not None:
        texts = [[first_line(text) for text in line] for line in texts]
    sizes = [
        max([cells_wide(column.title), *(cells_wide(line[place]) for line in texts)])
        for place, column in enumerate(shown)
    ]
    if width is not None:
        _shrink(sizes, shown, width)
    heading = [fit(column.title, size, right=column.right) for column, size in zip(shown, sizes, strict=True)]
    yield "  ".join(heading).rstrip()
    for line in texts:
        pieces = [fit(text, size, right=c.right) for text, size, c in zip(line, sizes, shown, strict=True)]
        yield "  ".join(pieces).rstrip()


def _shrink(sizes: list[int], columns: Sequence[Column], width: int) -> None:
    """Take what is too much from the widest text columns, the open one first."""
    excess = sum(sizes) + 2 * (len(sizes) - 1) - width
    order = sorted(
        range(len(sizes)), key=lambda place: (columns[place].right, columns[place].width != 0, -sizes[place])
    )
    for place in order:
        if excess <= 0:
            return
        taken = min(excess, sizes[place] - min(sizes[place], 8))
        sizes[place] -= taken
        excess -= taken


def page(record: Record, without: tuple[str, ...] = ()) -> Iterator[str]:
    """A record as "name  value" lines; unknown values say why. `without` names fields that stand elsewhere."""
    yield f"{record.__struct_config__.tag}"
    for name in record.__struct_fields__:
        if name in ("unknown", "at", *without):
            continue
        value = getattr(record, name)
        why = record.unknown.get(name)
        if value is None and why is not None:
            state = "not permitted" if why.permission else "not measured"
            yield f"  {name:<26} {state}: {why.reason}  {why.remedy}".rstrip()
        elif isinstance(value, dict) and len(value) > FEW:
            yield from _listed(name, [f"{key}={words(item)}" for key, item in value.items()])
        elif isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
            yield from _listed(name, [words(item) for item in value])
        elif value not in ("", (), {}, None):
            yield f"  {name:<26} {_field(name, value)}"


def _listed(name: str, lines: list[str]) -> Iterator[str]:
    """Several values, a line each, the name before the first."""
    for place, line in enumerate(lines):
        yield f"  {'' if place else name:<26} {line}"


def _field(name: str, value: object) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if name.endswith(("_bytes", "_bytes_rate")):
            return units.size(value) + ("/s" if name.endswith("_rate") else "")
        if name.endswith("_seconds") or name in ("uptime",):
            return units.seconds(value)
        if name.endswith("_share"):
            return units.share(value)
    return words(value)


def finding(claim: Finding) -> Iterator[str]:
    """One finding as a block of lines."""
    yield f"{MARKS[claim.severity]} {claim.severity:<8} {claim.id}: {claim.title}"
    for sentence in claim.evidence:
        yield f"    because  {sentence}"
    if claim.since:
        yield f"    since    {units.timestamp(claim.since)}"
    for number, text in enumerate(claim.fix.splitlines()):
        yield f"    {'next' if not number else '':<8} {text}"
    yield f"    look in  {claim.view}"


def identity(state: TargetState, moment: datetime | None) -> str:
    """Who is looked at, in one line: name, PID, Go version, revision, uptime, and a second container or unit name."""
    words = [state.name]
    if state.pid is not None:
        words.append(f"pid {state.pid}")
    words += [name for name in (state.unit, state.container_name) if name and name not in state.name]
    if state.go is not None:
        words.append(state.go.version)
        if state.go.vcs_revision:
            words.append(f"rev {state.go.vcs_revision[:7]}{'+dirty' if state.go.vcs_modified else ''}")
    if state.core is not None:
        words += core_words(state.core, moment)
    elif state.state != "running":
        words.append(f"{state.state}: {state.reason}" if state.reason else state.state)
    elif state.started_at is not None and moment is not None:
        words.append(f"up {units.seconds((moment - state.started_at).total_seconds())}")
    if state.generation > 1:
        words.append(f"restarts {state.generation - 1}")
    return "  ".join(words)


def core_words(core: CoreBrief, moment: datetime | None) -> list[str]:
    """What a core file says of itself: the signal that the process died of, and when the file was made."""
    today = moment is not None and abs((moment - core.made).total_seconds()) < DAY
    made = units.clock(core.made)[:5] if today else units.timestamp(core.made)[:16]
    return [f"signal {core.signal}" if core.signal else "no signal", f"made {made}"]


def verdict(result: Verdict, gaps: Sequence[Gap] = ()) -> Iterator[str]:
    """Findings, worst first, consequences under their cause; then what is fine; then what could not be checked."""
    if not result.findings:
        yield "No finding."
    for claim in result.findings:
        if claim.because and any(other.id == claim.because for other in result.findings):
            continue
        yield from finding(claim)
        for other in result.explained_by(claim):
            yield f"    └ explains  {MARKS[other.severity]} {other.id}: {other.title}"
        yield ""
    if result.fine:
        yield "Fine     " + " · ".join(item.text for item in result.fine)
    for item in result.unknown:
        names = ", ".join((item.id, *item.also))
        yield f"Unknown  {names}: {item.reason}" + (f"  ({item.remedy})" if item.remedy else "")
    known = {item.reason for item in result.unknown}
    for gap in gaps:
        if gap.reason not in known:
            yield gap_line(gap)


def gap_line(gap: Gap) -> str:
    """A gap as one line."""
    lost = f"; lost: {gap.lost}" if gap.lost else ""
    remedy = f"  ({gap.remedy})" if gap.remedy else ""
    return f"Unknown  {gap.source}: {gap.reason}{lost}{remedy}"
