"""The store: bounded rings, a cursor that any reader obeys, late records where they belong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gotriage.records.libraries import Libraries
from gotriage.records.process import ProcessSample
from gotriage.records.stream import Gap, Header, Heartbeat
from gotriage.session.store import Session

NOW = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def sample(seconds: float, threads: int | None = None) -> ProcessSample:
    return ProcessSample(at=at(seconds), threads=int(seconds) if threads is None else threads)


def fed(*records) -> Session:
    session = Session()
    for record in records:
        session.feed(record)
    return session


def test_an_empty_session_answers():
    session = Session()
    assert session.latest(ProcessSample) is None
    assert session.series(ProcessSample) == ()
    assert session.gaps() == []
    assert session.moment is None
    session.pause()
    session.step(1)
    session.jump(NOW)
    assert session.at_head


def test_readers_see_the_cursor_and_nothing_later():
    session = fed(*(sample(n) for n in range(10)))
    assert session.latest(ProcessSample) == sample(9)
    session.jump(at(4.5))
    assert session.latest(ProcessSample) == sample(4)
    assert [r.threads for r in session.series(ProcessSample)] == [0, 1, 2, 3, 4]
    assert [r.threads for r in session.series(ProcessSample, seconds=2)] == [3, 4]
    session.head()
    assert session.latest(ProcessSample) == sample(9)


def test_a_cursor_before_the_first_record_of_a_type_shows_nothing():
    session = fed(Header(at=at(0)), sample(5))
    session.jump(at(1))
    assert session.latest(ProcessSample) is None
    assert session.series(ProcessSample) == []


def test_a_paused_session_takes_records_and_does_not_show_them():
    session = fed(sample(1))
    session.pause()
    session.feed(sample(2))
    assert session.latest(ProcessSample) == sample(1)
    assert session.version(ProcessSample) == 2
    session.head()
    assert session.latest(ProcessSample) == sample(2)


def test_jumps_stay_within_what_is_there():
    session = fed(sample(1), sample(5))
    session.jump(at(-100))
    assert session.cursor == at(1)
    session.jump(at(100))
    assert session.cursor == at(5)


def test_steps_follow_the_heartbeats():
    session = fed(*(Heartbeat(at=at(n)) for n in range(5)), sample(4.5))
    session.step(-1)
    assert session.cursor == at(3)
    session.step(-100)
    assert session.cursor == at(0)
    session.step(2)
    assert session.cursor == at(2)
    session.step(100)
    assert session.cursor == at(4)


def test_a_late_record_goes_where_its_time_belongs():
    session = fed(sample(1), sample(5), sample(3), sample(0))
    assert [r.threads for r in session.series(ProcessSample)] == [0, 1, 3, 5]
    assert session.latest(ProcessSample) == sample(5)
    assert session.first == at(0)
    assert session.last == at(5)


def test_rings_are_bounded_while_live_and_keep_all_of_a_recording():
    live, opened = Session(), Session(bounded=False)
    for number in range(Libraries.keep + 10):
        record = Libraries(at=at(number), executable=str(number), linkage="static")
        live.feed(record)
        opened.feed(record)
    assert len(live.series(Libraries)) == Libraries.keep
    assert live.series(Libraries)[0].executable == "10"
    assert len(opened.series(Libraries)) == Libraries.keep + 10


def test_a_late_record_keeps_a_full_ring_full_and_in_order():
    session = fed(*(Libraries(at=at(n), executable=str(n), linkage="x") for n in range(Libraries.keep)))
    session.feed(Libraries(at=at(5.5), executable="late", linkage="x"))
    names = [record.executable for record in session.series(Libraries)]
    assert len(names) == Libraries.keep
    assert names[:6] == ["1", "2", "3", "4", "5", "late"]
    session.feed(Libraries(at=at(-5), executable="too late", linkage="x"))
    assert session.series(Libraries)[0].executable == "1"


def test_gaps_are_open_until_their_source_works_again():
    session = fed(
        Gap(at=at(1), source="journal", reason="no permission"),
        Gap(at=at(2), source="journal", reason="rotated"),
        Gap(at=at(2), source="files", reason="late"),
        Gap(at=at(3), source="journal", reason="no permission"),
        Gap(at=at(5), source="journal", closed=True),
    )
    assert [gap.source for gap in session.gaps()] == ["files"]
    session.jump(at(4))
    assert [(gap.source, gap.reason) for gap in session.gaps()] == [
        ("journal", "no permission"),
        ("journal", "rotated"),
        ("files", "late"),
    ]


def test_everything_comes_in_time_order_whatever_the_cursor():
    session = fed(Header(at=at(0)), sample(1), Heartbeat(at=at(2)), sample(3), Heartbeat(at=at(1.5)))
    session.jump(at(1))
    assert [record.at for record in session.everything()] == [at(0), at(1), at(1.5), at(2), at(3)]
    assert session.records_of(ProcessSample) == [sample(1), sample(3)]
