"""Recordings: what was written is read, whatever happens to the file afterwards; nothing wrong is ever given out."""

from __future__ import annotations

import json
import os
import resource
import stat
from datetime import UTC, datetime, timedelta

import pytest
import zstandard
from gotriage.errors import BadRecording, NotPermitted, NotWritten, UsageError
from gotriage.records.environment import Environment
from gotriage.records.files import FileTable, OpenFile
from gotriage.records.logs import LogLine, LogLines
from gotriage.records.process import ProcessSample
from gotriage.records.stream import End, Header, Heartbeat
from gotriage.records.target import Event
from gotriage.session import frames, recording
from gotriage.session.recording import Reader, Writer, load, save
from gotriage.session.store import Session
from gotriage.session.stream import encode

from tests.session.making import records

NOW = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def small() -> list:
    return [Header(at=NOW, version="0.1", host="h"), *(ProcessSample(at=at(n), threads=n, cpu=n / 7) for n in range(8))]


def written(path, some, **options) -> Writer:
    with Writer(path, **options) as writer:
        for record in some:
            writer.write(record)
    return writer


def read_back(path) -> list:
    return [record for record in Reader(path) if not isinstance(record, End)]


def test_all_kinds_of_records_come_back_equal(tmp_path):
    some = [Header(at=NOW), *(r for r in records(200) if not isinstance(r, (Header, End)))]
    writer = written(tmp_path / "r", some, redact=False)
    assert read_back(tmp_path / "r") == some
    assert writer.records == len(some) + 1
    assert writer.size == (tmp_path / "r").stat().st_size


def test_one_frame_for_many_records_reads_the_same(tmp_path):
    with Writer(tmp_path / "r") as writer:
        for record in small():
            writer.add(record)
    assert [type(r) for r in Reader(tmp_path / "r")] == [*map(type, small()), End]


def test_added_records_are_written_within_a_second(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(recording.clock, "monotonic", lambda: now[0])
    writer = Writer(tmp_path / "r")
    writer.add(small()[0])
    assert writer.size == 0
    now[0] += 1.0
    writer.add(small()[1])
    assert writer.size == (tmp_path / "r").stat().st_size > 0
    writer.close()


def test_what_write_acknowledged_is_there_without_any_close(tmp_path):
    writer = Writer(tmp_path / "r")
    for count, record in enumerate(small(), 1):
        writer.write(record)
        reader = Reader(tmp_path / "r")
        assert len(list(reader)) == count
        assert reader.report.cut
    writer.close()


def test_the_file_is_plain_zstd_and_json_for_other_tools(tmp_path):
    written(tmp_path / "r", small())
    with (tmp_path / "r").open("rb") as file:
        text = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read().decode()
    assert [json.loads(line)["kind"] for line in text.splitlines()] == ["header", *["process"] * 8, "end"]


# -- the file itself


def test_it_belongs_to_the_user_alone(tmp_path):
    os.umask(0)
    written(tmp_path / "r", small())
    assert stat.S_IMODE((tmp_path / "r").stat().st_mode) == 0o600


def test_nothing_is_overwritten_and_no_link_followed(tmp_path):
    (tmp_path / "there").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "elsewhere")
    for name in ("there", "dangling"):
        with pytest.raises(UsageError, match="exists already"):
            Writer(tmp_path / name)
    assert (tmp_path / "there").read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_not_there_is_one_clear_line(tmp_path):
    with pytest.raises(NotWritten, match="No such file"):
        Writer(tmp_path / "no" / "r")


def test_a_folder_that_may_not_be_written_is_one_clear_line(tmp_path):
    if (child := os.fork()) == 0:
        try:
            os.setresuid(65534, 65534, 65534)
            Writer(tmp_path / "r")
        except NotPermitted as error:
            os._exit(7 if "65534" in str(error) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_full_disk_is_one_clear_line_and_what_stands_is_whole(tmp_path):
    path = tmp_path / "r"
    if (child := os.fork()) == 0:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
            with Writer(path) as writer:
                writer.write(small()[0])
                for number in range(10_000):
                    writer.write(Event(at=at(number), what=os.urandom(30).hex()))
        except NotWritten as error:
            os._exit(7 if "stay readable" in str(error) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    reader = Reader(path)
    assert len(list(reader)) > 5
    assert reader.report.damage == ""
    assert reader.report.cut


def test_a_snapshot_that_cannot_be_finished_is_not_left_behind(tmp_path, monkeypatch):
    session = Session()
    session.feed(small()[0])

    def full(fd, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recording, "_write_all", full)
    with pytest.raises(NotWritten, match="No space left on device"):
        save(session, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_an_exception_ends_the_file_and_says_so(tmp_path):
    with pytest.raises(RuntimeError), Writer(tmp_path / "r") as writer:
        writer.add(small()[0])
        raise RuntimeError("the agent is gone")
    *_, end = Reader(tmp_path / "r")
    assert end.reason == "stopped: the agent is gone"


def test_the_streams_own_end_is_the_files_end(tmp_path):
    written(tmp_path / "r", [*small(), End(at=at(20), reason="stopped on request")])
    *rest, end = Reader(tmp_path / "r")
    assert end.reason == "stopped on request"
    assert not any(isinstance(record, End) for record in rest)


# -- damage


def test_cut_at_every_byte_gives_whole_records_and_says_so(tmp_path):
    some = small()
    written(tmp_path / "r", some)
    data = (tmp_path / "r").read_bytes()
    for size in range(len(data)):
        (tmp_path / "cut").write_bytes(data[:size])
        reader = Reader(tmp_path / "cut")
        found = []
        try:
            for record in reader:
                found.append(record)  # noqa: PERF402  # what came before an error counts
        except BadRecording as error:
            assert not found, error
            assert "recording" in str(error) or "cut" in str(error)
            continue
        assert found[1:] == some[1 : len(found)]
        assert reader.report.cut
        assert "cut after" in reader.report.remarks[0]
        assert "20:00:0" in reader.report.remarks[0]


def test_no_flipped_bit_goes_unnoticed(tmp_path):
    some = small()[:4]
    written(tmp_path / "r", some)
    data = (tmp_path / "r").read_bytes()
    whole = list(Reader(tmp_path / "r"))
    for place in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            (tmp_path / "flip").write_bytes(flipped)
            reader = Reader(tmp_path / "flip")
            found = []
            try:
                for record in reader:
                    found.append(record)  # noqa: PERF402
            except BadRecording:
                assert not found
                continue
            assert found == whole[: len(found)], (place, bit)
            # Some bits mean nothing, as the unused one of a frame's descriptor (RFC 8878, 3.1.1.1.1.3).
            assert found == whole or not reader.report.whole


def test_a_damaged_frame_stops_the_reading_and_says_how_far_it_came(tmp_path):
    written(tmp_path / "r", small())
    data = bytearray((tmp_path / "r").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "r").write_bytes(data)
    session, report = load(tmp_path / "r")
    assert 1 < report.records < 9
    assert report.remarks[0].startswith(f"damaged after {report.records} records at 20:00:0")
    assert len(session.series(ProcessSample)) == report.records - 1


def test_more_than_a_frame_of_records_in_one_write(tmp_path):
    with Writer(tmp_path / "r") as writer:
        writer.write(*(Event(at=at(n), what="e", detail="d " * 30_000) for n in range(100)))
    with pytest.raises(BadRecording, match="does not begin with a header"):
        list(Reader(tmp_path / "r"))
    data = (tmp_path / "r").read_bytes()
    (tmp_path / "h").write_bytes(encode(Header(at=NOW)) + data)
    assert len(list(Reader(tmp_path / "h"))) == 102


NOT_RECORDINGS = {
    "empty": (b"", "empty"),
    "blank": (b"\n\n\n", "empty"),
    "text": (b"hello\n", "neither text nor"),
    "JSON of others": (b'{"a":1}\n', "does not begin with a header"),
    "a log": (b'{"level":"info"}\n{"level":"info"}\n', "does not begin with a header"),
    "gzip": (b"\x1f\x8b\x08\x00" * 100, "neither text nor"),
    "ELF": (b"\x7fELF" * 100, "neither text nor"),
    "one byte": (b"\x28", "cut"),
    "zstd of others": (zstandard.compress(b"hello\n" * 100), "does not begin with a header"),
    "zstd cut": (zstandard.compress(b"hello\n" * 100)[:9], "cut"),
    "no header": (encode(Event(at=NOW, what="x")), "does not begin with a header"),
}


@pytest.mark.parametrize("name", NOT_RECORDINGS)
def test_what_is_no_recording_is_one_clear_line(tmp_path, name):
    data, words = NOT_RECORDINGS[name]
    (tmp_path / "r").write_bytes(data)
    with pytest.raises(BadRecording, match=words) as caught:
        load(tmp_path / "r")
    assert str(caught.value).startswith(str(tmp_path / "r"))
    assert "\n" not in str(caught.value)


# -- forms that others may give it


def test_plain_lines_and_frames_may_follow_one_another(tmp_path):
    some = small()
    pack = zstandard.ZstdCompressor(write_checksum=True)
    skippable = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"zebra"
    parts = [encode(some[0]), pack.compress(encode(some[1]) + encode(some[2])), skippable, encode(some[3])]
    parts += [encode(record) for record in some[4:6]] + [pack.compress(encode(some[6])), encode(some[7])]
    (tmp_path / "r").write_bytes(b"".join(parts))
    reader = Reader(tmp_path / "r")
    assert list(reader) == some[:8]
    assert reader.report.cut


def test_two_recordings_one_after_the_other_are_one(tmp_path):
    written(tmp_path / "a", small())
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "b").write_bytes(data + data)
    assert len(list(Reader(tmp_path / "b"))) == 20


def test_a_stream_that_zstd_packed_as_one_frame_is_read_as_far_as_it_goes(tmp_path):
    some = [Header(at=NOW), *(Event(at=at(n), what="e", detail=os.urandom(200).hex()) for n in range(2000))]
    data = b"".join(map(encode, some))
    packer = zstandard.ZstdCompressor().compressobj()
    packed = packer.compress(data) + packer.flush()
    (tmp_path / "whole").write_bytes(packed)
    assert list(Reader(tmp_path / "whole")) == some
    (tmp_path / "cut").write_bytes(packed[: len(packed) // 2])
    reader = Reader(tmp_path / "cut")
    found = list(reader)
    assert 500 < len(found) < 1500
    assert found == some[: len(found)]
    assert reader.report.cut


def test_it_is_read_from_a_pipe(tmp_path):
    written(tmp_path / "r", small())
    reader, writer = os.pipe()
    os.write(writer, (tmp_path / "r").read_bytes())
    os.close(writer)
    session, report = load(reader, "standard input")
    assert report.whole
    assert len(session.series(ProcessSample)) == 8


# -- bombs


def test_a_bomb_in_one_line_is_stopped(tmp_path):
    head = zstandard.ZstdCompressor().compress(encode(Header(at=NOW)))
    packer = zstandard.ZstdCompressor(level=19).compressobj()
    bomb = b"".join(packer.compress(b"[" * (1 << 20)) for _ in range(200)) + packer.flush()
    assert len(bomb) < 100_000
    (tmp_path / "r").write_bytes(head + bomb)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reader = Reader(tmp_path / "r")
    assert len(list(reader)) == 1
    assert "longer than 64 MiB" in reader.report.damage
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 300 * 1024


def test_a_bomb_that_tells_its_size_is_stopped(tmp_path):
    head = zstandard.ZstdCompressor().compress(encode(Header(at=NOW)))
    bomb = zstandard.ZstdCompressor(level=19).compress(b"\n" * (300 << 20))
    (tmp_path / "r").write_bytes(head + bomb)
    reader = Reader(tmp_path / "r")
    assert len(list(reader)) == 1
    assert "more than 128 MiB" in reader.report.damage


def test_a_bomb_of_many_lines_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(frames, "MAX_TOTAL", 5 << 20)
    packer = zstandard.ZstdCompressor().compressobj()
    line = b'{"kind":"nothing"}\n' * 5_000
    bomb = b"".join(packer.compress(line) for _ in range(100)) + packer.flush()
    (tmp_path / "r").write_bytes(encode(Header(at=NOW)) + bomb)
    reader = Reader(tmp_path / "r")
    assert len(list(reader)) == 1
    assert "unpacks to more than" in reader.report.damage


def test_a_frame_that_asks_for_a_huge_window_is_refused(tmp_path):
    # A frame header with a window descriptor of 2 GiB (RFC 8878, 3.1.1.1.2) and an empty last block.
    frame = b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([21 << 3]) + b"\x01\x00\x00"
    (tmp_path / "r").write_bytes(encode(Header(at=NOW)) + frame)
    reader = Reader(tmp_path / "r")
    assert len(list(reader)) == 1
    assert reader.report.damage


# -- snapshots


def test_a_snapshot_of_a_session_opens_as_the_same_session(tmp_path):
    session = Session()
    for record in [Header(at=NOW), *(Heartbeat(at=at(n)) for n in range(5)), *small()[1:]]:
        session.feed(record)
    session.feed(
        LogLines(at=at(3), rows=tuple(LogLine(at=at(n), source="file", message=f"line {n}") for n in range(50)))
    )
    session.feed(LogLines(at=at(4), rows=tuple(LogLine(at=at(n - 99), source="file", message="old") for n in range(9))))
    session.pause()
    save(session, tmp_path / "s")
    opened, report = load(tmp_path / "s")
    assert report.whole
    session.head()
    mine = [record for record in session.everything() if not isinstance(record, Header)]
    theirs = [record for record in opened.everything() if not isinstance(record, (Header, End))]
    assert sorted(mine, key=repr) == sorted(theirs, key=repr)
    assert opened.logs.tail(1000) == session.logs.tail(1000)
    assert opened.first == session.first


@pytest.fixture
def big(tmp_path):
    """A snapshot of 2,000 small records, some of them such as are synced at once, and its bytes."""
    session = Session()
    session.feed(Header(at=NOW, version="0.1"))
    for number in range(2000):
        kind = Event if number % 10 == 0 else Heartbeat
        session.feed(kind(at=at(number), **({"what": "e", "detail": os.urandom(20).hex()} if kind is Event else {})))
    save(session, tmp_path / "big")
    return (tmp_path / "big").read_bytes()


def opened(path, data):
    path.write_bytes(data)
    reader = Reader(path)
    return list(reader), reader.report


def test_a_cut_snapshot_opens_as_far_as_it_goes(tmp_path, big):
    whole, _ = opened(tmp_path / "r", big)
    for share in (0.1, 0.25, 0.5, 0.75, 0.99):
        found, report = opened(tmp_path / "r", big[: int(len(big) * share)])
        assert found == whole[: len(found)]
        assert len(found) > (share - 0.15) * len(whole)
        assert "cut after" in report.remarks[0]


def test_a_flipped_snapshot_opens_as_far_as_it_goes_and_says_that_it_is_damaged(tmp_path, big):
    whole, _ = opened(tmp_path / "r", big)
    for share in (0.1, 0.25, 0.5, 0.75, 0.95):
        place = int(len(big) * share)
        found, report = opened(tmp_path / "r", big[:place] + bytes([big[place] ^ 0x10]) + big[place + 1 :])
        assert found == whole[: len(found)]
        assert len(found) > (share - 0.15) * len(whole)
        assert report.remarks[0].startswith("damaged after") or len(found) == len(whole)


def test_a_recording_whose_beginning_is_damaged_is_called_damaged(tmp_path, big):
    for place in range(200):
        flipped = bytearray(big)
        flipped[place] ^= 0x11
        (tmp_path / "r").write_bytes(flipped)
        try:
            load(tmp_path / "r")
        except BadRecording as error:
            assert "damaged" in str(error) or "cut" in str(error), (place, str(error))
            assert "not a gotriage" not in str(error)
    plain = encode(Header(at=NOW)) + encode(Event(at=NOW, what="x"))
    for place in range(60, 66):
        (tmp_path / "r").write_bytes(plain[:place] + b"\x00" + plain[place + 1 :])
        with pytest.raises(BadRecording, match="damaged: its header"):
            load(tmp_path / "r")


def test_a_snapshot_is_not_synced_for_each_event(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(recording.os, "fdatasync", synced.append)
    session = Session()
    for number in range(300):
        session.feed(Event(at=at(number), what="e"))
    save(session, tmp_path / "s")
    assert 1 <= len(synced) < 10
    assert len(load(tmp_path / "s")[0].records_of(Event)) > 100


def test_a_snapshot_of_nothing_still_opens(tmp_path):
    save(Session(), tmp_path / "s")
    assert load(tmp_path / "s")[1].whole


# -- secrets


def test_secrets_never_reach_the_disk(tmp_path):
    secret = "hunter2-8842"
    some = [
        Header(at=NOW),
        LogLines(at=NOW, rows=(LogLine(at=NOW, source="journal", message=f"login password={secret}"),)),
        LogLines(at=NOW, rows=(LogLine(at=NOW, source="file", message="ok", fields={"db_password": secret}),)),
        Environment(at=NOW, argv=("/bin/app", "--token", secret, f"--api-key={secret}"), env={"API_TOKEN": secret}),
        Event(at=NOW, what="note", detail=f"Authorization: Bearer {secret}"),
    ]
    written(tmp_path / "r", some)
    header, *rest, end = Reader(tmp_path / "r")
    assert secret not in "".join(encode(record).decode() for record in rest)
    assert header.redaction == "gotriage 1"
    assert sum(end.masked.values()) == 6
    written(tmp_path / "open", some, redact=False)
    header, *rest, end = Reader(tmp_path / "open")
    assert rest == some[1:]
    assert header.redaction == ""
    assert end.masked == {}


def test_a_file_of_which_nothing_could_be_written_is_not_left_behind(tmp_path, monkeypatch):
    def full(fd, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recording, "_write_all", full)
    with pytest.raises(NotWritten, match=r"No space left on device$"), Writer(tmp_path / "r") as writer:
        writer.write(small()[0])
    assert not (tmp_path / "r").exists()


def test_a_file_that_unpacks_to_more_than_fits_is_read_as_far_as_it_goes(tmp_path, monkeypatch):
    """Some KB of a table's repeated rows can unpack to gigabytes."""
    monkeypatch.setattr(recording, "MOST_MEMORY", 32 << 20)
    monkeypatch.setattr(recording, "LEAST_MEMORY", 32 << 20)
    rows = tuple(OpenFile(pid=1, fd=number, type="file", name=f"/srv/{number}") for number in range(40_000))
    path = tmp_path / "bomb.gts.jsonl.zst"
    with Writer(path) as writer:
        writer.write(Header(at=NOW, version="1"))
        for second in range(60):
            writer.write(FileTable(at=NOW + timedelta(seconds=second), rows=rows))
    assert path.stat().st_size < 16 << 20
    session, report = load(path)
    assert 1 < report.records < 50
    assert "MiB of memory" in report.remarks[0]
    assert session.latest(FileTable).rows == rows
