"""/proc read from a folder of the test's own, and from the real kernel."""

from __future__ import annotations

import os
import resource

import pytest
from gotriage.errors import NotPermitted, TargetGone
from gotriage.host.proc import Proc, parse_limits, parse_maps, parse_stat, translated

STAT = (
    b"41207 (%s) S 1 41207 41207 0 -1 4194560 512 0 3 0 120 45 0 0 20 0 9 0 987654 1259520 310 18446744073709551615\n"
)


@pytest.mark.parametrize("comm", [b"orders-api", b"a) R 1 (b", b"\x1b]0;x\x07", b"\xff\xfe", b"", b"a b c"])
def test_a_name_of_any_bytes_does_not_shift_the_fields(comm):
    stat = parse_stat(STAT % comm)
    assert (stat.pid, stat.state, stat.ppid, stat.majflt, stat.utime, stat.threads) == (41207, "S", 1, 3, 120, 9)
    assert (stat.start_ticks, stat.vsize, stat.rss_pages) == (987654, 1259520, 310)
    assert os.fsencode(stat.comm) == comm


@pytest.mark.parametrize("data", [b"", b"1 (x", b"1 x) S", b"1 (x) S 1 2", b"x (y) S " + b"1 " * 30])
def test_a_broken_stat_is_one_value_error(data):
    with pytest.raises((ValueError, IndexError)):
        parse_stat(data)


def test_limits_of_this_process_agree_with_getrlimit():
    limits = Proc().limits(os.getpid())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert limits["Max open files"] == (soft, hard)
    assert limits["Max cpu time"] == (None, None)
    assert len(limits) == 16


def test_limits_with_unlimited_values():
    text = "Limit                     Soft Limit           Hard Limit           Units     \n"
    text += "Max address space         unlimited            unlimited            bytes     \n"
    text += "Max nice priority         0                    20                             \n"
    assert parse_limits(text) == {"Max address space": (None, None), "Max nice priority": (0, 20)}


def test_maps_keep_spaces_and_deleted_marks():
    rows = parse_maps(b"00400000-00401000 r-xp 00000000 fe:00 12 /a b/c (deleted)\n7f0-7f1 rw-p 0 00:00 0 \n")
    assert rows[0].path == "/a b/c (deleted)"
    assert rows[0].deleted
    assert rows[0].inode == 12
    assert rows[1].path == ""


def test_what_vanished_and_what_is_forbidden_are_told_apart(tmp_path):
    proc = Proc(tmp_path)
    with pytest.raises(TargetGone, match="gone"):
        proc.read(1, "stat")
    assert isinstance(translated(PermissionError(13, "x"), "/p"), NotPermitted)
    assert isinstance(translated(ProcessLookupError(3, "x"), "/p"), TargetGone)
    assert isinstance(translated(OSError(5, "io"), "/p"), OSError)


def test_a_read_is_bounded(tmp_path):
    (tmp_path / "big").write_bytes(b"x" * 1000)
    assert len(Proc(tmp_path).read("big", limit=100)) == 100


def test_the_first_of_two_equal_variables_wins(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7/environ").write_bytes(b"A=1\0A=2\0BROKEN\0B=x=y\0")
    assert Proc(tmp_path).environ(7) == {"A": "1", "B": "x=y"}


def test_an_empty_command_line_is_empty(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cmdline").write_bytes(b"")
    assert Proc(tmp_path).cmdline(7) == []


@pytest.mark.real
def test_the_real_proc_of_this_process():
    proc, pid = Proc(), os.getpid()
    assert proc.stat(pid).ppid == os.getppid()
    assert int(proc.status(pid)["Pid"]) == pid
    assert pid in proc.pids()
    assert proc.link(pid, "cwd") == os.getcwd()
    assert any(m.path == "[stack]" for m in proc.maps(pid))
    assert set(proc.namespaces(pid)) >= {"mnt", "net", "pid"}
    assert list(proc.cgroup_lines(pid))
