"""What the launcher and the front say to each other: few words, so that root parses one byte and nothing else.

Launcher to front, one datagram each (SOCK_SEQPACKET): a word, a number and a text, and with "agent" the two pipe ends
of a new agent as SCM_RIGHTS (unix(7)). Front to launcher: one byte, `RESTART`, `SHELL`, `VIEW`, `END`.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

RESTART = b"R"
"""The agent hangs."""
SHELL = b"S"
"""A shell in the target's namespaces, at the terminal, with this machine's tools; VIEW: with the target's files."""
VIEW = b"V"
END = b"E"
"""The shell is to end: the front is."""
EXIT_AGAIN = 75
"""EX_TEMPFAIL of sysexits.h: the agent ended of its own accord and wants to be started anew."""
MOST = 4096
"""Longest message, bytes."""


@dataclass(frozen=True, slots=True)
class Message:
    """`what` is "agent" (with its fds: read, write), "died" (another one comes) or "over" (none comes).

    "shell" is the end of a shell that was asked for, with its exit status.
    """

    what: str
    code: int = 0
    text: str = ""
    fds: tuple[int, ...] = ()


def pair() -> tuple[socket.socket, socket.socket]:
    """The launcher's end and the front's."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(end: socket.socket, message: Message) -> None:
    """Raises OSError when the other side is gone."""
    data = f"{message.what}\n{message.code}\n{message.text}".encode("utf-8", "replace")[:MOST]
    if message.fds:
        socket.send_fds(end, [data], list(message.fds))
    else:
        end.send(data)


def receive(end: socket.socket) -> Message | None:
    """The next message; None when the other side is gone."""
    try:
        data, fds, _, _ = socket.recv_fds(end, MOST, 2)
    except OSError:
        return None
    for fd in fds:
        os.set_inheritable(fd, False)
    if not data:
        return None
    what, _, rest = data.decode("utf-8", "replace").partition("\n")
    code, _, text = rest.partition("\n")
    return Message(what, int(code) if code.isdigit() else 0, text, tuple(fds))
