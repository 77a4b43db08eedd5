"""The runtime's numbers as records, with what the executable and the kernel say."""

from __future__ import annotations

import sys

import pytest
from gotriage.collectors import Refusals, Unavailable
from gotriage.collectors import runtime as module
from gotriage.collectors.runtime import RuntimeCollector, build_of, detail_of, numbers_of, read_build
from gotriage.errors import NotPermitted
from gotriage.goruntime.refusals import NotGo
from gotriage.goruntime.report import Counters, Identity, Processor, SizeClass, Thread
from gotriage.host import clock
from gotriage.records.runtime import GoBuild, GoRuntime, RuntimeDetail

from tests.collectors.fakes import fake_host, stat_line, target_of, write
from tests.lab import toolchain

COUNTERS = Counters(
    at=1000.0,
    took=0.002,
    gomaxprocs=4,
    ncpu=8,
    heap_live=4 << 20,
    heap_goal=8 << 20,
    gc_percent=-1,
    memory_limit=(1 << 63) - 1,
    gc_pauses=((990.0, 0.0001), (980.0, 0.0002), (-5.0, 1.0)),
    last_gc_at=990.0,
    runnable=-3,
    thread_list=(Thread(0, 7, 1, 0), Thread(1, 70), Thread(2, 0)),
    processors=(Processor(0, "running", 2, 1, 7),),
    size_classes=(SizeClass(64, True, 10, 81920, 1200),),
    godebug="http2client=0\x1b",
    problems=("no \x1btimers",),
)
IDENTITY = Identity(go_version="go1.27.3", layout="table", module_path="example.com/x", located="both")


class Answers:
    def __init__(self, problem=None):
        self.problem, self.calls, self.closed = problem, [], 0

    def call(self, op, deadline, **arguments):
        self.calls.append(op)
        if self.problem is not None:
            raise self.problem
        return IDENTITY if op == "identity" else COUNTERS

    def close(self):
        self.closed += 1


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_REFUSED", Refusals())
    write(tmp_path, {"proc/7/stat": stat_line(7), "proc/7/task/7/stat": stat_line(7, "main\x1b", utime=200)})
    host = fake_host(tmp_path)

    def make(problem=None):
        reader = Answers(problem)
        return reader, RuntimeCollector(host, target_of(host, 7), lambda pid: reader)

    return make


def test_the_first_look_has_build_numbers_and_tables(made):
    reader, collector = made()
    build, numbers, detail = collector.collect()
    assert [type(record) for record in (build, numbers, detail)] == [GoBuild, GoRuntime, RuntimeDetail]
    assert reader.calls == ["counters", "identity"]
    assert (build.go_version, build.layout, build.module, build.stripped) == (
        "go1.27.3",
        "table",
        "example.com/x",
        False,
    )
    assert "\x1b" not in (build.godebug or "")
    assert detail.rows[0].cpu_seconds == pytest.approx(200 / clock.TICKS_PER_SECOND)
    assert "\x1b" not in detail.rows[0].comm
    list(collector.collect())
    assert reader.calls == ["counters", "identity", "counters"]


def test_numbers_that_no_counter_can_have_are_unknown():
    record = numbers_of(COUNTERS)
    assert (record.runnable, record.gc_percent, record.heap_live_bytes) == (None, -1, 4 << 20)
    assert record.last_gc_at == clock.from_epoch(990.0)
    assert record.last_pause_seconds == 0.0001


def test_pauses_without_a_time_are_left_out():
    assert [pause.seconds for pause in detail_of(COUNTERS).pauses] == [0.0001, 0.0002]
    assert "\x1b" not in detail_of(COUNTERS).problems[0]


def test_not_go_and_not_permitted(made):
    _, collector = made(NotPermitted("no"))
    with pytest.raises(NotPermitted):
        list(collector.collect())
    reader, collector = made(NotGo("no"))
    for _ in range(2):
        with pytest.raises(Unavailable) as caught:
            list(collector.collect())
        assert caught.value.lost is False
    assert len(reader.calls) == 1


def test_the_executable_tells_how_it_was_built():
    go = toolchain.toolchain(toolchain.NEWEST)
    found = read_build(str(go))
    assert found["go_version"] == f"go{toolchain.NEWEST}"
    assert (found["pie"], found["race"], found["cgo"]) == (False, False, False)
    assert found["settings"]["CGO_ENABLED"] == "0"
    build = build_of(clock.now(), found, IDENTITY, COUNTERS)
    assert (build.package, build.layout) == ("cmd/go", "table")
    assert read_build(sys.executable) == {}
    assert read_build("/nonexistent") == {}
