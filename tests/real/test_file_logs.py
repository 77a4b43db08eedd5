"""Output that goes to files, pipes and nowhere, of real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gotriage.collectors import file_log
from gotriage.collectors.file_log import FileLogCollector
from gotriage.errors import NotPermitted
from gotriage.host import Host
from gotriage.records.logs import LogLine, LogLines, LogState
from gotriage.records.stream import Gap, Heartbeat, Request
from gotriage.records.target import TargetSpec
from gotriage.session.stream import Decoder
from gotriage.target.model import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gotriage.host.outputs import Output

    from tests.lab.process import Running
    from tests.lab.systemd import Lab

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]


def decode(line: bytes) -> object:
    """One record of a stream."""
    assert line, "the stream ended"
    return Decoder().decode(line)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    FileLogCollector._positions.clear()
    yield
    FileLogCollector._positions.clear()


def collector(*pids: int) -> FileLogCollector:
    host = Host()
    return FileLogCollector(host, Target(TargetSpec("pid", str(pids[0])), host, pids=pids))


def looked(
    found: FileLogCollector, seconds: float, until: Callable[[list[LogLine]], object] = lambda _: False
) -> tuple[list[LogLine], list[LogState]]:
    lines: list[LogLine] = []
    states: list[LogState] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until(lines):
        found._searched = float("-inf")
        for record in found.collect():
            if isinstance(record, LogLines):
                lines += record.rows
            elif isinstance(record, LogState):
                states.append(record)
        time.sleep(0.05)
    return lines, states


def test_standard_output_in_a_file(service: Callable[..., Running]):
    running = service("svc", "-tick=50ms", "-format=slog")
    found = collector(running.pid)
    try:
        lines, states = looked(found, 10, lambda lines: len(lines) > 10)
        os.truncate(running.output, 0)
        more, _ = looked(found, 10, lambda lines: len(lines) > 10)
        (history,) = [record for record in found.answer(Request(1, "logs", limit=5)) if isinstance(record, LogLines)]
    finally:
        found.close()
    numbers = [int(line.fields["count"]) for line in [*lines, *more] if "count" in line.fields]
    assert numbers == sorted(set(numbers))
    assert len(numbers) > 15
    assert {line.source for line in lines} == {"file"}
    assert lines[-1].stream == "stdout"
    assert all(one.at <= other.at for one, other in pairwise(lines))
    assert [source.state for source in states[-1].sources] == ["ok"]
    assert len(history.rows) == 5


def test_a_restarted_service_goes_on_where_it_was(service: Callable[..., Running], tmp_path: Path):
    log = tmp_path / "out.log"
    script = f"exec >>{log} 2>&1; for n in 1 2 3; do echo line $n; done; sleep 60"

    def start() -> subprocess.Popen[bytes]:
        made = subprocess.Popen(["/bin/sh", "-c", script])
        while not log.exists() or b"line 3\n" not in log.read_bytes()[-8:]:
            time.sleep(0.02)
        return made

    seen = []
    for _ in range(3):
        process = start()
        found = collector(process.pid)
        seen.append([line.message for line in looked(found, 0.3)[0]])
        found.close()
        process.kill()
        process.wait()
        with log.open("ab") as file:
            file.write(b"between\n")
    assert seen == [["line 1", "line 2", "line 3"]] + [["between", "line 1", "line 2", "line 3"]] * 2


def test_rotated_deleted_and_other_log_files(tmp_path: Path):
    program = (
        "import os, sys, time\n"
        "folder = sys.argv[1]\n"
        "log = open(folder + '/access.log', 'a', buffering=1)\n"
        "data = open(folder + '/data.db', 'a')\n"
        "read = open(folder + '/old.log')\n"
        "n = 0\n"
        "while True:\n"
        "    n += 1; print('GET', n, file=log); time.sleep(0.02)\n"
        "    if os.path.exists(folder + '/reopen'):\n"
        "        os.unlink(folder + '/reopen'); log.close(); log = open(folder + '/access.log', 'a', buffering=1)\n"
    )
    (tmp_path / "old.log").write_text("not written by it\n")
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.DEVNULL)
    found = collector(process.pid)
    try:
        lines, states = looked(found, 5, lambda lines: len(lines) > 5)
        (tmp_path / "access.log").rename(tmp_path / "access.log.1")
        more, _ = looked(found, 0.3)
        assert more, "the old file is written until the program opens a new one"
        (tmp_path / "reopen").touch()
        while (tmp_path / "reopen").exists():
            time.sleep(0.01)
        new, _ = looked(found, 0.5)
        (tmp_path / "access.log").unlink()
        last, deleted = looked(found, 0.5)
    finally:
        found.close()
        process.kill()
        process.wait()
    numbers = [int(line.message.split()[1]) for line in [*lines, *more, *new, *last]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert {line.identifier for line in lines} == {"access.log"}
    told = {source.name: source for source in states[-1].sources}
    assert (told["stdout"].state, told["stdout"].where) == ("none", "/dev/null")
    assert [source.state for source in deleted[-1].sources if source.name == "file"] == ["volatile"]


def test_a_pipe_says_whose_it_is():
    reader = subprocess.Popen(["sleep", "60"], stdin=subprocess.PIPE)
    assert reader.stdin is not None
    writer = subprocess.Popen(["sleep", "60"], stdout=reader.stdin)
    reader.stdin.close()
    found = collector(writer.pid)
    try:
        _, states = looked(found, 0.2)
    finally:
        found.close()
        for process in (reader, writer):
            process.kill()
            process.wait()
    source = next(source for source in states[-1].sources if source.name == "stdout")
    assert source.state == "unreadable"
    assert f"sleep ({reader.pid})" in source.detail


def test_what_may_not_be_read_stays_said(service: Callable[..., Running]):
    running = service("svc", "-tick=100ms")
    words = [sys.executable, "-m", "gotriage", "agent", "--pid", str(running.pid)]
    env = {"PATH": os.environ["PATH"], "HOME": "/", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/", env=env, user=65534, group=65534, extra_groups=[]
    ) as agent:
        gaps, beats = [], 0
        while beats < 4:
            record = decode(agent.stdout.readline())
            if isinstance(record, Gap) and record.source == "file_log":
                gaps.append(record)
            beats += isinstance(record, Heartbeat) and bool(gaps)
        agent.stdin.close()
        agent.stdout.read()
    assert [gap.closed for gap in gaps] == [False]
    assert gaps[0].permission
    assert gaps[0].remedy == "run gotriage as root (sudo)"
    assert "root (sudo)" not in gaps[0].reason


def test_a_gap_ends_when_it_can_be_read_again(monkeypatch: pytest.MonkeyPatch):
    refused = True

    def listed(*_: object) -> list[Output]:
        if refused:
            raise NotPermitted("/proc/1/fd: Permission denied")
        return []

    monkeypatch.setattr(file_log, "outputs", listed)
    found = collector(os.getpid())
    for _ in range(3):
        (gap,) = found.collect()
        assert isinstance(gap, Gap)
        assert not gap.closed
    refused = False
    found._searched = float("-inf")
    assert list(found.collect()) == []


def test_a_units_output_in_a_file(sdlab: Lab, unit: Callable[..., str]):
    name = unit("-tick=50ms", "StandardOutput=append:/var/log/svc.out", "StandardError=inherit")
    host = Host.of(sdlab.pid)
    found = FileLogCollector(host, Target(TargetSpec("unit", name), host, pids=(sdlab.main_pid(name),), unit=name))
    try:
        lines, states = looked(found, 5, lambda lines: len(lines) > 5)
    finally:
        found.close()
    assert {line.identifier for line in lines} == {"svc.out"}
    assert states[-1].sources[0].where.endswith("/var/log/svc.out")
