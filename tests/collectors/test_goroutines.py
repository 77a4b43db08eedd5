"""What the reader says, as records; and what becomes of everything that it cannot say."""

from __future__ import annotations

import msgspec
import pytest
from gotriage.collectors import Refusals, Unavailable
from gotriage.collectors import goroutines as module
from gotriage.collectors.goroutines import LIVE, MOST, GoroutineCollector, Times, counts_of, record_of
from gotriage.errors import NotPermitted, TargetGone
from gotriage.goruntime.oncpu import CpuLook, CpuStack
from gotriage.goruntime.refusals import NotGo
from gotriage.goruntime.report import Dump, Frame, Goroutine, Group, Stack
from gotriage.host import clock
from gotriage.records.cpustacks import CpuStacks
from gotriage.records.goroutines import GoroutineCounts, Goroutines
from gotriage.records.stream import Gap, Request

from tests.collectors.fakes import fake_host, stat_line, target_of, write
from tests.goruntime.dumps import dump


class Answers:
    """A reader that says what it is told to say."""

    def __init__(self, answer):
        self.answer, self.calls, self.closed = answer, [], 0

    def call(self, op, deadline, **arguments):
        self.calls.append((op, arguments))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def close(self):
        self.closed += 1


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_REFUSED", Refusals())
    write(tmp_path, {"proc/7/stat": stat_line(7), "proc/7/task/70/stat": stat_line(70, state="D", utime=150)})
    write(tmp_path, {"proc/7/task/70/wchan": "futex_wait\x1b_queue"})
    host = fake_host(tmp_path)

    def make(answer):
        reader = Answers(answer)
        return reader, GoroutineCollector(host, target_of(host, 7), lambda pid: reader)

    return make


def test_a_look_is_the_counts_and_the_groups(made):
    reader, collector = made(dump(30))
    counts, record = collector.collect()
    assert reader.calls == [("goroutines", {"limit": LIVE})]
    assert isinstance(counts, GoroutineCounts)
    assert isinstance(record, Goroutines)
    assert counts.at == record.at == clock.from_epoch(1000.0)
    assert (counts.total, counts.system, counts.took) == (35, 1, 0.011)
    assert counts.groups["leak"] == (type(counts.groups["leak"]))(30, 100, 119)
    assert "sweep" not in counts.groups
    assert counts.creators == {"main.(*Server).serve": 30, "main.main": 3}
    assert [(one.id, one.start) for one in counts.running] == [(60, "main.spin")]


def test_a_group_says_where_and_by_whom(made):
    _, collector = made(dump(30))
    _, record = collector.collect()
    first = record.rows[0]
    assert (first.where, first.where_file, first.where_line) == ("main.wait", "/src/app/main.go", 12)
    assert (first.created_at, first.count, first.before, first.first) == ("main.(*Server).serve", 30, 25, 2)
    assert first.since == clock.from_epoch(939.0)
    assert first.since_source == "observed"
    spin = next(row for row in record.rows if row.key == "spin")
    assert (spin.where, spin.stack) == ("main.spin", -1)
    assert record.goroutines[2].since == clock.from_epoch(939.0)
    assert record.cycles[0][0].holder == 51
    assert {found.type for found in record.objects} == {"channel", "mutex"}


def test_the_beginning_of_a_wait_does_not_tremble():
    times = Times()
    earlier = record_of(dump(3, 1000.0), times)
    trembling = msgspec.structs.replace(
        dump(3, 1002.0),
        goroutines=tuple(
            msgspec.structs.replace(one, waits=one.waits + 2.04) if one.waits else one for one in dump(3).goroutines
        ),
    )
    later = record_of(trembling, times)
    assert [one.since for one in later.goroutines] == [one.since for one in earlier.goroutines]
    assert record_of(dump(3, 1010.0), times).goroutines[0].since != earlier.goroutines[0].since


def test_hostile_text_is_cleaned_and_impossible_times_are_unknown():
    evil = "main.\x1b[31mx\u202e\n"
    made = Dump(
        at=1000.0,
        took=0.1,
        count=1,
        states={evil: 1},
        stacks=(Stack((Frame(evil, evil, 1),)),),
        sites=(Frame(evil),),
        groups=(Group("k", "waiting", evil, 1, (1,), 0, 0, 0, oldest=1e30, labels={evil: evil}),),
        goroutines=(Goroutine(1, "waiting", evil, 0, 0, labels={evil: evil}, waits=-1e30, wake_in=float("inf")),),
        problems=(evil,),
    )
    data = msgspec.json.encode(record_of(made, Times())) + msgspec.json.encode(counts_of(made))
    assert b"\\u001b" not in data
    assert "\u202e" not in data.decode()
    record = record_of(made, Times())
    assert (record.rows[0].since, record.goroutines[0].since, record.goroutines[0].wake_at) == (None, None, None)


def test_a_thread_in_a_system_call_with_the_kernels_word(made):
    one = Goroutine(5, "syscall", "", 0, thread=70)
    _, collector = made(Dump(1000.0, 0.1, 1, stacks=(Stack(()),), goroutines=(one, Goroutine(6, "syscall", thread=71))))
    _, record = collector.collect()
    assert (record.goroutines[0].thread_state, record.goroutines[0].wchan[:10]) == ("D", "futex_wait")
    assert "\x1b" not in record.goroutines[0].wchan
    assert record.goroutines[1].thread_state == ""


def test_what_could_not_be_read_is_a_gap(made):
    _, collector = made(msgspec.structs.replace(dump(), problems=("3 stacks could not be read",)))
    gap = list(collector.collect())[-1]
    assert isinstance(gap, Gap)
    assert (gap.source, gap.reason) == ("goroutines.part", "3 stacks could not be read")


def test_a_program_that_is_not_go_is_no_loss(made):
    _, collector = made(NotGo("not a Go program"))
    with pytest.raises(Unavailable) as caught:
        list(collector.collect())
    assert caught.value.lost is False


def test_a_program_that_is_not_go_is_not_asked_again_at_once(made, monkeypatch):
    reader, collector = made(NotGo("not a Go program"))
    for _ in range(3):
        with pytest.raises(Unavailable):
            list(collector.collect())
    assert len(reader.calls) == 1
    monkeypatch.setattr(Refusals, "LASTS", -1.0)
    monkeypatch.setattr(module, "_REFUSED", Refusals())
    for _ in range(2):
        with pytest.raises(Unavailable):
            list(collector.collect())
    assert len(reader.calls) == 3


def test_a_permission_comes_through_and_an_ended_target_is_silence(made):
    _, collector = made(NotPermitted("no"))
    with pytest.raises(NotPermitted):
        list(collector.collect())
    reader, collector = made(TargetGone("gone"))
    assert list(collector.collect()) == []
    assert reader.closed == 1


def test_another_process_gets_another_reader(made):
    reader, collector = made(dump())
    list(collector.collect())
    collector._key = 6
    list(collector.collect())
    assert reader.closed == 1
    collector.close()
    assert reader.closed == 2


def test_all_goroutines_on_request_within_bounds(made):
    reader, collector = made(dump())
    list(collector.answer(Request(1, "goroutines", limit=123)))
    list(collector.answer(Request(2, "goroutines", limit=10**9)))
    assert [arguments["limit"] for _, arguments in reader.calls] == [123, MOST]


def test_stacks_of_what_is_on_a_cpu_on_request(made):
    look = CpuLook(
        1000.0,
        0.001,
        (CpuStack(60, 4242, 0.00007, (Frame("main.\x1bspin", "/s.go", 5),)), CpuStack(None, 9, error="x")),
    )
    reader, collector = made(look)
    (record,) = collector.answer(Request(1, "stacks"))
    assert reader.calls == [("stacks", {})]
    assert isinstance(record, CpuStacks)
    assert (record.rows[0].id, record.rows[0].stopped_seconds, record.rows[1].error) == (60, 0.00007, "x")
    assert "\x1b" not in record.rows[0].frames[0].function
