"""ld.so.cache in its formats, and which of several entries the loader takes."""

from __future__ import annotations

import struct
import subprocess

import pytest
from gotriage.goruntime.ldcache import ANY_ABI, Cache, abi_of, parse_cache

X86_64 = 0x0303
EXTENSION = 1 << 62


def new_format(entries, subdirectories=(), order="<"):
    """A cache of the new format; entries are (flags, name, path, hwcap)."""
    strings, offsets = b"", {}
    base = 48 + 24 * len(entries)
    for text in [t for e in entries for t in e[1:3]] + list(subdirectories):
        if text not in offsets:
            offsets[text] = base + len(strings)
            strings += text.encode() + b"\0"
    extension = base + len(strings)
    rows = b"".join(struct.pack(order + "iIIIQ", f, offsets[n], offsets[p], 0, h) for f, n, p, h in entries)
    flags = 2 if order == "<" else 3
    head = b"glibc-ld.so.cache1.1" + struct.pack(order + "IIB3xI12x", len(entries), len(strings), flags, extension)
    tail = struct.pack(order + "IIIIII", 0xEAA42174, 1, 1, 0, extension + 24, 4 * len(subdirectories))
    tail += b"".join(struct.pack(order + "I", offsets[s]) for s in subdirectories)
    return head + rows + strings + (tail if subdirectories else b"")


PLAIN = [(X86_64, "libz.so.1", "/lib/libz.so.1", 0), (0x0003, "libz.so.1", "/lib32/libz.so.1", 0)]


def look(data, name="libz.so.1", abi=X86_64, levels=(), legacy=None):
    return parse_cache(data).lookup(name, abi, levels, legacy)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_new_format(order):
    data = new_format(PLAIN, order=order)
    assert look(data) == "/lib/libz.so.1"
    assert look(data, abi=0x0003) == "/lib32/libz.so.1"
    assert look(data, abi=0x0A03) is None
    assert look(data, abi=ANY_ABI) == "/lib/libz.so.1"
    assert look(data, name="liby.so.1") is None


def test_subdirectories_of_glibc_hwcaps():
    entries = [
        (X86_64, "libz.so.1", "/lib/v3/libz.so.1", EXTENSION | 1),
        (X86_64, "libz.so.1", "/lib/v2/libz.so.1", EXTENSION | 0),
        (X86_64, "libz.so.1", "/lib/libz.so.1", 0),
        (X86_64, "libz.so.1", "/lib/none/libz.so.1", EXTENSION | 7),
    ]
    data = new_format(entries, ["x86-64-v2", "x86-64-v3"])
    assert look(data) == "/lib/libz.so.1"
    assert look(data, levels=("x86-64-v2",)) == "/lib/v2/libz.so.1"
    assert look(data, levels=("x86-64-v4", "x86-64-v3", "x86-64-v2")) == "/lib/v3/libz.so.1"


def test_legacy_capabilities():
    entries = [(X86_64, "libz.so.1", "/lib/tls/libz.so.1", 1 << 63), PLAIN[0]]
    data = new_format(entries)
    assert look(data, legacy=None) == "/lib/libz.so.1"
    assert look(data, legacy=1 << 63) == "/lib/tls/libz.so.1"


def test_the_old_format_alone_and_before_the_new_one():
    strings = b"libz.so.1\0/old/libz.so.1\0"
    old = b"ld.so-1.7.0\0" + struct.pack("=I", 1) + struct.pack("=iII", X86_64, 0, 10)
    assert look(old + strings) == "/old/libz.so.1"
    both = old + bytes(-len(old) % 8) + new_format(PLAIN)
    assert look(both) == "/lib/libz.so.1"


@pytest.mark.parametrize("size", [0, 5, 20, 47, 48, 60, 96, 100])
def test_a_cut_file_gives_what_it_has(size):
    assert isinstance(parse_cache(new_format(PLAIN)[:size]), Cache)
    assert isinstance(parse_cache(b"ld.so-1.7.0\0" + b"\xff" * size), Cache)


def test_the_cache_of_this_machine_says_what_ldconfig_says():
    from pathlib import Path

    cache = parse_cache(Path("/etc/ld.so.cache").read_bytes())
    out = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    said: dict[str, list[str]] = {}
    for line in out.splitlines()[1:]:
        name, _, rest = line.strip().partition(" (")
        if "x86-64" in rest and "hwcap" not in rest:
            said.setdefault(name, []).append(rest.partition(" => ")[2])
    assert len(said) > 10
    for name, paths in said.items():
        assert cache.lookup(name, abi_of("x86_64", 64), (), None) == paths[0]
