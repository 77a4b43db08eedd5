"""Goroutines that leak, senders that are stuck, and programs that only look so."""

from __future__ import annotations

import msgspec
import pytest
from gotriage.records.files import FileCounts
from gotriage.records.goroutines import GoroutineCounts
from gotriage.records.process import ProcessSample

from tests.rules.golang import Program


@pytest.fixture
def program(running):
    return Program(running)


def looks(program, seconds, make, every=2):
    """A look every two seconds; `make` gets the program and the second."""
    for second in range(0, seconds + 1, every):
        make(program, second)
        program.look(second)


def leaking(rate, reason="chan send", own=500):
    """Goroutines that wait each for itself, and get more."""

    def make(program, second):
        program.idle().group(reason, "main.notify", own + int(rate * second), first=100, by="main.handle")

    return make


# -- goroutine-leak


def test_goroutines_that_only_get_more(program, running):
    looks(program, 40, leaking(5), every=1)
    found = running.finding("goroutine-leak")
    assert found.severity == "warning"
    assert found.title == "goroutines grow by +300/min: 700 in chan send at main.notify (main.go:21)"
    assert found.evidence[0] == "700 in chan send at main.notify (main.go:21), created by main.handle (main.go:7)"
    assert "in every sixth of it; none of the first has left" in found.evidence[1]
    assert "goroutine 100 has been there for at least 40s" in found.evidence[2]
    assert "a buffer of one" in found.fix
    assert found.view == "goroutines"


def test_a_leak_takes_time_to_show(program, running):
    looks(program, 10, leaking(5))
    assert "growth of goroutines shows after 30s" in running.unknown("goroutine-leak").reason
    assert running.ids() == []


def test_a_slow_leak_shows_in_a_long_window(program, running):
    looks(program, 700, leaking(0.1), every=5)
    assert "goroutines grow by +6.0/min" in running.finding("goroutine-leak").title


def test_two_groups_that_leak_together_are_one_finding(program, running):
    def make(program, second):
        program.idle().group("IO wait", "net/http.(*persistConn).readLoop", 100 + 5 * second, first=100)
        program.group("select", "net/http.(*persistConn).writeLoop", 100 + 5 * second, first=5000)

    looks(program, 40, make, every=1)
    found = running.finding("goroutine-leak")
    assert "goroutines grow by +600/min" in found.title
    assert any(sentence.startswith("also +300/min: ") for sentence in found.evidence)


def test_the_first_seconds_of_a_process_do_not_count(story):
    looks(Program(story.target(age=0)), 40, leaking(5))
    assert story.ids() == []
    assert story.unknown("goroutine-leak")


def test_goroutines_that_can_never_go_on_are_told_at_once(program, running):
    program.idle().group("chan send", "main.late", 40, first=100)
    for goid in range(100, 140):
        program.channel(0xC000 + goid, senders=1, ids=(goid,), alone=True)
    program.look()
    found = running.finding("goroutine-leak")
    assert found.title == "40 goroutines can never go on: chan send at main.late (main.go:19)"
    assert any("nothing else in the program refers to" in sentence for sentence in found.evidence)


def test_one_that_waits_for_ever_on_purpose_is_fine(program, running):
    program.idle().group("chan receive", "main.forever", 1, first=100).channel(
        0xC0, receivers=1, ids=(100,), alone=True
    )
    program.look()
    assert running.ids() == []


# -- healthy


def test_idle_for_hours(program, running):
    for second in (0, 3600, 7200):
        program.idle().look(second)
    assert running.ids() == []
    assert running.fine("goroutine-leak").text == "3 goroutines do not grow"


def test_a_pool_of_thousands_of_idle_workers(program, running):
    looks(program, 60, lambda p, _: p.idle().group("chan receive", "main.worker", 5000, on=0xC0).channel(0xC0, 0, 5000))
    assert running.ids() == []


def test_bursts(program, running):
    def make(program, second):
        program.idle().group("select", "main.handle", 50 + 40 * (second % 12), first=100 + 37 * second)

    looks(program, 80, make)
    assert running.ids() == []


def test_a_pool_that_is_filled_and_stays(program, running):
    def make(program, second):
        program.idle().group("chan receive", "main.worker", min(1000, 100 + 50 * second), first=100)

    looks(program, 60, make)
    assert running.ids() == []


def test_a_rising_number_of_those_that_come_and_go(program, running):
    """More and more requests in flight: none of them stays."""

    def make(program, second):
        program.idle().group("select", "main.handle", 100 + 5 * second, first=100 + 1000 * second)

    looks(program, 60, make)
    assert running.ids() == []


def test_clients_that_come_and_stay(program, running):
    """A long-poll server on a morning: a socket with each goroutine."""

    def make(program, second):
        running.add(FileCounts, second, total=50 + second, fullest=50 + second, by_type={"socket": 40 + 2 * second})
        program.idle().group("select", "main.poll", 2000 + 2 * second, first=100)

    looks(program, 120, make)
    assert "goroutine-leak" not in running.ids()


def test_no_look_yet_is_unknown(running):
    assert running.unknown("goroutine-leak").reason == "not looked at yet"


def test_why_nothing_is_seen_is_told(running):
    running.gap("goroutines", "may not read the memory of process 7", "run it as root")
    claim = running.unknown("goroutine-leak")
    assert (claim.reason, claim.remedy) == ("may not read the memory of process 7", "run it as root")
    assert "channel-blocked" in claim.also


def test_a_program_that_is_not_go_is_not_asked(story):
    story.target(go=False)
    verdict = story.verdict()
    assert all("goroutine-leak" not in (claim.id, *claim.also) for claim in verdict.unknown)


def test_thousands_of_groups_and_channels(program, running):
    program.idle()
    for number in range(4000):
        program.group("chan receive", f"main.wait{number}", 1, on=0xC000 + number)
        program.channel(0xC000 + number, receivers=1, ids=(program.all[-1].id,), alone=True)
    program.look()
    assert running.ids() == []


# -- channel-blocked


def test_senders_whose_receiver_is_gone(program, running):
    looks(program, 14, lambda p, _: p.idle().group("chan send", "main.enqueue", 500, on=0xC0).channel(0xC0, 500))
    found = running.finding("channel-blocked")
    assert found.severity == "warning"
    assert found.title == "500 goroutines send to a channel that nobody receives from, at main.enqueue (main.go:22)"
    assert found.evidence[0] == "the channel at 0xc0: unbuffered, 500 send, nobody receives"
    assert running.ids() == ["channel-blocked"]


def test_after_a_minute_it_is_critical(program, running):
    looks(program, 64, lambda p, _: p.idle().group("chan send", "main.enqueue", 500, on=0xC0).channel(0xC0, 500))
    assert running.finding("channel-blocked").severity == "critical"


def test_a_table_that_stays_the_same_is_written_once(program, running):
    """What has not changed is not written again; the counts go on."""
    program.idle().group("chan send", "main.enqueue", 500, on=0xC0).channel(0xC0, 500).look(0)
    program.idle().group("chan send", "main.enqueue", 500, on=0xC0)

    running.add(GoroutineCounts, 12, total=507)
    assert running.ids() == ["channel-blocked"]


def test_a_slow_consumer(program, running):
    """It takes five a second: those in front leave."""

    def make(program, second):
        program.idle().group("chan send", "main.enqueue", 400, first=100 + 5 * second, on=0xC0, since=second - 30)
        program.channel(0xC0, 400)

    looks(program, 60, make)
    assert running.ids() == []


def test_producers_that_come_back_in_turn(program, running):
    """Always the same ones, but each was served a moment ago."""

    def make(program, second):
        program.idle().group("chan send", "main.produce", 100, first=100, on=0xC0, since=second - 3)
        program.channel(0xC0, 100)

    looks(program, 60, make)
    assert running.ids() == []


def test_producers_that_come_back_in_a_long_queue(program, running):
    """Each waits for long, the first of them all at once; ever others have just come back."""

    def make(program, second):
        program.idle().group("chan send", "main.produce", 20, first=100, on=0xC0, since=second - 20)
        program.group("chan send", "main.produceMore", 480, first=200, on=0xC0, since=second - 20)
        fresh = {one.id for one in program.all if 300 <= one.id < 500}
        now = running.time(second - 2)
        program.all = [msgspec.structs.replace(one, since=now) if one.id in fresh else one for one in program.all]
        program.channel(0xC0, 500)

    looks(program, 60, make)
    assert running.ids() == []


def test_a_generator_that_waits_to_be_asked(program, running):
    looks(program, 60, lambda p, _: p.idle().group("chan send", "main.ids", 1, on=0xC0).channel(0xC0, 1))
    assert running.ids() == []


def test_senders_that_get_more_are_one_finding(program, running):
    def make(program, second):
        number = 200 + 10 * second
        program.idle().group("chan send", "main.enqueue", number, first=100, on=0xC0).channel(0xC0, number)

    looks(program, 40, make)
    findings = running.verdict().findings
    assert [found.id for found in findings] == ["goroutine-leak", "channel-blocked"]
    assert findings[1].because == "goroutine-leak"


# -- who holds the threads


def test_many_threads_name_the_goroutines_that_hold_them(program, running):
    program.idle().group("", "main.readDisk", 480, state="syscall", by="main.scan").look()
    running.add(ProcessSample, processes=1, threads=490, states={"S": 490})
    found = running.finding("thread-explosion")
    assert "480 goroutines" in found.evidence[0]
    assert "at main.readDisk (main.go:23)" in found.evidence[0]
    assert "created by main.scan (main.go:7)" in found.evidence[0]
