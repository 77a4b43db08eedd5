"""Answers of sock_diag as columns, of rtnetlink as lists, counters of /proc/PID/net: well-formed, cut, strange."""

from __future__ import annotations

import random
import socket
import struct

import pytest
from gotriage.host import netdump, netns, rtnetlink, sockdiag

TCP, TCP6, UDP = 2, 3, 4
"""Places in netdump.ASKS."""


def message(payload, kind=sockdiag.SOCK_DIAG_BY_FAMILY):
    return struct.pack("=IHHII", 16 + len(payload), kind, 2, 1, 0) + payload + b"\0" * (-len(payload) % 4)


def attribute(kind, value):
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def tcp_info(*, last_ack=0, rtt=0, retransmits=0, acked=0, received=0):
    info = bytearray(232)
    for offset, value in ((56, last_ack), (68, rtt), (100, retransmits)):
        struct.pack_into("=I", info, offset, value)
    struct.pack_into("=QQ", info, 120, acked, received)
    return attribute(netdump.INFO, bytes(info))


def inet(inode, *extra, state=1, local=("127.0.0.1", 80), peer=("10.0.0.9", 4000), queues=(0, 0), timer=(0, 0)):
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    raw = [socket.inet_pton(family, host).ljust(16, b"\0") for host, _ in (local, peer)]
    head = struct.pack("=BBBB", family, state, *timer) + struct.pack("!HH", local[1], peer[1])
    tail = struct.pack("=IIIIIIII", 0, inode, 7, 0, *queues, 1000, inode)
    return message(head + raw[0] + raw[1] + tail + b"".join(extra))


def ends(dump, at):
    six = dump.names[dump.kind[at]].endswith("6")
    pairs = ((dump.source, dump.sport), (dump.target, dump.dport))
    return tuple(netdump.address(hosts[at], int(ports[at]), six=six) for hosts, ports in pairs)


def test_what_the_kernel_knows_of_each_connection():
    told = tcp_info(last_ack=12_000, rtt=1500, retransmits=3, acked=1 << 33, received=77)
    data = (
        inet(1, attribute(8, b"\1"), told)
        + inet(2, told, state=8, queues=(7, 9), timer=(1, 4))
        + inet(3, state=6, timer=(3, 9))
        + message(b"\0\0\0\0", sockdiag.NLMSG_DONE)
    )
    dump = netdump.parse([(TCP, data), (TCP6, inet(4, local=("::1", 443), peer=("2001:db8::7", 5)))])
    assert dump.number == 4
    assert dump.inode.tolist() == [1, 2, 3, 4]
    assert [dump.names[kind] for kind in dump.kind] == ["tcp", "tcp", "tcp", "tcp6"]
    assert dump.state.tolist() == [1, 8, 6, 1]
    assert dump.resent.tolist() == [0, 4, 0, 0]
    assert dump.known.tolist() == [True, True, False, False]
    assert dump.rtt.tolist() == [1500, 1500, 0, 0]
    assert (dump.acked[0], dump.received[0], dump.retransmits[0], dump.last_ack[0]) == (1 << 33, 77, 3, 12_000)
    assert (dump.recv[1], dump.send[1]) == (7, 9)
    assert dump.cookie.tolist() == [1 | 7 << 32, 2 | 7 << 32, 3 | 7 << 32, 4 | 7 << 32]
    assert ends(dump, 0) == ("127.0.0.1:80", "10.0.0.9:4000")
    assert ends(dump, 3) == ("[::1]:443", "[2001:db8::7]:5")
    assert dump.drops.tolist() == [-1] * 4


def test_drops_of_what_listens():
    memory = attribute(netdump.SKMEMINFO, struct.pack("=9I", 0, 1, 2, 3, 4, 5, 6, 7, 42))
    short = attribute(netdump.SKMEMINFO, struct.pack("=8I", *range(8)))
    dump = netdump.parse([(0, inet(1, memory, state=10) + inet(2, short, state=10) + inet(3, state=10))])
    assert dump.drops.tolist() == [42, -1, -1]


def test_ipv4_in_ipv6_is_ipv4():
    dump = netdump.parse([(TCP6, inet(1, local=("::ffff:10.0.0.1", 80), peer=("::ffff:10.0.0.2", 9)))])
    assert ends(dump, 0) == ("10.0.0.1:80", "10.0.0.2:9")


def test_nothing():
    assert netdump.parse([]).number == 0
    assert netdump.parse([(TCP, b""), (99, inet(1))]).number == 0


@pytest.mark.parametrize("seed", range(8))
def test_strange_answers(seed):
    """Cut or with wrong lengths anywhere: no exception, and no more sockets than there were."""
    chance = random.Random(seed)
    data = bytearray(b"".join(inet(at, tcp_info(), attribute(99, b"x" * (at % 7))) for at in range(40)))
    for _ in range(30):
        data[chance.randrange(len(data))] = chance.randrange(256)
    for cut in (len(data), len(data) // 3, 101, 5):
        assert netdump.parse([(TCP, bytes(data[:cut]))]).number <= 40


def test_a_bound_on_sockets(monkeypatch):
    monkeypatch.setattr(netdump, "MOST", 2)
    dump = netdump.parse([(TCP, b"".join(inet(at) for at in range(5)))])
    assert (dump.number, dump.missing) == (2, 3)


# -- rtnetlink


def link(number, name, *extra):
    return message(struct.pack("=BBHiII", 0, 0, 1, number, 0, 0) + attribute(3, name) + b"".join(extra), 16)


def test_interfaces():
    stats = attribute(23, struct.pack("=8Q", 1, 2, 300, 400, 5, 6, 7, 8))
    data = link(1, b"eth0\0", attribute(16, b"\6"), attribute(4, struct.pack("=I", 1400)), stats) + link(
        2, b"\x1b[2J\0"
    )
    first, second = rtnetlink.parse_links(data)
    assert first == (1, "eth0", "up", 1400, 300, 400, 11, 15)
    assert "\x1b" not in second.name


def test_addresses_and_routes():
    data = message(struct.pack("=BBBBI", 2, 24, 0, 0, 1) + attribute(2, socket.inet_aton("10.0.0.2")), 20)
    assert rtnetlink.parse_addresses(data) == [(1, "10.0.0.2/24")]

    def route(length, table, kind, *more):
        return message(struct.pack("=8BI", 2, length, 0, 0, table, 0, 0, kind, 0) + b"".join(more), 24)

    gateway, device = attribute(5, socket.inet_aton("10.0.0.1")), attribute(4, struct.pack("=I", 1))
    data = (
        route(0, 254, 1, gateway, device)
        + route(32, 255, 2, device)
        + route(16, 254, 6, attribute(1, socket.inet_aton("10.9.0.0")))
    )
    assert rtnetlink.parse_routes(data) == [
        ("default", "10.0.0.1", 1, "", None, ""),
        ("10.9.0.0/16", "", 0, "", None, "blackhole"),
    ]


@pytest.mark.parametrize("cut", [0, 3, 17, 20, 33])
def test_cut_answers(cut):
    data = link(1, b"eth0\0")[:cut]
    assert (
        len(rtnetlink.parse_links(data)) + len(rtnetlink.parse_addresses(data)) + len(rtnetlink.parse_routes(data)) <= 1
    )


# -- /proc


def test_counters():
    text = "TcpExt: ListenOverflows X\nTcpExt: 3 -1\nIpExt: A\nOther: 4\nodd"
    assert netns.parse_pairs(text) == {"TcpExtListenOverflows": 3}
    assert netns.parse_flat("Ip6OutNoRoutes \t7\nbad\n") == {"Ip6OutNoRoutes": 7}


def test_the_ephemeral_range():
    sysctls = {
        "ipv4/ip_local_port_range": "32768\t60999",
        "ipv4/ip_local_reserved_ports": "8080,40000-40009,60999-65535,x",
    }
    assert netns.ports(sysctls) == (32768, 60999, 11)
    assert netns.ports({}) is None
    assert netns.ports({"ipv4/ip_local_port_range": "a b"}) is None
