"""Outside text made harmless: the first of two gates (the second is the line filter of the ui room).

A process name, a log line or a file name is written by whoever controls the target. Terminal escapes (ECMA-48),
bidirectional controls (UAX #9), zero-width and tag characters are made visible or dropped here, once, when a
text becomes part of a record.
"""

from __future__ import annotations

import re

MAX_TEXT = 64 * 1024
"""Longest text kept in a record field, in characters; longer ones are cut and end in `…`."""

_ONE_LINE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)
_MULTI_LINE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)


def _visible(match: re.Match[str]) -> str:
    """The Unicode control picture of a C0 control, else the replacement character."""
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


def clean(text: str | bytes, limit: int = MAX_TEXT) -> str:
    """One line of outside text that no terminal obeys: controls become visible signs, at most `limit` characters."""
    return _clean(text, limit, _ONE_LINE)


def clean_lines(text: str | bytes, limit: int = MAX_TEXT) -> str:
    """Like `clean`, but newlines and tabs stay: for log messages and stack traces."""
    return _clean(text, limit, _MULTI_LINE)


def _clean(text: str | bytes, limit: int, pattern: re.Pattern[str]) -> str:
    if isinstance(text, bytes):
        text = text[: limit * 4].decode("utf-8", "replace")
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isascii() and text.isprintable():
        return text
    return pattern.sub(_visible, text)
