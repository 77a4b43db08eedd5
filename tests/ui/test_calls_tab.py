"""The tab of C library calls, and the page of single system calls by strace."""

from __future__ import annotations

from datetime import timedelta

from gotriage.records.calls import LibraryCall, LibraryCalls
from gotriage.records.straced import Straced, StracedCall, StracedFailure, StracedSignal, StracedSum
from gotriage.records.syscalls import Syscall, Syscalls
from gotriage.records.tracing import Trace, Traces
from gotriage.render.straced import lines

from tests.ui import made
from tests.ui.screens import shown

AT = made.START + timedelta(seconds=9)
LIBC = "/usr/lib/x86_64-linux-gnu/libc.so.6"
CALLS = LibraryCalls(
    at=AT,
    rows=(
        LibraryCall(function="memcpy", library=LIBC, count=1_234_567, rate=4100.0, share=0.75),
        LibraryCall(function="SSL_read", library="/usr/lib/libssl.so.3", count=42, rate=0.0, share=0.0),
    ),
    way="probes",
    count=1_234_609,
    rate=4101.0,
    functions=53,
    libraries=(LIBC, "/usr/lib/libssl.so.3"),
    refused={"time": "it is bound to memory that is no file's"},
    attached=12.0,
)
READ = StracedCall(
    began_at=AT, tid=41210, call="read", arguments='7<TCP:[10.0.0.1:80->10.0.0.2:555]>, "GET / HTTP/1.1", 4096',
    result="14", seconds=0.000031, where="TCP:[10.0.0.1:80->10.0.0.2:555]",
)  # fmt: skip
FAILED = StracedCall(
    began_at=AT, tid=41211, call="openat", arguments='AT_FDCWD, "/etc/orders/key", O_RDONLY', result="-1",
    error="EACCES", words="Permission denied", seconds=0.000012, where="/etc/orders/key",
)  # fmt: skip
STRACED = Straced(
    at=AT,
    rows=(READ, FAILED),
    count=1502,
    left_out=1500,
    sums=(
        StracedSum(call="futex", count=900, seconds=20.0, longest=3.0, waits=True),
        StracedSum(call="read", count=600, seconds=0.03, longest=0.01),
        StracedSum(call="openat", count=2, errors=2, seconds=0.00002, longest=0.000012),
    ),
    failures=(
        StracedFailure(call="openat", error="EACCES", words="Permission denied", where="/etc/orders/key", count=2),
    ),
    slowest=(READ,),
    inside=(StracedCall(began_at=AT, tid=41212, call="epoll_pwait", arguments="5<anon_inode:[eventpoll]>"),),
    signals=(StracedSignal(signal="SIGURG", count=7, code="SI_TKILL", sender=41207),),
    ends=("thread 41299: exited with 0",),
    threads=9,
    seconds=3.0,
)


def session(*records):
    found = made.session(10)
    for one in records:
        found.feed(one)
    return found


def screen(*keys, records=(CALLS,), size=(100, 30)):
    return shown(made.front(session(*records)), *keys, size=size)


def test_functions_with_their_libraries():
    seen = screen("C")
    for words in (
        "4,101/s · 2 functions called of 53 in 2 libraries", "counted for 12s", "1 cannot be counted", "probes",
        "memcpy", "4,100/s", "75 %", "1,234,567", "libc.so.6", "libssl.so.3",
    ):  # fmt: skip
        assert words in seen, seen
    assert LIBC in screen("C", "enter")


def test_why_there_are_none():
    refused = Trace(source="calls", state="refused", reason="it is linked statically", remedy="nothing")
    seen = screen("C", records=(Traces(at=AT, rows=(refused,)),))
    assert "refused: it is linked statically" in seen


def test_single_calls_of_strace():
    row = Syscall(call="read", count=1, rate=1.0)
    syscalls = Syscalls(at=AT, rows=(row,), level="counts", attached=1.0, count=1, rate=1.0)
    ended = Trace(source="strace", state="ended", backend="strace", reason="its time is over", price_class="stops")
    records = (syscalls, STRACED, Traces(at=AT, rows=(ended,)))
    seen = screen("Y", "a", records=records, size=(120, 60))
    for words in (
        "arguments (strace)", "its time is over", "1,502 calls of 9 threads in 3s, 2 failed", "EACCES",
        "/etc/orders/key", "futex  (waits)", "GET / HTTP/1.1", "epoll_pwait", "SIGURG 7x by process 41207",
        "thread 41299: exited with 0", "and 1,500 before these",
    ):  # fmt: skip
        assert words in seen, seen
    opened = screen("Y", "a", "enter", records=records, size=(120, 40))
    assert "openat fails with EACCES on /etc/orders/key" in opened


def test_what_show_prints():
    told = "\n".join(lines(session(STRACED), 120))
    for words in ("1,502 calls of 9 threads", "Calls that failed", "Slowest", "Not returned yet", "SIGURG 7x"):
        assert words in told
