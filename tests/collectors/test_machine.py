"""The machine's numbers from a /proc of the test's own."""

from __future__ import annotations

import pytest
from gotriage.collectors.machine import MachineCollector, parse_cpu
from gotriage.host import Host
from gotriage.host.proc import Proc
from gotriage.records.pressure import parse_pressure
from gotriage.records.target import TargetSpec
from gotriage.target.model import Target


def machine(tmp_path, *, pressure=True):
    (tmp_path / "stat").write_text(
        "cpu  100 0 50 800 10 0 0 40 0 0\ncpu0 50 0 25 400 5 0 0 20 0 0\ncpu1 50 0 25 400 5 0 0 20 0 0\nintr 1\n"
    )
    (tmp_path / "meminfo").write_text(
        "MemTotal:       2048 kB\nMemAvailable:   1024 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"
    )
    (tmp_path / "loadavg").write_text("1.50 1.00 0.50 2/300 4242\n")
    (tmp_path / "uptime").write_text("3600.25 7000.00\n")
    if pressure:
        (tmp_path / "pressure").mkdir()
        for name in ("cpu", "memory", "io"):
            (tmp_path / "pressure" / name).write_text(
                "some avg10=12.50 avg60=1.00 avg300=0.10 total=2500000\n"
                "full avg10=1.00 avg60=0.00 avg300=0.00 total=1000\n"
            )
    host = Host(proc=Proc(tmp_path))
    return MachineCollector(host, Target(spec=TargetSpec(), host=host))


def test_sizes_are_bytes_and_rates_need_two_looks(tmp_path):
    collector = machine(tmp_path)
    (first,) = collector.collect()
    assert (first.cpus, first.cpu, first.steal) == (2, None, None)
    assert (first.memory_total_bytes, first.memory_available_bytes, first.load1) == (2 << 20, 1 << 20, 1.5)
    assert first.cpu_pressure.some_avg10 == 12.5
    assert first.cpu_pressure.some_total == 2.5
    # In the next second both CPUs have 100 ticks each: 150 busy, 10 stolen, 40 idle.
    (tmp_path / "stat").write_text("cpu  200 0 100 840 10 0 0 50 0 0\ncpu0 1\ncpu1 1\n")
    (second,) = collector.collect()
    assert second.cpu == pytest.approx(1.5)
    assert second.steal == pytest.approx(0.1)


def test_a_kernel_without_psi_says_so(tmp_path):
    (sample,) = machine(tmp_path, pressure=False).collect()
    assert sample.cpu_pressure is None
    assert "CONFIG_PSI" in sample.unknown["cpu_pressure"].remedy


@pytest.mark.parametrize("text", ["", "intr 1\n", "cpu \n", "cpu a b c d e f g h\n"])
def test_a_broken_stat_is_an_error_or_zero(text):
    try:
        times, cpus = parse_cpu(text)
    except ValueError:
        return
    assert (times.total, cpus) == (0, 0)


@pytest.mark.parametrize("text", ["", "some", "some avg10=x total=1", "full avg10=1.0 avg60=0 total=1\n" * 1000])
def test_strange_pressure_files(text):
    assert parse_pressure(text).some_avg10 is None
