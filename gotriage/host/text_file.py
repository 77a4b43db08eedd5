"""Small files of the system as clean text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.records.text import clean

if TYPE_CHECKING:
    from pathlib import Path


def small_text(path: Path) -> str | None:
    """A small system file, stripped; None when it cannot be read."""
    try:
        with path.open("rb") as file:
            return clean(file.read(4096).strip())
    except OSError:
        return None
