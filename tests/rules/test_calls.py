"""System calls that fail, programs started over and over, a full disk, refused files: from what traces counted."""

from __future__ import annotations

import pytest
from gotriage.records.files import FileCounts
from gotriage.records.limits import Limit, LimitTable
from gotriage.records.probes import ProbeEvent, ProbeEvents
from gotriage.records.straced import Straced, StracedFailure
from gotriage.records.stream import Gap
from gotriage.records.syscalls import Caller, Descriptor, FailedPath, Share, Syscall, Syscalls
from gotriage.records.tracing import Trace, Traces

NORMAL = {
    "read": {"EAGAIN": 900},
    "accept4": {"EAGAIN": 90},
    "connect": {"EINPROGRESS": 40},
    "futex": {"ETIMEDOUT": 300, "EAGAIN": 12},
    "epoll_ctl": {"EPERM": 30},
    "openat": {"ENOENT": 200},
    "readlinkat": {"EINVAL": 40},
    "ioctl": {"ENOTTY": 9},
    "wait4": {"ECHILD": 2},
    "read ": {"EIO": 4},
    "mincore": {"ENOMEM": 3},
}
"""What healthy Go programs do."""


def counted(errnos, made=None):
    calls = dict.fromkeys([*errnos, *(made or {})])
    return tuple(
        Syscall(
            call=call.strip(),
            count=sum(errnos.get(call, {}).values()) + (made or {}).get(call, 100),
            errors=sum(errnos.get(call, {}).values()),
            errnos=errnos.get(call, {}),
        )
        for call in calls
    )


def looked(story, errnos, at=None, attached=1.0, made=None, **fields):
    rows = counted(errnos, made)
    total = sum(row.count for row in rows)
    return story.add(Syscalls, at, rows=rows, level="latency", attached=attached, count=total, **fields)


def rules(story):
    return [f.id for f in story.verdict().findings]


# -- syscall-errors


def test_errors_of_normal_work_are_none(running):
    looked(running, NORMAL)
    assert rules(running) == []
    assert running.fine("syscall-errors").text == "1,630 calls failed in usual ways, in 1s of tracing"


def test_descriptors_that_have_run_out(running):
    looked(
        running,
        {**NORMAL, "accept4": {"EMFILE": 42}},
        goroutines=(Caller(id=18, calls={"accept4": Share(50, 42)}), Caller(id=3, calls={"read": Share(9, 9)})),
    )
    found = running.finding("syscall-errors")
    assert (found.severity, found.subject, found.view) == ("critical", "EMFILE", "syscalls")
    assert found.title == "accept4 fails with EMFILE: 42 times in 1s"
    assert "accept4: 42 times in 1s of tracing" in found.evidence
    assert "most of it by goroutine 18" in found.evidence
    running.add(FileCounts, total=64, fullest=64, fullest_pid=4242, soft_limit=64, hard_limit=64)
    assert running.finding("syscall-errors").because == "fd-exhaustion"


@pytest.mark.parametrize(
    ("call", "error", "severity"),
    [
        ("clone3", "EAGAIN", "critical"),
        ("mmap", "ENOMEM", "critical"),
        ("fsync", "EIO", "critical"),
        ("openat", "EROFS", "warning"),
        ("connect", "EADDRNOTAVAIL", "critical"),
        ("write", "EBADF", "warning"),
    ],
)
def test_what_is_told(running, call, error, severity):
    looked(running, {**NORMAL, call: {error: 3}})
    assert running.finding("syscall-errors").severity == severity


@pytest.mark.parametrize(
    ("call", "error", "times"),
    [("read", "EIO", 99), ("madvise", "ENOMEM", 99), ("close", "EBADF", 99), ("accept4", "EMFILE", 1), ("x", "E5", 99)],
)
def test_what_is_not(running, call, error, times):
    looked(running, {**NORMAL, call: {error: times}})
    assert rules(running) == []


def test_what_is_over_counts_no_more(running):
    """Counts are since the start of the trace; the rule asks for the last minute."""
    looked(running, {"accept4": {"EMFILE": 42}}, 0, attached=1.0)
    assert rules(running) == ["syscall-errors"]
    for second in range(10, 100, 10):
        looked(running, {"accept4": {"EMFILE": 42}}, second, attached=1.0 + second / 10, made={"read": second})
    assert rules(running) == []
    looked(running, {"accept4": {"EMFILE": 44}}, 100, attached=11.0, made={"read": 100})
    assert running.finding("syscall-errors").title == "accept4 fails with EMFILE: 2 times in 6s"


def test_a_run_that_begins_anew(running):
    looked(running, {"accept4": {"EMFILE": 500}}, 0, attached=90.0)
    looked(running, {"accept4": {"EMFILE": 3}}, 5, attached=1.0)
    assert "3 times in 1s" in running.finding("syscall-errors").title


def test_without_a_trace(running):
    for rule in ("syscall-errors", "exec-storm", "disk-full"):
        assert running.unknown(rule).remedy == "press Y, or: gotriage show syscalls"
    running.add(
        Traces, rows=(Trace(source="syscalls", state="refused", reason="no BTF here", remedy="another kernel"),)
    )
    assert running.unknown("syscall-errors").reason == "syscalls: no BTF here"
    running.add(Gap, source="syscalls", reason="not permitted", remedy="sudo gotriage")
    assert running.unknown("exec-storm").remedy == "sudo gotriage"
    looked(running, NORMAL, 10)
    running.add(FileCounts, 200, total=9, fullest=9, soft_limit=64)
    assert running.unknown("syscall-errors").reason == "not permitted"  # what is three minutes old says nothing


# -- exec-storm


def started(story, number, at, waits=1):
    made = {"clone": number + 3, "waitid": number * waits, "wait4": number * waits, "pipe2": number}
    return looked(story, NORMAL, at, attached=at / 10 + 1.0, made=made)


def test_programs_started_all_the_time(running):
    for second in range(0, 31, 10):
        started(running, 20 * (second // 10 + 1), second)
    for number in range(3):
        event = {"what": "git rev-parse HEAD", "by": "main.version", "result": "exit 0", "took": 0.004}
        running.add(ProbeEvents, 30, rows=(ProbeEvent(probe="execs", number=number, at=running.time(), **event),))
    found = running.finding("exec-storm")
    assert found.title == "20/s programs started: 80 in 4s"
    assert "git: 3 times, asked for by main.version" in found.evidence


def test_threads_and_waits_in_vain_are_no_programs(running):
    started(running, 500, 0, waits=0)
    assert running.fine("exec-storm").text == "no programs started"


def test_waits_in_vain_are_no_programs(running):
    looked(running, NORMAL, made={"wait4": 5000, "clone": 8})
    assert rules(running) == []


def test_a_program_now_and_then_is_fine(running):
    started(running, 3, 0)
    assert running.fine("exec-storm").text == "3.0/s programs started"


# -- disk-full


def disk(story, used, subject="/var/lib"):
    rows = (
        Limit(name="size of /", scope="filesystem", unit="bytes", soft=100e9, used=50e9, subject="/"),
        Limit(name=f"size of {subject}", scope="filesystem", unit="bytes", soft=10e9, used=used, subject=subject),
    )
    return story.add(LimitTable, rows=rows)


def test_writes_that_find_no_room(running):
    looked(
        running,
        {"write": {"ENOSPC": 12}},
        descriptors=(
            Descriptor(fd=7, type="file", name="/var/lib/db/wal", writes=Share(20, 12)),
            Descriptor(fd=8, type="socket", name="x", writes=Share(20, 12)),
        ),
    )
    disk(running, 10e9)
    found = running.finding("disk-full")
    assert (found.severity, found.subject) == ("critical", "/var/lib")
    assert found.title == "/var/lib: no space left on device: 12 writes failed"
    assert "write failed with ENOSPC 12 times in 1s of tracing" in found.evidence
    assert "at /var/lib/db/wal" in found.evidence
    assert "/var/lib: 9.3G of 9.3G in use, 100 %" in found.evidence
    assert "df -h /var/lib" in found.fix


def test_the_log_says_so(running):
    running.log("flush: write /data/x.tmp: no space left on device")
    found = running.finding("disk-full")
    assert found.title == "/data/x.tmp: no space left on device: 1 write failed"
    assert running.log("later", 400).ids() == []


def test_a_quota(running):
    running.add(Straced, failures=(StracedFailure(call="pwrite64", error="EDQUOT", where="/home/a/b", count=2),))
    assert running.finding("disk-full").title == "/home/a/b: the disk quota is used up: 2 writes failed"


def test_watches_are_no_disk(running):
    looked(running, {"inotify_add_watch": {"ENOSPC": 12}, "epoll_ctl": {"ENOSPC": 3}})
    assert rules(running) == []
    assert running.fine("disk-full").text == "no write failed for want of space"


def test_a_panic_that_the_disk_explains(running):
    running.log("panic: write /data/x: no space left on device", at=1)
    running.log("goroutine 1 [running]:", at=1)
    looked(running, {"write": {"ENOSPC": 12}}, 2)
    assert {claim.id for claim in running.verdict().findings if not claim.because} == {"disk-full"}


# -- permission-denied


def refusal(story, path, count=3, error="EACCES", call="openat"):
    return FailedPath(call=call, error=error, path=path, count=count, last_at=story.time())


def test_files_that_are_refused(running):
    looked(running, {"openat": {"EACCES": 4}}, paths=(refusal(running, "/etc/app/key"), refusal(running, "/etc/x", 1)))
    found = running.finding("permission-denied")
    assert found.title == "/etc/app/key: openat is refused (EACCES), 3 times"
    assert "the kernel saw openat fail with EACCES 3 times" in found.evidence
    running.log("open /etc/app/key: permission denied", at=1)
    assert len(running.verdict().findings) == 1


@pytest.mark.parametrize("path", ["/proc/1/io", "/sys/fs/cgroup/x", "/dev/kmsg", "relative", ""])
def test_files_of_the_kernel_are_tried(running, path):
    looked(running, {"openat": {"EACCES": 9}}, paths=(refusal(running, path, 9),))
    assert rules(running) == []


def test_strace_and_a_probe_are_witnesses_too(running):
    running.add(Straced, failures=(StracedFailure(call="mkdir", error="EPERM", where="/srv/a", count=2),))
    event = ProbeEvent(probe="open-errors", number=1, at=running.time(), what="/srv/b", result="EACCES", failed=True)
    running.add(ProbeEvents, rows=(event, event))
    assert {claim.subject for claim in running.verdict().findings} == {"/srv/a", "/srv/b"}
