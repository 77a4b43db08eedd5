"""A good citizen: what a process gives up, and that it can be read back from the kernel."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from pathlib import Path

from gotriage.host import citizen

SYS_IOPRIO_GET = {"x86_64": 252, "aarch64": 31}


def in_child(work) -> str:
    """Run `work` in a forked child; its text result."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, str(work()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text


def test_it_yields_the_cpu_and_never_takes_it_back():
    def work():
        citizen.yield_cpu(10)
        citizen.yield_cpu(5)
        return os.getpriority(os.PRIO_PROCESS, 0)

    assert in_child(work) == "10"


def test_it_yields_the_disk():
    def work():
        citizen.yield_disk()
        return ctypes.CDLL(None).syscall(SYS_IOPRIO_GET[os.uname().machine], citizen.IOPRIO_WHO_PROCESS, 0) >> 13

    assert in_child(work) == "3"


def test_it_is_the_first_to_go():
    def work():
        citizen.die_first(citizen.AGENT_SCORE)
        return Path("/proc/self/oom_score_adj").read_text().strip()

    assert in_child(work) == "1000"


def test_it_knows_what_it_costs():
    before = citizen.cpu_seconds()
    until = time.monotonic() + 0.1
    while time.monotonic() < until:
        pass
    assert citizen.cpu_seconds() > before
    assert citizen.rss_bytes() > 1 << 20


def test_descendants_are_found_and_ended():
    shell = subprocess.Popen(["sh", "-c", "sleep 60 & sleep 60 & wait"])
    until = time.monotonic() + 5
    while len(citizen.children(shell.pid)) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    below = citizen.children(shell.pid)
    assert len(below) == 2
    citizen.end_all([shell.pid, *below])
    while any(Path(f"/proc/{pid}").exists() for pid in below) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(
        Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text() for pid in below
    )
    shell.wait()


def test_one_that_does_not_end_is_not_waited_for_for_ever(monkeypatch):
    """As a process that waits in the kernel for a file server that is gone: no signal reaches it."""
    child = subprocess.Popen(["sleep", "60"])
    try:
        with monkeypatch.context() as patched:
            patched.setattr(citizen, "PATIENCE", 0.05)
            patched.setattr(citizen.os, "kill", lambda *_: None)
            assert citizen.end_all([child.pid]) == [child.pid]
        assert citizen.end_all([child.pid]) == []
    finally:
        child.kill()
        child.wait()
