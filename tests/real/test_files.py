"""The descriptors of real processes, beside lsof and ss."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import textwrap
from contextlib import contextmanager

import msgspec
import pytest
from gotriage.collectors.files import CountCollector, TableCollector
from gotriage.host import Host, descriptors, fditer, fds, socktables
from gotriage.records.files import FileTable
from gotriage.records.stream import Gap

from tests.collectors.fakes import real_target

pytestmark = pytest.mark.real


@contextmanager
def child(code, *wrapper, **more):
    """A Python child that runs the code, says "ready", and stays until its standard input closes."""
    code = textwrap.dedent(code) + "\nprint('ready', flush=True)\nimport sys; sys.stdin.read()\n"
    command = [*wrapper, sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **more) as process:
        try:
            assert select.select([process.stdout], [], [], 30)[0]
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def look(*pids):
    *gaps, found = TableCollector(Host(), real_target(*pids)).collect()
    assert isinstance(found, FileTable)
    assert not [gap for gap in gaps if isinstance(gap, Gap)]
    return found


EVERYTHING = """
    import ctypes, mmap, os, select, signal, socket, tempfile
    libc = ctypes.CDLL(None)
    folder = tempfile.mkdtemp()
    log = open(folder + "/app.log", "ab", 0); log.write(b"x" * 5000)
    gone = open(folder + "/gone.log", "wb", 0); gone.write(b"y" * 7000); os.unlink(gone.name)
    read = open(folder + "/app.log", "rb", 0); read.seek(123)
    os.mkfifo(folder + "/fifo"); fifo = os.open(folder + "/fifo", os.O_RDWR | os.O_NONBLOCK)
    where = os.open(folder, os.O_RDONLY)
    listener = socket.create_server(("127.0.0.1", 0), backlog=17)
    client = socket.create_connection(listener.getsockname()); server, _ = listener.accept()
    half = socket.create_connection(listener.getsockname()); other, _ = listener.accept(); other.close()
    six = socket.create_server(("::1", 0), family=socket.AF_INET6)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(("127.0.0.1", 0))
    fresh = socket.socket()
    unix = socket.socket(socket.AF_UNIX); unix.bind(folder + "/s.sock"); unix.listen()
    uc = socket.socket(socket.AF_UNIX); uc.connect(folder + "/s.sock"); us, _ = unix.accept()
    abstract = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); abstract.bind(b"\\0gotriage-%d" % os.getpid())
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); netlink.bind((0, 0))
    r, w = os.pipe()
    memfd = os.memfd_create("cache"); os.write(memfd, b"z" * 300)
    epoll, event = select.epoll(), libc.eventfd(0, 0)
    timer, pidfd = libc.timerfd_create(1, 0), os.pidfd_open(os.getppid())
    import shutil, atexit; atexit.register(shutil.rmtree, folder)
"""


def test_every_kind(tmp_path):
    with child(EVERYTHING) as process:
        found = look(process.pid)
        lsof = subprocess.run(["lsof", "-nP", "-p", str(process.pid), "-F", "ftn"], capture_output=True, text=True)
    by_name = {row.name.rsplit("/", 1)[-1]: row for row in found.rows}
    sockets = [row for row in found.rows if row.type == "socket"]
    assert (by_name["app.log"].size, by_name["gone.log"].size, by_name["gone.log"].deleted) == (5000, 7000, True)
    assert {row.offset for row in found.rows if row.name.endswith("app.log")} == {5000, 123}
    assert {row.mode for row in found.rows if row.name.endswith("app.log")} == {"wac", "rc"}
    assert (by_name["fifo"].type, by_name["fifo"].mode) == ("pipe", "rwnc")
    assert any(row.type == "dir" for row in found.rows)
    assert (by_name["memfd:cache"].type, by_name["memfd:cache"].size) == ("memfd", 300)
    names = {row.name for row in found.rows if row.type == "anon"}
    assert {"eventpoll", "eventfd", "timerfd"} <= names
    assert [row.peer for row in found.rows if "pidfd" in row.name] == [f"pid {os.getpid()}"]
    assert found.by_state["tcp ESTABLISHED"] == 2
    assert found.by_state["tcp CLOSE_WAIT"] == 1
    assert found.by_state["tcp LISTEN"] == 1
    assert found.by_state["tcp6 LISTEN"] == 1
    assert sum(found.by_peer["CLOSE_WAIT"].values()) == 1
    listener = next(row for row in sockets if row.state == "LISTEN" and row.protocol == "tcp")
    assert (listener.recv_queue, listener.send_queue, listener.peer) == (0, 17, "")
    half = next(row for row in sockets if row.state == "CLOSE_WAIT")
    assert half.peer == listener.local
    assert any(row.protocol == "udp" and row.local.startswith("127.0.0.1:") for row in sockets)
    assert any(row.protocol == "tcp" and row.state == "" for row in sockets)  # a socket that does nothing yet
    assert any(row.protocol == "unix" and row.peer.endswith("/s.sock") for row in sockets)
    assert any(row.protocol == "unix" and row.local == f"@gotriage-{process.pid}" for row in sockets)
    assert any(row.protocol == "netlink" and row.local.startswith("route:") for row in sockets)
    pipe = [row.peer for row in found.rows if row.name.startswith("pipe:[") and row.fd > 2]
    assert pipe == ["itself", "itself"]
    assert next(row for row in found.rows if row.fd == 1).peer.startswith(f"pid {os.getpid()} (")
    numbered = {int(line[1:]) for line in lsof.stdout.splitlines() if line[:1] == "f" and line[1:].isdigit()}
    assert numbered == {row.fd for row in found.rows}


def test_the_kernel_and_ss_agree():
    with child(EVERYTHING) as process:
        found = look(process.pid)
        ss = subprocess.run(["ss", "-Htanpe"], capture_output=True, text=True, check=True).stdout
    ours = {(row.local, row.peer) for row in found.rows if row.protocol == "tcp" and row.peer}
    theirs = set()
    for line in ss.splitlines():
        words = line.split()
        if f"pid={process.pid}," in line and words[0] in ("ESTAB", "CLOSE-WAIT"):
            theirs.add((words[3], words[4]))
    assert ours == theirs


def test_both_ways_to_the_socket_tables_agree():
    with child(EVERYTHING) as process:
        look = fds.look(Host(), [process.pid])
        wanted = descriptors.sockets_in(look.listings)
        by_netlink, why = socktables.find(Host(), process.pid, wanted)
        by_text = socktables.from_tables(Host(), process.pid, wanted)
    assert why == ""
    tcp = {inode: one[:4] for inode, one in by_netlink.items() if one[0] in ("tcp", "tcp6", "udp")}
    assert {inode: one[:4] for inode, one in by_text.items() if one[0] in ("tcp", "tcp6", "udp")} == tcp
    assert {inode: one[:3] for inode, one in by_text.items() if one[0] == "netlink"}.keys() <= by_netlink.keys()


def test_another_network_namespace():
    code = """
        import os, socket, subprocess
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        listener = socket.create_server(("127.0.0.1", 4567)); client = socket.create_connection(("127.0.0.1", 4567))
    """
    with child(code, "unshare", "--net") as process:
        found = look(process.pid)
        mine = os.readlink("/proc/self/ns/net")
        assert os.readlink(f"/proc/{process.pid}/ns/net") != mine
    assert [row.local for row in found.rows if row.state == "LISTEN"] == ["127.0.0.1:4567"]
    assert found.by_state == {"tcp ESTABLISHED": 1, "tcp LISTEN": 1}
    assert os.readlink("/proc/self/ns/net") == mine


def test_many_descriptors_shared_with_a_child_are_the_same_as_read_alone(monkeypatch):
    code = """
        import socket, tempfile
        listener = socket.create_server(("127.0.0.1", 0), backlog=500)
        keep = []
        for n in range(150):
            keep.append(socket.create_connection(listener.getsockname()))
            keep.append(listener.accept()[0])
        keep += [tempfile.TemporaryFile() for n in range(300)]
    """
    with child(code) as process:
        alone = look(process.pid)
        monkeypatch.setattr(fds, "SHARE_FROM", 10)
        monkeypatch.setattr(fds, "DETAILED", 1 << 20)
        shared = look(process.pid)
        (counts,) = CountCollector(Host(), real_target(process.pid)).collect()
        ours = len(os.listdir(f"/proc/{process.pid}/fd"))
        own = sum(row.type == "file" for row in shared.rows if row.fd <= 2)
    assert len(alone.rows) > 600
    strip = [(row.fd, row.type, row.name, row.state, row.local, row.peer, row.size, row.deleted) for row in alone.rows]
    assert strip == [
        (row.fd, row.type, row.name, row.state, row.local, row.peer, row.size, row.deleted) for row in shared.rows
    ]
    assert alone.by_state == shared.by_state
    assert (counts.total, counts.by_type["socket"], counts.by_type["file"] - own) == (ours, 301, 300)


def by_the_iterator(monkeypatch):
    """Small processes are read by the kernel's iterator, too."""
    monkeypatch.setattr(fds, "ITERATE_FROM", 1)
    if fditer.read(Host(), os.getpid(), 10) is None:
        pytest.skip("this kernel has no iterators with type information (Linux 6.1, CONFIG_DEBUG_INFO_BTF)")


def test_the_kernels_iterator_tells_the_same(monkeypatch):
    with child(EVERYTHING) as process:
        slowly = look(process.pid)
        by_the_iterator(monkeypatch)
        quickly = look(process.pid)
    assert not {"offset", "mode"} & set(quickly.unknown)
    assert len(slowly.rows) == len(quickly.rows)
    for one, other in zip(slowly.rows, quickly.rows, strict=True):
        assert comparable(one) == comparable(other)


def comparable(row):
    """Without what only one way tells: the state of an idle socket, queues of UDP, the inode of what has no name."""
    if row.type == "socket" and (row.state in ("", "CLOSE") or row.protocol == "udp"):
        row = msgspec.structs.replace(row, state="", recv_queue=None, send_queue=None)
    return msgspec.structs.replace(row, inode=None) if row.type in ("memfd", "pipe") else row


def test_the_iterator_sees_queues(monkeypatch):
    code = """
        import socket
        listener = socket.create_server(("127.0.0.1", 0), backlog=9)
        waiting = [socket.create_connection(listener.getsockname()) for _ in range(3)]
        client = socket.create_connection(listener.getsockname())
        for _ in range(4): server, _ = listener.accept()
        client.sendall(b"x" * 1234)
        more = [socket.create_connection(listener.getsockname()) for _ in range(2)]
        six = socket.create_server(("::1", 0), family=socket.AF_INET6)
        s6 = socket.create_connection(six.getsockname()[:2])
    """
    by_the_iterator(monkeypatch)
    with child(code) as process:
        found = look(process.pid)
    rows = [row for row in found.rows if row.type == "socket"]
    assert [row.recv_queue for row in rows if row.recv_queue == 1234] == [1234]
    assert next((row.recv_queue, row.send_queue) for row in rows if row.state == "LISTEN") == (2, 9)
    assert next(row.peer for row in rows if row.protocol == "tcp6" and row.peer).startswith("[::1]:")


def test_many_descriptors_with_the_iterator(monkeypatch):
    code = r"""
        import os, socket
        keep = [os.open("/dev/null", os.O_RDONLY) for _ in range(4500)]
        keep += [socket.socket() for _ in range(300)]
        keep += [os.open("/etc/passwd", os.O_RDONLY) for _ in range(200)]
        long = "/tmp/" + "a" * 250
        os.mkdir(long); keep.append(os.open(long + "/" + "b" * 250, os.O_CREAT | os.O_RDWR))
        os.unlink(long + "/" + "b" * 250); os.rmdir(long)
    """
    with child(code) as process:
        found = look(process.pid)
        numbers = sorted(int(name) for name in os.listdir(f"/proc/{process.pid}/fd"))
    assert [row.fd for row in found.rows] == numbers
    assert sum(row.type == "socket" for row in found.rows) == 300
    assert found.rows[-1].deleted
    assert len(found.rows[-1].name) > 500


def test_hostile_names():
    code = r"""
        import ctypes, os, tempfile
        folder = tempfile.mkdtemp()
        names = [b"\x1b]0;owned\x07", b"a\nb", b"\xff\xfe", "x\u202etxt".encode(), b"socket:[1]", b"a (deleted)"]
        keep = [open(folder.encode() + b"/" + name, "wb") for name in names]
        ctypes.CDLL(None).prctl(15, b"a) R 1\x1b[1m", 0, 0, 0)
        import shutil, atexit; atexit.register(shutil.rmtree, folder)
    """
    with child(code) as process:
        found = look(process.pid)
    files = [row for row in found.rows if row.fd > 2 and row.type == "file"]
    assert len(files) == 6
    assert not any(row.deleted for row in files)
    text = "".join(row.name + row.peer for row in found.rows)
    assert not any(sign in text for sign in "\x1b\n\x07\u202e")


def test_without_root_the_refusal_says_what_would_help():
    code = (
        "import sys; from gotriage.collectors.files import *; from gotriage.errors import NotPermitted\n"
        "from tests.collectors.fakes import real_target; from gotriage.host import Host, fds\n"
        "pid = int(sys.argv[1])\n"
        "(counts,) = CountCollector(Host(), real_target(pid)).collect()\n"
        "print(counts.total, counts.unknown['by_type'].permission)\n"
        "try: list(TableCollector(Host(), real_target(pid)).collect())\n"
        "except NotPermitted as error: print(error)\n"
        "try: fds.count(Host(), pid, checked=True)\n"
        "except NotPermitted as error: print(error)\n"
    )
    with child("pass") as process:
        out = subprocess.run(
            [sys.executable, "-c", code, str(process.pid)], capture_output=True, text=True, user=65534, check=True
        ).stdout.splitlines()
    assert out[0] == "3 True"
    assert "sudo" in out[1]
    assert "sudo" in out[2]


def test_sockets_of_this_very_process_without_setns():
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = look(os.getpid())
        assert any(row.fd == server.fileno() and row.state == "LISTEN" for row in found.rows)
