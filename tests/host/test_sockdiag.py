"""Socket tables: netlink messages and /proc/PID/net, well-formed, cut and strange."""

from __future__ import annotations

import random
import socket
import struct

import pytest
from gotriage.host import sockdiag, socktables
from gotriage.host.sockdiag import FAMILIES

from tests.collectors.fakes import fake_host, write


def message(payload, kind=sockdiag.SOCK_DIAG_BY_FAMILY):
    return struct.pack("=IHHII", 16 + len(payload), kind, 2, 1, 0) + payload + b"\0" * (-len(payload) % 4)


def inet(inode, state=1, local=("127.0.0.1", 80), peer=("10.0.0.9", 4000), queues=(0, 0), extra=b""):
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    raw = [socket.inet_pton(family, host).ljust(16, b"\0") for host, _ in (local, peer)]
    head = struct.pack("=BBBB", family, state, 0, 0) + struct.pack("!HH", local[1], peer[1])
    tail = struct.pack("=IIIIIIII", 0, 1, 2, 0, *queues, 0, inode)
    return message(head + raw[0] + raw[1] + tail + extra)


DONE = message(b"\0\0\0\0", sockdiag.NLMSG_DONE)


def test_sockets_of_several_lengths_in_one_answer():
    data = (
        inet(1)
        + inet(2, state=8, queues=(7, 9))
        + inet(3, state=10, peer=("0.0.0.0", 0), extra=b"\x08\0\x08\0\0\0\0\0")
        + inet(4, local=("::1", 443), peer=("2001:db8::7", 5))
        + inet(5)
        + DONE
    )
    found = {}
    sockdiag.parse_inet("tcp", data, {1, 2, 3, 4}, found)
    assert found == {
        1: ("tcp", "ESTABLISHED", "127.0.0.1:80", "10.0.0.9:4000", 0, 0),
        2: ("tcp", "CLOSE_WAIT", "127.0.0.1:80", "10.0.0.9:4000", 7, 9),
        3: ("tcp", "LISTEN", "127.0.0.1:80", "", 0, 0),
        4: ("tcp", "ESTABLISHED", "[::1]:443", "[2001:db8::7]:5", 0, 0),
    }


def attribute(kind, value):
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def unix(inode, name=None, peer=None, state=1):
    payload = struct.pack("=BBBBIII", 1, 1, state, 0, inode, 0, 0)
    if name is not None:
        payload += attribute(0, name)
    if peer is not None:
        payload += attribute(2, struct.pack("=I", peer))
    return message(payload + attribute(4, struct.pack("=II", 3, 4)))


def test_a_unix_client_is_told_by_the_name_of_its_peer():
    data = unix(1, peer=2) + unix(2, b"/run/dbus/system_bus_socket\0", peer=1) + unix(3, b"\0abs\x1b[31m", state=10)
    found = {}
    sockdiag.parse_unix("unix", data, {1, 3}, found)
    assert found[1] == ("unix", "ESTABLISHED", "", "/run/dbus/system_bus_socket", 3, 4)
    assert found[3][1] == "LISTEN"
    assert found[3][2].startswith("@abs")
    assert "\x1b" not in found[3][2]


def test_other_families():
    found = {}
    sockdiag.parse_netlink("", message(struct.pack("=BBBBIIIIII", 16, 3, 0, 7, 123, 0, 0, 1, 0, 0)), {1}, found)
    sockdiag.parse_packet("", message(struct.pack("=BBHIII", 17, 3, 0x0800, 2, 0, 0)), {2}, found)
    sockdiag.parse_vsock("", message(struct.pack("=BBBBIIIIIII", 40, 1, 1, 0, 2, 80, 3, 9, 3, 0, 0)), {3}, found)
    assert found[1][:3] == ("netlink", "CLOSE", "route:123")
    assert found[2][2] == "ethertype 0x0800"
    assert found[3][:4] == ("vsock", "ESTABLISHED", "2:80", "3:9")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_cut_and_flipped_answers_only_lose_rows(family):
    whole = inet(1) + unix(2, b"/x\0", peer=1) + inet(3, extra=b"\0" * 8) + DONE
    wanted = set(range(100))
    rng = random.Random(7)
    for size in range(len(whole)):
        family.parse(family.name, whole[:size], wanted, {})
    for _ in range(2000):
        broken = bytearray(whole)
        for _ in range(rng.randrange(1, 6)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        family.parse(family.name, bytes(broken), wanted, {})


def test_the_kernel_is_asked_no_further_once_all_is_found():
    asked = []

    def answer(request):
        asked.append(request)
        return inet(1)

    assert set(sockdiag.here({1}, answer)) == {1}
    assert len(asked) == 1


def test_a_kind_that_is_missing_is_passed_over_and_no_kind_at_all_is_an_error():
    def answer(request):
        if request == FAMILIES[1].request:
            return inet(1)
        raise FileNotFoundError(2, "No such file or directory")

    assert set(sockdiag.here({1, 2}, answer)) == {1}
    with pytest.raises(OSError, match="refused"):
        sockdiag.here({1}, lambda request: (_ for _ in ()).throw(OSError("refused")))


HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
TCP = (
    HEAD
    + "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0\n"
    + "   1: 0100007F:1F90 0900000A:0FA0 08 00000002:00000007 00:00000000 00000000     0        0 12 1 0 100 0 0 10 0\n"
    + "   2: zz:1F90 0900000A:0FA0 08 00000002:00000007 00:00000000 00000000     0        0 13 1 0\n"
)
TCP6 = HEAD + (
    "   0: 00000000000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 14 1 0\n"
)
UNIX = (
    "Num       RefCount Protocol Flags    Type St Inode Path\n"
    "0000000000000000: 00000002 00000000 00010000 0001 01 15 /run/x y.sock\n"
    "0000000000000000: 00000003 00000000 00000000 0001 03 16\nshort\n"
)
NETLINK = (
    "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"
    "0000000000000000 0   4242       00000000 8        0        0     2        0        17\n"
)


def test_the_text_tables(tmp_path):
    host = fake_host(tmp_path)
    net = tmp_path / "proc/7/net"
    write(net, {"tcp": TCP, "tcp6": TCP6, "unix": UNIX, "netlink": NETLINK, "udp": "\x00\xff"})
    found, why = socktables.find(host, 7, set(range(11, 18)))
    assert why == ""
    assert found[11] == ("tcp", "LISTEN", "127.0.0.1:8080", "", 0, 0)
    assert found[12] == ("tcp", "CLOSE_WAIT", "127.0.0.1:8080", "10.0.0.9:4000", 7, 2)
    assert found[14][2] == "[::1]:443"
    assert found[15][:3] == ("unix", "LISTEN", "/run/x y.sock")
    assert found[16][1] == "ESTABLISHED"
    assert found[17][:3] == ("netlink", "", "route:4242")
    assert 13 not in found


def test_no_table_at_all_says_why(tmp_path):
    found, why = socktables.find(fake_host(tmp_path), 7, {1})
    assert found == {}
    assert "gone" in why
