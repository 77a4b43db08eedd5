"""Folders of a root, opened once."""

from __future__ import annotations

import os

import pytest
from gotriage.host import folders as module
from gotriage.host.folders import Folders
from gotriage.host.inroot import InRoot


@pytest.fixture
def root(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/a").touch()
    (tmp_path / "lib/broken").symlink_to("/none")
    (tmp_path / "usr").symlink_to(".")
    (tmp_path / "out").symlink_to("../../../../../../../../etc")
    with InRoot(str(tmp_path)) as opened:
        yield opened


def test_what_is_there(root):
    with Folders(root) as folders:
        assert folders.has("/lib/", "a")
        assert folders.has("/lib/", "broken")
        assert not folders.has("/lib/", "b")
        assert not folders.has("/none/", "a")
        assert folders.exists("/lib")
        assert folders.identity("/lib/") == folders.identity("/usr/lib/")
        assert folders.identity("/none") is None


def test_a_link_does_not_lead_out(root):
    with Folders(root) as folders:
        assert not folders.has("/out/", "passwd")


def test_tries_are_counted(root, monkeypatch):
    monkeypatch.setattr(module, "MAX_TRIES", 2)
    with Folders(root) as folders:
        assert folders.has("/lib/", "a")
        assert folders.has("/lib/", "a")
        assert folders.exhausted
        assert not folders.has("/lib/", "a")


def test_descriptors_are_bounded_and_given_back(root, monkeypatch):
    monkeypatch.setattr(module, "MAX_OPEN", 3)
    before = len(os.listdir("/proc/self/fd"))
    with Folders(root) as folders:
        for i in range(10):
            folders.exists("/" + "./" * i + "lib")
        assert len(os.listdir("/proc/self/fd")) <= before + 3
    assert len(os.listdir("/proc/self/fd")) == before
