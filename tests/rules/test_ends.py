"""OOM kills, restarts, starts that fail, panics: what is said about a target that does not stay up."""

from __future__ import annotations

from datetime import timedelta

import pytest
from gotriage.records.exits import SYSTEMD_STATUS
from gotriage.records.logs import OomKill
from gotriage.records.process import CgroupSample
from gotriage.records.service import ContainerState, UnitState
from gotriage.records.target import Event, TargetSpec
from gotriage.rules.starts import CAUSES

UNIT = {"name": "web.service", "main_pid": 4242, "active_state": "active", "sub_state": "running", "restart": "always"}
DEAD = {"name": "web.service", "active_state": "failed", "sub_state": "failed", "result": "exit-code"}


def ended(story, status, *, code=1, after=0.1, **more):
    """A unit whose main process ran for `after` seconds and ended."""
    start = story.time()
    return story.down().add(
        UnitState,
        **{
            **DEAD,
            "exec_main_code": code,
            "exec_main_status": status,
            "exec_main_start": start,
            "exec_main_exit": start + timedelta(seconds=after),
            **more,
        },
    )


# -- OOM kills


def test_the_kernels_word(running):
    running.add(CgroupSample, memory_limit_bytes=512 << 20, oom_kills=0)
    running.add(OomKill, 3, pid=4242, comm="web", constraint="CONSTRAINT_MEMCG", rss_bytes=500 << 20)
    running.add(OomKill, 4, pid=4243, comm="web", constraint="CONSTRAINT_MEMCG").beat(60)
    found = running.finding("oom-killed")
    assert found.severity == "critical"
    assert found.title.startswith("killed for memory 2 times, last at ")
    assert found.title.endswith("; limit 512M")
    assert "killed web (pid 4242) holding 500M: its cgroup's limit was reached" in found.evidence[0]
    assert found.since == running.time(3)


@pytest.mark.parametrize(("later", "severity"), [(500, "critical"), (5000, "warning"), (90_000, "info")])
def test_old_kills_weigh_less(running, later, severity):
    running.add(OomKill, 3, pid=1, comm="web").beat(3 + later)
    assert running.finding("oom-killed").severity == severity


def test_the_units_result(story):
    ended(story, 9, code=2, after=4000, result="oom-kill")
    assert story.ids() == ["oom-killed", "not-running"]
    assert story.verdict().findings[0].explains == ("not-running",)
    assert story.verdict().findings[1].because == "oom-killed"


def test_the_engines_word(story):
    story.down(spec=TargetSpec("container", "web"))
    story.add(ContainerState, engine="docker", id="a" * 64, status="exited", exit_code=137, oom_killed=True)
    assert story.ids()[0] == "oom-killed"


def test_a_counter_that_rose(running):
    running.add(UnitState, **UNIT).add(CgroupSample, oom_kills=0, path="/w").add(
        CgroupSample, 9, oom_kills=1, path="/w"
    )
    found = running.finding("oom-killed")
    assert "once" in found.title
    assert found.since == running.time(9)


def test_the_counter_of_a_shared_cgroup_says_nothing_about_a_bare_process(story):
    story.target(spec=TargetSpec("pid", "4242"), unit=None).add(CgroupSample, oom_kills=7, path="/user")
    assert story.ids() == []
    assert story.fine("oom-killed").text == "no OOM kill"


def test_who_cannot_look_says_so(running):
    running.gap("kernel_log", "/dev/kmsg: permission denied", "run with sudo")
    assert running.unknown("oom-killed").remedy == "run with sudo"


# -- restarts


def test_three_restarts_in_ten_minutes(running):
    for number in range(4):
        running.add(UnitState, 30.0 * number, **UNIT, n_restarts=number, exec_main_start=running.time(30.0 * number))
    found = running.finding("crash-loop")
    assert found.severity == "critical"
    assert found.title == "restarted 3 times in 10m00s, last 0s ago"


def test_the_journal_knows_restarts_from_before(running):
    for number in range(1, 5):
        running.log(
            f"web.service: Scheduled restart job, restart counter is at {number}.",
            number * 20,
            kind="systemd",
            fields={"N_RESTARTS": str(number)},
        )
    running.add(UnitState, 100, **UNIT, n_restarts=4, exec_main_start=running.time(80))
    found = running.finding("crash-loop")
    assert found.severity == "critical"
    assert found.since == running.time(20)


def test_restarts_over_weeks_are_fine(running):
    running.add(UnitState, **UNIT, n_restarts=7, exec_main_start=running.time() - timedelta(hours=2))
    assert running.fine("crash-loop").text == "restarts 7"


def test_restarts_of_unknown_times_and_a_fresh_start_are_a_warning(running):
    running.add(UnitState, 60, **UNIT, n_restarts=5, exec_main_start=running.time(50))
    assert running.finding("crash-loop").severity == "warning"


def test_systemd_gave_up(story):
    ended(story, 3, n_restarts=4)
    first, second = story.verdict().findings
    assert (first.id, first.title) == ("crash-loop", "given up after 4 restarts")
    assert "last end: exited, status 3" in first.evidence
    assert "systemctl reset-failed web.service" in first.fix
    assert second.because == "crash-loop"


def test_a_container_that_restarts(story):
    story.target(spec=TargetSpec("container", "web"))
    for number in range(4):
        story.add(
            ContainerState, 5.0 * number, engine="docker", id="a", name="web", status="restarting", restart_count=number
        )
    assert story.finding("crash-loop").title == "restarted 3 times in 10m00s; down right now"
    assert "docker logs --tail 50 web" in story.finding("crash-loop").fix


def test_restarts_that_gotriage_saw_itself(story):
    story.target(spec=TargetSpec("pid", "4242"))
    for number in range(3):
        story.add(Event, 10.0 * number, what="restarted", detail="pid 1 -> 2")
    assert story.ids() == ["crash-loop"]


def test_a_hand_over_is_no_crash(story):
    story.target(spec=TargetSpec("pid", "4242"))
    for number in range(5):
        story.add(Event, 10.0 * number, what="restarted", detail="pid 1 -> 2, handed over while the old one runs")
    assert story.ids() == []


# -- starts


@pytest.mark.parametrize("status", sorted(SYSTEMD_STATUS))
def test_each_of_systemds_exit_statuses_is_named(story, status):
    ended(story, status)
    found = story.verdict().findings[0]
    assert found.id == "start-failure"
    assert found.title.startswith(f"status {status}/{SYSTEMD_STATUS[status]}: ")
    assert status in CAUSES or status in (221,)


def test_an_executable_that_is_not_there(story):
    ended(story, 203, exec_start="/no/such --flag")
    story.log("web.service: Failed at step EXEC spawning /no/such: No such file or directory", kind="systemd")
    found = story.finding("start-failure")
    assert found.severity == "critical"
    assert any("Failed at step EXEC" in sentence for sentence in found.evidence)
    assert found.fix.startswith("ls -l /no/such; file /no/such")
    assert story.ids() == ["start-failure", "not-running"]


def test_what_was_met_at_the_executable_is_evidence(story):
    ended(story, 203, exec_start="/no/such --flag").gap("libraries", "/no/such: No such file or directory")
    assert "/no/such: No such file or directory" in story.finding("start-failure").evidence


def test_a_start_that_is_tried_again_and_again(story):
    ended(story, 203, active_state="activating", sub_state="auto-restart", n_restarts=40)
    assert story.ids() == ["start-failure", "crash-loop"]
    assert story.finding("crash-loop").because == "start-failure"


def test_its_own_status_after_hours_is_no_failed_start(story):
    ended(story, 203, after=4000)
    assert story.ids() == ["not-running"]


def test_one_that_ends_at_once(story):
    story.log("cannot read configuration", level="error", fields={"error": "open /etc/web.yml: no such file"})
    ended(story, 1, n_restarts=0)
    found = story.finding("start-failure")
    assert found.title == "it ended 100ms after its start: exited, status 1"
    assert any("open /etc/web.yml: no such file" in sentence for sentence in found.evidence)


@pytest.mark.parametrize("state", ["not-found", "bad-setting", "error", "masked"])
def test_units_that_cannot_be_loaded(story, state):
    story.down().add(UnitState, name="web.service", load_state=state, active_state="inactive")
    assert story.ids()[0] == "start-failure"


@pytest.mark.parametrize("result", ["timeout", "protocol", "resources", "exec-condition", "start-limit-hit"])
def test_results_that_tell_of_the_start(story, result):
    ended(story, 15, code=2, after=90, result=result, active_enter=None)
    assert story.ids()[0] == "start-failure"


def test_a_condition_that_does_not_hold(story):
    story.down().add(UnitState, name="web.service", active_state="inactive", condition_result=False)
    assert story.finding("start-failure").severity == "warning"


def test_one_that_was_stopped_is_only_worth_knowing(story):
    story.down().add(UnitState, name="web.service", active_state="inactive", result="success", condition_result=True)
    assert story.finding("not-running").severity == "info"
    assert story.finding("not-running").fix == "systemctl start web.service"


def test_one_that_its_socket_starts(story):
    story.down().add(UnitState, name="w.service", active_state="inactive", triggered_by=("w.socket",))
    assert story.finding("not-running").title == "not running: started by w.socket on demand"


def test_a_container_that_the_engine_cannot_start(story):
    story.down(spec=TargetSpec("container", "web"))
    error = 'exec: "/nope": stat /nope: no such file or directory'
    story.add(ContainerState, engine="docker", id="a", name="web", status="created", exit_code=127, error=error)
    found = story.verdict().findings[0]
    assert (found.id, found.title) == ("start-failure", f"the engine could not start it: {error}")
    assert "the command is not there" in found.evidence


def test_a_container_that_was_stopped(story):
    story.down(spec=TargetSpec("container", "web"))
    story.add(ContainerState, engine="docker", id="a", name="web", status="exited", exit_code=0)
    assert story.finding("not-running").severity == "info"


# -- panics

TRACE = """\
panic: runtime error: index out of range [5] with length 3

goroutine 34 [running]:
panic({0x5a1e20?, 0xc0000141b0?})
\t/usr/local/go/src/runtime/panic.go:792 +0x132
example.com/shop/order.(*Ledger).Post(0xc00001c0c0, {0x1, 0x2})
\t/home/ci/shop/order/ledger.go:54 +0x1d
main.main.func1()
\t/home/ci/shop/main.go:88 +0x25
created by main.main in goroutine 1
\t/home/ci/shop/main.go:80 +0x9c
exit status 2"""


def test_a_panic_names_message_and_place(running):
    found = running.log(TRACE, 10, kind="panic", pid=4242).beat(20).finding("panic")
    assert found.severity == "critical"
    assert found.title == (
        "panic: runtime error: index out of range [5] with length 3 "
        "in example.com/shop/order.(*Ledger).Post (ledger.go:54)"
    )
    assert found.evidence[0].endswith("/home/ci/shop/order/ledger.go:54")
    assert found.since == running.time(10)


def test_the_same_panic_is_counted(running):
    for number in range(4):
        running.log(TRACE.replace("[5]", f"[{number}]"), 10.0 + number, kind="panic")
    assert running.finding("panic").title.endswith(", 4 times")


def test_different_panics_are_told_apart(running):
    for number in range(5):
        running.log(TRACE.replace("Post", f"Post{'abcde'[number]}"), 10.0 + number, kind="panic")
    assert running.ids() == ["panic"] * 3
    assert "2 other panics are in the log" in running.verdict().findings[0].evidence


def test_a_recovered_panic_is_a_warning(running):
    text = TRACE.replace("panic: runtime error", "http: panic serving 10.0.0.1:4711: runtime error")
    running.log(text, 10, kind="panic", fields={"recovered": "net/http"})
    found = running.finding("panic")
    assert found.severity == "warning"
    assert "recovered by net/http: the request failed, the process lives" in found.evidence


@pytest.mark.parametrize(
    ("later", "severity"), [(500, "critical"), (3000, "warning"), (80_000, "info"), (90_000, None)]
)
def test_old_panics_weigh_less(running, later, severity):
    running.log(TRACE, 10, kind="panic").beat(10 + later)
    assert [claim.severity for claim in running.verdict().findings] == ([severity] if severity else [])


def test_a_panic_explains_the_restarts(running):
    for number in range(4):
        running.log(TRACE, 10.0 * number, kind="panic")
        running.add(UnitState, 10.0 * number + 1, **UNIT, n_restarts=number)
    assert running.ids() == ["panic", "crash-loop"]
    assert running.finding("crash-loop").because == "panic"
    assert running.finding("panic").explains == ("crash-loop",)


def test_a_panic_that_ended_it_long_ago_is_still_why(story):
    story.log(TRACE, 0, kind="panic")
    ended(story, 2, after=0.2).beat(7000)
    assert story.ids()[0] == "panic"
    assert story.finding("start-failure").because == "panic"


@pytest.mark.parametrize(
    "text",
    [
        "panic: ",
        "panic: \n\ngoroutine 1 [running]:",
        "fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 [chan receive]:\nmain.main()\n\t/a.go:x",
        "panic: " + "x" * 60_000,
        "panic: a\n\ngoroutine 1 [running]:\n" + "(" * 5000 + "\n\t/a.go:7",
        "panic: a\n\ngoroutine 1 [running]:\n" + "main.f(\n\t/a.go:7\n" * 3000,
        "",
    ],
)
def test_traces_that_are_no_traces(running, text):
    running.log(text, 10, kind="panic")
    verdict = running.verdict()
    assert [claim.id for claim in verdict.findings] == ["panic"]
    assert len(verdict.findings[0].title) < 500
    assert not [claim for claim in verdict.unknown if "failed" in claim.reason]


def test_no_panic(running):
    running.log("all is well", 1)
    assert running.fine("panic").text == "no panic in the log"
