"""The file systems that a process uses, each once whatever paths and devices it is seen by."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest
from gotriage.host import Host, resources
from gotriage.host.inroot import InRoot

PATHS = ("/", "/usr/local/bin/orders", "/var/log/app.log", "/tmp")


@dataclass
class Facts:
    f_blocks: int
    f_bfree: int
    f_bavail: int
    f_frsize: int = 4096
    f_files: int = 0
    f_ffree: int = 0
    f_favail: int = 0
    f_flag: int = 0


@dataclass
class Device:
    st_dev: int


class Root:
    """Path to device, mount and facts."""

    def __init__(self, known):
        self.known = known

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def stat(self, path):
        return Device(self.known[path][0])

    def mount(self, path):
        return self.known[path][1]

    def statvfs(self, path):
        return self.known[path][2]


def seen(monkeypatch, known) -> list[str]:
    monkeypatch.setattr(resources, "InRoot", lambda _: Root(known))
    monkeypatch.setattr(resources, "_places", lambda *_: [path for path in PATHS if path in known])
    return [row.path for row in resources.file_systems(Host(), 1)]


def facts(free: int, blocks: int = 25_000_000) -> Facts:
    return Facts(blocks, free, free)


def test_a_file_on_an_overlay_is_no_other_file_system(monkeypatch):
    """Its device is that of the layer, and something was written between the two looks."""
    known = {"/": (50, 31, facts(9_000_000)), "/usr/local/bin/orders": (8, 31, facts(8_999_000))}
    assert seen(monkeypatch, known) == ["/"]


def test_a_bind_mount_of_the_same_blocks_is_no_other_file_system(monkeypatch):
    known = {"/": (50, 31, facts(9_000_000)), "/var/log/app.log": (8, 44, facts(8_999_900))}
    assert seen(monkeypatch, known) == ["/"]


@pytest.mark.parametrize("other", [facts(2_000_000), facts(9_000_000, 30_000_000)], ids=["fuller", "larger"])
def test_another_file_system_has_a_row_of_its_own(monkeypatch, other):
    known = {"/": (50, 31, facts(9_000_000)), "/tmp": (51, 32, other)}
    assert seen(monkeypatch, known) == ["/", "/tmp"]


def test_where_mounts_are_not_told_the_device_tells(monkeypatch):
    known = {"/": (50, None, facts(9_000_000)), "/tmp": (51, None, facts(2_000_000))}
    assert seen(monkeypatch, known) == ["/", "/tmp"]


def test_the_mount_of_a_real_path_is_told():
    with InRoot("/") as root:
        assert root.mount("/proc/self/status") == root.mount("/proc")
        assert root.mount("/proc") != root.mount(os.getcwd())
