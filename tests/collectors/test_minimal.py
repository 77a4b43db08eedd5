"""The pure parts of what a program takes for granted."""

from __future__ import annotations

import struct

import pytest
from gotriage.collectors.minimal.machine import dotted, in_hosts, kernel
from gotriage.collectors.minimal.program import Program
from gotriage.goruntime.surroundings import least_kernel, release, zone_folders
from gotriage.host import timekeeping
from gotriage.host.rights import parse_map

from tests.collectors.fakes import fake_host, write


@pytest.mark.parametrize(
    ("version", "arch", "least"),
    [
        ("go1.27.3", "amd64", (3, 2)),
        ("go1.24", "loong64", (5, 19)),
        ("go1.23.12", "amd64", (2, 6, 32)),
        ("go1.18.10 X:nocoverageredesign", "amd64", (2, 6, 23)),
        ("devel +abc", "amd64", None),
    ],
)
def test_the_least_kernel(version, arch, least):
    assert least_kernel(version, arch) == least


def test_kernel_releases():
    assert release("6.1.0-25-amd64") == (6, 1, 0)
    assert release("3.10.0-1160.el7.x86_64") == (3, 10, 0)
    assert release("made up") is None
    assert dotted((2, 6, 32)) == "2.6.32"
    assert "/etc/zoneinfo" in zone_folders("go1.21.0")
    assert "/etc/zoneinfo" not in zone_folders("go1.20.14")


@pytest.mark.parametrize(
    ("told", "state"), [("2.6.32-754.el6", "fault"), ("3.2.0-4", "ok"), ("6.1.0", "ok"), ("x", "ok")]
)
def test_a_kernel_against_the_program(tmp_path, told, state):
    write(tmp_path, {"proc/sys/kernel/osrelease": f"{told}\n", "proc/7/personality": "00000000\n"})
    _, row = kernel(fake_host(tmp_path), 7, Program(go_version="go1.24.1", arch="amd64"))
    assert row.state == state


def test_a_clock_that_nobody_sets():
    data = struct.pack("@Illlli", 0, 250_000, 0, 16_000_000, 2_000_000, 0x0040)
    assert timekeeping.parse_timex(data, 5) == timekeeping.Clock(False, 0.25, 16.0, 2.0)
    assert timekeeping.parse_timex(struct.pack("@Illlli", 0, 250_000, 0, 1, 1, 0x2001), 0).offset == 0.00025


def test_names_in_hosts():
    text = "127.0.0.1 localhost\n10.0.0.1\tWeb web.internal # old\n#10.0.0.2 db\n"
    assert in_hosts(text, "web")
    assert not in_hosts(text, "db")
    assert not in_hosts(text, "old")


def test_maps_of_user_namespaces():
    assert parse_map("         0          0 4294967295\n") is None
    assert parse_map("0 100000 65536\n1000 1000 1\n") == ((100000, 65536), (1000, 1))
    assert parse_map("") == ()
