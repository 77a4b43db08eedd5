"""The tab of system calls: the table, one call, what is stuck, who calls and on what, totals alone; and `show`."""

from __future__ import annotations

from datetime import timedelta

import pytest
from gotriage.records.syscalls import (
    Blocked,
    Caller,
    Descriptor,
    FailedPath,
    Share,
    Slot,
    SlowCall,
    Syscall,
    Syscalls,
)
from gotriage.records.tracing import Trace, Traces
from gotriage.render.syscalls import lines

from tests.ui import made
from tests.ui.screens import LARGE, shown

AT = made.START + timedelta(seconds=9)
ROWS = (
    Syscall(
        call="read", count=5000, rate=480.0, share=0.6, errors=2000, errnos={"EAGAIN": 2000}, bytes=1 << 20,
        byte_rate=2048.0, p50=2.3e-7, p99=0.0000147, longest=0.0054, seconds=0.2,
        histogram=(Slot(2.56e-7, 3000), Slot(5.12e-7, 2000)),
    ),
    Syscall(
        call="openat", count=400, rate=40.0, share=0.05, errors=300, errnos={"EMFILE": 290, "ENOENT": 10}, p50=0.000001,
        p99=0.000002, longest=0.000003, seconds=0.0004, histogram=(Slot(1.024e-6, 400),),
    ),
    Syscall(call="futex", count=90, rate=9.0, share=0.01, p50=0.02, p99=1.5, longest=4.0, seconds=50.0, waits=True),
)  # fmt: skip
SEEN = Syscalls(
    at=AT,
    rows=ROWS,
    level="goroutines",
    attached=10.4,
    window=10.0,
    count=5490,
    errors=2300,
    rate=529.0,
    threads=(Caller(id=41210, own_id=7, name="orders-api", total=Share(900, 3, 0.01, 0.004, 0)),),
    threads_omitted=12,
    goroutines=(
        Caller(id=88, total=Share(4000, 5, 0.1, 0.005, 1 << 20), calls={"read": Share(4000, 5, 0.1, 0.005, 1 << 20)}),
        Caller(id=0, waiting=Share(90, 0, 50.0, 4.0), calls={"futex": Share(90, 0, 50.0, 4.0)}),
    ),
    descriptors=(Descriptor(fd=9, type="tcp", name="10.0.0.1:80", peer="10.0.0.2:555", reads=Share(7, 0, 0.1, 0, 42)),),
    paths=(FailedPath(call="openat", error="ENOENT", path="/etc/orders/missing.toml", count=10, last_at=AT),),
    blocked=(
        Blocked(
            tid=41211, thread="orders-api", call="read", since=AT - timedelta(seconds=12), goroutine=91, fd=5,
            name="/mnt/nfs/data", wchan="nfs_wait_bit_killable",
        ),
        Blocked(tid=41212, thread="orders-api", call="futex", since=AT, at_least=True, waits=True),
    ),
    slowest=(SlowCall(began_at=AT, seconds=0.0054, call="read", goroutine=88, fd=9, name="a", error="EIO"),),
)  # fmt: skip
TRACE = Traces(
    at=AT, rows=(Trace(source="syscalls", state="running", backend="libbpf", hits=5490, hits_per_second=529.0),)
)


def session(record=SEEN):
    found = made.session(10)
    for one in (TRACE, record):
        found.feed(one)
    return found


def screen(*keys, record=SEEN, size=(80, 24)):
    return shown(made.front(session(record)), "Y", *keys, size=size)


def test_the_table_with_what_fails_unusually_and_what_is_stuck():
    seen = screen()
    for words in (
        "libbpf  running", "529/s · 300 failed unusually · 1 thread stuck (b)", "goroutines", "230ns", "5.4ms",
        "2.0K/s", "EAGAIN 2.0k", "EMFILE 290", "60 %",
    ):  # fmt: skip
        assert words in seen, seen
    wide = screen(size=LARGE)
    assert "━━" in wide and "EAGAIN 2,000" in wide


def test_a_call_with_its_histogram_and_why_it_fails():
    seen = screen("j", "enter", size=(100, 50))
    for words in (
        "openat   40/s", "400 calls in 10s", "p50 1.0µs", "under  1.0µs ━━━━", "400  100 %",
        "EMFILE       the process has as many descriptors open as it may","LimitNOFILE)", "72 %",
        "/etc/orders/missing.toml",
    ):  # fmt: skip
        assert words in seen, seen
    seen = screen("enter", size=(120, 60))
    for words in ("nfs_wait_bit_killable", "goroutine 88", "EIO", "10.0.0.1:80 → 10.0.0.2:555"):
        assert words in seen, seen


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("b", ("12s", "goroutine 91", "fd 5 /mnt/nfs/data", "nfs_wait_bit_killable", "≥0s", "EIO", "missing.toml")),
        ("w", ("goroutine 88", "the scheduler", "41210 orders-api", "and 12 threads more")),
        ("d", ("tcp 10.0.0.1:80 → 10.0.0.2:555", "42B")),
    ],
)
def test_pages_over_all_calls(key, expected):
    seen = screen(key, size=(120, 40))
    for words in expected:
        assert words in seen, seen


def test_totals_alone_say_why():
    only = Syscalls(at=AT, attached=3.0, count=1200, errors=30, rate=400.0, problems=("only totals are known",))
    seen = screen(record=only)
    assert "400/s now, 1,200 calls in 3s, 30 failed" in seen
    assert "only totals are known" in seen


def test_a_level_cannot_be_changed_of_what_is_over():
    assert "nothing can be measured here" in screen("v")


def test_show_prints_the_same():
    text = "\n".join(lines(session()))
    for words in ("529/s now, 5,490 calls in 10s", "In a call now", "nfs_wait_bit_killable", "By file and peer", "88"):
        assert words in text
