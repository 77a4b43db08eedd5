"""A real OOM kill in a memory cgroup of the test's own is found in the kernel's log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gotriage.collectors.kernel_log import KernelLogCollector
from gotriage.host import Host
from gotriage.records.target import TargetSpec
from gotriage.target.model import Target

pytestmark = pytest.mark.real
MEMORY = Path("/sys/fs/cgroup/memory")
HOG = "import sys; sys.stdin.read(1); held = [bytearray(1 << 20) for _ in range(200)]"


@pytest.fixture
def group():
    if not (MEMORY / "memory.limit_in_bytes").exists():
        pytest.skip("this kernel has no v1 memory controller mounted")
    mine = dict(line.split(":")[1:] for line in Path("/proc/self/cgroup").read_text().split() if line.count(":") == 2)
    path = MEMORY / mine.get("memory", "/").lstrip("/") / f"gotriage-oom-{os.getpid()}"
    if not path.parent.is_dir():
        path = MEMORY / path.name
    path.mkdir()
    (path / "memory.limit_in_bytes").write_text(str(24 << 20))
    yield path
    for _ in range(100):
        try:
            path.rmdir()
            break
        except OSError:
            time.sleep(0.05)


def test_the_kill_is_seen_with_its_cause(group):
    process = subprocess.Popen([sys.executable, "-c", HOG], stdin=subprocess.PIPE)
    (group / "cgroup.procs").write_text(str(process.pid))
    host = Host()
    collector = KernelLogCollector(
        host, Target(spec=TargetSpec("pid", str(process.pid)), host=host, pids=(process.pid,))
    )
    assert list(collector.collect()) == []
    process.stdin.write(b"x")
    process.stdin.close()
    assert process.wait(timeout=30) == -signal.SIGKILL
    found = []
    for _ in range(50):
        found += collector.collect()
        if found:
            break
        time.sleep(0.1)
    collector.close()
    (kill,) = found
    assert kill.pid == process.pid
    assert kill.constraint == "CONSTRAINT_MEMCG"
    assert kill.cgroup.endswith(group.name)
    assert kill.rss_bytes > 8 << 20
