"""On a real pseudo-terminal: it is left as it was on every way out, and shows on the odd ones too."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.ui.terminal import SHOW, Terminal

SEEN = b"fd-exhaustion"

CRASHES = """
from gotriage.ui.tabs import overview
def broken(front, width, height):
    secret = "hunter2-in-a-local"
    raise ValueError(secret)
overview.page = broken
"""
RESISTS = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"


@pytest.mark.parametrize(("key", "status"), [(b"q", 0), (b"\x03", 0)], ids=["q", "ctrl-c"])
def test_keys_that_quit(key, status):
    with Terminal() as terminal:
        terminal.read(SEEN)
        terminal.type(key)
        assert terminal.end() == status
        assert terminal.restored()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT], ids=lambda n: n.name)
def test_signals(number):
    with Terminal() as terminal:
        terminal.read(SEEN)
        terminal.process.send_signal(number)
        assert terminal.end() == 128 + number
        assert terminal.restored()


def test_an_error_inside_is_one_line_without_locals():
    with Terminal(CRASHES + SHOW) as terminal:
        terminal.read(SEEN)
        terminal.type(b"2")
        assert terminal.end() == 3
        assert terminal.restored()
        last = terminal.output[terminal.output.rindex(b"\x1b[?1049l") :].decode()
        assert "gotriage: internal error: ValueError" in last
        assert "hunter2" not in terminal.output.decode(errors="replace")
        assert "Traceback" not in last
        assert last.count("\n") == 1


def test_a_lost_terminal_ends_it():
    with Terminal() as terminal:
        terminal.read(SEEN)
        terminal.lose()
        assert terminal.end(30) == 129


def test_ctrl_z_gives_the_terminal_back_and_going_on_draws_again():
    with Terminal() as terminal:
        terminal.read(SEEN)
        terminal.type(b"\x1a")
        terminal.read(b"\x1b[?1049l")
        os.waitid(os.P_PID, terminal.process.pid, os.WSTOPPED | os.WNOWAIT)
        assert terminal.restored()
        terminal.output = b""
        terminal.process.send_signal(signal.SIGCONT)
        terminal.read(SEEN)
        terminal.type(b"q")
        assert terminal.end() == 0
        assert terminal.restored()


def test_bytes_that_are_no_utf8_are_not_the_end():
    with Terminal() as terminal:
        terminal.read(SEEN)
        terminal.type(b"\xff\xfe\xe9")
        time.sleep(0.5)
        terminal.type(b"2")
        terminal.read(b"highest")
        terminal.type(b"q")
        assert terminal.end() == 0


def test_esc_alone_is_a_key_and_a_key_may_come_in_pieces():
    with Terminal() as terminal:
        terminal.read(SEEN)
        time.sleep(1.5)  # nobody types: the driver sleeps
        terminal.type(b"/")
        terminal.read(b"Escape leaves")
        terminal.type("zü".encode()[:2])
        time.sleep(0.3)
        terminal.type("zü".encode()[2:])
        terminal.read("zü".encode())
        terminal.type(b"\x1b")
        time.sleep(0.5)
        terminal.type(b"2")  # a key again, no letter of what is looked for
        terminal.read(b"highest")
        terminal.type(b"q")
        assert terminal.end() == 0


def test_without_colour_every_colour_is_grey():
    import re

    with Terminal(NO_COLOR="1") as terminal:
        terminal.read(SEEN)
        terminal.type(b"q")
        terminal.end()
    colors = set(re.findall(rb"[34]8;2;(\d+);(\d+);(\d+)", terminal.output))
    assert colors
    assert all(len(set(color)) == 1 for color in colors)


ASCII = {"LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("locale", [{"LANG": "C"}, {"LC_ALL": "POSIX"}, ASCII], ids=str)
def test_any_locale(locale):
    with Terminal(**locale) as terminal:
        terminal.read(SEEN)
        terminal.type(b"q")
        assert terminal.end() == 0


@pytest.mark.parametrize("term", ["linux", "vt100", "screen", "tmux-256color"])
def test_plain_terminals(term):
    with Terminal(TERM=term, COLORTERM="") as terminal:
        terminal.read(SEEN)
        terminal.type(b"q")
        assert terminal.end() == 0


def test_a_tiny_terminal_says_that_it_is():
    with Terminal(size=(20, 5)) as terminal:
        terminal.read(b"gotriage needs")
        terminal.type(b"q")
        assert terminal.end() == 0
