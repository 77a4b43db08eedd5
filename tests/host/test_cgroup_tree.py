"""Processes and paths of cgroups, in folders of the test's own and on this machine."""

from __future__ import annotations

import os

import pytest
from gotriage.errors import TargetGone
from gotriage.host import Host
from gotriage.host.cgroup_tree import CgroupTree, group_of, v1_groups

from tests.collectors.fakes import fake_host, write


@pytest.fixture
def tree(tmp_path):
    """A v2 hierarchy with a unit of three processes in two levels."""
    host = fake_host(tmp_path)
    info = f"30 21 0:26 / {tmp_path}/cg rw - cgroup2 cgroup2 rw\n"
    write(tmp_path / "proc", {"self/mountinfo": info})
    unit = "cg/system.slice/web.service"
    write(tmp_path, {f"{unit}/cgroup.procs": "12\n11\n", f"{unit}/sub/cgroup.procs": "13\n0\n", "cg/cgroup.procs": "1"})
    return CgroupTree(host)


def test_processes_of_a_group_and_below(tree):
    assert tree.pids("/system.slice/web.service") == [11, 12, 13]
    assert tree.pids("/system.slice/none.service") == []
    assert tree.exists("/system.slice/web.service")
    assert not tree.exists("/none")


def test_groups_by_name(tree):
    assert tree.named("web.service") == ["/system.slice/web.service"]
    assert tree.named("none.service") == []
    assert "/system.slice/web.service/sub" in tree.groups()
    assert tree.named("sub", "/system.slice") == ["/system.slice/web.service/sub"]


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("0::/system.slice/a.service\n", "/system.slice/a.service"),
        ("4:name=systemd:/system.slice/a.service\n3:memory:/x\n0::/\n", "/system.slice/a.service"),
        ("3:memory:/docker/1\n0::/\n", "/docker/1"),
        ("3:memory:/docker/1\n4:name=systemd:/\n", "/docker/1"),
        ("0::/\n", "/"),
        ("", None),
    ],
)
def test_the_group_that_counts(tmp_path, text, group):
    host = fake_host(tmp_path)
    write(tmp_path / "proc", {"7/cgroup": text})
    assert group_of(host, 7) == group


def test_v1_controllers(tmp_path):
    host = fake_host(tmp_path)
    write(tmp_path / "proc", {"7/cgroup": "5:cpu,cpuacct:/a\n4:name=systemd:/b\n0::/c\n"})
    assert v1_groups(host, 7) == {"cpu": "/a", "cpuacct": "/a", "name=systemd": "/b"}
    with pytest.raises(TargetGone):
        group_of(host, 8)


def test_without_any_cgroup_there_is_nothing(tmp_path):
    tree = CgroupTree(fake_host(tmp_path))
    assert (tree.pids("/"), tree.named("x"), tree.groups(), tree.root_of_view()) == ([], [], [], "/")


def test_this_process_is_in_its_own_group():
    host = Host()
    group = group_of(host, os.getpid())
    assert group is not None
    assert os.getpid() in CgroupTree(host).pids(group)
