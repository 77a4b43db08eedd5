"""Tailing files: history, growth, truncation, rotation, removal, endless lines."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from gotriage.host import Host
from gotriage.host.tail import MAX_LINE, Tail, newest_lines, open_descriptor, open_in_view, rotated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def opener(path: Path) -> Callable[[], int]:
    return lambda: os.open(path, os.O_RDONLY)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_growth(tmp_path: Path):
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\npar")
    tail = Tail(opener(path))
    assert tail.lines() == [b"one", b"two"]
    append(path, b"tial\nthree\n\n")
    assert tail.lines() == [b"partial", b"three", b""]
    assert tail.lines() == []
    append(path, b"unfinished")
    assert (tail.lines(), tail.flush(), tail.flush()) == ([], [b"unfinished"], [])
    tail.close()


def test_history_begins_at_a_line(tmp_path: Path):
    path = tmp_path / "log"
    path.write_bytes(b"".join(b"line %d\n" % n for n in range(1000)))
    tail = Tail(opener(path), history=20)
    assert tail.lines() == [b"line 998", b"line 999"]
    resumed = Tail(opener(path), position=tail.position)
    append(path, b"more\n")
    assert (tail.lines(), resumed.lines()) == ([b"more"], [b"more"])
    assert list(newest_lines(os.open(path, os.O_RDONLY), 20)) == [b"line 999", b"more"]
    assert len(list(newest_lines(os.open(path, os.O_RDONLY)))) == 1001


def test_truncated_rotated_and_removed(tmp_path: Path):
    path = tmp_path / "log"
    path.write_bytes(b"a\nb\n")
    tail = Tail(opener(path))
    assert tail.lines() == [b"a", b"b"]
    path.write_bytes(b"c\n")
    assert tail.lines() == [b"c"]
    append(path, b"last\n")
    path.rename(tmp_path / "log.1")
    path.write_bytes(b"new\n")
    assert tail.lines() == [b"last"]
    assert tail.lines() == [b"new"]
    assert (tail.truncations, tail.rotations) == (1, 1)
    path.unlink()
    assert tail.lines() == []
    assert tail.deleted
    tail.close()


def test_what_is_written_while_it_is_renamed_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "log"
    path.write_bytes(b"a\n")

    def reopened() -> int:
        if tail_made:
            append(tmp_path / "log.1", b"b\n") if not late else None
            late.append(1)
        return os.open(path, os.O_RDONLY)

    tail_made: list[int] = []
    late: list[int] = []
    tail = Tail(reopened)
    assert tail.lines() == [b"a"]
    path.rename(tmp_path / "log.1")
    path.write_bytes(b"c\n")
    tail_made.append(1)
    found = [line for _ in range(4) for line in tail.lines()]
    assert found == [b"b", b"c"]
    tail.close()


def test_an_endless_line_is_bounded(tmp_path: Path):
    path = tmp_path / "log"
    path.write_bytes(b"")
    tail = Tail(opener(path))
    append(path, b"x" * (3 * MAX_LINE) + b"\nnext\n")
    found = []
    for _ in range(10):
        found += tail.lines()
    assert [len(line) for line in found][-1] == 4
    assert all(len(line) <= MAX_LINE for line in found)
    assert tail.position == 3 * MAX_LINE + 6
    tail.close()


def test_only_regular_files_are_opened(tmp_path: Path):
    read, write = os.pipe()
    try:
        with pytest.raises(OSError, match="regular"):
            open_descriptor(Host(), os.getpid(), read)
    finally:
        os.close(read)
        os.close(write)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="regular"):
        open_in_view(Host(view=tmp_path), "/fifo")


def test_links_stay_in_the_view(tmp_path: Path):
    (tmp_path / "log").symlink_to("/etc/hostname")
    with pytest.raises(FileNotFoundError):
        open_in_view(Host(view=tmp_path), "/log")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hostname").write_bytes(b"inside\n")
    assert list(newest_lines(open_in_view(Host(view=tmp_path), "/log"))) == [b"inside"]


def test_rotated_names(tmp_path: Path):
    for name in ("log", "log.1", "log.2", "log.4"):
        (tmp_path / name).write_bytes(b"")
    assert rotated(Host(view=tmp_path), "/log") == ["/log.1", "/log.2"]
