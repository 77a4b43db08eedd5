"""Programs of the user's own: what they may not hold, and how what they count is read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gotriage.collectors.probes.raw import SLOTS, Own, OwnHistogram
from gotriage.errors import UsageError
from gotriage.probes.library import OWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gotriage.probes.library import Probe

LONGEST: Final = 48 * 1024
MOST_ROWS: Final = 4096
MOST_MAPS: Final = 32
_OUTSIDE: Final = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_MAP: Final = re.compile(r"@[A-Za-z_][A-Za-z0-9_]*|@(?![A-Za-z0-9_])")
_HEADER: Final = re.compile(r"#\s*include\s*<(uapi|linux|net|asm|asm-generic|bcc)/[\w./-]+>\s*(//.*|/\*.*\*/)?")
REFUSED: Final = {
    r"\b(uretprobe|ur)\s*:": "uretprobe writes to the target's stack, which ends a Go program",
    r"\b(watchpoint|asyncwatchpoint|w|aw)\s*:": "watchpoints stop the target",
    r"\b(usdt|U)\s*:": "usdt writes to the target's memory",
    r"\b(system|signal|override|cat)\s*\(": "system, signal, override and cat are not for a safe script",
    r"#\s*include": "files are not included",
}
"""What a bpftrace script may not hold, with the reason; bpftrace's safe mode refuses most of it itself."""


def checked(probes: Sequence[Probe], script: str) -> str:
    """The script of the user's own probe among these, "" without one. Raises UsageError."""
    mine = [probe.id for probe in probes if probe.id in OWN]
    if not mine:
        if script:
            raise UsageError("script= goes with probe=script (bpftrace) or probe=bcc")
        return ""
    if len(mine) > 1:
        raise UsageError("one program of your own at a time")
    if not script.strip():
        raise UsageError(f"probe={mine[0]} needs the program's text as script=")
    if len(script) > LONGEST:
        raise UsageError(f"the program is longer than {LONGEST // 1024} KB")
    (refuse if mine == ["script"] else refuse_c)(script)
    return script


def refuse(script: str) -> None:
    """Raises UsageError for what a bpftrace script may not hold."""
    bare = _OUTSIDE.sub(" ", script)
    for pattern, reason in REFUSED.items():
        if re.search(pattern, bare):
            raise UsageError(reason)


def refuse_c(text: str) -> None:
    """Raises UsageError for what a C program for BCC may not hold: files of this machine, and other languages.

    What it may do once compiled is checked in its instructions (gotriage.host.bcc_child).
    """
    whole = re.sub(r"\\\s*\n", "", text)
    bare = _OUTSIDE.sub(" ", whole)
    if any(sign in whole for sign in ("??=", "%:", "_Pragma")) or re.search(r"\b(__)?asm(__)?\b", bare):
        raise UsageError("digraphs, pragmas and assembly are not taken")
    for line in re.findall(r"^[ \t]*#[ \t]*(?:include|include_next|import|embed)\b.*$", whole, re.MULTILINE):
        if not _HEADER.fullmatch(line.strip()) or ".." in line:
            raise UsageError(f"only headers of the kernel are included, as <linux/sched.h>: {line.strip()[:80]}")


def with_prints(script: str) -> str:
    """The script, and a probe that prints its maps each second: bpftrace itself prints them at the end only."""
    names = list(dict.fromkeys(_MAP.findall(_OUTSIDE.sub(" ", script))))[:MOST_MAPS]
    if not names:
        return script
    return f"{script}\ninterval:s:1 {{ {' '.join(f'print({name});' for name in names)} }}\n"


def table(probe: str, name: str, value: Any) -> list[Own | OwnHistogram]:  # noqa: ANN401  # what JSON may hold
    """A map as bpftrace prints it: a number, numbers by key, statistics, a histogram or one for each key."""
    if isinstance(value, list):
        return [OwnHistogram(probe, name, _buckets(value))]
    if not isinstance(value, dict):
        return [Own(probe, name, "", value)] if isinstance(value, int) else []
    if value.keys() >= {"count", "average", "total"}:
        return [Own(probe, name, key, number) for key, number in value.items() if isinstance(number, int)]
    rows: list[Own | OwnHistogram] = []
    for key, one in list(value.items())[:MOST_ROWS]:
        if isinstance(one, list):
            rows.append(OwnHistogram(probe, f"{name}[{key}]", _buckets(one)))
        elif isinstance(one, dict):
            rows += [Own(probe, f"{name} {part}", key, n) for part, n in one.items() if isinstance(n, int)]
        elif isinstance(one, int):
            rows.append(Own(probe, name, str(key), one))
    return rows


def _buckets(entries: list[Any]) -> tuple[tuple[float | None, float | None, int], ...]:
    found = []
    for entry in entries[:128]:
        if isinstance(entry, dict) and isinstance(entry.get("count"), int):
            low, high = entry.get("min"), entry.get("max")
            found.append(
                (low if isinstance(low, int) else None, high + 1 if isinstance(high, int) else None, entry["count"])
            )
    return tuple(found)


def slots(rows: Iterable[object], key: str) -> tuple[int, ...]:
    """The histogram of the map @slots, whose values are in units of 1024 ns, on the scale of events.h."""
    counts = [0] * SLOTS
    for row in rows:
        if isinstance(row, OwnHistogram) and row.name == f"@slots[{key}]":
            for low, _, count in row.buckets:
                counts[min(max(int(low or 0).bit_length() - 1, 0), SLOTS - 1)] += count
    return tuple(counts)
