"""The text and the blob of Go's build info, without a Go toolchain: tests/real has the real ones."""

from __future__ import annotations

import struct

import pytest
from gotriage.goruntime import buildinfo
from gotriage.goruntime.buildinfo import MAGIC, Module, parse, unframed, unquoted
from gotriage.goruntime.elf import ElfError

TEXT = """path\texample.com/app/cmd/app
mod\texample.com/app\tv1.2.3\th1:abc=
dep\texample.com/one\tv0.1.0\th1:one=
dep\texample.com/two\tv0.2.0
=>\t../two\t(devel)\t
build\t-compiler=gc
build\t-ldflags="-s -w -X \\"main.v=1 2\\""
build\t"odd key"=`raw "value"`
build\tCGO_ENABLED=0
build\tvcs.revision=0123456789abcdef0123456789abcdef01234567
build\tvcs.modified=true
"""


def test_the_module_text():
    info = parse("go1.27.3", TEXT)
    assert info.path == "example.com/app/cmd/app"
    assert info.main == Module("example.com/app", "v1.2.3", "h1:abc=")
    assert info.deps[0] == Module("example.com/one", "v0.1.0", "h1:one=")
    assert info.deps[1].replace == Module("../two", "(devel)", "")
    assert info.settings["-ldflags"] == '-s -w -X "main.v=1 2"'
    assert info.settings["odd key"] == 'raw "value"'
    assert info.vcs_revision == "0123456789abcdef0123456789abcdef01234567"
    assert info.vcs_modified is True


def test_nothing_said_is_not_false():
    assert parse("go1.18", "path\tcommand-line-arguments\n").vcs_modified is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"a\\tb\\n"', "a\tb\n"),
        ('"\\x41\\u00e9\\U0001f600\\101"', "Aé😀A"),
        ("`a\\n`", "a\\n"),
        ("plain", "plain"),
        ('"open', '"open'),
        ('"\\UFFFFFFFF"', "\ufffd"),
        ("", ""),
    ],
)
def test_go_string_literals(text, value):
    assert unquoted(text) == value


def test_the_frame_around_the_text():
    framed = b"0" * 16 + b"path\tx\n" + b"1" * 16
    assert unframed(framed) == "path\tx\n"
    assert unframed(framed[:-1]) == ""
    assert unframed(b"") == ""


def elf(data, *, vaddr=0x400000, section=False):
    """A 64-bit little-endian ELF file with one writable segment that holds `data` at file offset 0x1000."""
    header = struct.pack("<4sBBBB8xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 6, 0x1000, vaddr, vaddr, len(data), len(data), 0x1000)
    return (header + segment).ljust(0x1000, b"\0") + data


def framed(text):
    return b"0" * 16 + text.encode() + b"1" * 16


def read(tmp_path, data):
    path = tmp_path / "binary"
    path.write_bytes(data)
    return buildinfo.read(path)


def inline(version, text):
    def varint(number):
        out = b""
        while number >= 0x80:
            out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
        return out + bytes([number])

    return MAGIC + b"\x08\x02" + bytes(16) + b"".join(varint(len(s)) + s for s in (version, text))


def test_strings_that_follow_the_header(tmp_path):
    blob = inline(b"go1.20", framed(TEXT))
    assert read(tmp_path, elf(bytes(48) + blob)) == parse("go1.20", TEXT)


def test_strings_behind_pointers_of_old_programs(tmp_path):
    base, text = 0x400000, framed(TEXT)
    strings = b"go1.16.5" + text
    head = MAGIC + b"\x08\x00" + struct.pack("<QQ", base + 32, base + 48)
    head += struct.pack("<QQQQ", base + 64, 8, base + 72, len(text))
    assert read(tmp_path, elf(head + strings)) == parse("go1.16.5", TEXT)


def test_big_endian_pointers_of_four_bytes(tmp_path):
    base = 0x400000
    head = (MAGIC + b"\x04\x01" + struct.pack(">II", base + 32, 0)).ljust(32, b"\0")
    head += struct.pack(">II", base + 40, 6) + b"go1.15"
    assert read(tmp_path, elf(head)) == parse("go1.15", "")


def test_the_magic_counts_only_at_its_alignment(tmp_path):
    assert read(tmp_path, elf(bytes(8) + inline(b"go1.20", b""))) is None


def test_a_magic_across_two_chunks_is_found(tmp_path):
    data = bytes(buildinfo.CHUNK - 16) + inline(b"go1.20", b"")
    assert read(tmp_path, elf(data)).go_version == "go1.20"
    data = bytes(2 * buildinfo.CHUNK - 32) + inline(b"go1.20", b"")
    assert read(tmp_path, elf(data)).go_version == "go1.20"


@pytest.mark.parametrize("length", [b"\xff" * 10, b"\xff\xff\xff\xff\x7f", b"\x80"])
def test_lengths_that_lie(tmp_path, length):
    with pytest.raises(ElfError):
        read(tmp_path, elf(MAGIC + b"\x08\x02" + bytes(16) + length))


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fEL", bytes(100)])
def test_what_is_no_elf_file_is_no_go_program(tmp_path, content):
    assert read(tmp_path, content) is None


def test_a_descriptor_stays_open(tmp_path):
    path = tmp_path / "binary"
    path.write_bytes(elf(inline(b"go1.20", b"")))
    with path.open("rb") as file:
        assert buildinfo.read(file.fileno()) == buildinfo.read(path)
        assert file.read(4) == b"\x7fELF"
