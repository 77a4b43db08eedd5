"""The kernel's iterator: type information, the assembler, and the records, well-formed, cut and strange."""

from __future__ import annotations

import random
import socket
import struct

import pytest
from gotriage.errors import MissingFacility
from gotriage.host import Host, bpf, fditer
from gotriage.host.btf import Btf
from gotriage.host.fditer import HEAD, SOCK, parse
from gotriage.records.files import OpenFile


def head(fd, mode, *, closing=0, flags=2, offset=0, inode=1, size=0, links=1, length=0):
    return HEAD.pack(fd, closing, flags, mode, offset, inode, size, links, length)


def file(fd, path, mode=0o100644, **more):
    raw = path.encode("utf-8", "surrogateescape") + b"\0"
    return head(fd, mode, length=len(raw), **more) + raw


def sock(fd, inode, family=socket.AF_INET, protocol=6, state=1, local=("127.0.0.1", 80), peer=("10.0.0.9", 81), **more):
    addresses = [
        socket.inet_pton(family, host).ljust(16, b"\0") if family in (2, 10) else b"\0" * 16
        for host, _ in (local, peer)
    ]
    port = socket.htons(peer[1])
    return head(fd, 0o140777, inode=inode, **more) + SOCK.pack(
        family, protocol, state, port, local[1], 3, 4, 0, *addresses
    )


def numbers(found):
    """All descriptors, those that are rows at once and the others."""
    return sorted([row.fd for row in found.rows] + found.numbers)


def test_files_and_sockets_in_order():
    data = (
        file(0, "/dev/null", 0o020666)
        + file(1, "/x\udcff (deleted)", size=7, links=0, offset=5, flags=0o2001, closing=1)
        + sock(2, 100)
        + sock(3, 101, state=8, closing=1)
        + sock(4, 102, family=socket.AF_UNIX)
        + sock(5, 103, family=socket.AF_INET6, local=("::1", 443), peer=("2001:db8::1", 5), protocol=17)
        + file(7, "anon_inode:[eventpoll]", 0o600)
        + sock(9, 104, state=10, peer=("0.0.0.0", 0))
        + file(10, "/x\x1b\udcff", size=7, offset=3, flags=0, inode=8)
    )
    found = parse(70, data, 100)
    assert numbers(found) == [0, 1, 2, 3, 4, 5, 7, 9, 10]
    assert found.numbers == [0, 1, 4, 7]
    assert found.entries[1] == ("/x\udcff (deleted)", ("wac", 5, None), (0o100644, 7, 1, 0))
    assert found.entries[2] == (102, "rw")
    assert found.entries[3][2] == (None,) * 4
    assert [(row.pid, row.inode, row.mode) for row in found.rows[:3]] == [
        (70, 100, "rw"),
        (70, 101, "rwc"),
        (70, 103, "rw"),
    ]
    assert found.rows[0] == OpenFile(
        pid=70, fd=2, type="socket", name="127.0.0.1:80", inode=100, mode="rw", protocol="tcp", state="ESTABLISHED",
        local="127.0.0.1:80", peer="10.0.0.9:81", recv_queue=3, send_queue=4,
    )  # fmt: skip
    assert found.rows[4] == OpenFile(pid=70, fd=10, type="file", name="/x␛�", inode=8, mode="r", offset=3, size=7)
    assert found.sockets == {
        100: ("tcp", "ESTABLISHED", "127.0.0.1:80", "10.0.0.9:81", 3, 4),
        101: ("tcp", "CLOSE_WAIT", "127.0.0.1:80", "10.0.0.9:81", 3, 4),
        103: ("udp6", "ESTABLISHED", "[::1]:443", "[2001:db8::1]:5", None, None),
        104: ("tcp", "LISTEN", "127.0.0.1:80", "", 3, 4),
    }
    assert found.incomplete == []


def test_what_proc_has_to_complete():
    found = parse(7, head(3, 0o100644) + file(4, "anon_inode:[pidfd]", 0o600), 100)
    assert found.incomplete == [0, 1]
    assert found.entries[0] == ""


def test_a_thread_with_a_table_of_its_own_is_not_mixed_in():
    again = file(0, "/a") + sock(5, 1) + sock(6, 2) + file(0, "/b") + file(9, "/c")
    assert numbers(parse(7, again, 100)) == [0, 5, 6]
    assert numbers(parse(7, file(0, "/a") + sock(5, 1) + sock(5, 2), 100)) == [0, 5]


def test_the_bound():
    assert numbers(parse(7, b"".join(file(fd, "/a") for fd in range(50)), 7)) == list(range(7))
    assert numbers(parse(7, b"".join(sock(fd, fd) for fd in range(50)), 7)) == list(range(7))
    mixed = b"".join(sock(fd, fd) if fd % 5 else file(fd, "/a") for fd in range(50))
    assert [numbers(parse(7, mixed, left)) for left in range(9)] == [list(range(left)) for left in range(9)]


def test_cut_and_flipped_records():
    whole = file(0, "/a") + sock(1, 100) + sock(2, 101) + file(3, "pipe:[1]", 0o010600) + sock(4, 1)
    rng = random.Random(3)
    for size in range(len(whole)):
        found = parse(7, whole[:size], 100)
        assert len(found.numbers) == len(found.entries)
    for _ in range(3000):
        broken = bytearray(whole)
        for _ in range(rng.randrange(1, 6)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        found = parse(7, bytes(broken), 100)
        assert len(found.numbers) == len(found.entries)


def btf(types, strings):
    text = b"\0" + b"\0".join(name.encode() for name in strings) + b"\0"
    body = b"".join(types)
    return struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(text)) + body + text


def small_btf():
    strings = ["int", "inner", "outer", "a", "b", "c", "fn"]
    place, at = {}, 1
    for name in strings:
        place[name] = at
        at += len(name) + 1
    integer = struct.pack("=IIII", place["int"], 1 << 24, 4, 32)
    inner = struct.pack("=IIIIII", 0, 4 << 24 | 1, 4, place["b"], 1, 0)  # unnamed
    const = struct.pack("=III", 0, 10 << 24, 2)
    members = struct.pack("=IIIIII", place["a"], 1, 0, 0, 3, 64)
    outer = struct.pack("=III", place["outer"], 4 << 24 | 2, 16) + members
    bits = struct.pack("=III", place["inner"], 1 << 31 | 4 << 24 | 1, 4) + struct.pack(
        "=III", place["c"], 1, 3 << 24 | 16
    )
    function = struct.pack("=III", place["fn"], 12 << 24, 1)
    return btf([integer, inner, const, outer, bits, function], strings)


def test_members_are_found_through_unnamed_structures():
    types = Btf(small_btf(), ["outer", "inner", "fn"])
    assert types.offset("outer", "a") == 0
    assert types.offset("outer", "b") == 8
    assert types.offset("inner", "c") == 2
    assert types.function("fn") == 6
    for names in (("outer", "nothing"), ("outer", "c"), ("gone", "a")):
        with pytest.raises(MissingFacility):
            types.offset(*names)


@pytest.mark.parametrize("data", [b"", b"\x9f\xeb", b"\0" * 100, small_btf()[:40]])
def test_no_type_information(data):
    with pytest.raises(MissingFacility):
        Btf(data, ["outer"])


def test_flipped_type_information_is_no_other_error():
    rng = random.Random(5)
    for _ in range(2000):
        broken = bytearray(small_btf())
        broken[rng.randrange(24, len(broken))] = rng.randrange(256)
        try:
            Btf(bytes(broken), ["outer", "inner", "fn"]).offset("outer", "b")
        except (MissingFacility, struct.error, IndexError):
            continue


def test_jumps_and_instructions():
    code = bpf.Program()
    code.move(bpf.R6, bpf.R1)
    code.jump("==", bpf.R6, 0, "end")
    code.load(bpf.R1, bpf.R6, 24, 4)
    code.store(-8, bpf.R1, 2)
    code.place("end")
    code.set(bpf.R0, -1)
    code.leave()
    words = [struct.unpack_from("=BBhi", code.bytes(), at) for at in range(0, 48, 8)]
    move, jump, *rest = words
    assert move == (0xBF, 0x16, 0, 0)
    assert jump == (0x15, 0x06, 2, 0)
    assert rest == [(0x61, 0x61, 24, 0), (0x6B, 0x1A, -8, 0), (0xB7, 0, 0, -1), (0x95, 0, 0, 0)]


def test_where_the_way_is_closed(tmp_path):
    fditer._loaded.cache_clear()
    assert fditer._loaded(str(tmp_path)) is None
    host = Host(sys=tmp_path)
    assert fditer.read(host, 1, 10) is None
