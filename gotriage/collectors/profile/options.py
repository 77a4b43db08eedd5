"""How a profile is asked for: options of a start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gotriage.collectors import check_options
from gotriage.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_HZ: Final = {"cpu": 999, "wall": 10}
LEAST_WINDOW: Final = 1.0


@dataclass(frozen=True, slots=True)
class Options:
    """Samples a second; whether stacks of the kernel are taken; seconds of one profile, None for the whole trace."""

    hz: int
    kernel: bool = True
    window: float | None = None


def parse(given: Mapping[str, str], kind: str, hz: int) -> Options:
    """Raises UsageError for what makes no sense."""
    most = MOST_HZ[kind]
    takes = {"hz": f"1 to {most}", "window": "SECONDS"} | ({"kernel": "yes|no"} if kind == "cpu" else {})
    check_options(given, f"{kind} profiles", **takes)
    text = given.get("hz", str(hz))
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= most:
        raise UsageError(f"hz={text}: a whole number from 1 to {most} is meant")
    kernel = given.get("kernel", "yes")
    if kernel not in ("yes", "no"):
        raise UsageError(f"kernel={kernel}: yes or no is meant")
    return Options(int(text), kernel == "yes", _window(given.get("window", "")))


def _window(text: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = 0.0
    if not LEAST_WINDOW <= seconds <= 3600:
        raise UsageError(f"window={text}: seconds of one profile, from {LEAST_WINDOW:g} to 3600, are meant")
    return seconds
