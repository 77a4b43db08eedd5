"""The lab itself: what it starts is real, and what it leaves is nothing."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.lab import systemd
from tests.lab.process import wait_until
from tests.lab.toolchain import NEWEST, VERSIONS, toolchain

pytestmark = pytest.mark.real


def ended(pid: int) -> bool:
    """There is no such process, or only its exit status waits for a parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()[0] == b"Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_service_is_started_in_a_folder_of_its_own(service):
    running = service("svc")
    assert Path(f"/proc/{running.pid}/cwd").readlink() == running.folder


def test_a_service_runs_and_all_of_it_ends(service):
    running = service("svc", "-children=2", "-listen=127.0.0.1:0", "-tick=50ms")
    host, port = running.address.split(":")
    with socket.create_connection((host, int(port)), 5):
        pass
    running.wait_for(lambda: '"msg":"tick"' in running.log)
    children = [int(pid) for pid in Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()]
    running.stop()
    wait_until(lambda: all(ended(pid) for pid in [running.pid, *children]))


@pytest.mark.parametrize("go", [VERSIONS[0], NEWEST])
def test_a_binary_says_which_go_built_it_and_from_what(build, go):
    binary = build("healthy", go=go)
    told = subprocess.check_output([toolchain(), "version", "-m", binary], text=True)
    assert f"go{go}\n" in told
    assert "vcs.revision=" in told


def test_the_ill_service_reaches_its_limit_and_says_so(service):
    ill = service("ill", "-nofile=64", "-queued=60")
    ill.wait_for(lambda: "too many open files" in ill.log)
    before = set(Path("/tmp").glob("orders-*"))
    assert ill.stop() == 0
    assert len(before - set(Path("/tmp").glob("orders-*"))) == 1


def test_a_unit_of_the_lab(sdlab, unit):
    name = unit("-tick=50ms", "Type=notify", "LimitNOFILE=64")
    shown = sdlab.show(name, "ActiveState", "LimitNOFILE", "StatusText")
    assert shown == {"ActiveState": "active", "LimitNOFILE": "64", "StatusText": "serving on "}
    pid = sdlab.main_pid(name)
    assert os.readlink(f"/proc/{pid}/exe").endswith("/usr/local/bin/svc")
    wait_until(lambda: "tick" in sdlab.journal("-u", name))
    sdlab.remove_unit(name)
    assert ended(pid)
    assert sdlab.show(name, "LoadState") == {"LoadState": "not-found"}


def test_a_unit_that_crashes(sdlab, unit):
    often = ["[Unit]", "StartLimitBurst=3", "StartLimitIntervalSec=60"]
    name = unit("-crash-after=10ms", "Restart=always", "RestartSec=10ms", *often)
    sdlab.wait_state(name, "failed")
    assert sdlab.show(name, "Result", "ExecMainStatus") == {"Result": "exit-code", "ExecMainStatus": "3"}


def test_a_container_from_scratch(engine, build):
    name = f"{engine.name}-test"
    found = engine.run(name, engine.image(build("svc")), "-tick=50ms", options=("--read-only",))
    assert len(found) == 64
    pid = engine.pid(name)
    assert found in Path(f"/proc/{pid}/cgroup").read_text()
    wait_until(lambda: "tick" in engine.logs(name))
    engine.remove(name)
    wait_until(lambda: ended(pid))


def test_a_second_lab_comes_and_goes_without_a_trace():
    name = f"{systemd.PYTEST}{os.getpid()}-second"
    lab = systemd.up(name)
    again = systemd.up(name)
    wait_until(lambda: ended(lab.pid))
    assert systemd.attach(name) == again
    again.write("/etc/lab-was-here", "x")
    again.down()
    assert not Path("/etc/lab-was-here").exists()
    wait_until(lambda: ended(again.pid))
    assert name not in systemd.running()
    assert name not in Path("/proc/mounts").read_text()
    assert not list(Path("/sys/fs/cgroup").glob(f"**/sdlab-{name}"))


def test_the_lab_of_a_killed_run_is_swept_away():
    dead = subprocess.Popen(["true"])
    dead.wait()
    lab = systemd.up(f"{systemd.PYTEST}{dead.pid}")
    assert lab.name in systemd.sweep()
    assert lab.name not in systemd.running()
