"""Threads stopped for a moment: what is seen, and that they go on whatever happens."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gotriage.errors import NotPermitted
from gotriage.host import Host, microstop
from gotriage.host.proc import Proc

from tests.lab.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG = 30.0
"""Seconds: on a busy machine a thread that is to stop has to be given a CPU first."""

SPINNER = """
import ctypes, os, signal, sys, threading
count = 0
def usr1(number, frame):
    global count
    count += 1
signal.signal(signal.SIGUSR1, usr1)
signal.signal(signal.SIGUSR2, lambda number, frame: (print(count, flush=True)))
def sleep():
    threading.Event().wait()
threading.Thread(target=sleep, daemon=True).start()
print("ready", flush=True)
while True:
    pass
"""


@contextmanager
def spinning() -> Iterator[subprocess.Popen[str]]:
    """A process whose first thread is on a CPU, and whose second one waits."""
    with subprocess.Popen([sys.executable, "-S", "-c", SPINNER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def state(pid: int, tid: int | None = None) -> str:
    return _field(pid, tid or pid, "State")[0]


def tracer(pid: int, tid: int | None = None) -> int:
    return int(_field(pid, tid or pid, "TracerPid"))


def _field(pid: int, tid: int, name: str) -> str:
    text = Path(f"/proc/{pid}/task/{tid}/status").read_text()
    return next(line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith(f"{name}:"))


def ticks(pid: int) -> int:
    return Proc().stat(pid).utime


def goes_on(pid: int) -> None:
    """It is not traced, and uses CPU time."""
    assert tracer(pid) == 0
    before = ticks(pid)
    wait_until(lambda: ticks(pid) > before + 1, LONG)


def test_a_thread_on_a_cpu():
    with spinning() as process:
        (one,) = microstop.look(Host(), process.pid, [process.pid], stack=4096, each=LONG, budget=LONG)
        assert one.error == ""
        assert one.tid == process.pid
        maps = Proc().maps(process.pid)
        assert any(m.start <= one.pc < m.end and "x" in m.perms for m in maps)
        (stack,) = (m for m in maps if m.path == "[stack]")
        assert stack.start <= one.sp < stack.end
        assert len(one.stack) == min(4096, stack.end - one.sp)
        assert len(one.registers) in (27 * 8, 34 * 8)
        assert 0 < one.stopped < LONG
        goes_on(process.pid)


def test_the_stack_is_that_of_the_moment():
    """A word that the thread has just put on its stack is in the copy: the return addresses lead into code."""
    with spinning() as process:
        (one,) = microstop.look(Host(), process.pid, [process.pid], stack=1 << 20, each=LONG, budget=LONG)
        maps = [m for m in Proc().maps(process.pid) if "x" in m.perms]
        words = memoryview(one.stack[: len(one.stack) & ~7]).cast("Q")
        assert any(m.start <= word < m.end for word in words[:2000] for m in maps)


def test_many_times_and_all_threads():
    with spinning() as process:
        tids = [int(name) for name in os.listdir(f"/proc/{process.pid}/task")]
        assert len(tids) == 2
        for _ in range(50):
            looks = microstop.look(Host(), process.pid, tids, stack=256, each=LONG, budget=LONG)
            assert [(one.tid, one.error) for one in looks] == [(tid, "") for tid in tids]
        goes_on(process.pid)
        (waiting,) = (tid for tid in tids if tid != process.pid)
        wait_until(lambda: state(process.pid, waiting) == "S")


def test_signals_that_arrive_meanwhile_are_delivered():
    with spinning() as process:
        stop = threading.Event()
        sent = 0

        def send() -> None:
            nonlocal sent
            while not stop.is_set():
                # One at a time: equal signals that wait for delivery are one.
                pending = int(_field(process.pid, process.pid, "ShdPnd"), 16) | int(
                    _field(process.pid, process.pid, "SigPnd"), 16
                )
                if not pending:
                    os.kill(process.pid, signal.SIGUSR1)
                    sent += 1
                time.sleep(0.0005)

        sender = threading.Thread(target=send)
        sender.start()
        for _ in range(200):
            (one,) = microstop.look(Host(), process.pid, [process.pid], each=LONG, budget=LONG)
            assert one.error == ""
        stop.set()
        sender.join()
        assert sent > 0
        goes_on(process.pid)
        assert state(process.pid) == "R"


def test_none_is_lost():
    """Without a race of the handler: the count of deliveries that the kernel keeps is that of what was sent."""
    with spinning() as process:
        assert process.stdout is not None
        for number in range(1, 21):
            os.kill(process.pid, signal.SIGUSR1)
            microstop.look(Host(), process.pid, [process.pid], each=LONG, budget=LONG)
            wait_until(lambda: int(_field(process.pid, process.pid, "SigPnd"), 16) == 0)
            wait_until(lambda: int(_field(process.pid, process.pid, "ShdPnd"), 16) == 0)
            os.kill(process.pid, signal.SIGUSR2)
            assert int(process.stdout.readline()) == number


def test_a_stopped_process_stays_stopped():
    with spinning() as process:
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(lambda: state(process.pid) == "T")
        for _ in range(5):
            (one,) = microstop.look(Host(), process.pid, [process.pid], stack=64, each=LONG, budget=LONG)
            assert (one.error, len(one.stack)) == ("", 64)
            wait_until(lambda: state(process.pid) == "T")
        os.kill(process.pid, signal.SIGCONT)
        goes_on(process.pid)


def test_one_that_is_killed_meanwhile():
    """Its parent hears of the end as ever."""
    with spinning() as process:
        code = f"""
from gotriage.host import Host, microstop
error = ""
while not error:
    (one,) = microstop.look(Host(), {process.pid}, [{process.pid}], each={LONG}, budget={LONG})
    if not error: print("looked", flush=True)
    error = one.error
print(error, flush=True)
"""
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as us:
            assert us.stdout is not None
            for _ in range(20):
                assert us.stdout.readline() == "looked\n"
            process.kill()
            assert process.wait(LONG) == -signal.SIGKILL
            said = us.stdout.read().split("\n")
            assert {"has ended", "is no thread of the process (any more)"} & set(said), said


def test_a_zombie_has_ended():
    """The kernel refuses it as if it were not permitted (EPERM)."""
    with spinning() as process:
        process.kill()
        wait_until(lambda: b") Z " in Path(f"/proc/{process.pid}/stat").read_bytes())
        (one,) = microstop.look(Host(), process.pid, [process.pid], each=LONG, budget=LONG)
        assert one.error == "has ended"


def test_threads_that_are_none():
    with spinning() as process:
        looks = microstop.look(Host(), process.pid, [os.getppid(), 4194303], each=LONG, budget=LONG)
        assert looks[0].error == "is no thread of the process (any more)"
        assert looks[1].error == "has ended"
        assert tracer(os.getppid()) == 0


def test_one_that_does_not_stop_in_time_is_let_go(monkeypatch):
    monkeypatch.setattr(os, "waitpid", lambda pid, options: (0, 0))
    with spinning() as process:
        (one,) = microstop.look(Host(), process.pid, [process.pid], each=0.01, budget=LONG)
        assert one.error == "did not stop within 10 ms"
        monkeypatch.undo()
        wait_until(lambda: tracer(process.pid) == 0)
        goes_on(process.pid)


def test_the_time_for_all_is_bounded():
    with spinning() as process:
        looks = microstop.look(Host(), process.pid, [process.pid] * 3, budget=0.0)
        assert [one.error for one in looks] == ["not looked at: the 0 s for it were used up"] * 3


def test_we_are_killed_while_it_is_stopped():
    """The kernel lets it go."""
    with spinning() as process:
        code = f"""
import os, signal
from gotriage.host import Host, microstop, vm
vm.read = lambda *_: print("stopped", flush=True) or signal.pause()
microstop.look(Host(), {process.pid}, [{process.pid}], stack=8, each={LONG}, budget={LONG})
"""
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as us:
            try:
                assert us.stdout is not None
                assert us.stdout.readline() == "stopped\n"
                assert state(process.pid) == "t"
            finally:
                us.kill()
        wait_until(lambda: tracer(process.pid) == 0)
        goes_on(process.pid)


def test_one_that_is_traced_already():
    with (
        spinning() as process,
        subprocess.Popen(["strace", "-qq", "-o", "/dev/null", "-p", str(process.pid)]) as strace,
    ):
        wait_until(lambda: tracer(process.pid) == strace.pid, LONG)
        (one,) = microstop.look(Host(), process.pid, [process.pid], each=LONG, budget=LONG)
        assert one.error == f"is traced already, by strace (PID {strace.pid})"
        strace.terminate()


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_a_process_of_another_user():
    code = f"""
from gotriage.host import Host, microstop
try: microstop.look(Host(), {os.getpid()}, [{os.getpid()}])
except Exception as e: print(repr(e))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, user=65534, check=True)
    assert done.stdout.startswith("NotPermitted('the threads of process")
    assert "may not be stopped" in done.stdout


def test_a_machine_that_is_not_known(monkeypatch):
    monkeypatch.setattr(microstop, "_PLACES", {})
    (one,) = microstop.look(Host(), 1, [1])
    assert "not known how to read registers" in one.error


def test_other_problems_are_said(monkeypatch):
    monkeypatch.setattr(microstop, "_ptrace", lambda *_: min(-1, ctypes.set_errno(5) * 0 - 1))
    assert microstop.look(Host(), 1, [1])[0].error == "Input/output error"
    monkeypatch.setattr(microstop, "_ptrace", lambda *_: min(-1, ctypes.set_errno(1) * 0 - 1))
    with pytest.raises(NotPermitted):
        microstop.look(Host(), os.getpid(), [os.getpid()])
