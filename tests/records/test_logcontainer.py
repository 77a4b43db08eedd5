"""The lines of container engines' log files."""

from __future__ import annotations

from gotriage.records.logcontainer import Piece, Pieces, parse_api, parse_cri, parse_json_file
from gotriage.records.text import MAX_TEXT

TIME = "2026-11-23T20:29:21.962983941Z"


def test_json_file():
    line = b'{"log":"tick 1\\n","stream":"stderr","time":"2026-11-23T20:29:21.962983941Z"}'
    assert parse_json_file(line) == Piece(TIME, "stderr", b"tick 1\n", False)
    assert parse_json_file(line.replace(b"\\n", b"")).partial
    for bad in (b"", b"{", line[:-5], b"[]", b'{"log":1}', b'{"log":"x"}', b"\x00" * 50, b'{"log":' * 9000):
        assert parse_json_file(bad) is None


def test_cri():
    time = "2026-11-23T20:29:21.962983941+00:00"
    assert parse_cri(f"{time} stderr F tick 1 fds=0".encode()) == Piece(time, "stderr", b"tick 1 fds=0", False)
    assert parse_cri(f"{time} stdout P:x part".encode()) == Piece(time, "stdout", b"part", True)
    assert parse_cri(f"{time} stdout F".encode()) == Piece(time, "stdout", b"", False)
    for bad in (b"", b"x", b"x y z w", b"t stdlog F x", b"t" * 100 + b" stdout F x"):
        assert parse_cri(bad) is None


def test_api_frames_and_a_terminal():
    frame = lambda kind, text: bytes([kind, 0, 0, 0]) + len(text).to_bytes(4, "big") + text  # noqa: E731
    body = (
        frame(1, TIME.encode() + b" out\n") + frame(2, TIME.encode() + b" err\n") + b"\x01\0\0\0\0\0\xff\xff" + b"cut"
    )
    assert parse_api(body)[:2] == [Piece(TIME, "stdout", b"out\n", False), Piece(TIME, "stderr", b"err\n", False)]
    assert parse_api(f"{TIME} a\r\n{TIME} b\r\n".encode()) == [
        Piece(TIME, "stdout", b"a\r\n", False),
        Piece(TIME, "stdout", b"b\r\n", False),
    ]
    assert parse_api(b"") == []


def test_pieces_of_two_streams():
    pieces = Pieces()
    assert pieces.add(Piece("1", "stdout", b"a", True)) is None
    assert pieces.add(Piece("2", "stderr", b"whole", False)) == Piece("2", "stderr", b"whole", False)
    assert pieces.add(Piece("3", "stdout", b"b", True)) is None
    assert pieces.add(Piece("4", "stdout", b"c", False)) == Piece("1", "stdout", b"abc", False)


def test_a_line_without_end_is_bounded():
    pieces = Pieces()
    for _ in range(1000):
        pieces.add(Piece("1", "stdout", b"x" * 16384, True))
    whole = pieces.add(Piece("2", "stdout", b"", False))
    assert whole is not None
    assert len(whole.text) <= MAX_TEXT + 2 * 16384


def test_a_line_in_a_great_many_pieces():
    """A container that writes byte by byte without an end of line: k8s-file keeps each as a piece."""
    pieces, looked = Pieces(), Counted()
    for _ in range(3 * MAX_TEXT):
        assert pieces.add(Piece("t", "stdout", looked, True)) is None
    whole = pieces.add(Piece("t", "stdout", b"end", False))
    assert whole is not None
    assert MAX_TEXT <= len(whole.text) <= MAX_TEXT + 8
    assert looked.asked <= 8 * MAX_TEXT, "each piece is looked at a few times, not at every other one"


class Counted(bytes):
    """One byte that counts who asks for its length."""

    asked = 0

    def __new__(cls) -> Counted:
        return super().__new__(cls, b"x")

    def __len__(self) -> int:
        self.asked += 1
        return 1
