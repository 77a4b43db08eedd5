"""Process samples of real processes."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time

import pytest
from gotriage.collectors.process import ProcessCollector
from gotriage.host import Host

from tests.collectors.fakes import real_target

pytestmark = pytest.mark.real
BUSY = """
import os, threading, time
def spin():
    while True: pass
for _ in range(2): threading.Thread(target=spin, daemon=True).start()
fd = os.open("/dev/zero", os.O_RDONLY)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def busy():
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_a_busy_process(busy):
    collector = ProcessCollector(Host(), real_target(busy))
    list(collector.collect())
    time.sleep(1.0)
    (sample,) = collector.collect()
    psutil = pytest.importorskip("psutil").Process(busy)
    assert 0.1 < sample.cpu <= 2.2
    assert sample.threads == psutil.num_threads() == 3
    assert sum(sample.states.values()) == 3
    assert sample.fds == psutil.num_fds()
    assert abs(sample.rss_bytes - psutil.memory_info().rss) < 1 << 20
    assert sample.cpu_seconds == pytest.approx(sum(psutil.cpu_times()[:2]), abs=0.3)
    assert sample.context_switches_rate > 0
    assert sample.run_delay_rate >= 0
    assert sample.tracer_pid is None
    assert sample.unknown == {}


PTRACE_SEIZE, PTRACE_DETACH = 0x4206, 17


def test_a_tracer_of_one_thread_is_seen(busy):
    """A tracer that took a thread that is not the first one."""
    tid = max(int(name) for name in os.listdir(f"/proc/{busy}/task"))
    tracer = os.fork()
    if tracer == 0:
        done = ctypes.CDLL(None).ptrace(PTRACE_SEIZE, tid, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP) if done == 0 else os._exit(1)
        os._exit(0)
    try:
        os.waitpid(tracer, os.WUNTRACED)
        (sample,) = ProcessCollector(Host(), real_target(busy)).collect()
        assert sample.tracer_pid == tracer
        assert sample.tracer_name
    finally:
        os.kill(tracer, signal.SIGKILL)
        os.waitpid(tracer, 0)


def test_without_root_some_is_unknown_and_the_rest_is_there(busy):
    code = (
        "import sys; from gotriage.collectors.process import ProcessCollector; from gotriage.host import Host\n"
        "from tests.collectors.fakes import real_target\n"
        "(s,) = ProcessCollector(Host(), real_target(int(sys.argv[1]))).collect()\n"
        "print(s.threads, s.rss_bytes > 0, s.read_bytes, s.unknown['read_bytes'].permission, s.tracer_pid)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(busy)], capture_output=True, text=True, user=65534, check=True
    )
    assert out.stdout.split() == ["3", "True", "None", "True", "None"]


def test_a_process_that_ends_while_we_look(busy):
    target = real_target(busy)
    collector = ProcessCollector(Host(), target)
    list(collector.collect())
    os.kill(busy, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{busy}/task") and time.monotonic() < deadline:
        records = list(collector.collect())
        assert len(records) <= 1
        if records and records[0].states.get("Z"):
            break
        time.sleep(0.02)
