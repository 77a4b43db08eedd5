"""Descriptors, threads, memory and CPU of real services that are ill in one way each: the finding comes first."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.lab.process import wait_until
from tests.real.checks import GOTRIAGE, check, first, ids, own_cgroup, started_in, wait_first

pytestmark = pytest.mark.real


# -- descriptors


def test_descriptors_at_the_limit(service):
    running = service("svc", "-nofile=64", "-leak-fds=200")
    running.wait_for(lambda: "too many open files" in running.log)
    found = first("--pid", running.pid)
    assert (found["id"], found["severity"]) == ("fd-exhaustion", "critical")
    assert found["title"].startswith("64 of 64 descriptors open")
    assert f"prlimit --pid {running.pid} --nofile=65536:" in found["fix"]
    assert any("too many open files" in sentence for sentence in found["evidence"])


def test_a_snapshot_gives_the_same_findings(service, tmp_path):
    running = service("svc", "-nofile=64", "-leak-fds=200")
    running.wait_for(lambda: "too many open files" in running.log)
    file = tmp_path / "incident.gtr"
    subprocess.run([GOTRIAGE, "snapshot", "--pid", str(running.pid), "-o", file], check=True, capture_output=True)
    running.stop()
    found = first("--from", file)
    assert (found["id"], found["title"]) == ("fd-exhaustion", "64 of 64 descriptors open")
    assert check("--from", file) == check("--from", file)


def test_the_fix_of_exhausted_descriptors_works(service):
    running = service("svc", "-nofile=64", "-leak-fds=200", "-leak-max=80")
    running.wait_for(lambda: "too many open files" in running.log)
    command = first("--pid", running.pid)["fix"].splitlines()[0].removeprefix("now: ")
    # Raising the hard limit takes CAP_SYS_RESOURCE, which a container's root may lack: up to it nothing is needed.
    hard = Path(f"/proc/{running.pid}/limits").read_text().split("Max open files")[1].split()[1]
    assert command.endswith("--nofile=65536:" if int(hard) >= 65536 else "--nofile=65536:65536")
    subprocess.run([*command.split()[:-1], f"--nofile={min(int(hard), 65536)}:"], check=True)
    wait_until(lambda: len(os.listdir(f"/proc/{running.pid}/fd")) > 80)
    assert hard == Path(f"/proc/{running.pid}/limits").read_text().split("Max open files")[1].split()[1]


def test_sockets_that_nobody_closes_name_their_peer(unit, in_lab):
    name = unit("-leak-fds=200 -leak-kind=socket", "LimitNOFILE=64")
    found = wait_first("fd-exhaustion", in_lab(name))
    assert any("sockets in CLOSE_WAIT to 127.0.0.1:" in sentence for sentence in found["evidence"])
    assert f"systemctl edit {name}: under [Service] LimitNOFILE=65536 (now 64)" in found["fix"]


@pytest.mark.parametrize("kind", ["file", pytest.param("socket", marks=pytest.mark.slow)])
def test_a_leak(service, quick, kind):
    running = service("svc", "-leak-fds=5", f"-leak-kind={kind}")
    found = wait_first("fd-leak", ("--pid", running.pid, *quick))
    assert found["severity"] == "warning"
    assert "/min" in found["title"]
    assert "full in" in found["title"]


@pytest.mark.slow
def test_a_leak_under_the_default_thresholds(service):
    running = service("svc", "-leak-fds=2")
    assert first("--pid", running.pid, "--for", "66s")["id"] == "fd-leak"


def test_a_leak_near_its_limit_is_one_finding(service, quick):
    running = service("svc", "-leak-fds=8", "-nofile=64")
    found = check("--pid", running.pid, *quick)[0]
    # The calls that fail for it are seen where the sample of system calls meets them, and fold under it.
    assert {finding["id"] for finding in found} - {"syscall-errors"} == {"fd-exhaustion"}
    assert found[0]["id"] == "fd-exhaustion"
    assert "64 of 64 descriptors open" in found[0]["title"]


# -- threads, memory, CPU


def test_too_many_threads(service):
    running = service("svc", "-threads=500")
    assert first("--pid", running.pid)["id"] == "thread-explosion"


@pytest.mark.slow
def test_threads_that_grow(service, quick):
    running = service("svc", "-threads=100", "-threads-rate=10")
    found = wait_first("thread-explosion", ("--pid", running.pid, *quick))
    assert "Go ends the program at 10,000" in found["title"]


def test_a_throttled_service():
    with own_cgroup("cpu", cpu__cfs_quota_us=20_000) as group, started_in(group, "-cpu=2") as running:
        found = first("--pid", running.pid, "--for", "4s")
    assert found["id"] == "cpu-throttled"
    assert "quota of 0.20 CPUs" in found["title"]
    assert "GOMAXPROCS=1" in found["fix"]


def test_memory_near_the_limit():
    limit = 128 << 20
    with own_cgroup("memory", memory__limit_in_bytes=limit) as group, started_in(group, "-hog-mb=118") as running:
        found = first("--pid", running.pid)
    assert found["id"] == "memory-limit-near"
    assert "of 128M in use" in found["title"]
    assert "GOMEMLIMIT=115MiB" in found["fix"]


def test_file_cache_up_to_the_limit_is_no_finding(tmp_path):
    """Reading a large file fills the cgroup with cache, which the kernel drops when it needs the room."""
    limit = 96 << 20
    big = Path(f"/var/tmp/gotriage-findings-{os.getpid()}")
    try:
        with own_cgroup("memory", memory__limit_in_bytes=limit) as group, started_in(group) as running:
            copy = (
                f'echo $$ >"{group}/cgroup.procs"; head -c 150000000 /dev/zero >"{big}"; cat "{big}" "{big}" >/dev/null'
            )
            subprocess.run(["/bin/sh", "-c", copy], check=True)
            assert int((group / "memory.usage_in_bytes").read_text()) > limit * 0.9
            assert ids("--pid", running.pid) == []
    finally:
        big.unlink(missing_ok=True)


def test_a_kill_for_memory():
    with own_cgroup("memory", memory__limit_in_bytes=48 << 20) as group:
        with started_in(group, "-grow-mb=12") as running:
            found = first("--pid", running.pid, "--for", "7s")
        assert running.process.returncode == -9
    assert (found["id"], found["severity"]) == ("oom-killed", "critical")
    assert any("its cgroup's limit was reached" in sentence for sentence in found["evidence"])
