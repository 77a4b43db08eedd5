"""Descriptors of a /proc of the test's own, alone and shared with a child."""

from __future__ import annotations

import os

import pytest
from gotriage.errors import TargetGone
from gotriage.host import fdread, fds

from tests.collectors.fakes import fake_host


def fake_process(tmp_path, links, pid=7, info=b"pos:\t5\nflags:\t0102002\nmnt_id:\t1\n"):
    host = fake_host(tmp_path)
    for name in ("fd", "fdinfo"):
        (tmp_path / "proc" / str(pid) / name).mkdir(parents=True)
    for fd, link in links.items():
        os.symlink(link, tmp_path / "proc" / str(pid) / "fd" / str(fd))
        (tmp_path / "proc" / str(pid) / "fdinfo" / str(fd)).write_bytes(info)
    return host


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"pos:\t0\nflags:\t0100000\nmnt_id:\t24\n", ("r", 0, None)),
        (b"pos:\t1234\nflags:\t02102001\nmnt_id:\t9\nino:\t3\n", ("wac", 1234, None)),
        (b"pos:\t0\nflags:\t02004002\nmnt_id:\t15\nPid:\t4242\nNSpid:\t4242\n", ("rwnc", 0, 4242)),
        (b"pos:\t0\nflags:\t02\nPid:\t-1\n", ("rw", 0, -1)),
        (b"", fdread.NO_INFO),
        (b"pos:\t\n", fdread.NO_INFO),
        (b"pos:\tx\nflags:\ty\n", fdread.NO_INFO),
        (b"pos: 1\nflags: 99999999999999999999999999\n", fdread.NO_INFO),
        (b"flags: 0\npos: 1\n", fdread.NO_INFO),
    ],
)
def test_fdinfo(data, expected):
    assert fdread.parse_info(data) == expected


def test_entries_in_the_order_of_their_numbers(tmp_path):
    host = fake_process(tmp_path, {10: "socket:[5]", 2: "pipe:[9]", 0: "anon_inode:[eventpoll]"})
    (listing,) = fds.look(host, [7]).listings
    assert listing.numbers == [0, 2, 10]
    assert [entry[0] for entry in listing.entries] == ["anon_inode:[eventpoll]", "pipe:[9]", 5]
    assert listing.entries[2] == (5, "rwa")
    assert listing.entries[0][1] == ("rwa", 5, None)


def test_a_path_is_looked_at_once_a_deleted_one_each_time(tmp_path, monkeypatch):
    real = tmp_path / "log"
    real.write_text("hello")
    host = fake_process(tmp_path, {fd: str(real) for fd in range(4)})
    asked = []
    monkeypatch.setattr(fdread, "_stat", lambda folder, fd: asked.append(fd) or (0o100644, 5, 1, 1))
    fds.look(host, [7])
    assert len(asked) == 1
    for fd in range(4, 7):
        os.symlink("/x (deleted)", tmp_path / f"proc/7/fd/{fd}")
    fds.look(host, [7])
    assert len(asked) == 1 + 1 + 3


def test_nothing_below_a_mount_that_may_hang_is_looked_at(tmp_path, monkeypatch):
    host = fake_process(tmp_path, {0: "/mnt/nfs/a", 1: "/etc/passwd"})
    asked = []
    monkeypatch.setattr(fdread, "_stat", lambda folder, fd: asked.append(fd) or fdread.NO_STAT)
    fds.look(host, [7], remote=("/mnt/nfs/",))
    assert asked == ["1"]


def test_a_child_helps_and_nothing_is_lost_or_doubled(tmp_path, monkeypatch):
    monkeypatch.setattr(fds, "SHARE_FROM", 100)
    monkeypatch.setattr(fds, "CHUNK", 16)
    links = {fd: f"socket:[{fd + 1000}]" for fd in range(0, 3000, 3)} | {4000: "/dev/null", 4001: "pipe:[1]\n\udcff"}
    host = fake_process(tmp_path, links)
    look = fds.look(host, [7], extra=lambda: b"brought")
    (listing,) = look.listings
    assert look.extra == b"brought"
    assert not look.complete
    assert listing.numbers == sorted(links)
    assert listing.entries[:1000] == [fd + 1000 for fd in range(0, 3000, 3)]
    assert listing.entries[1000][0] == "/dev/null"
    assert listing.entries[1001] == "pipe:[1]\n\udcff" or listing.entries[1001][0] == "pipe:[1]\n\udcff"


@pytest.mark.parametrize("how", ["no fork", "child fails", "child gives nonsense"])
def test_alone_when_no_child_can_help(tmp_path, monkeypatch, how):
    monkeypatch.setattr(fds, "SHARE_FROM", 10)
    monkeypatch.setattr(fds, "CHUNK", 4)

    class Broken:
        def __init__(self, work):
            if how == "no fork":
                raise BlockingIOError(11, "Resource temporarily unavailable")

        def result(self, timeout):
            raise OSError("it died")

    if how != "child gives nonsense":
        monkeypatch.setattr(fds, "Forked", Broken)
    else:
        monkeypatch.setattr(fds, "_child", lambda *args: os._exit(1))
    host = fake_process(tmp_path, {fd: f"socket:[{fd}]" for fd in range(50)})
    (listing,) = fds.look(host, [7]).listings
    assert listing.entries == list(range(50))


def test_a_descriptor_that_is_closed_meanwhile_is_left_empty(tmp_path, monkeypatch):
    host = fake_process(tmp_path, {fd: f"socket:[{fd}]" for fd in range(9)})
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: [*listdir(path), "9", "10"])
    (listing,) = fds.look(host, [7]).listings
    assert listing.entries[9:] == ["", ""]
    assert listing.entries[3][0] == 3


def test_bounds_and_problems(tmp_path):
    host = fake_process(tmp_path, dict.fromkeys(range(20), "pipe:[1]"))
    fake_process(tmp_path, dict.fromkeys(range(20), "pipe:[1]"), pid=8)
    look = fds.look(host, [7, 8, 9], limit=25)
    assert [(len(listing.entries), listing.omitted) for listing in look.listings] == [(20, 0), (5, 15)]
    assert isinstance(look.problems[9], TargetGone)


def test_many_processes_hold_few_folders_open(tmp_path):
    pids = list(range(100, 100 + fds.BATCH + 5))
    for pid in pids:
        host = fake_process(tmp_path, {0: "pipe:[1]"}, pid=pid)
    before = len(os.listdir("/proc/self/fd"))
    look = fds.look(host, pids)
    assert [listing.pid for listing in look.listings] == pids
    assert len(os.listdir("/proc/self/fd")) == before


def test_counting_where_the_size_tells_nothing(tmp_path):
    host = fake_process(tmp_path, dict.fromkeys(range(5), "pipe:[1]"))
    assert fds.count(host, 7) == 5
    with pytest.raises(TargetGone):
        fds.count(host, 8)
    assert sorted(fds.links_of(host, [7, 8], 3)) == ["pipe:[1]"] * 3
