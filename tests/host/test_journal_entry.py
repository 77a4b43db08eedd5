"""Journal entries become lines: the unit's own, systemd's, journald's, a container's, pieces and odd bytes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from gotriage.host.journal_entry import Converter, from_json, time_of
from gotriage.records.text import MAX_TEXT

US = 1_763_900_000_123_456
STDOUT = {
    "_TRANSPORT": b"stdout",
    "_PID": b"41",
    "SYSLOG_IDENTIFIER": b"api",
    "_COMM": b"api",
    "PRIORITY": b"6",
    "_BOOT_ID": b"ab" * 16,
}


def lines(*entries: dict[str, object]):
    converter = Converter(cursors=True)
    for number, entry in enumerate(entries):
        converter.add(entry, US + number, f"c{number}")
    return converter.take()


def test_time_is_exact():
    assert time_of(US) == datetime(2025, 11, 23, 12, 13, 20, 123456, tzinfo=UTC)


def test_a_programs_own_line():
    (line,) = lines({**STDOUT, "MESSAGE": b'{"level":"ERROR","msg":"no","n":1}'})
    assert (line.source, line.message, line.level, line.priority) == ("journal", "no", "error", 6)
    assert (line.identifier, line.pid, line.boot, line.cursor) == ("api", 41, "ab" * 16, "c0")
    assert line.fields == {"n": "1"}
    assert line.at == time_of(US)


def test_systemds_own_line():
    entry = {
        "_PID": b"1",
        "_TRANSPORT": b"journal",
        "SYSLOG_IDENTIFIER": b"systemd",
        "MESSAGE": b"x.service: Main process exited, code=exited, status=2/INVALIDARGUMENT",
        "MESSAGE_ID": b"98e322203f7a4ed290d09fe03c09fe15",
        "EXIT_STATUS": b"2",
        "PRIORITY": b"5",
        "CODE_FILE": b"src/core/service.c",
    }
    (line,) = lines(entry)
    assert (line.kind, line.priority, line.pid) == ("systemd", 5, 1)
    assert line.fields == {"MESSAGE_ID": "98e322203f7a4ed290d09fe03c09fe15", "EXIT_STATUS": "2"}


@pytest.mark.parametrize(
    ("message_id", "kind"),
    [
        (b"a596d6fe7bfa4994828e72309e95d61e", "dropped"),
        (b"fe6faa94e7774663a0da52717891d8ef", "oom"),
        (b"fc2e22bc6ee647b6b90729ab34a250b1", "coredump"),
    ],
)
def test_kinds_by_message_id(message_id: bytes, kind: str):
    (line,) = lines({"_TRANSPORT": b"driver", "MESSAGE_ID": message_id, "MESSAGE": b"m", "N_DROPPED": b"412"})
    assert line.kind == kind
    assert line.fields["N_DROPPED"] == "412"


def test_fields_that_a_program_sends_along():
    entry = {
        **STDOUT,
        "_TRANSPORT": b"journal",
        "MESSAGE": b"m",
        "ORDER": b"7\x1b[2J",
        "CODE_LINE": b"3",
        "X": [b"a", b"b"],
    }
    (line,) = lines(entry)
    assert line.fields == {"ORDER": "7␛[2J", "X": "a"}


def test_containers_say_their_stream_not_a_priority():
    entry = {
        "_TRANSPORT": b"journal",
        "CONTAINER_ID_FULL": b"f" * 64,
        "CONTAINER_NAME": b"web-1",
        "PRIORITY": b"3",
        "_COMM": b"dockerd",
        "_PID": b"900",
        "MESSAGE": b"2026/11/23 02:47:10 INFO fine\n",
    }
    (line,) = lines(entry)
    assert (line.source, line.identifier, line.stream, line.priority) == ("docker", "web-1", "stderr", None)
    assert (line.message, line.level, line.pid) == ("fine", "info", None)
    (line,) = lines({**entry, "_COMM": b"conmon", "PRIORITY": b"6"})
    assert (line.source, line.stream) == ("podman", "stdout")


def test_pieces_of_a_long_line_are_put_together():
    piece = b"x" * 49152
    found = lines(
        {**STDOUT, "MESSAGE": piece, "_LINE_BREAK": b"line-max"},
        {**STDOUT, "_PID": b"42", "MESSAGE": b"another process"},
        {**STDOUT, "MESSAGE": b"end", "_LINE_BREAK": b"eof"},
        {**STDOUT, "MESSAGE": b"next"},
    )
    assert sorted((line.pid, len(line.message)) for line in found) == [(41, 4), (41, 49155), (42, 15)]
    many = [{**STDOUT, "MESSAGE": piece, "_LINE_BREAK": b"line-max"} for _ in range(30)]
    assert all(len(line.message) <= MAX_TEXT for line in lines(*many, {**STDOUT, "MESSAGE": b"end"}))


def test_odd_entries():
    found = lines(
        {},
        {"MESSAGE": [b"first", b"second"]},
        {"MESSAGE": b"\xff\x1b]0;x\x07\x00", "_PID": b"x", "PRIORITY": b"99", "_TRANSPORT": b"stdout"},
        {"MESSAGE": b"m", "_PID": b"9" * 40, "SYSLOG_IDENTIFIER": [b"a", b"b"], "PRIORITY": [b"3", b"4"]},
    )
    assert [line.message for line in found[:2]] == ["", "first"]
    assert "\x1b" not in found[2].message
    assert (found[2].pid, found[2].priority) == (None, None)
    assert (found[3].pid, found[3].identifier, found[3].priority) == (None, "a", 3)


def test_json_entries_are_the_same():
    entry, us, cursor, message = from_json(
        {
            "__REALTIME_TIMESTAMP": str(US),
            "__CURSOR": "s=1",
            "MESSAGE": [104, 105, 255],
            "A": None,
            "B": ["x", "y"],
            "C": [[1, 2], "z"],
            "_PID": "7",
        }
    )
    assert (us, cursor, message) == (US, "s=1", b"hi\xff")
    assert entry == {"A": b"", "B": [b"x", b"y"], "C": [b"\x01\x02", b"z"], "_PID": b"7"}
    for bad in ({}, {"__REALTIME_TIMESTAMP": 5}, {"__REALTIME_TIMESTAMP": "x"}):
        with pytest.raises(ValueError, match="TIMESTAMP"):
            from_json(bad)
