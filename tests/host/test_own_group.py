"""A cgroup of our own beside the target's, where there can be one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gotriage.host import own_group
from gotriage.host.own_group import Crowded, OwnGroup, crowded

from tests.collectors.fakes import fake_host, write


@pytest.mark.parametrize(("root", "group"), [("/", "/"), ("/docker/1", "/docker/1"), ("/", "/system.slice/x")])
def test_little_memory_left_in_the_same_group(tmp_path, root, group):
    host, point = fake_host(tmp_path), tmp_path / "cg"
    write(tmp_path / "proc", {"self/mountinfo": f"30 21 0:26 {root} {point} rw - cgroup2 cgroup2 rw\n"})
    write(tmp_path / "proc", {f"{pid}/cgroup": f"0::{group}\n" for pid in ("self", "7")})
    folder = point / group.removeprefix(root).lstrip("/")
    write(folder, {"memory.max": "1000", "memory.current": "800", "memory.stat": "inactive_file 50\n"})
    assert crowded(host, 7) == Crowded(folder, folder, 250)
    assert crowded(host, 7, needed=250) is None


def test_above_a_mount_nothing_is_made_or_removed(monkeypatch):
    swept: list[Path] = []
    monkeypatch.setattr(own_group, "_sweep", swept.append)
    with pytest.raises(OSError, match="beside"):
        OwnGroup(Crowded(Path("/proc"), Path("/proc"), 0))
    assert swept == []
    assert not Path(f"/{own_group.PREFIX}{os.getpid()}").exists()
