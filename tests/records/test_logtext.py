"""What log lines say about themselves, in the forms that Go programs write."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from gotriage.records.logtext import MAX_FIELDS, level_name, stamp_of, understand
from gotriage.records.text import MAX_TEXT

FORMS = {
    "slog json": (
        b'{"time":"2026-11-23T02:47:10Z","level":"INFO","msg":"served","req":{"id":7,"path":"/a"},"ok":true,"took":1.5}',
        ("served", "info"),
        {"time": "2026-11-23T02:47:10Z", "req.id": "7", "req.path": "/a", "ok": "true", "took": "1.5"},
    ),
    "slog level with offset": (b'{"level":"ERROR+2","msg":"x"}', ("x", "error"), None),
    "zap json": (
        b'{"level":"warn","ts":1516134303.25,"caller":"main.go:1","msg":"slow","stacktrace":"main.f\\n\\t/x.go:1"}',
        ("slow", "warn"),
        {"ts": "1516134303.25", "caller": "main.go:1", "stacktrace": "main.f\n\t/x.go:1"},
    ),
    "zerolog": (b'{"level":"error","error":"EOF","message":"read"}', ("read", "error"), {"error": "EOF"}),
    "logrus json": (b'{"level":"warning","msg":"m","n":3}', ("m", "warn"), {"n": "3"}),
    "google": (b'{"severity":"NOTICE","message":"m"}', ("m", "notice"), None),
    "json without message": (b'{"status":200}', ('{"status":200}', ""), {"status": "200"}),
    "slog text": (
        b'time=2026-11-23T02:47:10Z level=WARN msg="slow \\"query\\"" rows=3',
        ('slow "query"', "warn"),
        {"time": "2026-11-23T02:47:10Z", "rows": "3"},
    ),
    "go-kit": (
        b'ts=2026-11-23T02:47:10Z caller=main.go:1 level=error err="open x: no such file"',
        ('ts=2026-11-23T02:47:10Z caller=main.go:1 level=error err="open x: no such file"', "error"),
        {"ts": "2026-11-23T02:47:10Z", "caller": "main.go:1", "err": "open x: no such file"},
    ),
    "logfmt with more behind": (
        b"level=info msg=ok and more",
        ("level=info msg=ok and more", "info"),
        {"msg": "ok"},
    ),
    "klog": (
        b"E0102 15:04:05.678901   12345 file.go:123] failed",
        ("failed", "error"),
        {"time": "0102 15:04:05.678901", "caller": "file.go:123"},
    ),
    "klog structured": (
        b'I0102 15:04:05.678901   12345 file.go:123] "Pod ready" pod="a/b" n=3',
        ("Pod ready", "info"),
        {"time": "0102 15:04:05.678901", "caller": "file.go:123", "pod": "a/b", "n": "3"},
    ),
    "standard log": (b"2026/11/23 02:47:10 listening", ("listening", ""), {"time": "2026/11/23 02:47:10"}),
    "slog default": (b"2026/11/23 02:47:10 WARN low n=3", ("low n=3", "warn"), {"time": "2026/11/23 02:47:10"}),
    "zap console": (
        b'2026-11-23T02:47:10.000Z\tINFO\tmain.go:12\thello\t{"a": 1}',
        ("hello", "info"),
        {"time": "2026-11-23T02:47:10.000Z", "a": "1", "caller": "main.go:12"},
    ),
    "nats": (b"[7] 2026/11/23 12:00:00.000000 [ERR] bad", ("bad", "error"), {"time": "2026/11/23 12:00:00.000000"}),
    "nginx": (b"2026/11/23 12:00:00 [error] 12#0: x", ("12#0: x", "error"), {"time": "2026/11/23 12:00:00"}),
    "postgres": (b"2026-11-23 00:00:00.000 UTC [9] LOG:  up", ("up", "info"), {"time": "2026-11-23 00:00:00.000 UTC"}),
    "logrus console": (b"\x1b[33mWARN\x1b[0m[0001] disk  k=v", ("disk  k=v", "warn"), None),
    "level first": (b"ERROR: disk", ("ERROR: disk", "error"), None),
    "plain": (b"GET /x 200", ("GET /x 200", ""), None),
    "a level inside is none": (b"user said ERROR twice", ("user said ERROR twice", ""), None),
    "empty": (b"", ("", ""), None),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form: str):
    raw, said, fields = FORMS[form]
    message, level, found, cut = understand(raw)
    assert (message, level) == said
    assert found == fields
    assert not cut


HOSTILE = [
    b"\xff\xfe not utf-8",
    b"\x1b]0;title\x07 osc \x1b[2J",
    b'{"msg":"\\u001b[2J\\u202e","level":"\\u0000"}',
    b'{"level":[],"msg":{}}',
    b'{"level":30,"msg":7}',
    b'{"a":' * 30000 + b"1" + b"}" * 30000,
    b"{" + b",".join(b'"k%d":%d' % (n, n) for n in range(500)) + b"}",
    b'{"n":' + b"9" * 5000 + b"}",
    b'level=info msg="unclosed',
    b"level=" + b"=" * 500,
    b'time="' + b"\\" * 3001 + b'"',
    b"2026-11-23T02:47:10Z" + b"[" * 1000,
    b"level=info " + b"a=1 " * 2000,
    b"I0102 15:04:05.678901 1 f.go:1] " + b'"' * 400,
    b"time=\xe2\x80\xae level=info msg=x",
]


@pytest.mark.parametrize("raw", HOSTILE)
def test_hostile_input_is_harmless(raw: bytes):
    begun = time.monotonic()
    message, level, fields, _ = understand(raw)
    assert time.monotonic() - begun < 5
    for text in (message, level, *(fields or {}), *(fields or {}).values()):
        assert not set(text) & set("\x1b\x07\x00\u202e")
        text.encode()
    assert len(fields or {}) <= MAX_FIELDS


def test_a_long_message_is_cut():
    message, level, fields, cut = understand(b'{"msg":"' + b"x" * 200_000 + b'"}')
    assert cut
    assert len(message) <= MAX_TEXT
    assert (level, fields) == ("", None)


def test_levels():
    assert [level_name(text) for text in ("Warning", "ERR", "dpanic", "INFO-4", "fatal", "sevenish", "")] == [
        "warn",
        "error",
        "panic",
        "info",
        "fatal",
        "",
        "",
    ]


def test_stamps():
    at = datetime(2026, 11, 23, 2, 47, 10, 123456, tzinfo=UTC)
    assert stamp_of({"time": "2026-11-23T02:47:10.123456789Z"}) == at
    assert stamp_of({"ts": "2026-11-23T04:47:10.123456+02:00"}) == at
    assert stamp_of({"ts": "1795402030"}) == datetime(2026, 11, 23, 2, 47, 10, tzinfo=UTC)
    assert stamp_of({"timestamp": "1795402030000"}) == datetime(2026, 11, 23, 2, 47, 10, tzinfo=UTC)
    for text in ("2026/11/23 02:47:10", "2026-11-23 02:47:10", "yesterday", "2026-99-99T99:99:99Z", ""):
        assert stamp_of({"time": text}) is None


@pytest.mark.parametrize(
    "raw",
    [
        b'{"level":"info","msg":"connecting","dsn":"postgres://app:hunter2@db.internal/app"}',
        b'{"level":"info","msg":"login password=hunter2"}',
        b'{"level":"info","msg":"ok","db":{"password":"hunter2"}}',
        b'{"msg":"GET /blob?a=1\\u0026sig=hunter2"}',
        b'time=2026-11-23T02:47:10Z level=WARN msg=ok token="hunter2 x"',
        b"2009/11/10 23:00:00 started with -secret hunter2",
        b"ran app --password hunter2",
        b"Authorization: Bearer hunter2abc",
        b"x" * (MAX_TEXT - 40) + b" password=hunter2 " + b"y" * 100,
    ],
)
def test_secrets_are_masked_in_message_and_fields(raw):
    message, _, fields, _ = understand(raw)
    assert "hunter2" not in message + repr(fields)
    assert "***" in message + repr(fields)


def test_fields_without_secrets_stay():
    assert understand(b'{"msg":"m","dsn":"postgres://app@db/app","passenger":"7"}')[2] == {
        "dsn": "postgres://app@db/app",
        "passenger": "7",
    }
