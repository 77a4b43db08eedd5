"""D-Bus over a unix socket, with a deadline on every step: a bus that hangs costs its deadline and no more.

The wire format is jeepney's; the conversation is our own, since a call here may be made to a bus daemon or straight to
a systemd manager (/run/systemd/private has no daemon and no Hello). Source: the D-Bus specification 0.43, "Message
Protocol" and "Authentication Protocol".
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Any

from gotriage.errors import GotriageError, MissingFacility, NotPermitted
from gotriage.host.become import as_user
from gotriage.host.deadline import Deadline
from gotriage.records.text import clean

if TYPE_CHECKING:
    from pathlib import Path

    from jeepney.low_level import Message

MAX_ANSWER = 32 * 1024 * 1024
"""Longest answer taken, bytes; the list of 10,000 units is about 3 MB. (The specification allows 128 MiB.)"""
MAX_LINE = 8192
"""Longest line of the authentication, bytes."""
MAX_MESSAGES = 10_000
"""Messages skipped (signals) while waiting for one answer."""


class BusUnreachable(MissingFacility):
    """There is no bus at that socket, it refused us, or it spoke something else."""


class BusHangs(BusUnreachable):
    """The socket takes connections, and nothing answers in time."""


class BusRefused(GotriageError):
    """The called object answered with an error; `name` is its D-Bus name, the text its message."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(clean(text, 500) or name)
        self.name = name


class Bus:
    """One connection. Calls are made one after another; each raises BusUnreachable, BusHangs or BusRefused."""

    def __init__(self, path: Path, *, timeout: float = 2.0, daemon: bool = True, uid: int | None = None) -> None:
        """Connect and authenticate, as user `uid` where root may, within `timeout` seconds.

        `daemon` False is for a peer without a bus daemon. Raises NotPermitted when the socket may not be opened.
        """
        from jeepney.low_level import Parser

        self.path = path
        self._serial = 0
        self._parser = Parser()
        deadline = Deadline(timeout)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._open(deadline, uid)
            if daemon:
                bus = "org.freedesktop.DBus"
                self.call("/org/freedesktop/DBus", bus, "Hello", to=bus, timeout=deadline.left())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def call(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: tuple[object, ...] = (),
        *,
        to: str,
        timeout: float = 2.0,
    ) -> tuple[Any, ...]:
        """Call a method of the peer `to` and return its answer's values; variants are (signature, value) pairs."""
        from jeepney import DBusAddress, new_method_call

        deadline = Deadline(timeout)
        address = DBusAddress(path, bus_name=to, interface=interface)
        message = new_method_call(address, member, signature or None, body)
        self._serial += 1
        self._send(message.serialise(serial=self._serial), deadline)
        return self._answer(self._serial, deadline)

    # -- the conversation

    def _open(self, deadline: Deadline, uid: int | None) -> None:
        """Connect and authenticate; the peer sees who we are at that time (SO_PEERCRED)."""
        try:
            folder = os.open(self.path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError as error:
            raise NotPermitted(f"{self.path}: permission denied") from error
        except OSError as error:
            raise BusUnreachable(f"{self.path}: {error.strerror or error}") from error
        # By way of the descriptor: another user may not walk through /proc/PID/root, and a socket's path is short.
        short = f"/proc/self/fd/{folder}/{self.path.name}"
        try:
            if uid is None or uid == os.geteuid():
                self._introduce(short, deadline)
            else:
                as_user(uid, lambda: self._introduce(short, deadline))
        finally:
            os.close(folder)

    def _introduce(self, path: str, deadline: Deadline) -> None:
        self._connect(path, deadline)
        self._authenticate(deadline)

    def _connect(self, path: str, deadline: Deadline) -> None:
        self._socket.settimeout(max(0.01, deadline.left()))
        try:
            self._socket.connect(path)
        except PermissionError as error:
            raise NotPermitted(f"{self.path}: permission denied") from error
        except (TimeoutError, BlockingIOError) as error:
            raise BusHangs(f"{self.path}: takes no more connections") from error
        except OSError as error:
            raise BusUnreachable(f"{self.path}: {error.strerror or error}") from error

    def _authenticate(self, deadline: Deadline) -> None:
        """AUTH and BEGIN in one go, as libsystemd does.

        A manager that got BEGIN together with the first call would leave that call lying in its buffer: once OK is
        here, both lines have been read.
        """
        self._send(b"\0AUTH EXTERNAL %s\r\nBEGIN\r\n" % str(os.geteuid()).encode().hex().encode(), deadline)
        answer = b""
        while b"\r\n" not in answer:
            answer += self._receive(deadline)
            if len(answer) > MAX_LINE:
                raise BusUnreachable(f"{self.path}: not D-Bus")
        line, _, rest = answer.partition(b"\r\n")
        if not line.startswith(b"OK ") or rest:
            raise BusUnreachable(f"{self.path}: refused our user: {clean(line, 200)}")

    def _send(self, data: bytes, deadline: Deadline) -> None:
        self._socket.settimeout(max(0.01, deadline.left()))
        try:
            self._socket.sendall(data)
        except TimeoutError as error:
            raise BusHangs(f"{self.path}: does not answer") from error
        except OSError as error:
            raise BusUnreachable(f"{self.path}: {error.strerror or error}") from error

    def _receive(self, deadline: Deadline) -> bytes:
        if deadline.over:
            raise BusHangs(f"{self.path}: does not answer")
        self._socket.settimeout(deadline.left())
        try:
            data = self._socket.recv(1 << 16)
        except (TimeoutError, BlockingIOError) as error:
            raise BusHangs(f"{self.path}: does not answer") from error
        except OSError as error:
            raise BusUnreachable(f"{self.path}: {error.strerror or error}") from error
        if not data:
            raise BusUnreachable(f"{self.path}: closed the connection")
        return data

    def _answer(self, serial: int, deadline: Deadline) -> tuple[Any, ...]:
        """The answer to one call; anything else that comes is skipped."""
        from jeepney.low_level import HeaderFields, MessageType

        size = 0
        for _ in range(MAX_MESSAGES):
            while (message := self._parsed()) is None:
                data = self._receive(deadline)
                size += len(data)
                if size > MAX_ANSWER:
                    raise BusUnreachable(f"{self.path}: an answer of more than {MAX_ANSWER} bytes")
                self._parser.add_data(data)
            fields = message.header.fields
            if fields.get(HeaderFields.reply_serial) != serial:
                continue
            if message.header.message_type == MessageType.error:
                text = message.body[0] if message.body and isinstance(message.body[0], str) else ""
                raise BusRefused(str(fields.get(HeaderFields.error_name, "")), text)
            return tuple(message.body)
        raise BusUnreachable(f"{self.path}: too many messages and no answer among them")

    def _parsed(self) -> Message | None:
        """The next whole message; a peer that sends rubbish is a peer that cannot be reached."""
        try:
            message: Message | None = self._parser.get_next_message()
        except (ValueError, LookupError, TypeError, struct.error, RecursionError, AssertionError) as error:
            raise BusUnreachable(f"{self.path}: not D-Bus: {clean(str(error), 200)}") from error
        return message
