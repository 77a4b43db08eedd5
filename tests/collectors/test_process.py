"""Process samples from a /proc of the test's own."""

from __future__ import annotations

import pytest
from gotriage.collectors import process as module
from gotriage.collectors.process import PAGE, ProcessCollector
from gotriage.errors import NotPermitted
from gotriage.host import clock
from gotriage.host.proc import Proc
from gotriage.host.threads import parse_thread
from gotriage.records.stream import Gap

from tests.collectors.fakes import fake_host, stat_line, target_of, write

STATUS = (
    "Name:\tsvc\nState:\t{state} (sleeping)\nTracerPid:\t{tracer}\nVmHWM:\t 200 kB\nVmSwap:\t 4 kB\n"
    "voluntary_ctxt_switches:\t{switches}\nnonvoluntary_ctxt_switches:\t5\n"
)


class Machine:
    """Two looks, a second apart."""

    def __init__(self, tmp_path, monkeypatch):
        self.root, self.now = tmp_path, 100.0
        self.host = fake_host(tmp_path)
        monkeypatch.setattr(clock, "monotonic", lambda: self.now)

    def put(self, pid, *, tids=(), state="S", tracer=0, switches=10, delay=0, io=(0, 0), fds=3, comm="svc", **stat):
        folder = self.root / "proc" / str(pid)
        status = STATUS.format(state=state, tracer=tracer, switches=switches)
        files = {
            "stat": stat_line(pid, comm, state, threads=len(tids) or 1, **stat),
            "status": status,
            "comm": f"{comm}\n",
            "io": f"rchar: 1\nread_bytes: {io[0]}\nwrite_bytes: {io[1]}\n",
            "oom_score_adj": "-17\n",
        }
        for tid in tids or (pid,):
            files[f"task/{tid}/status"] = status
            files[f"task/{tid}/schedstat"] = f"1 {delay} 3\n"
        write(folder, files)
        for fd in range(fds):
            write(folder, {f"fd/{fd}": ""})

    def look(self, collector):
        return list(collector.collect())[-1]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def test_sums_and_rates(machine):
    machine.put(7, utime=100, stime=50, rss_pages=10, vsize=1000, majflt=2, io=(0, 1000), start_ticks=5)
    machine.put(8, utime=10, stime=0, rss_pages=5, vsize=500, start_ticks=6, fds=2)
    collector = ProcessCollector(machine.host, target_of(machine.host, 7, 8))
    first = machine.look(collector)
    assert (first.processes, first.threads, first.fds, first.major_faults) == (2, 2, 5, 2)
    assert (first.rss_bytes, first.rss_peak_bytes, first.swap_bytes) == (15 * PAGE, 400 * 1024, 8 * 1024)
    assert first.cpu_seconds == pytest.approx(160 / clock.TICKS_PER_SECOND)
    assert (first.cpu, first.read_bytes_rate, first.context_switches_rate, first.run_delay_rate) == (None,) * 4
    assert (first.states, first.oom_score_adj, first.write_bytes) == ({"S": 2}, -17, 1000)
    machine.now += 2.0
    machine.put(7, utime=200, stime=70, switches=30, delay=500_000_000, io=(4096, 3000), start_ticks=5)
    machine.put(8, utime=10, stime=0, start_ticks=6)
    second = machine.look(collector)
    ticks = clock.TICKS_PER_SECOND
    assert second.cpu == pytest.approx(120 / ticks / 2)
    assert (second.cpu_user, second.cpu_system) == (pytest.approx(100 / ticks / 2), pytest.approx(20 / ticks / 2))
    assert (second.read_bytes_rate, second.write_bytes_rate) == (2048.0, 1000.0)
    assert second.context_switches_rate == 10.0
    assert second.run_delay_rate == pytest.approx(0.25)


def test_new_reused_and_ended_processes(machine):
    machine.put(7, utime=100, start_ticks=50)
    machine.put(8, utime=900, start_ticks=40)
    target = target_of(machine.host, 7, 8)
    collector = ProcessCollector(machine.host, target)
    machine.look(collector)
    machine.now += 1.0
    machine.put(8, utime=3, start_ticks=60)  # the PID again, another process
    machine.put(9, utime=30, start_ticks=55)  # started since
    machine.put(10, utime=5000, start_ticks=1)  # came in from elsewhere
    target.pids = (7, 8, 9, 10, 11)
    sample = machine.look(collector)
    assert sample.cpu_user == pytest.approx(30 / clock.TICKS_PER_SECOND)
    assert sample.processes == 4


def test_nothing_left(machine):
    machine.put(7)
    target = target_of(machine.host, 7)
    target.pids = (99,)
    assert list(ProcessCollector(machine.host, target).collect()) == []


def test_what_only_root_sees_is_unknown_with_a_remedy(machine, monkeypatch):
    machine.put(7)
    target, real = target_of(machine.host, 7), Proc.read

    def refuse(self, *parts, limit=1 << 20):
        if parts[-1] == "io":
            raise NotPermitted("io: permission denied")
        return real(self, *parts, limit=limit)

    monkeypatch.setattr(Proc, "read", refuse)
    monkeypatch.setattr(module.fds, "count", lambda *args: (_ for _ in ()).throw(NotPermitted("fd")))
    sample = machine.look(ProcessCollector(machine.host, target))
    assert (sample.fds, sample.read_bytes, sample.read_bytes_rate) == (None, None, None)
    assert {"fds", "read_bytes", "write_bytes", "read_bytes_rate", "write_bytes_rate"} == set(sample.unknown)
    assert all(why.permission and "root" in why.remedy for why in sample.unknown.values())


def test_a_tracer_of_any_thread_by_its_clean_name(machine):
    machine.put(7, tids=(7, 70, 71))
    machine.put(99, comm="str) ace\x1b[1m")
    status = STATUS.format(state="t", tracer=99, switches=1)
    write(machine.root, {"proc/7/task/70/status": status})
    sample = machine.look(ProcessCollector(machine.host, target_of(machine.host, 7)))
    assert sample.tracer_pid == 99
    assert sample.tracer_name.startswith("str) ace")
    assert "\x1b" not in sample.tracer_name
    assert sample.states == {"S": 2, "t": 1}


def test_many_threads_are_read_more_seldom(machine, monkeypatch):
    monkeypatch.setattr(module, "EACH_LOOK", 2)
    machine.put(7, tids=(7, 70, 71))
    collector = ProcessCollector(machine.host, target_of(machine.host, 7))
    assert machine.look(collector).states == {"S": 3}
    machine.put(7, tids=(7, 70, 71), state="D")
    machine.now += 1.0
    assert machine.look(collector).states == {"S": 3}
    machine.now += module.SELDOM
    assert machine.look(collector).states == {"D": 3}


def test_more_threads_than_the_bound(machine, monkeypatch):
    monkeypatch.setattr(module, "MAX_THREADS", 2)
    machine.put(7, tids=(7, 70, 71))
    sample = machine.look(ProcessCollector(machine.host, target_of(machine.host, 7)))
    assert sample.threads == 3
    assert "run_delay_rate" in sample.unknown


def test_more_processes_than_the_bound(machine, monkeypatch):
    monkeypatch.setattr(module, "MAX_PROCESSES", 1)
    for pid in (7, 8):
        machine.put(pid)
    gap, sample = ProcessCollector(machine.host, target_of(machine.host, 7, 8)).collect()
    assert isinstance(gap, Gap)
    assert sample.processes == 1


@pytest.mark.parametrize("status", [b"", b"Name:\tx\n", b"\xff\xfe", b"State:\n"])
def test_strange_thread_files(status):
    assert parse_thread(1, status, b"1") is None


def test_a_kernel_without_schedstat():
    assert parse_thread(1, b"State:\tS (sleeping)\n", None).run_delay is None
    assert parse_thread(1, b"State:\tS (sleeping)\n", b"1 x 2").run_delay is None
