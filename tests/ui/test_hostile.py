"""What a target can write into its name, its logs or its files never reaches the terminal as more than signs."""

from __future__ import annotations

import pytest
from gotriage.records.files import FileTable, OpenFile
from gotriage.records.findings import Finding, Fine, Unknown, Verdict
from gotriage.session.store import Session

from tests.ui import made
from tests.ui.screens import drive, shown, text
from tests.ui.terminal import Terminal

PAYLOADS = {
    "csi": "\x1b[31mred\x1b[2J",
    "osc-title": "\x1b]0;pwned\x07",
    "osc-52": "\x1b]52;c;cHduZWQ=\x07",
    "dcs": "\x1bPq#0;2;0;0;0\x1b\\",
    "apc": "\x1b_hidden\x1b\\",
    "c1-csi": "\x9b31mred",
    "c1-osc": "\x9d0;pwned\x9c",
    "c1-dcs": "\x90q\x9c",
    "del": "a\x7fb",
    "nul-so": "a\x00\x0eb",
    "newlines": "a\r\nb\x0b\x0cc\x08\x08",
    "bidi": "exe.\u202etxt\u202c\u2066x\u2069",
    "zero-width": "a\u200bb\u200dc\u2060d\ufeff",
    "tags": "a\U000e0041\U000e0042\U000e007fb",
    "separators": "a\u2028b\u2029c",
    "markup-click": "[@click=app.leave]press[/]",
    "markup-close": "[/foo] [b]bold[/b]",
    "surrogate": "a\udcffb\ud800c",
}
FORBIDDEN = (
    *(payload for name, payload in PAYLOADS.items() if name.startswith(("csi", "osc", "dcs", "apc", "c1"))),
    *"\x00\x07\x0b\x0c\x0e\x7f\x9b\x9c\x9d\x90\u202e\u202c\u2066\u2069\u200b\u200d\u2060\ufeff\u2028\u2029\U000e0041\U000e007f",
)
"""What must not be among the bytes for the terminal (Textual itself writes ESC, of course, but not these)."""


def hostile(payload: str) -> made.Judged:
    """A session in which every text is the payload, put into records without being cleaned first."""
    session = Session()
    for record in made.beginning(payload):
        session.feed(record)
    for record in made.second(0):
        session.feed(record)
    rows = (
        OpenFile(pid=1, fd=1, type="file", name=payload),
        OpenFile(pid=1, fd=2, type=payload, state=payload, peer=payload),
    )
    session.feed(FileTable(at=made.START, rows=rows, by_state={payload: 1}))
    claim = Finding(
        id="fd-leak",
        severity="warning",
        title=payload,
        evidence=(payload,),
        fix=payload,
        subject=payload,
        observed_at=made.START,
    )
    unknown = Unknown("x", payload, payload)
    return made.front(
        session, Verdict(at=made.START, findings=(claim,), fine=(Fine("x", payload),), unknown=(unknown,))
    )


@pytest.mark.parametrize("name", PAYLOADS)
def test_no_screen_draws_it(name):
    async def use(app, pilot):
        seen = {}
        for key in ("enter", "backspace", "2", "7", "j", "enter", "backspace", "e", "backspace", "question_mark"):
            await pilot.press(key)
            await pilot.pause()
            seen[f"{len(seen)} {key}"] = text(app)
        return seen

    for place, seen in drive(hostile(PAYLOADS[name]), use).items():
        for sign in FORBIDDEN:
            assert sign not in seen, (place, sign)
        seen.encode("utf-8")


@pytest.mark.parametrize("name", ["markup-click", "markup-close"])
def test_markup_is_literal(name):
    assert PAYLOADS[name] in shown(hostile(PAYLOADS[name]))


def test_clicking_on_markup_runs_nothing():
    async def use(app, pilot):
        for x in range(20, 70, 6):
            await pilot.click(offset=(x, 3))
            await pilot.pause()
        return app._exit, text(app)

    left, _ = drive(hostile(PAYLOADS["markup-click"]), use)
    assert not left


def test_a_screenshot_can_be_written_as_utf8():
    async def use(app, pilot):
        return app.export_screenshot().encode("utf-8")

    assert drive(hostile(PAYLOADS["surrogate"]), use)


def test_nothing_of_it_reaches_a_real_terminal():
    code = """
import sys
sys.path.insert(0, ".")
from tests.ui.test_hostile import PAYLOADS, hostile
from gotriage.ui.app import _show
sys.exit(_show(hostile("MARK" + "".join(PAYLOADS.values())), None))
"""
    with Terminal(code, size=(200, 50)) as terminal:
        terminal.read(b"MARK")
        for key, words in ((b"2", b"highest"), (b"7", b"FD"), (b"e", b"lsof"), (b"\x7f\r", b"recv queue")):
            terminal.type(key)
            terminal.read(words)
        terminal.type(b"q")
        terminal.end()
    written = terminal.output.replace(b"\x1b]22;default\x07", b"")  # Textual's own: the shape of the mouse pointer
    for sign in FORBIDDEN:
        assert sign.encode("utf-8", "surrogatepass") not in written, repr(sign)
    for begin in (b"\x1b]", b"\x1bP", b"\x1b_"):
        assert begin not in written


def test_the_gate_lets_nothing_through_by_itself():
    from gotriage.ui.gate import Gate
    from rich.segment import Segment
    from textual.color import Color

    for payload in PAYLOADS.values():
        out = "".join(segment.text for segment in Gate().apply([Segment(payload)], Color(0, 0, 0)))
        assert not any(sign in out for sign in FORBIDDEN)
        assert "\x1b" not in out
        assert "\n" not in out
