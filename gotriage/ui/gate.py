"""The last gate before the terminal: whatever a widget draws, no control, bidi or invisible character leaves here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.segment import Segment
from textual.filter import LineFilter

from gotriage.records.text import clean

if TYPE_CHECKING:
    from textual.color import Color


class Gate(LineFilter):
    """Replaces what `records.text.clean` replaces, in every segment of every line on its way to the screen."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002  # the base class's shape
        """The same segments with harmless text."""
        for segment in segments:
            if not (segment.text.isascii() and segment.text.isprintable()):
                return [Segment(clean(text), style) for text, style, _ in segments]
        return segments
