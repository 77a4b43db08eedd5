"""The reader and who asks it: answers, errors, and every way to end."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gotriage.errors import GotriageError, MissingFacility, NotPermitted, TargetGone, UsageError
from gotriage.goruntime import wire
from gotriage.goruntime.client import Reader
from gotriage.goruntime.refusals import NotGo
from gotriage.goruntime.wire import ReaderFailed, ReaderLate
from gotriage.host import child

from tests.lab.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

HUNG = str(Path(__file__).with_name("hungpage.py"))
STUB = str(Path(__file__).with_name("stub_reader.py"))
LONG = 60.0


@pytest.fixture
def target() -> Iterator[int]:
    with subprocess.Popen(["/bin/sleep", "600"]) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def reader(target: int) -> Iterator[Reader]:
    with Reader(target, words=(STUB,)) as one:
        yield one


def pid_of(reader: Reader) -> int:
    assert reader._child is not None
    return reader._child.pid


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_answers(reader: Reader):
    assert reader.rss is None
    identity = reader.call("identity", LONG)
    assert (identity.go_version, identity.layout) == ("go1.27.3", "table")
    assert reader.call("attach", LONG) == identity
    assert [one.id for one in reader.call("dump", LONG, rows=3).goroutines] == [1, 2, 3]
    assert len(reader.call("goroutines", LONG, limit=100_000).goroutines) == 100_000
    assert reader.call("dump", LONG, rows=0, locks=False).took == 0.0
    assert reader.call("counters", LONG).threads == pid_of(reader)
    assert reader.call("goroutine", LONG, id=1).count == 4
    assert reader.rss is not None
    assert reader.rss > 1 << 20
    assert reader.cpu > 0


def test_texts(reader: Reader):
    assert reader.call("text", LONG, kind="debug2", rows=1).startswith(b"goroutine 1 [select]:\n")
    assert gzip.decompress(reader.call("text", LONG, kind="pprof"))[:1] == b"\n"
    assert isinstance(reader.call("text", LONG, kind="folded"), bytes)
    with pytest.raises(UsageError, match="no such form: 'xml'"):
        reader.call("text", LONG, kind="xml")


@pytest.mark.parametrize("kind", [NotPermitted, TargetGone, NotGo])
def test_errors_are_what_they_were(reader: Reader, kind: type[GotriageError]):
    with pytest.raises(kind) as caught:
        reader.call("goroutine", LONG, id=kind.__name__)
    assert type(caught.value) is kind
    assert str(caught.value) == f"it is so: {kind.__name__}"
    before = pid_of(reader)
    assert reader.call("counters", LONG).threads == before, "it goes on"


def test_errors_that_nobody_foresaw(reader: Reader):
    with pytest.raises(ReaderFailed, match=r"KeyError: 'it is so: KeyError' \(__main__, line \d+\)"):
        reader.call("goroutine", LONG, id="KeyError")
    with pytest.raises(ReaderFailed, match="TypeError"):
        reader.call("counters", LONG, nonsense=1)
    with pytest.raises(UsageError, match="knows no 'nonsense'"):
        reader.call("nonsense", LONG)
    with pytest.raises(NotPermitted, match="not here"):
        reader.call("stacks", LONG)


def test_memory_is_bounded(reader: Reader):
    with pytest.raises(ReaderFailed, match="more memory than gotriage allows itself"):
        reader.call("goroutine", LONG, id="memory")
    assert reader.call("counters", LONG).threads == pid_of(reader)


@pytest.mark.parametrize("what", ["late", "spin"])
def test_one_that_does_not_answer_is_killed_and_started_again(reader: Reader, target: int, what: str):
    reader.call("identity", LONG)
    before = pid_of(reader)
    with pytest.raises(ReaderLate, match=rf"memory of process {target} could not be read within 0\.3 s"):
        reader.call("goroutine", 0.3, id=what)
    assert gone(before)
    assert reader.call("counters", LONG).threads != before


@pytest.mark.parametrize(("what", "text"), [("end", "ended with status 3"), ("killed", "was killed: by the kernel")])
def test_one_that_ends_is_started_again(reader: Reader, what: str, text: str):
    with pytest.raises(ReaderFailed, match=text):
        reader.call("goroutine", LONG, id=what)
    assert reader.call("dump", LONG).count == 1


def test_nothing_printed_becomes_an_answer(reader: Reader):
    assert reader.call("goroutine", LONG, id="print").count == 1


def test_a_call_that_was_interrupted_is_not_answered_by_the_next(reader: Reader):
    reader.call("identity", LONG)
    before = pid_of(reader)

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            reader.call("goroutine", LONG, id="late")
    finally:
        signal.signal(signal.SIGALRM, old)
    assert reader.call("counters", LONG).threads != before


def test_it_is_idle_and_the_first_to_go_and_has_nothing_of_ours(reader: Reader, monkeypatch):
    monkeypatch.setenv("SECRET_OF_OURS", "1")
    reader.call("identity", LONG)
    pid = pid_of(reader)
    wait_until(lambda: os.sched_getscheduler(pid) == os.SCHED_IDLE)
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"
    assert b"SECRET_OF_OURS" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert "Max core file size        0 " in Path(f"/proc/{pid}/limits").read_text()
    for name in os.listdir(f"/proc/{pid}/fd"):
        link = os.readlink(f"/proc/{pid}/fd/{name}")
        assert link == "/dev/null" or link.startswith(("pipe:", f"/proc/{reader._args['pid']}/")), link


def test_it_takes_its_share_where_idle_is_not_enough(reader: Reader, monkeypatch):
    monkeypatch.setattr(child, "PATIENT", 0.05)
    reader.call("identity", LONG)
    pid = pid_of(reader)
    wait_until(lambda: os.sched_getscheduler(pid) == os.SCHED_IDLE)
    seen = []
    thread = threading.Thread(
        target=lambda: seen.append(wait_until(lambda: os.sched_getscheduler(pid) == os.SCHED_OTHER))
    )
    thread.start()
    with pytest.raises(ReaderLate):
        reader.call("goroutine", 3.0, id="late")
    thread.join()
    assert seen == [None]


def test_it_ends_with_us(target: int):
    code = f"""
from gotriage.goruntime.client import Reader
reader = Reader({target}, words=({STUB!r},))
print(reader.call("counters", 60).threads, flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as asker:
        assert asker.stdout is not None
        pid = int(asker.stdout.readline())
        assert not gone(pid)
        asker.kill()
    wait_until(lambda: gone(pid))


def test_one_that_is_busy_ends_with_us(target: int):
    code = f"""
from gotriage.goruntime.client import Reader
reader = Reader({target}, words=({STUB!r},))
print(reader.call("counters", 60).threads, flush=True)
reader.call("goroutine", 60, id="spin")
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as asker:
        assert asker.stdout is not None
        pid = int(asker.stdout.readline())
        asker.kill()
    wait_until(lambda: gone(pid))


def test_what_cannot_be_attached():
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait()
        with Reader(process.pid, words=(STUB,)) as reader, pytest.raises(TargetGone):
            reader.call("identity", LONG)
        assert reader._child is None
    with Reader(words=(STUB,)) as reader, pytest.raises(UsageError, match="has to be named"):
        reader.call("identity", LONG)


def test_no_process_can_be_started(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(MissingFacility, match="No such file"):
        Reader(1).call("identity", LONG)
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(MissingFacility, match=r"sys\.executable"):
        Reader(1).call("identity", LONG)


def test_nothing_is_left(target: int):
    fds = sorted(os.listdir("/proc/self/fd"))
    with Reader(target, words=(STUB,)) as reader:
        reader.call("identity", LONG)
        pid = pid_of(reader)
    assert gone(pid)
    assert sorted(os.listdir("/proc/self/fd")) == fds
    reader.close()


def test_an_error_class_is_only_one_of_ours():
    assert type(wire.error_of(wire.Failure("os", "system", "true", ours=True))) is ReaderFailed
    assert type(wire.error_of(wire.Failure("gotriage.errors", "annotations", "x", ours=True))) is ReaderFailed
    assert type(wire.error_of(wire.Failure("gotriage.host.vm", "Rate", "x", ours=True))) is ReaderFailed
    error = wire.error_of(wire.failure_of(NotGo("no \udcff Go")))
    assert (type(error), str(error)) == (NotGo, "no ? Go")


@pytest.mark.real
def test_a_page_in_a_file_system_that_hangs(tmp_path: Path):
    """The reader waits in the kernel, and cannot even be killed: it is left behind, and another one goes on."""
    with subprocess.Popen([sys.executable, HUNG, str(tmp_path)], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            pid, address = map(int, server.stdout.readline().split())
            with Reader(pid, words=(STUB,)) as reader:
                assert reader.call("goroutine", LONG, id=f"read {address}").count == 1
                stuck = pid_of(reader)
                with pytest.raises(ReaderLate, match="in a file system that hangs"):
                    reader.call("goroutine", 1.0, id=f"read {address + 4096}")
                assert child.collect() == [stuck]
                assert Path(f"/proc/{stuck}/stat").read_text().rpartition(")")[2].split()[0] == "D"
                assert reader.call("goroutine", LONG, id=f"read {address}").count == 1
        finally:
            server.kill()
    wait_until(lambda: child.collect() == [], LONG)
