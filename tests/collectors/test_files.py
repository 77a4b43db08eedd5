"""Descriptor rows and counts from a /proc of the test's own."""

from __future__ import annotations

import os

import pytest
from gotriage.collectors.files import CountCollector, TableCollector
from gotriage.errors import NotPermitted
from gotriage.host import descriptors, fds
from gotriage.records.stream import Gap

from tests.collectors.fakes import fake_host, stat_line, target_of, write

LIMITS = (
    "Limit                     Soft Limit           Hard Limit           Units     \n"
    "Max open files            {soft:<20} {hard:<20} files     \n"
)


def process(tmp_path, links, pid=7, soft=64, comm="svc"):
    host = fake_host(tmp_path)
    folder = tmp_path / "proc" / str(pid)
    write(folder, {"stat": stat_line(pid, comm), "comm": f"{comm}\n", "limits": LIMITS.format(soft=soft, hard=128)})
    for name in ("fd", "fdinfo", "ns"):
        (folder / name).mkdir(exist_ok=True)
    os.symlink("net:[1]", folder / "ns/net")
    for fd, (link, info) in links.items():
        os.symlink(link, folder / "fd" / str(fd))
        write(folder / "fdinfo", {str(fd): info})
    return host


RW, RO, WA = "pos:\t0\nflags:\t02\n", "pos:\t0\nflags:\t0100000\n", "pos:\t77\nflags:\t02102001\n"


def table(host, *pids):
    records = list(TableCollector(host, target_of(host, *pids)).collect())
    return records[-1], [record for record in records if isinstance(record, Gap)]


def test_kinds_and_names(tmp_path):
    log = tmp_path / "app.log"
    log.write_text("x" * 100)
    host = process(
        tmp_path,
        {
            0: ("/dev/null", RO),
            1: (str(log), WA),
            2: (str(tmp_path), RO),
            3: ("anon_inode:[eventpoll]", RW),
            4: ("anon_inode:inotify", RO),
            5: ("anon_inode:[pidfd]", RW + "Pid:\t4242\n"),
            6: ("anon_inode:[pidfd]", RW + "Pid:\t-1\n"),
            7: ("/memfd:cache\x1b]0;x (deleted)", RW),
            8: ("net:[4026531840]", RO),
            9: ("/var/log/gone.log (deleted)", WA),
            10: ("\udcff\n\x1b[2J", RO),
            11: ("/tmp/socket:[5]", RO),
        },
    )
    found, gaps = table(host, 7)
    rows = {row.fd: row for row in found.rows}
    assert gaps == []
    assert [row.fd for row in found.rows] == list(range(12))
    assert (rows[0].type, rows[0].name, rows[0].mode) == ("char", "/dev/null", "r")
    assert (rows[1].type, rows[1].size, rows[1].offset, rows[1].mode) == ("file", 100, 77, "wac")
    assert rows[2].type == "dir"
    assert (rows[3].type, rows[3].name) == ("anon", "eventpoll")
    assert (rows[4].name, rows[5].peer, rows[6].peer) == ("inotify", "pid 4242", "ended")
    assert rows[7].type == "memfd"
    assert (rows[8].type, rows[8].name) == ("anon", "net:[4026531840]")
    assert (rows[9].deleted, rows[9].name) == (True, "/var/log/gone.log")
    assert (rows[11].type, rows[11].name) == ("file", "/tmp/socket:[5]")
    assert not any(sign in row.name for row in found.rows for sign in "\x1b\n\udcff")


def test_a_file_whose_name_ends_like_a_deleted_one(tmp_path):
    real = tmp_path / "x (deleted)"
    real.write_text("y")
    found, _ = table(process(tmp_path, {3: (str(real), RO)}), 7)
    assert (found.rows[0].deleted, found.rows[0].name) == (False, str(real))


def test_pipe_partners_inside_and_outside_of_the_target(tmp_path):
    read, write_end = "pos:\t0\nflags:\t00\n", "pos:\t0\nflags:\t01\n"
    process(tmp_path, {3: ("pipe:[21]", read), 4: ("pipe:[22]", write_end)}, pid=8, comm="child")
    process(tmp_path, {0: ("pipe:[23]", read)}, pid=9, comm="tee) \x1b[1m")
    links = {
        1: ("pipe:[23]", write_end),
        3: ("pipe:[21]", write_end),
        5: ("pipe:[24]", read),
        6: ("pipe:[24]", write_end),
        7: ("pipe:[25]", write_end),
        8: ("pipe:[22]", read),
    }
    host = process(tmp_path, links)
    found, _ = table(host, 7, 8)
    peers = {(row.pid, row.fd): row.peer for row in found.rows}
    assert peers[7, 3] == "pid 8 (child)"
    assert peers[7, 8] == "pid 8 (child)"
    assert peers[8, 3] == "pid 7 (svc)"
    assert peers[7, 5] == peers[7, 6] == "itself"
    assert peers[7, 7] == "nobody"
    # links of a folder have all permissions, so the outer process holds "both ends" here
    assert peers[7, 1].startswith("pid 9 (tee) ")
    assert "\x1b" not in peers[7, 1]


def test_sockets_joined_and_tallied(tmp_path, monkeypatch):
    host = process(tmp_path, {fd: (f"socket:[{fd + 100}]", RW) for fd in range(6)})
    sockets = {
        100: ("tcp", "CLOSE_WAIT", "10.0.0.1:5", "10.4.0.17:8086", 1, 0),
        101: ("tcp", "CLOSE_WAIT", "10.0.0.1:6", "10.4.0.17:8086", 0, 0),
        102: ("tcp", "CLOSE_WAIT", "10.0.0.1:7", "10.4.0.18:8086", 0, 0),
        103: ("tcp6", "LISTEN", "[::]:80", "", 3, 128),
        104: ("unix", "ESTABLISHED", "", "/run/x", 0, 0),
    }
    monkeypatch.setattr("gotriage.host.socktables.find", lambda host, pid, wanted: (sockets, "sock_diag: denied"))
    found, gaps = table(host, 7)
    assert found.by_state == {"tcp CLOSE_WAIT": 3, "tcp6 LISTEN": 1, "unix ESTABLISHED": 1}
    assert found.by_peer == {"CLOSE_WAIT": {"10.4.0.17:8086": 2, "10.4.0.18:8086": 1}}
    rows = {row.fd: row for row in found.rows}
    assert (rows[0].peer, rows[0].recv_queue, rows[0].name) == ("10.4.0.17:8086", 1, "10.0.0.1:5")
    assert (rows[4].peer, rows[4].name) == ("/run/x", "socket:[104]")
    assert (rows[5].protocol, rows[5].state, rows[5].type) == ("", "", "socket")
    assert (gaps[0].source, gaps[0].permission) == ("files.sockets", True)


def test_the_largest_peers_only():
    sockets = [("tcp", "ESTABLISHED", "", f"10.0.0.{n}:1", 0, 0) for n in range(50) for _ in range(n % 3 + 1)]
    _, by_peer = descriptors.tally(sockets, 5)
    assert list(by_peer["ESTABLISHED"].items()) == [(f"10.0.0.{n}:1", 3) for n in (11, 14, 17, 20, 23)]


def test_a_refused_process_is_a_gap_or_an_error(tmp_path, monkeypatch):
    process(tmp_path, {0: ("pipe:[1]", RW)}, pid=8)
    host = process(tmp_path, {0: ("pipe:[1]", RW)})
    real = os.open

    def refuse(path, *rest, **more):
        if f"/{denied}/fd" in str(path):
            raise PermissionError(13, "Permission denied")
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    denied = 8
    found, gaps = table(host, 7, 8)
    assert {row.pid for row in found.rows} == {7}
    assert gaps[0].permission
    denied = 7
    with pytest.raises(NotPermitted):
        table(host, 7)


def test_vanished_processes_are_no_error(tmp_path):
    host = process(tmp_path, {0: ("pipe:[1]", RW)})
    target = target_of(host, 7)
    target.pids = (99,)
    assert list(TableCollector(host, target).collect()) == []
    assert list(CountCollector(host, target).collect()) == []
    target.pids = ()
    assert list(TableCollector(host, target).collect()) == []


def test_equal_looks_are_equal_records(tmp_path):
    host = process(tmp_path, dict.fromkeys(range(20), ("/dev/null", RW)))
    collector = TableCollector(host, target_of(host, 7))
    first, second = list(collector.collect())[-1], list(collector.collect())[-1]
    assert first.rows == second.rows


def test_the_bound_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("gotriage.collectors.files.MAX_ROWS", 5)
    found, _ = table(process(tmp_path, dict.fromkeys(range(20), ("/dev/null", RW))), 7)
    assert (len(found.rows), found.omitted) == (5, 15)


def test_many_descriptors_have_no_offsets_and_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr(fds, "SHARE_FROM", 10)
    monkeypatch.setattr(fds, "DETAILED", 0)
    found, _ = table(process(tmp_path, dict.fromkeys(range(20), ("/dev/null", RW))), 7)
    assert len(found.rows) == 20
    assert found.rows[0].mode == ""
    assert "offset" in found.unknown


def test_counts_of_the_process_nearest_to_its_limit(tmp_path):
    process(tmp_path, dict.fromkeys(range(30), ("pipe:[1]", RW)), pid=8, soft=1000)
    host = process(tmp_path, dict.fromkeys(range(20), ("socket:[1]", RW)))
    (counts,) = CountCollector(host, target_of(host, 7, 8)).collect()
    assert (counts.total, counts.fullest, counts.fullest_pid) == (50, 20, 7)
    assert (counts.soft_limit, counts.hard_limit) == (64, 128)
    assert counts.by_type == {"pipe": 30, "socket": 20}
    assert counts.by_type_at is None


def test_types_of_many_are_counted_more_seldom(tmp_path, monkeypatch):
    monkeypatch.setattr("gotriage.collectors.files.BY_TYPE_SHARE", 10)
    host = process(tmp_path, dict.fromkeys(range(50), ("socket:[1]", RW)))
    collector = CountCollector(host, target_of(host, 7))
    (first,) = collector.collect()
    os.symlink("pipe:[2]", tmp_path / "proc/7/fd/50")
    (second,) = collector.collect()
    assert (second.total, second.by_type) == (51, {"socket": 50})
    assert second.by_type_at == first.at


def test_counts_without_permission(tmp_path, monkeypatch):
    host = process(tmp_path, {0: ("pipe:[1]", RW)})
    monkeypatch.setattr(fds, "links_of", lambda *args: None)
    (counts,) = CountCollector(host, target_of(host, 7)).collect()
    assert counts.total == 1
    assert counts.unknown["by_type"].permission
    monkeypatch.setattr(fds, "count", lambda *args: (_ for _ in ()).throw(NotPermitted("no")))
    with pytest.raises(NotPermitted):
        list(CountCollector(host, target_of(host, 7)).collect())
