"""The codec: every record survives; what is not understood is counted, and nothing can break the reader."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime

import pytest
from gotriage.errors import BadRecording
from gotriage.records.stream import SCHEMA, Gap, Header, Heartbeat, Request
from gotriage.records.target import Event
from gotriage.session.store import Session
from gotriage.session.stream import Decoder, Lines, decode_request, encode, encode_request

from tests.session.making import KINDS, struct

NOW = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_record_survives_the_way(kind):
    rng = random.Random(7)
    for _ in range(50):
        record = struct(kind, rng)
        if isinstance(record, Header):
            record = Header(**{**{f: getattr(record, f) for f in record.__struct_fields__}, "schema": SCHEMA})
        line = encode(record)
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert json.loads(line)["kind"] == kind.__struct_config__.tag
        assert Decoder().decode(line[:-1]) == record


def test_times_are_rfc_3339_in_utc():
    assert json.loads(encode(Event(at=NOW, what="x")))["at"] == "2026-11-23T20:00:00Z"


def test_a_header_says_its_version_whatever_the_default():
    assert json.loads(encode(Header(at=NOW)))["schema"] == SCHEMA


def test_unknown_kinds_and_fields_are_passed_over_and_counted():
    decoder = Decoder()
    assert decoder.decode(b'{"kind":"elephants","at":"2026-11-23T20:00:00Z","rows":[1,2]}') is None
    assert decoder.decode(b'{"kind":"elephants","at":1}') is None
    event = decoder.decode(b'{"kind":"event","at":"2026-11-23T20:00:00Z","what":"exec","colour":{"a":[1]}}')
    assert event == Event(at=NOW, what="exec")
    assert decoder.report.unknown == {"elephants": 2}
    assert decoder.report.records == 1
    assert "elephants 2" in decoder.report.remarks[0]


def test_a_newer_minor_version_is_read():
    decoder = Decoder()
    line = b'{"kind":"header","at":"2026-11-23T20:00:00Z","schema":"1.99","version":"7.0","new":true}'
    assert decoder.decode(line).schema == "1.99"
    assert (
        decoder.decode(b'{"kind":"heartbeat","at":"2026-11-23T20:00:00Z","collectors":{"a":{"state":"new"}}}') is None
    )
    assert decoder.report.invalid == 1
    assert "gotriage 7.0 wrote it" in decoder.report.remarks[0]


@pytest.mark.parametrize("schema", ["2.0", "0.9", "", "x", "٣.0", "1" * 5000])
def test_another_major_version_is_refused_in_one_line(schema):
    line = json.dumps({"kind": "header", "at": "2026-11-23T20:00:00Z", "schema": schema, "version": "9.9"}).encode()
    with pytest.raises(BadRecording, match=r"written by gotriage 9\.9 in stream version .*this gotriage reads 1\.x"):
        Decoder().decode(line)


def test_another_major_version_is_refused_even_when_its_header_has_another_shape():
    with pytest.raises(BadRecording, match=r"stream version 3\.1"):
        Decoder().decode(b'{"kind":"header","at":17,"schema":"3.1"}')


HOSTILE = {
    "deep arrays": b'{"kind":"event","at":"2026-11-23T20:00:00Z","what":"x","more":' + b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "a long number": b'{"kind":"reply","at":"2026-11-23T20:00:00Z","id":' + b"9" * 100_000 + b"}",
    "no JSON": b"hello",
    "binary": bytes(range(256)),
    "a number": b"17",
    "null": b"null",
    "a list": b"[]",
    "a kind that is none": b'{"kind":17}',
    "no kind": b"{}",
    "not UTF-8": b'{"kind":"event","at":"2026-11-23T20:00:00Z","what":"\xff\xfe"}',
    "a time that is none": b'{"kind":"event","at":"2026-99-23T20:00:00Z","what":"x"}',
    "a lone surrogate": b'{"kind":"event","at":"2026-11-23T20:00:00Z","what":"\\ud800"}',
    "nested escapes": b'{"kind":"event","at":"2026-11-23T20:00:00Z","what":"\\u001b","more":' + b"[" * 100_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_line_is_counted_and_forgotten(name):
    decoder = Decoder()
    record = decoder.decode(HOSTILE[name])
    report = decoder.report
    assert record is None
    assert report.invalid + report.garbled + sum(report.unknown.values()) == 1
    assert report.remarks


def test_kinds_invented_by_the_thousand_are_not_all_remembered():
    decoder = Decoder()
    for number in range(1000):
        decoder.decode(f'{{"kind":"k{number}"}}'.encode())
    assert len(decoder.report.unknown) == 100
    assert len(decoder.report.remarks[0]) < 500


ESCAPES = ["\x1b[31m", "\x07", "\x9b2J", "\u202e", "\u200b", "\U000e0041", "\x7f", "\ufeff", "\u2028"]


@pytest.mark.parametrize("text", ESCAPES, ids=ascii)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_text_of_a_strangers_stream_cannot_command_the_terminal(text, ascii_only):
    line = json.dumps(
        {"kind": "gap", "at": "2026-11-23T20:00:00Z", "source": f"a{text}b", "reason": f"x\n{text}"},
        ensure_ascii=ascii_only,
    ).encode()
    gap = Decoder().decode(line)
    assert isinstance(gap, Gap)
    assert text not in gap.source
    assert text not in gap.reason
    assert gap.reason.startswith("x\n")


TIMES = {
    "no zone": ("2026-11-23T20:00:00", "2026-11-23T20:00:00+00:00"),
    "another zone": ("2026-11-23T20:00:00.5+05:00", "2026-11-23T15:00:00.500000+00:00"),
    "the first year": ("0001-01-01T00:00:00Z", "1970-01-01T00:00:00+00:00"),
    "before the first year": ("0001-01-01T00:00:00+10:00", "1970-01-01T00:00:00+00:00"),
    "the last year": ("9999-12-31T23:59:59Z", "2200-01-01T00:00:00+00:00"),
    "after the last year": ("9999-12-31T23:59:59-10:00", "2200-01-01T00:00:00+00:00"),
}


@pytest.mark.parametrize("name", TIMES)
def test_times_of_a_strangers_stream_can_be_compared(name):
    text, expected = TIMES[name]
    line = json.dumps(
        {"kind": "logs", "at": text, "rows": [{"at": text, "source": "file", "message": "x"}]},
    )
    record = Decoder().decode(line.encode())
    assert record.at.isoformat() == expected
    assert record.rows[0].at.isoformat() == expected
    session = Session()
    session.feed(Event(at=NOW, what="x"))
    session.feed(record)
    beat = {"kind": "heartbeat", "at": "2026-11-23T20:00:00Z", "collectors": {"a": {"last": text}}}
    assert Decoder().decode(json.dumps(beat).encode()).collectors["a"].last.isoformat() == expected


def test_names_of_fields_are_cleaned_too():
    line = json.dumps({"kind": "heartbeat", "at": "2026-11-23T20:00:00Z", "collectors": {"\x1b[2Jx": {"state": "ok"}}})
    record = Decoder().decode(line.encode())
    assert isinstance(record, Heartbeat)
    assert list(record.collectors) == ["␛[2Jx"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_lines_come_whole_out_of_pieces_of_any_size(size):
    data = b"one\n\ntwo\nthree three\n" * 20 + b"rest"
    lines = Lines()
    found = [line for start in range(0, len(data), size) for line in lines.feed(data[start : start + size])]
    assert found == [b"one", b"", b"two", b"three three"] * 20
    assert lines.rest == 4


def test_a_line_beyond_the_bound_is_refused():
    lines = Lines(limit=100)
    with pytest.raises(BadRecording, match="longer"):
        for _ in range(11):
            list(lines.feed(b"x" * 10))


def test_requests_survive_the_way():
    request = Request(3, "logs", ("journal",), NOW, None, 50)
    assert decode_request(encode_request(request)) == request


@pytest.mark.parametrize("line", [b"", b"x", b"{}", b'{"id":1,"op":"exec"}', b"[" * 50_000, b'{"id":"1","op":"stop"}'])
def test_what_is_no_request_is_a_value_error(line):
    with pytest.raises(ValueError):
        decode_request(line)
