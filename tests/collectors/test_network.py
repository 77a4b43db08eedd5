"""Columns of sockets as rows: directions, groups, what moved between looks, who was left in CLOSE_WAIT."""

from __future__ import annotations

import numpy as np
from gotriage.collectors.network.groups import Groups, Memory, marks, port_use, states, stuck, telling
from gotriage.host import netdump

from tests.host.test_netdump import TCP, TCP6, inet, tcp_info

PORTS = (32768, 60999)
CLIENT, SERVER = ("10.0.0.2", 40000), ("10.0.0.2", 8080)
PEER, DB = ("10.0.0.9", 50000), ("10.0.0.7", 5432)


def looked(*messages, six=b""):
    listens = inet(100, state=10, local=("0.0.0.0", 8080), peer=("0.0.0.0", 0))
    return netdump.parse([(0, listens), (TCP, b"".join(messages)), (TCP6, six)])


def owned(dump, *inodes):
    return np.isin(dump.inode, inodes)


def test_directions_and_peers():
    dump = looked(
        inet(1, local=CLIENT, peer=DB),
        inet(2, local=("10.0.0.2", 40001), peer=DB, state=8),
        inet(0, local=("10.0.0.2", 40002), peer=DB, state=6),
        inet(3, local=SERVER, peer=PEER),
        six=inet(4, local=("::ffff:10.0.0.2", 8080), peer=("::ffff:10.0.0.9", 50001)),
    )
    mark = marks(dump, owned(dump, 1, 2, 3, 4, 100), PORTS)
    groups = Groups(dump, mark)
    found = [groups.group(at) for at in groups.largest(groups.sums(mark.connection), 9)]
    assert [(one.inbound, one.local_text, one.peer_text, len(one.members)) for one in found] == [
        (False, "10.0.0.2", "10.0.0.7:5432", 3),
        (True, ":8080", "10.0.0.9", 2),
    ]
    assert telling(states(dump, found[0].members)) == "CLOSE_WAIT"
    (use,) = port_use(dump, mark, groups, 5)
    assert (use.used, use.own, use.time_wait) == (3, 2, 1)


def test_a_listener_that_is_gone_leaves_what_came_in():
    dump = netdump.parse([(TCP, inet(1, local=SERVER, peer=PEER) + inet(2, local=CLIENT, peer=DB))])
    assert marks(dump, owned(dump, 1, 2), PORTS).inbound.tolist() == [True, False]


def test_nothing_at_all():
    dump = netdump.parse([])
    mark = marks(dump, owned(dump), PORTS)
    groups = Groups(dump, mark)
    assert len(groups) == 0
    assert port_use(dump, mark, groups, 5) == []
    memory = Memory()
    assert memory.moved(dump, 1.0) is None
    later = memory.moved(looked(inet(1, tcp_info(received=5))), 2.0)
    assert later.received.tolist() == [0, 5]


def test_what_moved():
    memory = Memory()
    assert (
        memory.moved(looked(inet(1, tcp_info(acked=10, received=100, retransmits=1)), inet(2, tcp_info())), 10.0)
        is None
    )
    now = looked(inet(3, tcp_info(received=7)), inet(1, tcp_info(acked=15, received=300, retransmits=4)))
    moved = memory.moved(now, 12.0)
    assert moved.seconds == 2.0
    assert moved.received.tolist() == [0, 7, 200]
    assert moved.sent.tolist() == [0, 0, 5]
    assert moved.retransmits.tolist() == [0, 0, 3]


def waits(memory, now, *messages):
    dump = looked(*messages)
    return memory.waited(dump, owned(dump, 1, 2), now)[1:].tolist()


def test_how_long_the_peer_has_been_gone():
    memory, fresh = Memory(), tcp_info(last_ack=500)
    long_ago = tcp_info(last_ack=60_000)
    assert waits(memory, 100.0, inet(1, fresh, state=8), inet(2, long_ago, state=8), inet(3, state=8)) == [0.5, 60, 0]
    assert waits(memory, 110.0, inet(1, fresh, state=8), inet(2, fresh, state=8)) == [10.5, 70]
    assert waits(memory, 120.0, inet(1, fresh), inet(2, fresh, state=8)) == [0, 80]
    assert stuck(np.array([9.9, 10.0])).tolist() == [False, True]


def test_what_is_still_read_was_not_forgotten():
    memory = Memory()
    info = tcp_info(last_ack=60_000)
    assert waits(memory, 100.0, inet(1, info, state=8, queues=(9000, 0))) == [60]
    assert waits(memory, 105.0, inet(1, info, state=8, queues=(4000, 0))) == [0]
    assert waits(memory, 125.0, inet(1, info, state=8, queues=(4000, 0))) == [20]
