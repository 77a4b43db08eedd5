"""How gotriage starts itself once more: root is had by sudo only, where it was had by sudo."""

from __future__ import annotations

import os
import sys

import pytest
from gotriage.errors import MissingFacility
from gotriage.host import again, tools
from gotriage.host.privilege import Invoker

OWN = [sys.executable, "-I", "-m", "gotriage", "shell", "--pid=7"]
WORDS = ["shell", "--pid=7"]


def test_who_is_root_or_nobody_special_is_not_asked(monkeypatch):
    assert again.command(WORDS, Invoker(0, 0, "root", "/root")) == OWN
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert again.command(WORDS, Invoker(1000, 1000, "op", "/home/op")) == OWN


def test_behind_sudo_it_is_sudo_that_decides(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(tools, "find", lambda name: f"/usr/bin/{name}")
    assert again.command(WORDS, Invoker(1000, 1000, "op", "/home/op")) == ["/usr/bin/sudo", "-k", "--", *OWN]


def test_without_sudo_it_says_what_to_type(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(tools, "find", lambda name: None)
    with pytest.raises(MissingFacility, match="gotriage shell --pid=7"):
        again.command(WORDS, Invoker(1000, 1000, "op", "/home/op"))
