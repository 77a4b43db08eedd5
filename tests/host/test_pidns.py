"""PIDs of another PID namespace: a /proc of the test's own, and real nested namespaces."""

from __future__ import annotations

import os
import subprocess

import pytest
from gotriage.errors import NoSuchTarget
from gotriage.host import Host
from gotriage.host.pidns import PidView

from tests.collectors.fakes import fake_host, write


def fake(tmp_path, **processes):
    """Processes as pid=("namespace inode", "NSpid words")."""
    host = fake_host(tmp_path)
    for name, (inode, numbers) in {"self": ("1", "1"), **processes}.items():
        folder = tmp_path / "proc" / name.lstrip("p")
        write(folder, {"status": f"Name:\tx\nNSpid:\t{numbers}\n"})
        (folder / "ns").mkdir()
        (folder / "ns/pid").symlink_to(f"pid:[{inode}]")
    return host


def test_without_a_root_pid_nothing_is_translated(tmp_path):
    view = PidView(fake(tmp_path))
    assert (view.same, view.to_ours(7), view.to_theirs(7)) == (True, 7, 7)


def test_pids_of_a_namespace_and_of_its_neighbour(tmp_path):
    host = fake(tmp_path, p50=("2", "50 1"), p51=("2", "51 7"), p60=("3", "60 7"), p61=("1", "61"))
    host.root_pid = 50
    view = PidView(host)
    assert not view.same
    assert view.to_ours(7) == 51
    assert view.to_ours(7, first=(60, 51)) == 51
    assert view.to_ours(8) is None
    assert [view.to_theirs(pid) for pid in (50, 51, 60, 61, 99)] == [1, 7, None, None, None]


def test_a_root_pid_of_our_own_namespace_is_the_identity(tmp_path):
    host = fake(tmp_path, p50=("1", "50"))
    host.root_pid = 50
    assert PidView(host).same


def test_no_such_root_pid(tmp_path):
    host = fake(tmp_path)
    host.root_pid = 4
    with pytest.raises(NoSuchTarget, match="--root-pid 4: no such process"):
        PidView(host)


@pytest.mark.real
def test_real_namespaces_one_in_the_other():
    inner = "unshare --pid --fork --kill-child sh -c 'echo ready; exec sleep 60' & wait"
    outer = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", inner],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert outer.stdout.readline() == b"ready\n"
        host = Host()
        (root,) = host.proc.children(outer.pid)
        host.root_pid = root
        view = PidView(host)
        assert view.to_ours(1) == root
        (unshare,) = host.proc.children(root)
        (sleeper,) = host.proc.children(unshare)
        inside = view.to_theirs(sleeper)
        assert inside not in (None, 1, sleeper)
        assert view.to_ours(inside) == sleeper
        assert view.to_theirs(os.getpid()) is None
        host.root_pid = sleeper
        assert PidView(host).to_ours(1) == sleeper
        assert PidView(host).to_theirs(root) is None
    finally:
        outer.kill()
        outer.wait()
        outer.stdout.close()
