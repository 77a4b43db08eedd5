"""All TCP and UDP sockets of a network namespace as columns, from the kernel's socket diagnostics (sock_diag(7)).

Where `host.sockdiag` looks for sockets of which the inode is known, this reads every one with what the kernel knows of
its connection. Layouts: include/uapi/linux/inet_diag.h (inet_diag_req_v2, inet_diag_msg) and tcp.h (tcp_info).
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from gotriage.host.sockdiag import SOCK_DIAG_BY_FAMILY, STATES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words = NDArray[np.uint32]

LISTEN, CLOSE_WAIT, TIME_WAIT, ESTABLISHED, SYN_SENT = (
    STATES.index(name) for name in ("LISTEN", "CLOSE_WAIT", "TIME_WAIT", "ESTABLISHED", "SYN_SENT")
)
INFO, SKMEMINFO = 2, 7
"""INET_DIAG_INFO and INET_DIAG_SKMEMINFO."""
MOST: Final = 400_000
"""Sockets of one dump that are read; more are counted as missing."""
HEAD: Final = 16 + 72
"""nlmsghdr and inet_diag_msg, bytes."""
DROPS: Final = 8
"""SK_MEMINFO_DROPS: which word of INET_DIAG_SKMEMINFO (include/uapi/linux/sock_diag.h)."""
_LAST_ACK: Final = 56
"""Offsets in struct tcp_info: milliseconds since the last ACK; smoothed round trip in microseconds; segments sent again
in all; bytes acknowledged by the peer and bytes received (64 bits each, Linux 4.1)."""
_RTT, _RETRANSMITS, _ACKED, _RECEIVED = 68, 100, 120, 128
MOST_ATTRIBUTES: Final = 32


class Ask(NamedTuple):
    """One dump: which protocol and family, sockets in which states, with which attributes."""

    name: str
    family: int
    protocol: int
    states: int
    attributes: int

    def request(self) -> bytes:
        """struct inet_diag_req_v2."""
        return struct.pack("=BBBBI48x", self.family, self.protocol, self.attributes, 0, self.states)


ASKS: Final = (
    Ask("tcp", socket.AF_INET, socket.IPPROTO_TCP, 1 << LISTEN, 1 << (SKMEMINFO - 1)),
    Ask("tcp6", socket.AF_INET6, socket.IPPROTO_TCP, 1 << LISTEN, 1 << (SKMEMINFO - 1)),
    Ask("tcp", socket.AF_INET, socket.IPPROTO_TCP, 0xFFFF & ~(1 << LISTEN), 1 << (INFO - 1)),
    Ask("tcp6", socket.AF_INET6, socket.IPPROTO_TCP, 0xFFFF & ~(1 << LISTEN), 1 << (INFO - 1)),
    Ask("udp", socket.AF_INET, socket.IPPROTO_UDP, 0xFFFF, 1 << (SKMEMINFO - 1)),
    Ask("udp6", socket.AF_INET6, socket.IPPROTO_UDP, 0xFFFF, 1 << (SKMEMINFO - 1)),
)
"""What is asked of a namespace: what listens and UDP with their drops, connections with their tcp_info."""


class Dump(NamedTuple):
    """Sockets as columns of one length; `known` says whether the kernel told of the connection (tcp_info).

    Addresses are four words each as on the wire, IPv4 in the first one; `resent` is how often the segment in flight was
    sent again; `rtt` microseconds; `last_ack` milliseconds.
    """

    names: tuple[str, ...]
    kind: NDArray[np.uint8]
    """Which of `names`."""
    state: NDArray[np.uint8]
    resent: NDArray[np.uint8]
    sport: NDArray[np.uint16]
    dport: NDArray[np.uint16]
    source: Words
    target: Words
    cookie: NDArray[np.uint64]
    recv: Words
    send: Words
    inode: Words
    known: NDArray[np.bool_]
    last_ack: Words
    rtt: Words
    retransmits: Words
    acked: NDArray[np.uint64]
    received: NDArray[np.uint64]
    drops: NDArray[np.int64]
    """-1 where the kernel did not say."""
    missing: int

    @property
    def number(self) -> int:
        """How many sockets."""
        return len(self.kind)


def parse(parts: list[tuple[int, bytes]]) -> Dump:
    """Columns of the dumps, each given with its place in ASKS; what is cut short or malformed ends its dump."""
    names = tuple(dict.fromkeys(ask.name for ask in ASKS))
    pieces, missing = [], 0
    for place, data in parts:
        if not 0 <= place < len(ASKS):
            continue
        at, more = offsets(data)
        missing += more
        if len(at):
            pieces.append(_columns(data, at, ASKS[place], names.index(ASKS[place].name)))
    if not pieces:
        pieces.append(_columns(b"", np.zeros(0, np.int64), ASKS[0], 0))
    columns = [np.concatenate(column) for column in zip(*pieces, strict=True)]
    return Dump._make((names, *columns, missing))


def offsets(data: bytes) -> tuple[NDArray[np.int64], int]:
    """Where each message with a whole inet_diag_msg begins, at most MOST, and how many more there are."""
    pieces: list[NDArray[np.int64]] = []
    words = np.frombuffer(data[: len(data) & ~3], np.uint32)
    found, at, end = 0, 0, len(data)
    head = struct.Struct("=IH").unpack_from
    while at + HEAD <= end:
        length, kind = head(data, at)
        if length < HEAD or at + length > end:
            break
        stride = (length + 3) & ~3
        number = _alike(words, at, stride)
        if kind == SOCK_DIAG_BY_FAMILY:
            pieces.append(np.arange(at, at + number * stride, stride, dtype=np.int64))
            found += number
        at += number * stride
    places = np.concatenate(pieces) if pieces else np.zeros(0, np.int64)
    return places[:MOST], max(0, found - MOST)


def _alike(words: Words, at: int, stride: int) -> int:
    """How many messages of the length and type of the first one follow each other, all of them whole.

    The look ahead grows with what it finds, so that messages of changing lengths cost no more than one by one.
    """
    step, first, number = stride >> 2, at >> 2, 1
    while True:
        start = first + number * step
        heads = words[start : start + 2 * number * step : step]
        types = words[start + 1 : start + 1 + 2 * number * step : step][: len(heads)]
        same = (heads[: len(types)] == words[first]) & (types & 0xFFFF == words[first + 1] & 0xFFFF)
        if at + (number + len(same)) * stride > 4 * len(words):
            same = same[:-1]
        good = len(same) if same.all() else int(np.argmin(same))
        number += good
        if not good or good < len(same):
            return number


class _Views(NamedTuple):
    """The same bytes as numbers of several sizes."""

    octets: NDArray[np.uint8]
    halves: NDArray[np.uint16]
    words: Words
    network: NDArray[np.uint32]

    @classmethod
    def of(cls, data: bytes) -> _Views:
        data = data[: len(data) & ~3]
        halves, words = np.frombuffer(data, np.uint16), np.frombuffer(data, np.uint32)
        return cls(np.frombuffer(data, np.uint8), halves, words, np.frombuffer(data, ">u4"))


class _Content(NamedTuple):
    """Where an attribute's content begins, in words, and its length in bytes: 0 where there is none."""

    place: NDArray[np.int64]
    length: NDArray[np.int64]

    def has(self, offset: int, size: int = 4) -> NDArray[np.bool_]:
        return self.length >= offset + size

    def word(self, words: Words, offset: int) -> Words:
        """The word at an offset, 0 where the content ends before it."""
        has = self.has(offset)
        return np.where(has, words[np.where(has, self.place + (offset >> 2), 0)], 0).astype(np.uint32)

    def wide(self, words: Words, offset: int) -> NDArray[np.uint64]:
        """64 bits at an offset."""
        low, high = (0, 4) if sys.byteorder == "little" else (4, 0)
        return _joined(self.word(words, offset + low), self.word(words, offset + high))


def _joined(low: Words, high: Words) -> NDArray[np.uint64]:
    return low.astype(np.uint64) | high.astype(np.uint64) << np.uint64(32)


def _columns(data: bytes, at: NDArray[np.int64], ask: Ask, name: int) -> list[NDArray[np.generic]]:
    """The columns of Dump after `names`, of the messages that begin there (all offsets are multiples of four)."""
    views = _Views.of(data)
    words, base = views.words, at >> 2
    ports = views.network[base + 5].astype(np.uint32)
    info, memory = (
        _attribute(views, base, kind) if ask.attributes & 1 << (kind - 1) else _absent(len(at))
        for kind in (INFO, SKMEMINFO)
    )
    return [
        np.full(len(at), name, np.uint8),
        views.octets[at + 17],
        # idiag_retrans counts for idiag_timer 1 (retransmission) alone
        np.where(views.octets[at + 18] == 1, views.octets[at + 19], 0).astype(np.uint8),
        (ports >> 16).astype(np.uint16),
        (ports & 0xFFFF).astype(np.uint16),
        words[base[:, None] + np.arange(6, 10)],
        words[base[:, None] + np.arange(10, 14)],
        _joined(words[base + 15], words[base + 16]),
        words[base + 18],
        words[base + 19],
        words[base + 21],
        info.has(_RETRANSMITS),
        info.word(words, _LAST_ACK),
        info.word(words, _RTT),
        info.word(words, _RETRANSMITS),
        info.wide(words, _ACKED),
        info.wide(words, _RECEIVED),
        np.where(memory.has(4 * DROPS), memory.word(words, 4 * DROPS).astype(np.int64), -1),
    ]


def _absent(number: int) -> _Content:
    return _Content(np.zeros(number, np.int64), np.zeros(number, np.int64))


def _attribute(views: _Views, base: NDArray[np.int64], kind: int) -> _Content:
    """One attribute of every message (netlink(7)); all messages step through their attributes side by side."""
    place, length = _absent(len(base))
    at, end = base + HEAD // 4, base + (views.words[base].astype(np.int64) >> 2)
    for _ in range(MOST_ATTRIBUTES):
        alive = at < end
        if not alive.any():
            break
        head = np.where(alive, at, 0) << 1
        size, of = views.halves[head].astype(np.int64), views.halves[head + 1] & 0x3FFF
        step = (size + 3) >> 2
        fits = alive & (size >= 4) & (at + step <= end)
        mine = fits & (of == kind)
        place, length = np.where(mine, at + 1, place), np.where(mine, size - 4, length)
        at = np.where(fits & ~mine, at + step, end)
    return _Content(place, length)


def address(words: Words, port: int | None, *, six: bool) -> str:
    """An address as it is written, with a port unless that is None; one of IPv4 in IPv6 is of IPv4."""
    raw = words.tobytes()
    if six and raw[:12] != b"\0" * 10 + b"\xff\xff":
        text = socket.inet_ntop(socket.AF_INET6, raw)
        return text if port is None else f"[{text}]:{port}"
    text = socket.inet_ntop(socket.AF_INET, raw[12:] if six else raw[:4])
    return text if port is None else f"{text}:{port}"
