"""Questions to name servers, sent from a network namespace: all at once, each answer timed.

The child joins only the network namespace, gives root away, and speaks UDP and TCP with addresses: no name is resolved
by libc, and nothing of the target is opened.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
from contextlib import suppress
from typing import Final

import msgspec

from gotriage.host import clock, dnswire, privilege
from gotriage.host.forked import in_child, join_namespace

PORT: Final = 53
MOST: Final = 96
"""Questions at once."""
MOST_NOISE: Final = 256
"""Packets to one question that do not answer it: a server that floods costs no more."""
NOBODY: Final = 65534


class Query(msgspec.Struct, frozen=True, array_like=True):
    """One question: to which address, for which name and type, and how."""

    server: str
    name: str
    kind: str
    tcp: bool = False


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """What came back: the answer's bytes and the seconds until then, or why there is none."""

    seconds: float | None = None
    data: bytes = b""
    error: str = ""


def ask(net: str, queries: list[Query], timeout: float) -> list[Reply]:
    """The reply to each query, from the namespace of a /proc/PID/ns/net file; takes `timeout` seconds at most.

    Raises NotPermitted, OSError, TimeoutError.
    """
    chosen = queries[:MOST]

    def work() -> bytes:
        join_namespace(net)
        give_root_away()
        return msgspec.msgpack.encode(_ask_here(chosen, timeout))

    return msgspec.msgpack.decode(in_child(work, timeout + 3.0), type=list[Reply])


def give_root_away() -> None:
    """In a child: nobody from here on, so that what answers us meets no rights. Raises OSError."""
    if os.geteuid() != 0:
        return
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    privilege.die_with_parent(signal.SIGKILL)  # the kernel forgets it when the ids change (prctl(2))


class _Open:
    """A question on its way."""

    def __init__(self, query: Query, number: int) -> None:
        self.query, self.number = query, number
        family = socket.AF_INET6 if ":" in query.server else socket.AF_INET
        kind = socket.SOCK_STREAM if query.tcp else socket.SOCK_DGRAM
        self.socket = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self.sent = clock.monotonic()
        self.data = b""
        self.noise = 0
        message = dnswire.question(number, query.name, query.kind)
        self.unsent = struct.pack("!H", len(message)) + message if query.tcp else b""
        with suppress(BlockingIOError):
            self.socket.connect(_address(query.server))
        if not query.tcp:
            self.socket.send(message)

    def step(self) -> Reply | None:
        """Something happened: the reply, or None to wait on. Raises OSError."""
        if self.unsent:
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
            return None
        data = self.socket.recv(65537)
        if self.query.tcp:
            if not data:
                raise OSError(0, "connection closed")
            self.data += data
            if len(self.data) < 2 or len(self.data) < 2 + struct.unpack_from("!H", self.data)[0]:
                return None
            data = self.data[2:]
        if not dnswire.asked(data, self.number, self.query.name, self.query.kind):
            self.noise += 1
            if self.noise > MOST_NOISE:
                raise OSError(0, "it sends again and again what was not asked for")
            return None
        return Reply(clock.monotonic() - self.sent, data)


def _ask_here(queries: list[Query], timeout: float) -> list[Reply]:
    """The replies in the order of the queries, in the namespace that we are in."""
    replies = [Reply(error=f"no answer in {timeout:g} s") for _ in queries]
    waiting: dict[int, tuple[int, _Open]] = {}
    poll = select.poll()
    for place, query in enumerate(queries):
        try:
            one = _Open(query, int.from_bytes(os.urandom(2), "big"))
        except OSError as error:
            replies[place] = Reply(error=_words(error))
            continue
        waiting[one.socket.fileno()] = place, one
        poll.register(one.socket, select.POLLOUT if one.unsent else select.POLLIN)
    until = clock.monotonic() + timeout
    while waiting and (left := until - clock.monotonic()) > 0:
        for fd, _ in poll.poll(left * 1000):
            place, one = waiting[fd]
            try:
                reply = one.step()
            except BlockingIOError:
                continue
            except OSError as error:
                reply = Reply(error=_words(error))
            if reply is not None:
                replies[place] = reply
                poll.unregister(fd)
                del waiting[fd]
                one.socket.close()
            elif not one.unsent:
                poll.modify(fd, select.POLLIN)
    return replies


def _address(server: str) -> tuple[str, int] | tuple[str, int, int, int]:
    """As connect(2) takes it; "fe80::1%eth0" with the number of that interface. Raises OSError when there is none."""
    address, _, zone = server.partition("%")
    return (address, PORT, 0, socket.if_nametoindex(zone)) if zone else (address, PORT)


def _words(error: OSError) -> str:
    """ "connection refused" and the like."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]
