"""bpftrace, run safely: never with --unsafe, its program by standard input, values as positional parameters only.

Its JSON (`-f json`) is read as it comes; what it says is bounded, and so is the time it may take to begin.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gotriage.errors import MissingFacility, NotPermitted, UsageError
from gotriage.host import clock, privilege, tools
from gotriage.host.held import Held

if TYPE_CHECKING:
    from collections.abc import Sequence

BEGINS: Final = 12.0
"""Seconds until its probes are attached; usually a third of one."""
MOST_BYTES: Final = 8 << 20
"""Output that is taken in one look."""
LONGEST_LINE: Final = 1 << 20
ENVIRONMENT: Final = {
    "BPFTRACE_MAP_KEYS_MAX": "4096",
    "BPFTRACE_PERF_RB_PAGES": "128",
    "BPFTRACE_MAX_PROBES": "512",
    "BPFTRACE_NO_CPP_DEMANGLE": "1",
}
"""bpftrace(8): 4096 keys a map, 512 KB of ring a CPU."""
USUAL_STRING: Final = 64
"""Bytes of a string, bpftrace's default; the stack of a BPF program has 512 for all that it prints at once."""
NOISE: Final = ("couldn't set RLIMIT_MEMLOCK", "Attaching ", "WARNING: Could not read symbols")
MOST_WORDS: Final = 3


def unavailable() -> str:
    """Why bpftrace cannot be used here, "" when it seems to be possible."""
    if tools.find("bpftrace") is None:
        return "bpftrace is not installed (apt install bpftrace)"
    return "" if privilege.is_root() else "bpftrace runs for root only"


class Bpftrace:
    """One script that runs."""

    def __init__(self, script: str, parameters: Sequence[int] = (), string: int = USUAL_STRING) -> None:
        """Start it, and wait until its probes are attached.

        Raises UsageError with bpftrace's own words when it refuses the script, MissingFacility, NotPermitted.
        """
        if reason := unavailable():
            raise (MissingFacility if "installed" in reason else NotPermitted)(reason)
        self._rest = b""
        self._early: list[dict[str, Any]] = []
        words = ["bpftrace", "-f", "json", "-", *(str(int(number)) for number in parameters)]
        self._process = Held(words, given=script.encode(), environment=ENVIRONMENT | {"BPFTRACE_STRLEN": str(string)})
        until = clock.monotonic() + BEGINS
        while clock.monotonic() < until:
            self._early += self._parsed(self._process.read(0.1))
            if any(entry.get("type") == "attached_probes" for entry in self._early):
                return
            if self._process.status is not None:
                self._early += self._parsed(self._process.read())
                reason = self.words
                self.close()
                raise UsageError(f"bpftrace: {reason or 'it has ended at once'}")
        self.close()
        raise MissingFacility(f"bpftrace has attached nothing within {BEGINS:.0f} s")

    @property
    def ended(self) -> bool:
        """It runs no more: exit() was called, or it broke; `words` may say why."""
        return self._process.status is not None

    @property
    def words(self) -> str:
        """The first lines of what it complains about."""
        return complaint(self._process.errors)

    def take(self) -> list[dict[str, Any]]:
        """What it has told since, each an object with `type` and `data`."""
        found, self._early = self._early, []
        size = 0
        while size < MOST_BYTES and (data := self._process.read()):
            size += len(data)
            found += self._parsed(data)
        return found

    def finish(self) -> list[dict[str, Any]]:
        """End it; its last words, among them its maps."""
        found = [*self.take(), *self._parsed(self._process.interrupt())]
        self._rest = b""
        return found

    def close(self) -> None:
        """End it at once."""
        self._process.close()

    def _parsed(self, data: bytes) -> list[dict[str, Any]]:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()[:LONGEST_LINE]
        return [entry for line in lines if (entry := parse_line(line)) is not None]


def parse_line(line: bytes) -> dict[str, Any] | None:
    """One object of its output; None for anything else."""
    if not line.startswith(b"{"):
        return None
    try:
        entry = msgspec.json.decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("type"), str) else None


def complaint(errors: str) -> str:
    """The first lines of standard error that say what is wrong."""
    lines = [line.strip() for line in errors.splitlines()]
    lines = [re.sub(r"^stdin:", "line ", line) for line in lines if line and not any(word in line for word in NOISE)]
    return " | ".join(lines[:MOST_WORDS])[:1000]
