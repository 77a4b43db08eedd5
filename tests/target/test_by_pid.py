"""A target given as a PID: real processes of every awkward kind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest
from gotriage.errors import NoSuchTarget, TargetError, UsageError
from gotriage.host import Host
from gotriage.host.proc import Proc
from gotriage.records.target import TargetSpec
from gotriage.target import by_pid
from gotriage.target.resolve import refresh, release, resolve
from gotriage.target.state import state_of

from tests.collectors.fakes import fake_host, stat_line, write


def spec(pid):
    return TargetSpec("pid", str(pid))


@pytest.fixture
def sleeper():
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def attached():
    targets = []

    def attach(pid):
        targets.append(resolve(spec(pid), Host()))
        return targets[-1]

    yield attach
    for target in targets:
        release(target)


def test_a_process_and_its_end(sleeper, attached):
    target = attached(sleeper.pid)
    state = state_of(target)
    assert (state.state, state.pid, state.pids, state.comm) == ("running", sleeper.pid, (sleeper.pid,), "sleep")
    assert state.go is None
    assert state.exe.endswith("/sleep")
    assert refresh(target) == []
    assert state_of(target).started_at == state.started_at
    sleeper.kill()
    sleeper.wait()
    (event,) = refresh(target)
    assert (event.what, event.pid) == ("exited", sleeper.pid)
    state = state_of(target)
    assert (state.state, state.pid, state.pids) == ("gone", None, ())
    assert refresh(target) == []


def test_descendants_are_found_and_lost(attached):
    script = "sleep 60 & sh -c 'sleep 61 & sleep 62' & wait"
    parent = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    try:
        target = attached(parent.pid)
        end = time.monotonic() + 5
        while len(target.pids) < 5 and time.monotonic() < end:
            refresh(target)
        assert len(target.pids) == 5
        assert target.pids[0] == parent.pid
        os.kill(target.pids[-1], 9)
        end = time.monotonic() + 5
        while len(target.pids) == 5 and time.monotonic() < end:
            refresh(target)
        assert 0 < len(target.pids) < 5
    finally:
        os.killpg(parent.pid, 9)
        parent.wait()


def test_many_threads_are_walked_the_cheaper_way(attached, sleeper):
    target = attached(sleeper.pid)
    by_children = target.follower.members(target)
    target.follower._threads = 1_000_000
    assert target.follower.members(target) == by_children


def test_an_exec_into_another_binary_is_noticed(attached):
    process = subprocess.Popen(["sh", "-c", "read x; exec sleep 60"], stdin=subprocess.PIPE)
    try:
        target = attached(process.pid)
        assert state_of(target).comm == "sh"
        process.stdin.write(b"\n")
        process.stdin.flush()
        events, end = [], time.monotonic() + 5
        while not events and time.monotonic() < end:
            events = refresh(target)
        assert [event.what for event in events] == ["exec"]
        assert state_of(target).comm == "sleep"
        assert target.generation == 1
    finally:
        process.kill()
        process.wait()
        process.stdin.close()


@pytest.mark.parametrize("value", ["abc", "", "-1", "0", "1.5", "¹", "\x1b[2J"])
def test_what_is_no_number_is_wrong_usage(value):
    with pytest.raises(UsageError) as caught:
        resolve(spec(value), Host())
    assert "\x1b" not in str(caught.value)


def test_no_such_process():
    with pytest.raises(NoSuchTarget, match="no process"):
        resolve(spec(Proc().read("sys", "kernel", "pid_max").decode().strip()), Host())
    with pytest.raises(NoSuchTarget, match="process ids end at"):
        resolve(spec(99_999_999), Host())


def test_a_kernel_thread():
    with pytest.raises(TargetError, match="is a kernel thread"):
        resolve(spec(2), Host())


def test_a_zombie_names_its_parent():
    process = subprocess.Popen(["true"])
    while Proc().stat(process.pid).state != "Z":
        time.sleep(0.01)
    with pytest.raises(TargetError, match=rf"is a zombie: .* parent {os.getpid()} "):
        resolve(spec(process.pid), Host())
    process.wait()


def test_a_thread_id_names_its_process():
    ready, done, found = threading.Event(), threading.Event(), []

    def run():
        found.append(threading.get_native_id())
        ready.set()
        done.wait(10)

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(10)
    try:
        with pytest.raises(
            NoSuchTarget, match=rf"{found[0]} is a thread of process {os.getpid()} .*--pid {os.getpid()}"
        ):
            resolve(spec(found[0]), Host())
    finally:
        done.set()
        thread.join()


def test_a_process_that_ends_while_it_is_looked_at(tmp_path, monkeypatch):
    host = fake_host(tmp_path)
    write(tmp_path / "proc", {"77/stat": stat_line(77, "brief"), "77/status": "Tgid:\t77\n"})

    def gone(target, pid):
        (tmp_path / "proc/77/stat").unlink()
        return pin(target, pid)

    pin = by_pid.pinning.pin
    monkeypatch.setattr(by_pid.pinning, "pin", gone)
    with pytest.raises(NoSuchTarget, match=r"process 77 \(brief\) ended while it was looked at"):
        resolve(spec(77), host)


def test_a_hostile_name_is_harmless():
    name = b"\x1b]0;pwned\x07"
    code = (
        f"import ctypes,sys; ctypes.CDLL(None).prctl(15, {name!r}); sys.stdout.write('r'); sys.stdout.flush(); input()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        process.stdout.read(1)
        target = resolve(spec(process.pid), Host())
        assert "\x1b" not in target.name + state_of(target).comm
        assert target.name.startswith("\u241b]0;pwned")
        release(target)
    finally:
        process.communicate(b"\n")


def test_another_users_process_without_root_works_with_gaps_and_says_so(sleeper):
    """In a process of its own that has given root away."""
    code = (
        "import os, sys\n"
        "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        "from gotriage.host import Host\n"
        "from gotriage.records.target import TargetSpec\n"
        "from gotriage.target.resolve import refresh, resolve\n"
        "from gotriage.target.state import state_of\n"
        "target = resolve(TargetSpec('pid', sys.argv[1]), Host())\n"
        "state = state_of(target)\n"
        "assert state.state == 'running' and state.comm == 'sleep' and state.go is None\n"
        "assert state.unknown['go'].permission\n"
        "print([event.detail for event in refresh(target)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(sleeper.pid)], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert "belongs to root: without root its files" in done.stdout


def test_the_end_of_a_process_that_is_not_our_child_is_told():
    """Linux 6.15 tells by the pidfd how a process ended; before, there is just no word about it."""
    code = "import subprocess as s; p = s.Popen(['sh', '-c', 'read x; exit 7']); print(p.pid, flush=True); p.wait()"
    middle = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    pid = int(middle.stdout.readline())
    target = resolve(spec(pid), Host())
    middle.communicate(b"\n")
    (event,) = refresh(target)
    release(target)
    release_of = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    assert event.detail == (f"pid {pid}: exited, status 7" if release_of >= (6, 15) else f"pid {pid}")
