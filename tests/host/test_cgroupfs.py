"""Cgroups found through mounts of every kind."""

from __future__ import annotations

import pytest
from gotriage.host import Host
from gotriage.host.cgroupfs import CgroupMount, Cgroups, locate, parse_mounts
from gotriage.host.proc import Proc

from tests.collectors.fakes import write

V2 = "41 31 0:38 {root} {point} rw,relatime shared:9 - cgroup2 cgroup2 rw\n"
V1 = "35 31 0:32 {root} {point} rw,relatime - cgroup cgroup rw,{names}\n"


def host_with(tmp_path, mounts, other=""):
    write(tmp_path / "proc", {"self/mountinfo": mounts, "1/mountinfo": other})
    return Host(proc=Proc(tmp_path / "proc"))


def test_mountinfo_of_a_hybrid_machine():
    text = (
        "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
        + V1.format(root="/", point="/sys/fs/cgroup/cpu,cpuacct", names="cpu,cpuacct")
        + V1.format(root="/a\\040b", point="/sys/fs/cg\\011x", names="xattr,release_agent=/lib/x,name=systemd")
        + V2.format(root="/inner", point="/mnt")
        + V2.format(root="/", point="/sys/fs/cgroup/unified")
        + "garbage\n- cgroup2 x y\n34 21 0:29 / /x rw - cgroup\n"
    )
    assert parse_mounts(text) == [
        CgroupMount(2, frozenset(), (), "/sys/fs/cgroup/unified"),
        CgroupMount(2, frozenset(), ("inner",), "/mnt"),
        CgroupMount(1, frozenset(("cpu", "cpuacct")), (), "/sys/fs/cgroup/cpu,cpuacct"),
        CgroupMount(1, frozenset(("name=systemd",)), ("a b",), "/sys/fs/cg\tx"),
    ]


@pytest.mark.parametrize(
    ("root", "path", "folder"),
    [
        ("/", "/a/b", "/m/a/b"),
        ("/", "/", "/m"),
        ("/a", "/a/b", "/m/b"),
        ("/a", "/a", "/m"),
        ("/a", "/b", None),
        ("/a", "/ab", None),
        ("/../..", "/../../b", "/m/b"),
        ("/", "/../b", None),
    ],
)
def test_the_folder_of_a_path(root, path, folder):
    (mount,) = parse_mounts(V2.format(root=root, point="/m"))
    assert mount.folder(path) == folder


def test_levels_run_from_the_cgroup_to_the_root_of_the_mount(tmp_path):
    point = tmp_path / "cg"
    write(point, {"a/b/cgroup.procs": "", "a/b/memory.max": "max", "a/memory.max": "512", "memory.max": "1024"})
    group = Cgroups(host_with(tmp_path, V2.format(root="/", point=point))).v2("/a/b")
    assert [level.path for level in group.levels] == ["/a/b", "/a", "/"]
    value, level = group.tightest("memory.max")
    assert (value, level.path) == (512, "/a")


def test_a_mount_of_a_subtree_shows_only_that(tmp_path):
    point = tmp_path / "cg"
    write(point, {"x/cgroup.procs": ""})
    cgroups = Cgroups(host_with(tmp_path, V2.format(root="/docker/1", point=point)))
    assert [level.path for level in cgroups.v2("/docker/1/x").levels] == ["/docker/1/x", "/docker/1"]
    assert cgroups.v2("/docker/2") is None
    assert cgroups.v2("/docker") is None


def test_a_cgroup_outside_of_our_namespace_is_seen_through_process_1(tmp_path):
    write(tmp_path / "proc/1/root/cg", {"system.slice/x/cgroup.procs": "", "system.slice/x/pids.max": "7"})
    own, theirs = tmp_path / "own", V2.format(root="/../..", point="/cg")
    write(own, {"cgroup.procs": ""})
    cgroups = Cgroups(host_with(tmp_path, V2.format(root="/", point=own), theirs))
    assert cgroups.v2("/../../system.slice/x").leaf.number("pids.max") == 7
    assert cgroups.v2("/").leaf.folder == str(own)


def test_a_path_never_climbs_above_its_mount(tmp_path):
    write(tmp_path, {"cg/cgroup.procs": "", "cgroup.procs": ""})
    assert Cgroups(host_with(tmp_path, V2.format(root="/", point=tmp_path / "cg"))).v2("/..") is None


def test_hybrid_takes_the_hierarchy_that_has_the_controller(tmp_path):
    write(tmp_path, {"mem/pod/cgroup.procs": "", "uni/svc/cgroup.procs": ""})
    mounts = V1.format(root="/", point=tmp_path / "mem", names="memory") + V2.format(root="/", point=tmp_path / "uni")
    cgroups = Cgroups(host_with(tmp_path, mounts))
    assert locate(cgroups, "memory", "/svc", {"memory": "/pod"}).version == 1
    assert locate(cgroups, "pids", "/svc", {"memory": "/pod"}).version == 2
    assert locate(cgroups, "memory", "/svc", {"memory": "/gone"}).version == 2
    assert locate(cgroups, "pids", None, {}) is None


@pytest.mark.parametrize("text", ["", "max", "x", "1 2", "9" * 400, "-1", "\x1b[31m"])
def test_strange_numbers(tmp_path, text):
    write(tmp_path, {"cg/cgroup.procs": "", "cg/memory.max": text})
    group = Cgroups(host_with(tmp_path, V2.format(root="/", point=tmp_path / "cg"))).v2("/")
    assert group.tightest("memory.max") is None


def test_no_mounts_at_all(tmp_path):
    cgroups = Cgroups(Host(proc=Proc(tmp_path)))
    assert cgroups.mounts == []
    assert cgroups.v2("/x") is None
