"""Names of users, as the host has them and as a process in its own root and user namespace sees itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from gotriage.host import Host, resources, users
from gotriage.host.proc import Proc

from tests.collectors.fakes import stat_line, write

MAP = "0 100000 1000\n1000 5000 1\n"


@pytest.fixture
def host(tmp_path):
    (tmp_path / "view").mkdir()
    made = Host(proc=Proc(tmp_path / "proc"), sys=tmp_path / "sys", view=tmp_path / "view")
    write(made.view, {"etc/passwd": "ann:x:1000:1000::/home/ann:/bin/sh\n"})
    for name, user, mounts in (("self", 1, 1), ("5", 2, 2), ("6", 1, 1), ("7", 2, 3)):
        folder = Path(made.proc.root, name)
        write(folder, {"ns/x": "", "uid_map": MAP, "status": "Uid:\t101\t101\t101\t101\nThreads:\t3\n"})
        write(folder, {"stat": stat_line(1)})
        (folder / "ns/user").symlink_to(f"user:[{user}]")
        (folder / "ns/mnt").symlink_to(f"mnt:[{mounts}]")
    return made


@pytest.mark.parametrize(("number", "seen"), [(100000, 0), (100999, 999), (101000, None), (5000, 1000), (0, None)])
def test_an_id_by_the_map(number, seen):
    assert users.mapped(MAP, number) == seen
    assert users.mapped("rubbish\n0 x 1\n0 1\n", number) is None


def test_an_id_in_another_user_namespace(host):
    assert users.inside(host, 5, 100001) == 1
    assert users.inside(host, 6, 100001) is None  # ours
    assert users.inside(host, 99, 100001) is None


def test_names_by_the_processs_own_passwd(host, tmp_path):
    write(tmp_path, {"box/etc/passwd": "web:x:1000:1000::/:/bin/sh\n", "scratch/svc": ""})
    for pid, root in (("5", tmp_path / "box"), ("6", "/"), ("7", tmp_path / "scratch")):
        Path(host.proc.root, pid, "root").symlink_to(root)
    seen = users.Seen(host)
    assert seen.name(5, 1000) == "web"
    assert seen.name(6, 1000) == "ann"
    assert seen.name(7, 1000) == "1000"
    assert seen.name(5, 7) == "7"


@pytest.mark.parametrize(("release", "threads"), [("6.1.0-9-amd64", 6), ("5.14.0", 6), ("5.10.0", 9), ("odd", 9)])
def test_processes_of_a_user_are_counted_by_user_namespace(host, release, threads):
    write(Path(host.proc.root), {"sys/kernel/osrelease": f"{release}\n"})
    assert resources.tasks_of_user(host, 5, 101) == threads
    assert resources.tasks_of_user(host, 5, 102) == 0
