"""Traces: started on request, by the best backend that serves; bounded in time and by a budget; undone in any case."""

from __future__ import annotations

import pytest
from gotriage.records.process import HostSample
from gotriage.records.stream import Gap, Reply, Request
from gotriage.records.tracing import Traces

from tests.agent import traces
from tests.agent.fakes import Stream
from tests.agent.traces import row
from tests.lab.process import wait_until


@pytest.fixture(autouse=True)
def done():
    traces.Trace.done = []
    yield traces.Trace.done


def in_state(state, **fields):
    def wanted(record):
        if not isinstance(record, Traces):
            return False
        return any(
            trace.state == state and all(getattr(trace, name) == value for name, value in fields.items())
            for trace in record.rows
        )

    return wanted


def ask(stream, op="start", name="t", number=1, **fields):
    stream.beats(1)
    stream.send(Request(number, op, (name,), **fields))


def test_nothing_runs_unasked(done):
    with Stream(row("t", "Trace")) as stream:
        stream.beats(2)
        assert not stream.of(HostSample) and not stream.of(Traces)
    assert not done


def test_it_runs_when_asked_and_ends_when_its_time_is_over(done):
    with Stream(row("t", "Trace")) as stream:
        ask(stream, seconds=0.5)
        trace = stream.until(in_state("running", backend="fake")).of("t")
        assert trace.ends_at > trace.started_at
        ended = stream.until(in_state("ended")).of("t")
    assert (ended.reason, done) == ("its time is over", ["start", "stop"])
    assert stream.of(HostSample) and ended.hits >= 10 and ended.lost == 0
    assert stream.of(Reply)[0].ok


def test_it_ends_on_request_with_a_last_look(done):
    with Stream(row("t", "Trace", every=60.0)) as stream:
        ask(stream)
        stream.until(in_state("running"))
        before = len(stream.of(HostSample))
        ask(stream, "finish", number=2)
        stream.until(in_state("ended", reason="ended on request"))
        assert len(stream.of(HostSample)) > before
    assert done == ["start", "stop"]


def test_the_end_of_the_agent_undoes_it(done):
    with Stream(row("t", "Trace")) as stream:
        ask(stream)
        stream.until(in_state("running"))
    assert done == ["start", "stop"]


def test_the_next_best_backend_takes_over_and_says_why_not_a_better_one():
    with Stream(row("t", "Absent", "FailsToStart", "Trace")) as stream:
        ask(stream)
        trace = stream.until(in_state("running")).of("t")
    assert trace.backend == "fake"
    assert trace.passed_over == ("better: the kernel has no such thing", "broken: Cannot allocate memory")


def test_where_none_serves_the_reason_is_a_gap_with_a_remedy():
    with Stream(row("t", "Absent")) as stream:
        ask(stream)
        trace = stream.until(in_state("refused")).of("t")
        stream.until(lambda record: isinstance(record, Gap) and record.source == "t")
        assert not stream.until(lambda record: isinstance(record, Reply)).ok
    assert (trace.reason, trace.remedy) == ("the kernel has no such thing", "another kernel")
    assert stream.of(Gap)[-1].remedy == "another kernel"


def test_options_that_make_no_sense_are_refused_and_are_no_gap():
    with Stream(row("t", "Trace")) as stream:
        ask(stream, options={"bad": "yes"})
        assert stream.until(in_state("refused")).of("t").reason == "bad is no option"
        ask(stream, number=2, options={"backend": "none\x1b"})
        assert "there are: fake" in stream.until(lambda r: isinstance(r, Reply) and r.id == 2).error
        assert not stream.of(Gap)


def test_the_price_is_told_without_a_start(done):
    with Stream(row("t", "Trace", price="heavy")) as stream:
        ask(stream, "price")
        trace = stream.until(in_state("priced")).of("t")
    assert trace.price.cores == pytest.approx(1e-4)
    assert "\x1b" not in trace.price.words[0]
    assert "start" not in done


def test_over_its_budget_it_is_attached_a_part_of_the_time(done):
    with Stream(row("t", "Dear", price="heavy", budget=0.1, lasts=30.0)) as stream:
        ask(stream)
        trace = stream.until(in_state("waiting")).of("t")
    assert trace.on_share < 0.5
    assert done[:2] == ["start", "detach"] and done[-1] == "stop"


def test_where_no_part_is_affordable_it_ends(done):
    with Stream(row("t", "TooDear", price="heavy", budget=0.02)) as stream:
        ask(stream)
        trace = stream.until(in_state("ended")).of("t")
    assert "over its budget of 2.0%" in trace.reason
    assert done[-1] == "stop"


def test_the_budget_can_be_taken_away(done):
    with Stream(row("t", "TooDear", price="heavy", budget=0.02)) as stream:
        ask(stream, seconds=1.0, options={"budget": "off"})
        assert stream.until(in_state("ended")).of("t").reason == "its time is over"


@pytest.mark.parametrize("budget", ["a lot", "-3", "0", "101%", "nan"])
def test_a_budget_that_is_none_is_refused_by_name(budget, done):
    with Stream(row("t", "Trace", budget=0.02)) as stream:
        ask(stream, options={"budget": budget})
        reply = stream.until(lambda record: isinstance(record, Reply))
    assert not reply.ok and f"budget {budget!r}" in reply.error
    assert not done


def test_one_trace_that_stops_the_target_at_a_time():
    with Stream(row("a", "Stopping", price="stops"), row("b", "Stopping", price="stops")) as stream:
        ask(stream, name="a")
        stream.until(in_state("running"))
        ask(stream, name="b", number=2)
        assert "end it first" in stream.until(in_state("refused")).of("b").reason
        ask(stream, "finish", name="a", number=3)
        stream.until(in_state("ended"))
        ask(stream, name="b", number=4)
        stream.until(in_state("running", source="b"))
    with Stream(row("a", "Stopping", price="stops")) as first, Stream(row("b", "Stopping", price="stops")) as other:
        ask(first, name="a")
        first.until(in_state("running"))
        ask(other, name="b")
        assert "another gotriage" in other.until(in_state("refused")).of("b").reason


def test_one_that_stops_the_target_knows_its_time_and_lets_go_before_the_last_look(done):
    traces.Stopping.told = []
    with Stream(row("t", "Stopping", price="stops", every=60.0)) as stream:
        ask(stream, seconds=0.5, options={"x": "y"})
        stream.until(in_state("ended", reason="its time is over"))
    assert traces.Stopping.told == [{"x": "y", "seconds": "0.5"}]
    assert done == ["start", "detach", "stop"]
    assert stream.of(HostSample)


def test_one_may_end_by_itself(done):
    with Stream(row("t", "Enough", price="stops")) as stream:
        ask(stream, seconds=30.0)
        ended = stream.until(in_state("ended")).of("t")
        assert ended.reason.startswith("that is enough")
        assert "\x1b" not in ended.reason
        assert done == ["start", "detach", "stop"]
        ask(stream, seconds=30.0, number=2)  # and it may stop the target again
        stream.until(lambda record: isinstance(record, Reply) and record.id == 2 and record.ok)


def test_a_target_that_does_not_run_on_is_said():
    with Stream(row("t", "LeavesItStopped", price="stops")) as stream:
        ask(stream, seconds=0.3)
        assert "a thread is still stopped" in stream.until(in_state("failed")).of("t").reason


def test_what_breaks_is_undone_and_said(done):
    with Stream(row("t", "Breaks")) as stream:
        ask(stream)
        trace = stream.until(in_state("failed"), 20).of("t")
    assert "could not be read" in trace.reason
    assert done[-1] == "stop"


@pytest.mark.parametrize(("price", "seconds"), [("light", 1.0), ("heavy", 60.0)], ids=["over its time", "dear"])
def test_it_goes_off_the_target_when_nobody_reads(done, price, seconds):
    """A front that was stopped holds up the thread that would end it."""
    with Stream(row("t", "Talkative", price=price)) as stream:
        ask(stream, seconds=seconds)
        stream.until(in_state("running"))
        wait_until(lambda: "detach" in done, 30)
        assert "stop" not in done
        trace = stream.until(in_state("ended"), 20).of("t")
    assert trace.reason == "nobody read what it told, so it was taken off the target"
    assert done[-1] == "stop"


def test_the_agent_samples_by_itself_where_the_catalogue_says_so(done):
    with Stream(row("t", "Trace", duty=(0.2, 0.6))) as stream:
        stream.until(in_state("running", asked=False))
        stream.until(in_state("waiting", asked=False))
        stream.until(lambda _: "attach" in done)
        ask(stream, seconds=0.3)
        stream.until(in_state("ended", asked=True))
        stream.until(lambda _: done.count("start") >= 3, 20)
    assert done[:3] == ["start", "detach", "attach"]
