"""Build info and linking of real Go programs, against `go version -m` and readelf."""

from __future__ import annotations

import subprocess

import pytest
from gotriage.collectors.libraries import cpu_of, resolve_file
from gotriage.goruntime import buildinfo, linkage
from gotriage.goruntime.elf import Elf
from gotriage.host import Host
from gotriage.host.inroot import InRoot

from tests.lab.toolchain import NEWEST, QUICK, VERSIONS, build, environment, toolchain

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]  # the first run unpacks toolchains and compiles


def said_by_go(binary):
    """What `go version -m` prints, as our own structure."""
    line = [toolchain(NEWEST), "version", "-m", binary]
    out = subprocess.run(line, env=environment(NEWEST), capture_output=True, text=True, check=True).stdout
    first, *rest = out.splitlines()
    return buildinfo.parse(first.partition(": ")[2], "".join(f"{text.removeprefix(chr(9))}\n" for text in rest))


ALL = [pytest.param(version, marks=() if version in QUICK else pytest.mark.slow) for version in VERSIONS]


@pytest.mark.parametrize("version", ALL)
def test_every_version(version):
    binary = build("healthy", version)
    info = buildinfo.read(binary)
    assert info == said_by_go(binary)
    assert info.go_version == f"go{version}"
    assert info.main.path
    assert len(info.vcs_revision) == 40
    assert info.vcs_modified is False


STATIC = "-ldflags=-linkmode=external -extldflags=-static"
WAYS = {
    # service, version, CGO_ENABLED, flags: linkage, contains C
    "stripped": ("healthy", NEWEST, False, ("-ldflags=-s -w",), "static", False),
    "stripped, oldest": ("healthy", VERSIONS[0], False, ("-ldflags=-s -w",), "static", False),
    "settings in quotes": ("healthy", NEWEST, False, ("-tags=a,b", '-ldflags=-X "main.x=a b"'), "static", False),
    "pie": ("healthy", NEWEST, False, ("-buildmode=pie", "-ldflags=-s -w"), "dynamic-pie", False),
    "cgo": ("cgo", NEWEST, True, (), "dynamic", True),
    "cgo, oldest": ("cgo", VERSIONS[0], True, (), "dynamic", True),
    "cgo, stripped pie": ("cgo", NEWEST, True, ("-buildmode=pie", "-ldflags=-s -w"), "dynamic-pie", True),
    "cgo, static": ("cgo", NEWEST, True, (STATIC,), "static", True),
    "cgo, static-pie": ("cgo", NEWEST, True, ("-buildmode=pie", f"{STATIC}-pie"), "static-pie", True),
    "race": ("healthy", NEWEST, True, ("-race",), "dynamic", True),
}


LONG = ("race", "cgo, oldest", "cgo, static")
"""Each of them builds the standard library once more."""


@pytest.mark.parametrize("way", [pytest.param(way, marks=pytest.mark.slow if way in LONG else ()) for way in WAYS])
def test_every_way_to_link(way):
    service, version, cgo, flags, linked, with_c = WAYS[way]
    binary = build(service, version, cgo=cgo, flags=flags)
    info = buildinfo.read(binary)
    assert info == said_by_go(binary)
    assert info.settings["CGO_ENABLED"] == str(int(cgo))
    with Elf(binary) as elf:
        facts = linkage.facts(elf)
        assert facts.linkage == linked
        assert linkage.uses_cgo(elf, info.settings["CGO_ENABLED"]) is with_c
        assert facts.stripped is ("-s -w" in str(flags))
        assert facts.machine == "x86_64"
    with InRoot("/") as root:
        record = resolve_file(root, str(binary), {}, cpu_of(Host()))
    assert record.is_go
    assert bool(record.rows) is (record.linkage.startswith("dynamic"))
    assert not record.missing
    if not any(row.rule != "interpreter" for row in record.rows):
        assert record.note


def test_the_program_says_in_words_what_it_is():
    with InRoot("/") as root:
        record = resolve_file(root, str(build("healthy")), {})
    assert record.note == "Pure Go, static: no loader runs and no library is needed."
    assert (record.libc, record.cgo, record.stripped, record.rows) == ("none", False, False, ())
    assert any(entry.tag == "GO BUILDID" for entry in record.dynamic)


def test_without_section_headers_the_data_segment_is_searched(tmp_path):
    binary = tmp_path / "app"
    data = bytearray(build("healthy").read_bytes())
    data[0x28:0x30] = bytes(8)  # e_shoff
    data[0x3C:0x40] = bytes(4)  # e_shnum, e_shstrndx
    binary.write_bytes(data)
    assert buildinfo.read(binary) == buildinfo.read(build("healthy"))


def test_another_architecture():
    binary = build("healthy", NEWEST, env={"GOARCH": "386"})
    info = buildinfo.read(binary)
    assert info == said_by_go(binary)
    with Elf(binary) as elf:
        assert (elf.elf_class, elf.machine_name, linkage.facts(elf).linkage) == (32, "i386", "static")
