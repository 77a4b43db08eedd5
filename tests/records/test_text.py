"""Outside text is harmless once it is in a record."""

from __future__ import annotations

import pytest
from gotriage.records.text import MAX_TEXT, clean, clean_lines

HOSTILE = {
    "csi": "\x1b[31mred",
    "osc title": "\x1b]0;owned\x07",
    "osc 52 clipboard": "\x1b]52;c;cHduZWQ=\x07",
    "dcs": "\x1bPq#0\x1b\\",
    "c1 csi": "\x9b31m",
    "c1 osc": "\x9d0;owned\x9c",
    "nul": "a\x00b",
    "backspace": "rm\x08\x08ls",
    "delete": "a\x7fb",
    "shift out": "\x0e",
    "carriage return": "safe\revil",
    "bidi override": "abc\u202edef",
    "bidi isolate": "\u2066x\u2069",
    "zero width": "a\u200bb\u200d",
    "byte order mark": "\ufeffx",
    "tag characters": "x\U000e0041",
    "lone surrogate": "x\udc80",
    "line separator": "a\u2028b",
    "interlinear annotation": "\ufff9x\ufffb",
    "soft hyphen": "a\u00adb",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_terminal_obeys_cleaned_text(name):
    for safe in (clean(HOSTILE[name]), clean_lines(HOSTILE[name])):
        assert safe.isprintable()
        assert len(safe) == len(HOSTILE[name])
        safe.encode("utf-8")


def test_a_log_message_keeps_its_lines_and_tabs():
    assert clean_lines("goroutine 1:\n\tmain.go:3") == "goroutine 1:\n\tmain.go:3"
    assert clean("a\nb\tc") == "a␊b␉c"


def test_plain_text_of_any_script_stays():
    for text in ("héllo", "日本語", "שלום", "🙂", "├── ⟲"):
        assert clean(text) == text


def test_bytes_are_decoded_and_bounded():
    assert clean(b"caf\xc3\xa9 \xff") == "café \ufffd"
    assert clean("x" * (MAX_TEXT + 1)).endswith("…")
    assert len(clean(b"x" * (10 * MAX_TEXT))) == MAX_TEXT
