"""ELF files that are cut, damaged or made to hurt: an ElfError or a plain answer, at once, in little memory."""

from __future__ import annotations

import random
import struct
import tracemalloc

import pytest
from gotriage.goruntime import buildinfo, linkage, readelf
from gotriage.goruntime.elf import MAX_SEGMENTS, Elf, ElfError, NotElf
from gotriage.goruntime.ldso import Start
from gotriage.goruntime.linkmap import resolve
from gotriage.host.inroot import InRoot

from tests.lab.elfkit import Kit


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A program with a library of versions, an rpath and every table that we read."""
    kit = Kit(tmp_path_factory.mktemp("elf"))
    kit.library("lib/libv.so.1", versions="V1 V2")
    return kit.program("app", ["lib/libv.so.1"], f"-Wl,-rpath,{kit.folder}/lib", "-s", body="return v1_f() + v2_f();")


def everything(path, root):
    """Read all that we ever read of a file; True when it was readable."""
    try:
        with Elf(path) as elf:
            buildinfo.read(elf)
            linkage.facts(elf)
            readelf.rows(elf)
            linkage.uses_cgo(elf, "1")
            resolve(root, elf, str(path), Start())
    except ElfError as error:
        assert str(error)
        assert "\n" not in str(error)
        return False
    return True


def test_the_tables_of_a_real_program(program):
    with Elf(program) as elf:
        facts = linkage.facts(elf)
        assert (facts.elf_class, facts.machine, facts.linkage, facts.stripped) == (64, "x86_64", "dynamic-pie", True)
        assert facts.needed == ("libv.so.1", "libc.so.6")
        assert facts.runpath == f"{program.parent}/lib"
        assert len(facts.build_id) == 40
        assert {need.version for need in linkage.versions_needed(elf)} >= {"V1", "V2"}
    with Elf(program.parent / "lib/libv.so.1") as elf:
        assert linkage.versions_defined(elf) == {"libv.so.1", "V1", "V2"}


def test_cut_at_every_place(program, tmp_path):
    data, path = program.read_bytes(), tmp_path / "cut"
    with InRoot("/") as root:
        for size in [*range(0, 1200, 7), *range(1200, len(data), 211)]:
            path.write_bytes(data[:size])
            everything(path, root)


def test_thousands_of_damaged_files(program, tmp_path):
    """Wrong values in the headers and tables: no hang (the suite has a timeout), no other error, bounded memory."""
    source, path = program.read_bytes(), tmp_path / "damaged"
    dice = random.Random(1)
    (tmp_path / "root").mkdir()
    tracemalloc.start()
    with InRoot(str(tmp_path / "root")) as root:
        for _ in range(2500):
            data = bytearray(source)
            for _ in range(dice.choice((1, 2, 4, 16))):
                place = dice.choice((64, 800, 2048, len(data)))
                value = dice.choice((dice.randbytes(1), b"\xff\xff\xff\xff", b"\xff" * 8, bytes(4), b"\0\0\0\x80"))
                at = dice.randrange(place)
                data[at : at + len(value)] = value
            path.write_bytes(data[: len(source)])
            everything(path, root)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


def header(**fields):
    """A 64-bit header with some fields replaced, by their names in elf(5)."""
    values = {
        "type": 2, "machine": 62, "version": 1, "entry": 0, "phoff": 64, "shoff": 0, "flags": 0, "ehsize": 64,
        "phentsize": 56, "phnum": 1, "shentsize": 64, "shnum": 0, "shstrndx": 0,
    }  # fmt: skip
    assert not fields.keys() - values.keys()
    return b"\x7fELF\2\1\1".ljust(16, b"\0") + struct.pack("<HHIQQQIHHHHHH", *(values | fields).values())


def segment(kind, offset, size, vaddr=0):
    return struct.pack("<IIQQQQQQ", kind, 6, offset, vaddr, vaddr, size, size, 1)


@pytest.mark.parametrize(
    "data",
    [
        header(phnum=0xFFFF),
        header(phnum=MAX_SEGMENTS + 1, phoff=0),
        header(phentsize=1) + bytes(100),
        header(phoff=2**64 - 8) + bytes(100),
        header(phnum=0, shoff=64, shnum=0xFF00) + bytes(64),
        header(phnum=0, shoff=64, shnum=1, shentsize=3) + bytes(64),
        header(phnum=0, shoff=64) + struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 2**63, 0, 0, 0, 0),
        header(phnum=1) + segment(2, 120, 2**62),
        header(phnum=1) + segment(3, 2**63, 100),
        b"\x7fELF\3\1\1".ljust(64, b"\0"),
        b"\x7fELF\2\7\1".ljust(64, b"\0"),
        b"\x7fELF",
    ],
)
def test_counts_and_offsets_that_lie(tmp_path, data):
    path = tmp_path / "hostile"
    path.write_bytes(data)
    with InRoot(str(tmp_path)) as root:
        assert everything(path, root) is False


def test_a_version_table_that_runs_in_a_circle_ends(tmp_path):
    """Each entry says that the next one is itself: distances only go forward, and a zero one ends the list."""
    dynamic = [(5, 0x1000), (10, 16), (0x6FFFFFFE, 0x1010), (0x6FFFFFFF, 2**31), (0, 0)]
    table = struct.pack("<HHIII", 1, 0xFFFF, 1, 0, 0) + bytes(64)
    body = b"\0lib\0V1\0".ljust(16, b"\0") + table
    entries = b"".join(struct.pack("<qQ", *entry) for entry in dynamic)
    data = header(phnum=2) + segment(1, 0x200, 0x100, 0x1000) + segment(2, 0x400, len(entries))
    path = tmp_path / "circle"
    path.write_bytes((data.ljust(0x200, b"\0") + body).ljust(0x400, b"\0") + entries)
    with Elf(path) as elf:
        assert len(linkage.versions_needed(elf)) == 1


def test_other_kinds_of_files(tmp_path):
    (tmp_path / "text").write_text("#!/bin/sh\n")
    for path in (tmp_path / "text", tmp_path, "/dev/null"):
        with pytest.raises(NotElf):
            Elf(path)
    with pytest.raises(FileNotFoundError):
        Elf(tmp_path / "none")


def test_a_string_may_cross_windows_but_not_the_end(tmp_path):
    path = tmp_path / "strings"
    path.write_bytes(header(phnum=0) + b"a" * 40_000 + b"\0" + b"b" * 10)
    with Elf(path) as elf:
        assert elf.string(64) == "a" * 40_000
        for offset in (64 + 40_001, 10**9, -1):
            with pytest.raises(ElfError):
                elf.string(offset)
        with pytest.raises(ElfError):
            elf.string(64, limit=1000)


def test_32_bit_big_endian(tmp_path):
    head = b"\x7fELF\1\2\1".ljust(16, b"\0")
    head += struct.pack(">HHIIIIIHHHHHH", 2, 20, 1, 0, 52, 0, 0, 52, 32, 1, 40, 0, 0)
    data = head + struct.pack(">IIIIIIII", 3, 84, 0, 0, 8, 8, 4, 1) + b"/lib/ld\0"
    path = tmp_path / "ppc"
    path.write_bytes(data)
    with Elf(path) as elf:
        assert (elf.elf_class, elf.machine_name, elf.interpreter) == (32, "ppc", "/lib/ld")
        assert linkage.linkage(elf) == "dynamic"
