"""Work in a child: its answer, its errors, its end."""

from __future__ import annotations

import os
import time

import pytest
from gotriage.host import forked
from gotriage.host.forked import Forked, in_child


def children() -> list[int]:
    with open("/proc/thread-self/children") as file:
        return [int(word) for word in file.read().split()]


def test_the_answer_comes_back_whole():
    data = os.urandom(3 << 20)
    assert in_child(lambda: data) == data
    assert in_child(lambda: b"") == b""


def test_an_error_in_the_child_is_an_error_here():
    def fail() -> bytes:
        raise ValueError("no such thing")

    with pytest.raises(OSError, match="no such thing"):
        in_child(fail)


def test_a_child_that_ends_early_or_hangs_is_collected():
    before = children()
    with pytest.raises(OSError, match="early"):
        in_child(lambda: os._exit(3))
    with pytest.raises(TimeoutError):
        in_child(lambda: bytes(time.sleep(60) or 0), timeout=0.2)
    Forked(lambda: bytes(time.sleep(60) or 0)).close()
    assert children() == before


def test_too_long_an_answer(monkeypatch):
    monkeypatch.setattr(forked, "LIMIT", 1 << 20)
    with pytest.raises(OSError, match="too long"):
        in_child(lambda: bytes(8 << 20))


def test_a_namespace_that_is_not_there():
    with pytest.raises(OSError, match="No such file"):
        in_child(lambda: forked.join_namespace("/proc/self/ns/nothing") or b"")
