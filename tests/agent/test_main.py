"""The agent: every source for itself, every failure a gap, and a heartbeat whatever happens."""

from __future__ import annotations

import os
import time

import pytest
from gotriage import __version__
from gotriage.agent import main, worker
from gotriage.errors import NoSuchTarget, TargetError
from gotriage.host import Host
from gotriage.records.logs import LogLines
from gotriage.records.stream import SCHEMA, End, Gap, Header, Heartbeat, Reply, Request
from gotriage.records.target import Event, TargetSpec, TargetState
from gotriage.target.model import Target

from tests.agent.fakes import HostSample, ProcessSample, Stream, row


def a(kind, **fields):
    """A test for a record of a kind with these fields."""

    def wanted(record):
        return isinstance(record, kind) and all(getattr(record, name) == value for name, value in fields.items())

    return wanted


def test_the_stream_begins_with_header_and_target():
    with Stream(row("counting", "Counting")) as stream:
        stream.until(a(TargetState))
        header, state = stream.records[:2]
        assert isinstance(header, Header)
        assert (header.version, header.schema, header.uid) == (__version__, SCHEMA, os.geteuid())
        assert header.boot_id and header.kernel
        assert "CAP_SYS_PTRACE" in header.capabilities
        assert (state.pid, state.state) == (os.getpid(), "running")


def test_a_heartbeat_a_second_says_how_each_source_fares_and_what_it_costs():
    with Stream(row("counting", "Counting"), row("refused", "Refused")) as stream:
        first, second = stream.beats(2)[:2]
    assert 0.3 < (second.at - first.at).total_seconds() < 3.0  # a beat that comes late is not made up for
    assert second.collectors["counting"].state == "ok"
    assert second.collectors["counting"].backend == "fake"
    assert second.collectors["counting"].last is not None
    assert second.collectors["refused"].state == "failed"
    assert second.collectors["target"].state == "ok"
    assert second.cpu is not None and second.cpu >= 0
    assert second.rss_bytes > 1_000_000


def test_the_same_facts_are_written_once():
    with Stream(row("same", "Same"), row("counting", "Counting"), row("logs", "Logs")) as stream:
        stream.beats(2)
        assert len(stream.of(HostSample)) == 1
        assert len(stream.of(ProcessSample)) > 5
        assert len(stream.of(LogLines)) > 5


def test_a_source_that_hangs_is_late_and_the_others_go_on():
    with Stream(row("hanging", "Hanging", deadline=0.5), row("counting", "Counting")) as stream:
        gap = stream.until(a(Gap, source="hanging"))
        assert gap.reason == "did not answer within 0.5 s"
        beat = stream.until(lambda r: isinstance(r, Heartbeat) and r.collectors["hanging"].state == "late")
        assert beat.collectors["counting"].state == "ok"
        stream.until(lambda r: isinstance(r, ProcessSample) and r.at > beat.at)
        stream.beats(4)
        assert len([g for g in stream.of(Gap) if g.source == "hanging"]) == 1


def test_a_late_source_that_comes_back_closes_its_gap():
    with Stream(row("slow", "Slow", deadline=0.3)) as stream:
        stream.until(a(Gap, source="slow", closed=False))
        closing = stream.until(a(Gap, source="slow", closed=True))
        stream.until(lambda r: isinstance(r, Heartbeat) and r.at > closing.at and r.collectors["slow"].state == "ok")


def test_a_crash_is_a_gap_that_closes_when_it_works_again():
    with Stream(row("crashing", "Crashing"), row("counting", "Counting")) as stream:
        gap = stream.until(a(Gap, source="crashing"))
        assert gap.reason == "ZeroDivisionError: by zero␛[2J"
        stream.until(a(Gap, source="crashing", closed=True))
        assert stream.of(HostSample)[0].cpus == 1


def test_what_is_not_permitted_says_so_with_a_remedy():
    with Stream(row("refused", "Refused")) as stream:
        gap = stream.until(a(Gap, source="refused"))
        assert gap.permission
        assert "sudo" in gap.reason + gap.remedy


def test_garbage_of_one_source_never_reaches_the_stream():
    with Stream(row("garbage", "Garbage")) as stream:
        stream.until(a(Event, what="fine"))
        assert [record for record in stream.of(Event) if record.what != "fine"] == []
        assert stream.link.report.garbled == stream.link.report.invalid == 0


def test_a_part_that_works_again_closes_alone():
    with Stream(row("partly", "Partly")) as stream:
        stream.until(lambda r: isinstance(r, HostSample) and r.cpus == 4)
        gaps = [(gap.reason, gap.closed) for gap in stream.of(Gap)]
        assert gaps == [("for ever", False), ("for a while", False), ("", True), ("for ever", False)]


def test_the_next_backend_serves_when_the_best_does_not():
    with Stream(row("unit", "Absent", "Same")) as stream:
        stream.until(a(HostSample))
        beat = stream.until(lambda r: isinstance(r, Heartbeat) and r.collectors["unit"].state == "ok")
        assert beat.collectors["unit"].backend == "fake"
        assert stream.of(Gap) == []


def test_the_next_backend_takes_over_when_the_best_goes_away():
    with Stream(row("unit", "AbsentForNow", "Counting")) as stream:
        stream.until(a(ProcessSample))
        stream.until(lambda r: isinstance(r, Heartbeat) and r.collectors["unit"].backend == "fake")
        assert stream.of(Gap) == []


def test_no_backend_at_all_is_a_loss_only_where_the_target_is_concerned():
    with Stream(row("lost", "Absent"), row("other", "Absent", needs="container")) as stream:
        gap = stream.until(a(Gap, source="lost"))
        assert gap.reason == "systemd is not running"
        beat = stream.beats(2)[1]
        assert beat.collectors["other"].state == "off"
        assert beat.collectors["lost"].state == "failed"
        assert [g.source for g in stream.of(Gap)] == ["lost"]


def test_a_collector_that_cannot_be_loaded_or_made_is_a_gap():
    from gotriage.catalog import Source

    missing = Source("missing", ("gotriage.collectors.nothing:Nothing",), (), idle=True)
    with Stream(row("broken", "Broken"), missing) as stream:
        assert stream.until(a(Gap, source="broken")).reason == "RuntimeError: no"
        assert "nothing" in stream.until(a(Gap, source="missing")).reason


def test_a_flood_waits_for_its_reader_and_is_not_late():
    with Stream(row("flooding", "Flooding", deadline=0.5), row("counting", "Counting")) as stream:
        stream.until(a(Header))
        time.sleep(2.5)
        stream.beats(3)
        assert [gap for gap in stream.of(Gap) if "answer" in gap.reason] == []
        rows = [int(r.rows[0].message.split()[0]) for r in stream.of(LogLines)][:3000]
        assert rows == list(range(len(rows)))


def test_dear_sources_look_less_often():
    looks = worker.Worker(row("dear", "Same", every=1.0), Host(), Target(TargetSpec(), Host()), None)
    looks._took, looks._looks = 0.5, 1
    assert looks._pause() == 1.0  # the first one had to find its way
    looks._looks = 2
    assert looks._pause() == 10.0
    looks._took = 0.001
    assert looks._pause() == 1.0
    looks._took = 60.0
    assert looks._pause() == worker.LONGEST
    logs = worker.Worker(row("journal", "Logs", every=0.25), Host(), Target(TargetSpec(), Host()), None)
    logs._took = 3.0
    assert logs._pause() == 0.25


# -- requests


def test_refresh_looks_now_and_is_answered():
    with Stream(row("rare", "Counting", every=1000)) as stream:
        stream.until(a(ProcessSample, threads=1))
        stream.send(Request(7, "refresh", ("rare",)))
        stream.until(a(Reply, id=7, ok=True))
        assert stream.of(ProcessSample)[-1].threads == 2


def test_history_is_read_on_request():
    with Stream(row("logs", "Logs"), row("counting", "Counting")) as stream:
        stream.until(a(LogLines))
        number = stream.link.request("logs", limit=99)
        stream.until(a(Reply, id=number, ok=True))
        assert [r.rows[0].message for r in stream.of(LogLines) if r.history] == ["old 99"]


def test_an_interval_is_set_within_reason():
    with Stream(row("counting", "Counting", every=0.1)) as stream:
        stream.until(a(ProcessSample))
        stream.send(Request(1, "interval", ("counting",), seconds=500))
        stream.until(a(Reply, id=1, ok=True))
        stream.send(Request(2, "interval", seconds=0.0001))
        assert "0.1 to 3600 s" in stream.until(a(Reply, id=2, ok=False)).error
        stream.send(Request(3, "interval", seconds=1e300))
        assert "0.1 to 3600 s" in stream.until(a(Reply, id=3, ok=False)).error
        before = len(stream.of(ProcessSample))
        stream.beats(3)
        assert len(stream.of(ProcessSample)) <= before + 2


def test_stop_ends_the_stream_with_an_end():
    stream = Stream(row("counting", "Counting"))
    stream.until(a(TargetState))
    stream.send(Request(1, "stop"))
    end = stream.until(a(End))
    assert (end.reason, end.exit_code) == ("stopped on request", 0)
    stream.end()
    assert stream.status == [0]


@pytest.mark.parametrize("line", [b"hello\n", b"{}\n", b'{"id":1,"op":"format"}\n', b"[" * 5000 + b"\n"])
def test_what_is_no_request_is_answered_so_and_changes_nothing(line):
    with Stream(row("counting", "Counting")) as stream:
        stream.until(a(TargetState))
        os.write(stream.out, line)
        assert "not a request" in stream.until(a(Reply, id=0, ok=False)).error
        stream.beats(2)


def test_an_endless_request_is_answered_so():
    with Stream(row("counting", "Counting")) as stream:
        stream.until(a(TargetState))
        for _ in range(20):
            os.write(stream.out, b"x" * 8192)
            time.sleep(0.02)
        assert "longer than 64 KiB" in stream.until(a(Reply, id=0, ok=False)).error
        os.write(stream.out, b"\n")
        stream.send(Request(5, "refresh"))
        stream.until(a(Reply, id=5))


def test_a_request_for_nobody_is_answered_so():
    with Stream(row("counting", "Counting")) as stream:
        stream.until(a(TargetState))
        stream.send(Request(3, "refresh", ("nobody",)))
        assert stream.until(a(Reply, id=3, ok=False)).error
        stream.send(Request(4, "logs"))
        assert stream.until(a(Reply, id=4, ok=False)).error


# -- the end


def test_it_ends_when_nobody_reads_any_more():
    stream = Stream(row("counting", "Counting"))
    stream.until(a(TargetState))
    stream.link.close()
    stream.thread.join(5)
    assert stream.status == [0]
    stream.end()


def test_it_ends_when_the_requests_end():
    stream = Stream(row("counting", "Counting"))
    stream.until(a(TargetState))
    stream.link._close_pipes = lambda: None
    os.close(stream.link._out)
    os.close(stream.out)
    stream.out = -1
    stream.thread.join(5)
    assert stream.status == [0]


def test_requests_from_a_file_that_ends_do_not_end_it():
    null = os.open(os.devnull, os.O_RDONLY)
    incoming, outgoing = os.pipe()
    spec = TargetSpec(kind="pid", value=str(os.getpid()))
    pid = os.fork()
    if pid == 0:
        os.close(incoming)
        os._exit(main.serve(spec, Host(), null, outgoing, rows=[row("counting", "Counting")]))
    os.close(outgoing)
    data = b""
    while data.count(b'"heartbeat"') < 2:
        data += os.read(incoming, 65536)
    os.close(incoming)
    os.close(null)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_target_that_is_not_there_ends_it_with_the_reason_and_the_status():
    stream = Stream(row("counting", "Counting"), spec=TargetSpec(kind="pid", value="999999999"))
    with pytest.raises(TargetError, match="999999999"):
        while stream.link.poll(1.0) is not None:
            pass
    stream.thread.join(5)
    assert stream.status == [NoSuchTarget.exit_code]
    stream.end()


def test_the_picker_has_no_target_and_runs():
    with Stream(row("services", "Counting", idle=False), spec=TargetSpec()) as _:
        pass
    with Stream(row("services", "Counting", idle=False, targets=("none",)), spec=TargetSpec()) as stream:
        stream.until(a(ProcessSample))
        assert stream.of(TargetState) == []


def test_while_nothing_of_the_target_runs_only_idle_sources_look():
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    try:
        rows = (row("process", "Counting", idle=False), row("cgroup", "Same", idle=True))
        with Stream(*rows, spec=TargetSpec(kind="pid", value=str(pid))) as stream:
            stream.until(a(ProcessSample))
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            beat = stream.until(lambda r: isinstance(r, Heartbeat) and r.collectors["process"].state == "off")
            assert beat.collectors["cgroup"].state == "ok"
            assert stream.of(TargetState)[-1].state == "gone"
    finally:
        try:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
