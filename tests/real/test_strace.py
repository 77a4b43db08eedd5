"""strace on real programs: what it tells, and that everything goes on whoever ends, stops or kills whom."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from gotriage.collectors import Over
from gotriage.collectors.strace.tracer import StraceTracer
from gotriage.errors import NotPermitted
from gotriage.host import Host, threads
from gotriage.host.keeper import OUT, Kept
from gotriage.host.letgo import let_go, stopped
from gotriage.host.strace import find

from tests.lab.process import wait_until
from tests.real.patients import Load, Patient
from tests.real.targets import target_of

pytestmark = pytest.mark.real

FAILS = """
import os, time
full = os.open("/dev/full", os.O_WRONLY)
while True:
    for path in ("/nonexistent/\\x1b[31m", "relative"):
        try:
            open(path)
        except OSError:
            pass
    try:
        os.write(full, b"x" * 100)
    except OSError:
        pass
    time.sleep(0.01)
"""
ENDS = "import time; time.sleep(1.5)"


@contextmanager
def traced(*pids, **options):
    target = target_of(*pids)
    with closing(StraceTracer(target.host, target)) as tracer:
        tracer.start({"seconds": "20", **options})
        yield tracer


@contextmanager
def python(text):
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() != "pytest\n")
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def served(module_service):
    running = module_service("healthy", "-rate=200")
    with Load(running.address) as load:
        yield Patient(running, load)


def look(tracer):
    (record,) = tracer.collect()
    return record


def looked(tracer, wanted):
    """The record once it is so."""
    found = []

    def so():
        found[:] = [look(tracer)]
        return wanted(found[0])

    wait_until(so)
    return found[0]


def requests(record):
    """Reads of a request."""
    return [row for row in record.rows if row.call == "read" and '"GET / HTTP/1.1' in row.arguments]


def well(patient):
    """It serves, and none of its threads is held."""
    patient.served_more()
    wait_until(lambda: not patient.harmed())


def test_requests_of_a_service_with_their_bytes_and_peers(served):
    with traced(served.pid) as tracer:
        assert "TracerPid:\t0\n" not in Path(f"/proc/{served.pid}/status").read_text()
        first = looked(tracer, requests)
        tracer.detach()
        record = look(tracer)
        well(served)
    assert (record.unread, record.note) == (0, "")
    read = requests(first)[0]
    assert read.where.startswith("TCP:[127.0.0.1:")
    assert "->" in read.where
    assert int(read.result) > 50
    assert record.count == sum(row.count for row in record.sums)
    assert record.threads > 1
    assert tracer.meter().hits == record.count


def test_a_failure_names_the_file():
    with python(FAILS) as process, traced(process.pid) as tracer:
        record = looked(tracer, lambda record: len(record.failures) >= 3)
        failures = {(row.call, row.error): row for row in record.failures}
        assert failures["write", "ENOSPC"].where == "/dev/full"
        assert {row.where for row in record.failures if row.error == "ENOENT"} >= {"/nonexistent/␛[31m"}
        relative = {row.where for row in record.failures if row.where.endswith("relative")}
        assert relative <= {f"{os.getcwd()}/relative", "relative"}


def test_only_some_calls_and_short_strings():
    with python(FAILS) as process, traced(process.pid, calls="write", size="5") as tracer:
        record = looked(tracer, lambda record: record.count >= 3)
        assert {row.call for row in record.rows} == {"write"}
        assert {row.arguments.partition(", ")[2] for row in record.rows} == {'"xxxxx"..., 100'}


def test_it_is_asked_for_before_it_stops_anything(served):
    words = [sys.executable, "-m", "gotriage", "show", "syscalls", "--pid", str(served.pid), "--trace", "strace"]
    refused = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 64
    assert "--yes starts it" in refused.stderr
    assert "hits/s" in refused.stderr
    done = subprocess.run(
        [*words, "--yes", "--for", "1s", "--json"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert any('"GET / HTTP/1.1' in row["arguments"] for row in rows)
    well(served)


# -- others


def test_a_target_that_is_traced_already(served):
    with subprocess.Popen(
        ["strace", "-f", "-o", "/dev/null", "-p", str(served.pid)], stderr=subprocess.DEVNULL
    ) as other:
        try:
            wait_until(lambda: f"TracerPid:\t{other.pid}\n" in Path(f"/proc/{served.pid}/status").read_text())
            with (
                pytest.raises(NotPermitted, match=rf"traced already by strace \(pid {other.pid}\)"),
                traced(served.pid),
            ):
                pass
            assert f"TracerPid:\t{other.pid}\n" in Path(f"/proc/{served.pid}/status").read_text()
        finally:
            other.terminate()
    well(served)


def test_a_target_that_ends_meanwhile():
    with python(ENDS) as process, traced(process.pid) as tracer:
        process.wait(20)
        records = []
        with pytest.raises(Over, match="by itself"):
            wait_until(lambda: records.extend(tracer.collect()))
        assert records[-1].ends[-1].endswith("exited with 0")


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_somebody_stops_or_kills_strace(served, number):
    with traced(served.pid) as tracer:
        os.kill(tracer._run.pid, number)
        with pytest.raises(Over, match="stopped by somebody" if number == signal.SIGSTOP else "killed by signal 9"):
            looked(tracer, lambda _: False)
        well(served)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_somebody_stops_or_kills_the_keeper(served, number):
    with traced(served.pid) as tracer:
        keeper = Host().proc.stat(tracer._run.pid).ppid
        os.kill(keeper, number)
        if number == signal.SIGSTOP:
            served.served_more()
            tracer.detach()
        wait_until(lambda: not Path(f"/proc/{tracer._run.pid}/fd").exists())
        well(served)
    assert not Path(f"/proc/{keeper}/fd").exists()


def test_without_anybody_else_it_ends_with_its_time(served):
    with traced(served.pid, seconds="0.5") as tracer:
        well(served)
        with pytest.raises(Over, match="its time is over"):
            looked(tracer, lambda _: False)


def test_what_it_writes_is_bounded(served):
    path, _ = find()
    kept = Kept([path, "-f", "-o", OUT, "-p", str(served.pid)], seconds=20, most=20_000)
    with closing(kept):
        wait_until(lambda: kept.ended)
        assert kept.ended == "there is no room for more"
        assert len(kept.read(0, 100_000)) == 20_000
    well(served)


def test_what_a_tracer_left_stopped_goes_on_and_what_others_stopped_stays():
    with python("import time\nwhile True: time.sleep(0.01)") as process:
        host, pids = Host(), (process.pid,)
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(lambda: stopped(host, pids))
        assert let_go(host, pids, 1, stopped(host, pids)) == ""
        assert stopped(host, pids)
        assert "told to go on" in let_go(host, pids, 1, frozenset())
        wait_until(lambda: not stopped(host, pids))


@pytest.mark.slow
def test_five_thousand_threads(service):
    running = service("cgo", "-threads=5000")
    wait_until(lambda: Host().proc.stat(running.pid).threads > 5000, 60)
    host = Host()
    with traced(running.pid) as tracer:
        time.sleep(1)
        tracer.detach()
    assert not [t for t in threads.read(host, running.pid, 20_000) if t.tracer or t.state in "tT"]
    assert running.process.poll() is None
