"""Namespaces of real processes, and who is in them."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from gotriage.collectors.namespaces import NamespaceCollector
from gotriage.records.namespaces import IdRange, Namespaces

from tests.real.targets import target_of

pytestmark = pytest.mark.real
GOTRIAGE = Path(sys.executable).with_name("gotriage")
UP = "import sys; sys.stdout.write('up'); sys.stdout.flush(); sys.stdin.read()"


@pytest.fixture
def process():
    started = []

    def start(*wrapper, code=UP, **more):
        words = [*wrapper, sys.executable, "-c", code]
        child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **more)
        started.append(child)
        assert child.stdout.read(2) == b"up"
        return child

    yield start
    for child in started:
        child.stdin.close()
        child.kill()
        child.wait()


def look(*pids):
    target = target_of(*pids)
    (record,) = (found for found in NamespaceCollector(target.host, target).collect() if isinstance(found, Namespaces))
    return record


def row(record, kind, of="main process"):
    (found,) = (row for row in record.rows if (row.type, row.of) == (kind, of))
    return found


def inode(pid, kind):
    return os.stat(f"/proc/{pid}/ns/{kind}").st_ino


def test_a_plain_process_is_in_ours(process):
    record = look(process().pid)
    assert {row.type for row in record.rows} >= {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"}
    for one in record.rows:
        assert one.gotriage is True
        assert one.inode == inode("self", one.type)
        assert one.others > 0
    assert record.inner_pid == record.pid
    assert record.port_start is not None
    assert record.seccomp == 0
    assert record.no_new_privs is False


def test_its_own_are_told_from_ours_and_company_is_named(process):
    child = process("unshare", "--net", "--uts")
    other = process("nsenter", f"--net=/proc/{child.pid}/ns/net")
    record = look(child.pid)
    net, uts, ipc = (row(record, kind) for kind in ("net", "uts", "ipc"))
    assert (net.gotriage, uts.gotriage, ipc.gotriage) == (False, False, True)
    assert net.host is not True
    assert net.others == 1
    assert len(net.shared_with) == 1
    assert str(other.pid) in net.shared_with[0]
    assert uts.others == 0
    assert net.owner == inode("self", "user")


def test_a_process_of_the_target_elsewhere_is_a_row_of_its_own(process):
    main, child = process(), process("unshare", "--net")
    record = look(main.pid, child.pid)
    elsewhere = row(record, "net", "children")
    assert (elsewhere.inode, elsewhere.members, elsewhere.others) == (inode(child.pid, "net"), 1, 0)
    assert row(record, "net").members == 1
    assert row(record, "uts").members == 2


def test_a_thread_that_left_its_process_is_seen():
    ready, done = threading.Event(), threading.Event()

    def leave():
        assert ctypes.CDLL(None, use_errno=True).unshare(0x40000000) == 0  # CLONE_NEWNET, of this thread alone
        ready.set()
        done.wait(60)

    thread = threading.Thread(target=leave)
    thread.start()
    try:
        assert ready.wait(10)
        record = look(os.getpid())
        assert row(record, "net", "threads").members == 1
        assert row(record, "net").gotriage is True
    finally:
        done.set()
        thread.join()


def test_a_user_namespace_shows_its_map(process):
    child = process("unshare", "--user")
    Path(f"/proc/{child.pid}/uid_map").write_text("0 100000 1000\n")
    record = look(child.pid)
    assert record.uid_map == (IdRange(0, 100000, 1000),)
    assert record.owner_uid == 0
    assert row(record, "user").gotriage is False
    assert row(record, "net").owner == inode("self", "user")


def test_rights_and_filters(process):
    caps = "--bounding-set=-net_raw", "--no-new-privs", "--reuid=65534", "--clear-groups"
    record = look(process("setpriv", *caps).pid)
    assert record.no_new_privs is True
    assert record.uid == 65534
    assert record.effective == ()
    assert "CAP_NET_RAW" not in record.bounding
    assert "CAP_CHOWN" in record.bounding


def test_first_free_port_is_that_of_its_own_network(process):
    child = process("unshare", "--net")
    write = "echo 80 >/proc/sys/net/ipv4/ip_unprivileged_port_start"
    subprocess.run(["nsenter", f"--net=/proc/{child.pid}/ns/net", "sh", "-c", write], check=True)
    assert look(child.pid).port_start == 80
    assert look(process().pid).port_start != 80


def test_a_name_cannot_write_to_the_terminal(process):
    child = process("unshare", "--net")
    code = "import ctypes; ctypes.CDLL(None).prctl(15, b'\\x1b[31mx\\n', 0, 0, 0);" + UP
    process("nsenter", f"--net=/proc/{child.pid}/ns/net", code=code)
    (name,) = row(look(child.pid), "net").shared_with
    assert name.isprintable()


def test_one_that_is_gone_is_no_record(process):
    child = process()
    target = target_of(child.pid)
    child.kill()
    child.wait()
    with pytest.raises(Exception, match="gone"):
        list(NamespaceCollector(target.host, target).collect())


# -- findings


def check(*words):
    done = subprocess.run(
        [str(GOTRIAGE), "check", "--json", *map(str, words)], capture_output=True, text=True, timeout=90
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_port_that_it_may_not_listen_on(sdlab, unit):
    """A service that is down for want of a capability, and the same one with it."""
    name = unit("-listen=127.0.0.1:81", "User=nobody", wait=False)
    sdlab.wait_state(name, "failed")
    sdlab.run("journalctl", "--sync")
    found = check("--root-pid", sdlab.pid, "--unit", name)
    (cause,) = [claim for claim in found if claim["id"] == "permission-denied"]
    assert (cause["severity"], cause["subject"]) == ("critical", "port 81")
    assert "CAP_NET_BIND_SERVICE" in cause["title"]
    assert f"systemctl edit {name}: under [Service] AmbientCapabilities=CAP_NET_BIND_SERVICE" in cause["fix"]
    better = unit("-listen=127.0.0.1:81", "User=nobody", "AmbientCapabilities=CAP_NET_BIND_SERVICE")
    sdlab.wait_state(better, "active")
    assert [claim["id"] for claim in check("--root-pid", sdlab.pid, "--unit", better)] == []
