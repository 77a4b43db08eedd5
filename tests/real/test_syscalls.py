"""System calls of real Go programs, counted and timed by the kernel: exact numbers against what they did."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from gotriage.collectors import Unavailable
from gotriage.collectors.syscalls.bpf import BpfTracer
from gotriage.collectors.syscalls.totals import TotalsTracer
from gotriage.collectors.syscalls.tracefs import TracefsTracer
from gotriage.errors import UsageError
from gotriage.host import Host, clock, tracefs
from gotriage.host.libbpf_api import ALLOW

from tests.lab import toolchain
from tests.lab.process import Start, started, wait_until
from tests.real.targets import target_of

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

MANY = 4000
CLOCKS = timedelta(milliseconds=10)
"""The kernel's clock and the wall clock are read one after the other."""
BUILDS = {
    "static": (toolchain.NEWEST, False, ()),
    "Go 1.21, stripped": ("1.21.13", False, ("-ldflags=-s -w",)),
    "PIE": (toolchain.NEWEST, False, ("-buildmode=pie",)),
    "cgo": (toolchain.NEWEST, True, ()),
    "cgo PIE, stripped": (toolchain.NEWEST, True, ("-buildmode=pie", "-ldflags=-s -w")),
}


@pytest.fixture(scope="module")
def service():
    with started(Start(toolchain.build("calls"))) as running:
        yield running


def ask(running, path):
    with urllib.request.urlopen(f"http://{running.address}{path}", timeout=30) as answer:
        return [int(word) for word in answer.read().split() if word.isdigit()]


@contextmanager
def tracing(kind, pids, **options):
    target = target_of(*pids)
    tracer = kind(target.host, target)
    try:
        tracer.start(options)
        yield tracer
    finally:
        tracer.stop()


def look(tracer):
    (record,) = tracer.collect()
    return record


def call(record, name):
    return next((row for row in record.rows if row.call == name), None)


# -- exact


def test_every_call_is_counted_with_its_bytes_and_errors(service):
    with tracing(BpfTracer, [service.pid], level="counts") as tracer:
        ask(service, f"/pread?n={MANY}&size=100")
        ask(service, f"/open?n=300&path=/nowhere/{'x' * 20}")
        record = look(tracer)
    row = call(record, "pread64")
    assert (row.count, row.bytes, row.errors) == (MANY, MANY * 100, 0)
    failed = call(record, "openat")
    assert (failed.count, failed.errors, failed.errnos) == (300, 300, {"ENOENT": 300})
    assert [(one.call, one.error, one.path, one.count) for one in record.paths] == [
        ("openat", "ENOENT", f"/nowhere/{'x' * 20}", 300)
    ]
    assert record.level == "counts" and row.p50 is None and not record.threads
    used = next(one for one in record.descriptors if one.name.endswith("/calls"))
    assert (used.reads.count, used.reads.bytes) == (MANY, MANY * 100)
    assert tracer.meter().lost == 0


def test_time_threads_and_what_is_stuck(service):
    with tracing(BpfTracer, [service.pid]) as tracer:
        ask(service, f"/pread?n={MANY}&size=4096")
        began = clock.now()
        goid, fd = ask(service, "/block")
        wait_until(lambda: any(not one.waits for one in look(tracer).blocked))
        record = look(tracer)
    row = call(record, "pread64")
    assert row.count == MANY == sum(slot.count for slot in row.histogram)
    assert 0 < row.p50 <= row.p99 <= row.longest * 1.13
    assert 0 < row.longest <= row.seconds
    assert sum(one.calls["pread64"].count for one in record.threads if "pread64" in one.calls) == MANY
    assert record.slowest and all(one.call != "futex" for one in record.slowest)
    (stuck,) = [one for one in record.blocked if not one.waits]
    assert (stuck.call, stuck.fd, stuck.at_least) == ("read", fd, False)
    assert stuck.name.startswith("pipe:[") and stuck.thread == "calls"
    assert began - CLOCKS <= stuck.since <= clock.now()
    assert goid


@pytest.mark.parametrize("build", BUILDS)
def test_calls_are_the_goroutines_that_make_them(build):
    version, cgo, flags = BUILDS[build]
    with started(Start(toolchain.build("calls", version, cgo=cgo, flags=flags))) as running:
        with tracing(BpfTracer, [running.pid], level="goroutines") as tracer:
            (goid,) = ask(running, f"/pread?n={MANY}&size=10")
            stuck, _ = ask(running, "/block")
            wait_until(lambda: any(not one.waits for one in look(tracer).blocked))
            record = look(tracer)
        running.alive()
    assert not record.problems
    (caller,) = [one for one in record.goroutines if "pread64" in one.calls]
    assert (caller.id, caller.calls["pread64"].count) == (goid, MANY)
    assert [one.goroutine for one in record.blocked if not one.waits] == [stuck]


def test_what_is_not_asked_for_is_not_counted(service):
    with started(Start(toolchain.build("calls"))) as other, tracing(BpfTracer, [service.pid]) as tracer:
        ask(other, "/pread?n=100&size=1")
        tracer.detach()
        ask(service, "/pread?n=100&size=1")
        paused = look(tracer)
        tracer.attach()
        ask(service, "/pread?n=7&size=1")
        record = look(tracer)
        assert call(paused, "pread64") is None
        assert call(record, "pread64").count == 7
        tracer._target.pids = (service.pid, other.pid)  # the target has another process now
        look(tracer)
        ask(other, "/pread?n=5&size=1")
        assert call(look(tracer), "pread64").count == 12


# -- other ways


def test_trace_events_count_the_same_and_leave_nothing(service):
    with tracing(TracefsTracer, [service.pid], level="latency") as tracer:
        ask(service, f"/pread?n={MANY}&size=10")
        ask(service, "/open?n=30&path=/nowhere")
        record = look(tracer)
        assert tracer.meter().lost == 0
        with tracefs.Tracefs() as files:
            assert [name for name in files.names("instances") if name.startswith(tracefs.own_name())]
    row = call(record, "pread64")
    assert (row.count, row.bytes) == (MANY, MANY * 10)
    assert call(record, "openat").errnos == {"ENOENT": 30}
    assert sum(one.calls["pread64"].count for one in record.threads if "pread64" in one.calls) == MANY
    assert record.level == "counts" and "needs libbpf" in record.problems[0]
    with tracefs.Tracefs() as files:
        assert not [name for name in files.names("instances") if name.startswith(tracefs.own_name())]


def test_an_instance_of_a_killed_gotriage_is_taken_away():
    code = (
        "import time; from gotriage.host.tracefs import Instance, Tracefs\n"
        "made = Instance(Tracefs()); made.write('events/raw_syscalls/sys_exit/enable', '1')\n"
        "print(made.name, flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    name = child.stdout.readline().strip()
    try:
        assert name not in tracefs.sweep()
    finally:
        child.kill()
        child.wait()
    with tracefs.Tracefs() as files:
        assert name in files.names("instances")
        assert name in tracefs.sweep()
        assert name not in files.names("instances")


def test_totals_alone_by_perf_events(service):
    with tracing(TotalsTracer, [service.pid]) as tracer:
        ask(service, f"/pread?n={MANY}&size=10")
        ask(service, "/open?n=30&path=/nowhere")
        tracer.detach()
        record = look(tracer)
        ask(service, "/pread?n=1000&size=10")
        assert look(tracer).count == record.count
    assert MANY + 30 <= record.count < MANY + 2000
    assert 30 <= record.errors < 1000
    assert record.rows == () and "only totals" in record.problems[0]


# -- what else may be


def test_options_that_there_are_not(service):
    for options in ({"level": "all"}, {"leve": "counts"}):
        with pytest.raises(UsageError):
            BpfTracer(Host(), target_of(service.pid)).price(options)


def test_a_32_bit_program_is_refused():
    binary = toolchain.build("calls", env={"GOARCH": "386"})
    with started(Start(binary)) as running, pytest.raises(Unavailable, match="32-bit"):
        BpfTracer(Host(), target_of(running.pid))


RUN = """
import json, os
from gotriage.collectors.syscalls.bpf import BpfTracer
from gotriage.host import Host
from tests.lab import toolchain
from tests.lab.process import Start, started
from tests.real.targets import target_of
from tests.real.test_syscalls import ask
with started(Start(toolchain.build("calls"))) as running:
    tracer = BpfTracer(Host(), target_of(running.pid))
    tracer.start({"level": "goroutines"})
    goid, = ask(running, "/pread?n=500&size=10")
    record, = tracer.collect()
    row = next(row for row in record.rows if row.call == "pread64")
    tid = {one.id for one in record.threads if "pread64" in one.calls}
    own = {int(name) for name in os.listdir(f"/proc/{running.pid}/task")}
    who = [one.id for one in record.goroutines if "pread64" in one.calls]
    print(json.dumps([running.pid, row.count, tid <= own, who == [goid]]))
    tracer.stop()
"""


def test_in_a_pid_namespace_of_our_own_with_other_numbers():
    words = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, "-c", RUN]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    pid, count, known, who = json.loads(done.stdout)
    assert pid < 1000 and (count, known, who) == (500, True, True)


HOLD = """
import sys, time
from gotriage.collectors.syscalls.bpf import BpfTracer
from gotriage.host import Host
from tests.real.targets import target_of
tracer = BpfTracer(Host(), target_of(int(sys.argv[1])))
tracer.start({})
print("ready", flush=True)
time.sleep(60)
"""


def test_nothing_is_left_of_a_killed_tracer(service):
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(service.pid)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    loaded = _programs(child.pid)
    assert len(loaded) >= 3
    child.send_signal(signal.SIGKILL)
    child.wait()
    wait_until(lambda: not any(map(_there, loaded)))
    status = Path(f"/proc/{service.pid}/status").read_text()
    assert "TracerPid:\t0" in status and "T (stopped)" not in status
    assert ask(service, "/pread?n=1&size=1")


def _programs(pid):
    """Numbers of the BPF programs that a process holds (bpf_prog_show_fdinfo of kernel/bpf/syscall.c)."""
    found = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        if os.readlink(fd) == "anon_inode:bpf-prog":
            text = Path(f"/proc/{pid}/fdinfo/{fd.name}").read_text()
            found.add(next(line.split()[1] for line in text.splitlines() if line.startswith("prog_id:")))
    return found


def _there(number):
    words = ["bpftool", "prog", "show", "id", number]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def test_without_rights_it_says_what_would_permit(service):
    code = (
        "import os; from tests.real.targets import target_of\n"
        f"target = target_of({service.pid}); os.setuid(65534)\n"
        "from gotriage.collectors.syscalls.bpf import BpfTracer\nfrom gotriage.errors import NotPermitted\n"
        "from gotriage.host import Host\n"
        "tracer = BpfTracer(Host(), target)\n"
        "try:\n    tracer.start({})\nexcept NotPermitted as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert ALLOW in done.stdout, done.stderr


def test_a_program_that_is_not_go_has_calls_too():
    code = "import os, sys; print('up', flush=True); sys.stdin.readline()\nfor _ in range(500): os.getppid()\nprint()"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    child.stdout.readline()
    try:
        with tracing(BpfTracer, [child.pid], level="goroutines") as tracer:
            child.communicate("go on\n", timeout=20)
            record = look(tracer)
    finally:
        child.kill()
    assert call(record, "getppid").count == 500
    assert any("not a Go program" in problem for problem in record.problems)
    assert all(one.id == 0 for one in record.goroutines)
