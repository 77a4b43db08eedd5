"""Near matches for a name that nothing has."""

from __future__ import annotations

import difflib
from itertools import islice
from typing import TYPE_CHECKING, Final

from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_NAMES: Final = 5000
MAX_LENGTH: Final = 80


def near(name: str, candidates: Iterable[str], most: int = 4) -> list[str]:
    """At most `most` of the candidates that look like `name`, best first; the suffix .service counts nothing."""
    wanted = _plain(name)[:MAX_LENGTH]
    plain: dict[str, str] = {}
    for candidate in islice(candidates, MAX_NAMES):
        if len(candidate) <= MAX_LENGTH + 8:
            plain.setdefault(_plain(candidate), candidate)
    close = difflib.get_close_matches(wanted, plain, n=most, cutoff=0.6)
    if len(wanted) >= 3:
        close += sorted((key for key in plain if wanted in key and key not in close), key=len)
    return [clean(plain[key], 120) for key in close[:most]]


def near_text(name: str, candidates: Iterable[str]) -> str:
    """The near matches as the end of an error line: "; near: a, b", or ""."""
    found = near(name, candidates)
    return f"; near: {', '.join(found)}" if found else ""


def _plain(name: str) -> str:
    return name.lower().removesuffix(".service")
