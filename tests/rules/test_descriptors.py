"""fd-exhaustion and fd-leak: thresholds, growth, and what must not look like a leak."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from gotriage.records.base import Why
from gotriage.records.files import FileCounts, FileTable
from gotriage.records.service import ContainerState, UnitState
from gotriage.records.target import TargetSpec


def counts(used, limit=1024, **by_type):
    return {
        "total": used,
        "fullest": used,
        "fullest_pid": 4242,
        "soft_limit": limit,
        "hard_limit": 4096,
        "by_type": by_type or {"file": used},
    }


# -- the limit


@pytest.mark.parametrize(
    ("used", "severity"),
    [(10, None), (819, None), (820, "warning"), (972, "warning"), (973, "critical"), (1024, "critical")],
)
def test_the_levels(running, used, severity):
    running.add(FileCounts, **counts(used))
    found = [claim.severity for claim in running.verdict().findings]
    assert found == ([severity] if severity else [])


def test_a_low_level_is_fine_with_its_numbers(running):
    running.add(FileCounts, **counts(212))
    assert running.fine("fd-exhaustion").text == "fds 212 of 1,024"


def test_no_limit_is_fine(running):
    running.add(FileCounts, **counts(212, None))
    assert running.fine("fd-exhaustion").text == "fds 212 of no limit"


def test_emfile_in_the_log_is_proof_at_any_level(running):
    running.add(FileCounts, **counts(900))
    running.log("http: Accept error: accept tcp [::]:80: accept4: too many open files; retrying in 5ms", 30)
    running.beat(40)
    found = running.finding("fd-exhaustion")
    assert found.severity == "critical"
    assert '1 log line says "too many open files" in the last minute, the newest at' in " ".join(found.evidence)
    assert found.since == running.time(30)


def test_since_does_not_slide_along_with_the_lines_of_the_last_minute(running):
    running.log("open /y: too many open files in system", 5)
    running.add(FileCounts, 8, **counts(1024))
    for second in range(10, 400, 10):
        running.log("accept4: too many open files", second)
    running.beat(395)
    found = running.finding("fd-exhaustion")
    assert found.since == running.time(10)
    assert '6 log lines say "too many open files" in the last minute, the newest at' in " ".join(found.evidence)


def test_lines_from_before_the_level_was_seen_lower_are_of_another_time(running):
    running.add(FileCounts, 0, **counts(1024))
    running.log("accept4: too many open files", 10)
    running.add(FileCounts, 20, **counts(30))
    running.log("accept4: too many open files", 118)
    running.add(FileCounts, 120, **counts(1024)).beat(130)
    assert running.finding("fd-exhaustion").since == running.time(118)


def test_emfile_with_few_descriptors_is_a_warning_that_names_inotify(running):
    running.add(FileCounts, **counts(12))
    running.log("fsnotify: too many open files", 30).beat(40)
    found = running.finding("fd-exhaustion")
    assert found.severity == "warning"
    assert found.title.startswith("descriptors ran out at ")
    assert any("max_user_instances" in sentence for sentence in found.evidence)


def test_emfile_in_a_field_counts(running):
    running.add(FileCounts, **counts(1000))
    running.log("request failed", 30, fields={"error": "open /x: too many open files"}).beat(31)
    assert running.finding("fd-exhaustion").since == running.time(30)


def test_emfile_of_the_machine_or_of_long_ago_is_no_proof(running):
    running.add(FileCounts, **counts(12))
    running.log("open /x: too many open files in system", 30).beat(31)
    assert running.ids() == []
    running.log("open /x: too many open files", 40).beat(101)
    assert running.ids() == []


def test_emfile_of_the_process_before_is_no_proof(story):
    story.target(age=7200).log("open /x: too many open files", 10)
    story.now = 20
    story.target(generation=2, started_at=story.time() - timedelta(seconds=1)).add(FileCounts, **counts(12))
    assert story.ids() == []


def test_the_evidence_names_kinds_and_peers(running):
    running.add(FileCounts, **counts(1021, socket=958, file=60, dir=1, char=1))
    running.add(
        FileTable,
        by_state={"tcp CLOSE_WAIT": 950, "tcp6 CLOSE_WAIT": 8, "tcp ESTABLISHED": 2},
        by_peer={"CLOSE_WAIT": {"10.4.0.17:8086": 950, "[::1]:8086": 8}},
    )
    found = running.finding("fd-exhaustion")
    assert found.title == "1,021 of 1,024 descriptors open"
    assert "open: 958 sockets, 60 files, 1 directory" in found.evidence
    assert (
        "958 sockets in CLOSE_WAIT to 10.4.0.17:8086 and 1 more: hung up by the peer, not closed here" in found.evidence
    )
    assert found.view == "files"


def test_since_is_when_the_level_was_passed_while_we_looked(running):
    running.each_second(30, FileCounts, lambda second: counts(600 + 10 * second))
    assert running.finding("fd-exhaustion").since == running.time(22)


def test_since_is_not_guessed(running):
    running.add(FileCounts, **counts(1000)).beat(60)
    assert running.finding("fd-exhaustion").since is None


def test_one_finding_names_both_level_and_slope(running):
    running.each_second(60, FileCounts, lambda second: counts(900 + 2 * second))
    found = running.finding("fd-exhaustion")
    assert running.ids() == ["fd-exhaustion"]
    assert found.title == "1,020 of 1,024 descriptors open, +120/min; full in 2s"


@pytest.mark.parametrize(
    ("more", "fix"),
    [
        (
            {},
            "edit web.service: under [Service] LimitNOFILE=65536 (now 1024); then systemctl restart web.service",
        ),
        ({"user_manager": True}, "systemctl --user edit web.service: under [Service]"),
    ],
)
def test_the_fix_of_a_unit(running, more, fix):
    running.add(UnitState, name="web.service", active_state="active", main_pid=4242, **more)
    running.add(FileCounts, **counts(1020))
    found = running.finding("fd-exhaustion").fix
    assert found.startswith("now: prlimit --pid 4242 --nofile=65536:65536\nfor good: ")
    assert fix in found


def test_the_fix_of_a_container(story):
    story.target(spec=TargetSpec("container", "web"), container_id="ab" * 32, engine="docker", unit="docker.service")
    story.add(ContainerState, engine="docker", id="ab" * 32, name="web", status="running")
    story.add(FileCounts, **counts(1020))
    assert "docker run --ulimit nofile=65536:65536" in story.finding("fd-exhaustion").fix


@pytest.mark.parametrize(
    ("soft", "hard", "now", "unit"),
    [
        (1024, 524288, "prlimit --pid 4242 --nofile=65536:", "LimitNOFILE=65536:524288"),
        (1024, None, "prlimit --pid 4242 --nofile=65536:", "LimitNOFILE=65536:524288"),
        (400_000, 524288, "prlimit --pid 4242 --nofile=1048576:1048576", "LimitNOFILE=1048576"),
        (1048576, 1048576, "sysctl -w fs.nr_open=8388608; prlimit --pid 4242 --nofile=8388608:8388608", "=8388608 "),
    ],
)
def test_the_fix_lowers_no_hard_limit_and_keeps_to_what_the_kernel_takes(running, soft, hard, now, unit):
    running.add(UnitState, name="web.service", active_state="active", main_pid=4242)
    running.add(FileCounts, **{**counts(soft - 4, soft), "hard_limit": hard})
    first, second = running.finding("fd-exhaustion").fix.splitlines()
    assert first == f"now: {now}"
    assert unit in second


def test_the_unit_that_a_shell_lies_in_is_not_the_targets(story):
    story.target(spec=TargetSpec("pid", "4242"), unit="ssh.service")
    story.add(UnitState, name="ssh.service", active_state="active", main_pid=7)
    story.add(FileCounts, **counts(1020))
    assert "ssh.service" not in story.finding("fd-exhaustion").fix


def test_what_may_not_be_read_says_so(running):
    why = Why("permission denied", "run gotriage as root (sudo)", True)
    running.add(FileCounts, unknown={"fullest": why})
    found = running.unknown("fd-exhaustion")
    assert (found.reason, found.remedy) == ("permission denied", "run gotriage as root (sudo)")
    assert "fd-leak" in (found.id, *found.also)


# -- the slope


def leak(rate, floor=50, kind="file"):
    return lambda second: counts(floor + int(rate * second), 65536, **{kind: floor + int(rate * second), "char": 1})


@pytest.mark.parametrize("rate", [0.5, 2, 40])
def test_a_steady_leak_is_found_after_thirty_seconds(running, rate):
    running.each_second(29, FileCounts, leak(rate))
    assert running.ids() == []
    assert "30s of watching" in running.unknown("fd-leak").reason
    running.now += 1
    running.each_second(31, FileCounts, lambda second: leak(rate)(second + 30))
    found = running.finding("fd-leak")
    assert found.severity == "warning"
    assert "full in" in found.title
    assert "in every sixth of it" in found.evidence[0]
    assert "files" in found.evidence[0]


def test_a_slow_leak_is_found_in_a_longer_window(running):
    running.each_second(125, FileCounts, leak(0.04))
    assert running.ids() == []
    running.now += 1
    running.each_second(600, FileCounts, lambda second: leak(0.04)(second + 126))
    assert "+2.4/min" in running.finding("fd-leak").title


def test_a_leak_under_noise_is_found(running):
    chance = random.Random(7)
    running.each_second(300, FileCounts, lambda second: counts(100 + int(second) + chance.randrange(30), 65536))
    assert running.ids() == ["fd-leak"]


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("steady", lambda second: 500),
        ("warm-up that stays", lambda second: 50 + min(second, 20) * 10),
        ("one step", lambda second: 50 if second < 100 else 400),
        ("falling", lambda second: 1000 - second),
        ("waves", lambda second: 100 + abs((second % 60) - 30) * 4),
        ("bursts", lambda second: 100 + (200 if second % 10 < 3 else 0)),
    ],
)
def test_what_is_no_leak(running, name, level):
    for second in range(301):
        running.add(FileCounts, second, **counts(level(second), 65536))
        if second % 10 == 0:
            assert running.ids() == [], (name, second)


def test_a_warm_up_that_is_over_is_written_once_and_is_no_leak(running):
    """An unchanged record is not written again: the heartbeats alone tell that time went on."""
    running.each_second(30, FileCounts, leak(2))
    for second in range(31, 60):
        running.beat(second)
    assert running.ids() == []


def test_noise_alone_is_never_a_leak(running):
    chance = random.Random(1)
    for second in range(900):
        running.add(FileCounts, second, **counts(200 + chance.randrange(60), 65536))
        if second % 7 == 0:
            assert running.ids() == [], second


def test_the_first_seconds_of_a_process_are_left_out(story):
    story.target(age=0)
    story.each_second(55, FileCounts, leak(5))
    assert story.ids() == []
    assert "not counting the first 30s" in story.unknown("fd-leak").reason
    story.now += 1
    story.each_second(20, FileCounts, lambda second: leak(5)(second + 56))
    assert story.ids() == ["fd-leak"]


def connections(story, seconds, number, state="tcp ESTABLISHED"):
    """Sockets of one state whose number follows a function of the second."""
    for second in range(int(seconds) + 1):
        used = int(number(second))
        story.add(FileCounts, second, **counts(used, 65536, socket=used))
        if second % 5 == 0:
            story.add(FileTable, second, by_state={state: used}, omitted=used)


def test_rising_load_is_no_leak(running):
    connections(running, 240, lambda second: 1000 + 4 * second)
    assert running.ids() == []


def test_a_morning_of_rising_load_is_no_leak(running):
    connections(running, 900, lambda second: 5000 + second)
    assert running.ids() == []


def test_connections_that_grow_by_a_quarter_in_five_minutes_are_a_leak(running):
    connections(running, 400, lambda second: 100 + second)
    assert running.ids() == ["fd-leak"]


def test_close_wait_is_a_leak_at_once(running):
    connections(running, 40, lambda second: 100 + 2 * second, "tcp CLOSE_WAIT")
    assert running.ids() == ["fd-leak"]


def test_without_a_list_sockets_count_as_connections(running):
    running.each_second(60, FileCounts, leak(2, kind="socket"))
    assert running.ids() == []


def test_thresholds_can_be_set(running):
    running.each_second(20, FileCounts, leak(2))
    assert running.ids(fd_leak={"seconds": 12.0}) == ["fd-leak"]
    assert running.ids(fd_exhaustion={"warning": 0.00001}) == ["fd-exhaustion"]


def test_growth_before_a_restart_is_of_another_process(story):
    story.target().each_second(40, FileCounts, leak(2))
    assert story.ids() == ["fd-leak"]
    story.now += 1
    story.target(generation=2, age=0).add(FileCounts, **counts(50, 65536))
    assert story.ids() == []
