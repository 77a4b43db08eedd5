"""The line formats of container engines' log files.

docker's json-file (moby, daemon/logger/jsonfilelog/jsonlog), the CRI format of containerd, CRI-O and podman's k8s-file
(kubernetes, design-proposals/node/kubelet-cri-logging.md), and the frames of the Docker Engine API's logs.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from gotriage.records.text import MAX_TEXT


class Piece(NamedTuple):
    """A piece of a container's output: RFC 3339 time, stdout or stderr, its bytes; `partial` when more follows."""

    time: str
    stream: str
    text: bytes
    partial: bool


class _JsonLine(msgspec.Struct):
    log: str = ""
    stream: str = ""
    time: str = ""


_json_line = msgspec.json.Decoder(_JsonLine)


def parse_json_file(line: bytes) -> Piece | None:
    """One line of a json-file log; None when it is damaged. A piece without end of line goes on in the next one."""
    try:
        found = _json_line.decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    if not found.time:
        return None
    return Piece(found.time, found.stream, found.log.encode("utf-8", "replace"), not found.log.endswith("\n"))


def parse_cri(line: bytes) -> Piece | None:
    """One line `TIME STREAM TAGS TEXT`; the tag P stands for a piece that goes on, F for the last one."""
    parts = line.split(b" ", 3)
    if len(parts) < 3 or parts[1] not in (b"stdout", b"stderr") or len(parts[0]) > 64:
        return None
    text = parts[3] if len(parts) > 3 else b""
    tags = parts[2].split(b":")
    return Piece(parts[0].decode("ascii", "replace"), parts[1].decode(), text, b"P" in tags)


def parse_api(body: bytes) -> list[Piece]:
    """The body of GET /containers/ID/logs?timestamps=1: frames of an 8-byte head (stream, size), or raw for a TTY."""
    pieces = []
    if body[:1] in (b"\x00", b"\x01", b"\x02") and body[1:4] == b"\0\0\0":
        at = 0
        while at + 8 <= len(body):
            size = int.from_bytes(body[at + 4 : at + 8], "big")
            stream = "stderr" if body[at] == 2 else "stdout"
            pieces.append((stream, body[at + 8 : at + 8 + size]))
            at += 8 + size
    else:
        pieces = [("stdout", line + b"\n") for line in body.split(b"\n") if line]
    found = []
    for stream, data in pieces:
        time, _, text = data.partition(b" ")
        if len(time) <= 64:
            found.append(Piece(time.decode("ascii", "replace"), stream, text, not text.endswith(b"\n")))
    return found


class Pieces:
    """Puts pieces together, each stream for itself; a line longer than the bound is cut."""

    def __init__(self) -> None:
        self._open: dict[str, list[bytes]] = {}
        self._time: dict[str, str] = {}
        self._size: dict[str, int] = {}

    def add(self, piece: Piece) -> Piece | None:
        """The whole line that a piece ends, at the time of its first piece; None while more follows."""
        parts = self._open.get(piece.stream)
        if not piece.partial and parts is None:
            return piece
        if parts is None:
            parts = self._open[piece.stream] = []
            self._time[piece.stream], self._size[piece.stream] = piece.time, 0
        if piece.text and self._size[piece.stream] <= MAX_TEXT:
            parts.append(piece.text)
            self._size[piece.stream] += len(piece.text)
        if piece.partial:
            return None
        del self._open[piece.stream]
        return Piece(self._time.pop(piece.stream), piece.stream, b"".join(parts), False)
