"""Small files that spare work: used only where nobody else could have written them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gotriage.host import cache


@pytest.fixture
def place(tmp_path):
    return str(tmp_path / "gotriage")


def test_what_was_stored_comes_back(place):
    cache.store("one", b"1", place)
    cache.store("one", b"2", place)
    assert cache.load("one", place) == b"2"
    assert os.listdir(place) == ["one"]
    assert os.stat(place).st_mode & 0o777 == 0o700
    assert os.stat(f"{place}/one").st_mode & 0o777 == 0o600


def test_nothing_there_is_nothing(place):
    assert cache.load("one", place) is None
    assert cache.load("one", "") is None
    cache.store("one", b"1", "")


def test_a_folder_that_others_may_write_is_not_used(place):
    os.mkdir(place)
    os.chmod(place, 0o777)
    cache.store("one", b"1", place)
    assert os.listdir(place) == []
    Path(f"{place}/one").write_bytes(b"theirs")
    assert cache.load("one", place) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder away takes root")
def test_a_folder_of_somebody_else_is_not_used(place):
    cache.store("one", b"1", place)
    os.chown(place, 65534, 65534)
    assert cache.load("one", place) is None


def test_links_are_not_followed(place, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    os.mkdir(place, 0o700)
    os.symlink(tmp_path / "secret", f"{place}/one")
    assert cache.load("one", place) is None
    os.symlink(place, tmp_path / "link")
    assert cache.load("one", str(tmp_path / "link")) is None


def test_it_does_not_grow_for_ever(place):
    for number in range(cache.MOST + 3):
        cache.store(f"n{number}", b"x", place)
    assert len(os.listdir(place)) <= cache.MOST


def test_a_place_that_cannot_be_written_is_no_error(tmp_path):
    cache.store("one", b"1", str(tmp_path / "missing" / "gotriage"))
    cache.store("one", b"1", "/proc/gotriage")
