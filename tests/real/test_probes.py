"""The probe library on the running kernel, on a Go service that does what probes look for."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from gotriage.collectors import Unavailable
from gotriage.collectors.probes import ProbeTracer
from gotriage.errors import GotriageError, UsageError
from gotriage.host import bcc, bpftrace
from gotriage.host.tracefs import PREFIX, Tracefs
from gotriage.records.probes import ProbeEvents, Probes, ProbeTables

from tests.lab.process import wait_until
from tests.real.targets import target_of

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="programs in the kernel take root"),
]

SERVER = f"127.77.{os.getpid() % 250}.{os.getpid() // 250 % 250 + 1}"
"""Nobody else's, though it has to be port 53."""
HELD = """
import sys, time
from gotriage.host.bpftrace import Bpftrace
run = Bpftrace("BEGIN { } interval:s:60 { exit(); }")
print(run._process.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def dns():
    """A DNS server that knows one address and answers every question."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind((SERVER, 53))
        end.settimeout(0.2)
        over = threading.Event()

        def serve():
            while not over.is_set():
                try:
                    data, peer = end.recvfrom(2048)
                except TimeoutError:
                    continue
                at = 12
                while data[at]:
                    at += 1 + data[at]
                question = data[12 : at + 5]
                if struct.unpack(">H", data[at + 1 : at + 3])[0] == 1:
                    answer = b"\x81\x80\0\1\0\1\0\0\0\0" + question + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x0a\1\2\3"
                else:
                    answer = b"\x81\x83\0\1\0\0\0\0\0\0" + question
                end.sendto(data[:2] + answer, peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"{SERVER}:53"
        over.set()
        thread.join(5)


@pytest.fixture(scope="module")
def probed(module_service, dns):
    return module_service("probed", f"-dns={dns}", "-shell=sleep 0.02; exit 3", "-every=50ms")


def tracer_of(pid):
    target = target_of(pid)
    return ProbeTracer(target.host, target)


class Seen:
    """What a tracer has told until now."""

    def __init__(self, tracer):
        self.tracer = tracer
        self.events, self.tables, self.states = {}, None, {}

    def look(self):
        for record in self.tracer.collect():
            if isinstance(record, ProbeEvents):
                self.events |= {(row.probe, row.number): row for row in record.rows}
            elif isinstance(record, ProbeTables):
                self.tables = record
            elif isinstance(record, Probes):
                self.states = {row.id: row for row in record.rows}
        return self

    def of(self, probe):
        return [row for (name, _), row in self.events.items() if name == probe]

    def rows(self, probe):
        return [row for row in self.tables.rows if row.probe == probe] if self.tables else []

    def until(self, condition, seconds=40):
        wait_until(lambda: condition(self.look()), seconds)


@contextmanager
def running(pid, **options):
    tracer = tracer_of(pid)
    try:
        tracer.start(options)
        yield Seen(tracer)
    finally:
        tracer.stop()


def shells(seen):
    return [row for row in seen.of("execs") if row.what == "bash -c 'sleep 0.02; exit 3'" and row.result]


def installed(backend):
    reason = {"bpftrace": bpftrace.unavailable, "BCC": bcc.unavailable}.get(backend, lambda: "")()
    return pytest.mark.skipif(bool(reason), reason=reason)


@pytest.mark.parametrize(
    "backend", [pytest.param(name, marks=installed(name)) for name in ("libbpf", "bpftrace", "BCC", "tracefs")]
)
def test_programs_that_a_service_starts(probed, backend):
    with running(probed.pid, probe="execs", backend=backend) as seen:
        assert seen.tracer.backend == backend
        if backend == "tracefs":  # its events have no arguments, and such short programs are gone at the next look
            seen.until(lambda s: any(row.detail.startswith("/") and row.result == "exit 3" for row in s.of("execs")))
        else:
            seen.until(shells)
            row = shells(seen)[0]
            assert (row.result, row.failed) == ("exit 3", True)
            assert row.took >= 0.02
        seen.until(
            lambda s: any(row.what.startswith(("sleep", "/")) and row.result == "exit 0" for row in s.of("execs"))
        )
        if backend == "libbpf":
            assert row.goroutine == 1
            assert row.by == "main.runShell"
            assert "os/exec.(*Cmd).Run" in row.stack
    probed.alive()


def test_streams(probed):
    ids = "opens,open-errors,connects,accepts,resets,dns,signals,slow-files,gc,panics"
    with running(probed.pid, probe=ids, slow="0.01") as seen:
        wait_until(lambda: os.kill(probed.pid, 10) or seen.look().of("signals"), 40)  # SIGUSR1: it has a handler
        seen.until(lambda s: all(any(row.result or row.by for row in s.of(name)) for name in ids.split(",")))
        seen.until(lambda s: {"NOERROR", "NXDOMAIN"} <= {row.result for row in s.of("dns")})
        assert {row.result for row in seen.of("open-errors")} == {"ENOENT"}
        assert any(row.what.endswith("/missing.conf") for row in seen.of("open-errors"))
        assert {"connected", "ECONNREFUSED"} <= {row.result for row in seen.of("connects")}
        answered = next(row for row in seen.of("dns") if row.result == "NOERROR")
        assert (answered.what, answered.detail) == ("orders.example.test A", "10.1.2.3")
        assert any(row.what == "SIGUSR1" and f"[{os.getpid()}]" in row.by for row in seen.of("signals"))
        assert all(row.goroutine for row in seen.of("accepts"))
        panic = seen.of("panics")[0]
        assert (panic.what, panic.by) == ("the order is empty", "main.panicAndRecover")
        assert seen.tracer.meter().hits > 0
        assert not [row for row in seen.states.values() if row.state == "failed"]


def test_counts_and_histograms(probed):
    ids = ("syncs", "mappings", "futex-waits", "page-faults", "run-queue", "new-goroutines", "block-io", "throttling")
    with running(probed.pid, probe=",".join(ids)) as seen:
        wanted = set(ids) - {"throttling", "block-io"}  # no quota; /tmp may be no disk
        seen.until(lambda s: all(s.rows(name) for name in wanted))
        assert seen.rows("syncs")[0].name == "fsync"
        assert {row.probe for row in seen.tables.histograms} >= {"syncs", "run-queue"}
        assert any(row.name.startswith("main.work ") for row in seen.rows("new-goroutines"))
        assert {seen.states[name].state for name in ids} == {"on"}
    probed.alive()


def test_probes_come_and_go_without_touching_the_others(probed):
    with running(probed.pid, probe="execs") as seen:
        seen.until(shells)
        before = next(engine for engine in seen.tracer._engines)
        seen.tracer.adjust({"probe": "execs,opens"})
        seen.until(lambda s: s.of("opens"))
        assert before in seen.tracer._engines
        seen.tracer.adjust({"probe": "opens"})
        assert seen.look().states["execs"].state == "off"
        seen.tracer.detach()
        seen.look()
        count = len(seen.of("opens"))
        time.sleep(0.3)
        assert len(seen.look().of("opens")) == count
        seen.tracer.attach()
        seen.until(lambda s: len(s.of("opens")) > count)


@installed("bpftrace")
def test_a_script_of_the_users_own(probed):
    script = 'BEGIN { printf("target %d\\n", $1); } tracepoint:syscalls:sys_enter_openat /pid == $1/ { @n = count(); }'
    with running(probed.pid, probe="script", script=script) as seen:
        seen.until(lambda s: s.of("script") and s.rows("script"))
        assert seen.of("script")[0].what == f"target {probed.pid}"
        assert seen.rows("script")[0].detail == "@n"
        pid = seen.tracer._engines[0]._run._process.pid
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"))


@installed("bpftrace")
def test_scripts_that_make_no_sense_or_never_stop_talking(probed):
    with pytest.raises(UsageError, match="syntax error"), running(probed.pid, probe="script", script="tracepoint:x {"):
        pass
    flood = 'interval:us:50 { @[nsecs] = count(); printf("%d\\n", nsecs); }'
    with running(probed.pid, probe="script", script=flood) as seen:
        seen.until(lambda s: s.look().states["script"].omitted or s.tracer.meter().lost)
        assert len(seen.rows("script")) <= 200
        seen.tracer.adjust({"probe": "script,opens", "script": "nonsense"})
        seen.until(lambda s: s.of("opens"))
        assert seen.states["script"].state == "failed"


@installed("BCC")
def test_a_bcc_program_of_the_users_own(probed):
    text = """
struct event { u32 pid; char comm[16]; };
BPF_PERF_OUTPUT(events);
BPF_HASH(opens, u32);
TRACEPOINT_PROBE(syscalls, sys_enter_openat) {
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    struct event e = {pid};
    if (pid != TARGET_PID) return 0;
    bpf_get_current_comm(e.comm, sizeof(e.comm));
    opens.increment(pid);
    events.perf_submit(args, &e, sizeof(e));
    return 0;
}"""
    with running(probed.pid, probe="bcc", script=text) as seen:
        seen.until(lambda s: s.of("bcc") and s.rows("bcc"))
        assert seen.of("bcc")[0].what == f"events: pid={probed.pid}  comm=probed"
        assert (seen.rows("bcc")[0].name, seen.rows("bcc")[0].detail) == (str(probed.pid), "opens")
    for bad, said in (
        ("int x(", "line 1"),
        ("TRACEPOINT_PROBE(sched, sched_switch) { bpf_send_signal(9); return 0; }", "another process"),
    ):
        with pytest.raises(UsageError, match=said), running(probed.pid, probe="bcc", script=bad):
            pass


@installed("bpftrace")
def test_a_helper_does_not_outlive_who_started_it():
    line = [sys.executable, "-c", HELD]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        pid = int(parent.stdout.readline())
        assert os.path.exists(f"/proc/{pid}")
        parent.kill()
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"))


def test_what_cannot_run_says_why(probed):
    with pytest.raises((Unavailable, GotriageError), match="nothing for panics"):
        tracer_of(probed.pid).start({"probe": "panics", "backend": "tracefs"})
    with pytest.raises(UsageError, match="no probe"):
        tracer_of(probed.pid).start({"probe": "nonsense"})
    with running(os.getpid(), probe="") as seen:
        states = seen.look().states
        assert states["execs"].state == "off"
        assert len(states) >= 18
    with Tracefs() as tracefs:
        assert not [name for name in tracefs.names("instances") if name.startswith(f"{PREFIX}{os.getpid()}-")]
