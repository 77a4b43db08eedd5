"""Debian's stock kernel in a virtual machine: kprobes, cgroup v2 with every controller, SELinux in permissive mode.

What this machine's own kernel lacks, and that nothing depends on what it has besides.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lab import toolchain, vm

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(2400)]

ROOT = Path(__file__).parents[2]
PACKAGES = ("msgspec", "zstandard", "numpy", "numpy.libs", "elftools", "jeepney", "psutil")
PLACE = "/usr/local/lib/python3.11/dist-packages"
RUN = "cd / && /usr/bin/python3 -I -m gotriage"
UNIT = """
mkdir -p /run/systemd/system
cat >/run/systemd/system/{name}.service <<'END'
[Service]
{lines}
END
systemctl daemon-reload; systemctl start {name}
"""


@pytest.fixture(scope="module")
def machine():
    """With gotriage and two services in it, and two units: a healthy one, and one that its memory limit kills."""
    with vm.booted() as machine:
        machine.copy(["gotriage"], PLACE, ROOT)
        site = ROOT / ".venv/lib/python3.11/site-packages"
        machine.copy([name for name in PACKAGES if (site / name).exists()], PLACE, site)
        for service in ("healthy", "svc"):
            binary = toolchain.build(service)
            machine.copy([binary.name], "/opt/services", binary.parent)
            machine.run(f"ln -sf /opt/services/{binary.name} /usr/local/bin/{service}")
        healthy = "ExecStart=/usr/local/bin/healthy"
        hog = "ExecStart=/usr/local/bin/svc -hog-mb 400\nMemoryMax=64M\nRestart=no"
        for name, lines in (("healthy", healthy), ("hog", hog)):
            done = machine.run(UNIT.format(name=name, lines=lines))
            assert done.returncode == 0, done.stderr
        yield machine


def objects(machine, command: str, *, statuses=(0, 1, 2)) -> list[dict]:
    done = machine.run(f"{RUN} {command}", seconds=600)
    assert done.returncode in statuses, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_doctor_names_what_this_kernel_has(machine):
    rows = {row["name"]: row for row in objects(machine, "doctor --json", statuses=(0, 5, 69))}
    assert rows["cgroups"]["detail"] == "version 2"
    assert rows["BTF"]["state"] == "ok"
    assert "kprobe" in rows["tracepoints"]["detail"]
    assert "selinux" in rows["security modules"]["detail"]


def test_a_healthy_unit_has_no_finding_and_its_goroutines_are_read(machine):
    findings = objects(machine, "check --unit healthy --json")
    assert [row["id"] for row in findings if row["severity"] != "info"] == []
    assert len(objects(machine, "show goroutines --unit healthy --json")) > 3


def test_a_unit_that_its_memory_limit_killed(machine):
    found = {row["id"]: row for row in objects(machine, "check --unit hog --json")}
    assert found["oom-killed"]["severity"] == "critical", found


def test_a_core_that_systemd_coredump_kept_opens_in_the_goroutine_view(machine):
    """coredumpctl's file is compressed with zstd, and its name is what `coredumpctl info` says."""
    lines = "ExecStart=/usr/local/bin/svc -panic 1s\nEnvironment=GOTRACEBACK=crash\nLimitCORE=infinity\nRestart=no"
    machine.run(UNIT.format(name="crash", lines=lines))
    wait = "for n in $(seq 100); do ls /var/lib/systemd/coredump/core.svc.* 2>/dev/null && exit; sleep 1; done; exit 1"
    found = machine.run(wait)
    assert found.returncode == 0, machine.run("journalctl -u crash -u 'systemd-coredump*' | tail -50").stdout.decode()
    path = found.stdout.decode().split()[0]
    assert path in machine.run("coredumpctl info -1").stdout.decode()
    rows = objects(machine, f"show goroutines --core {path} --json")
    functions = {frame["function"] for row in rows for frame in row["stack"]}
    assert any(name.startswith("main.") for name in functions)
    assert "panic" in {row["id"] for row in objects(machine, f"check --core {path} --json")}


TRACES = {
    "syscalls": "show syscalls --option level=goroutines",
    "http": "show http",
    "wall": "show profile --trace wall",
    "profile": "show profile",
    "strace": "show syscalls --trace strace --yes",
}


@pytest.mark.parametrize("name", TRACES)
def test_traces(machine, name):
    """Each by its best backend: the objects that are committed load on an older kernel than they were made on."""
    found = machine.run(f"{RUN} {TRACES[name]} --unit healthy --for 3s --json", seconds=600)
    assert found.returncode == 0, found.stderr.decode()
    assert found.stdout.splitlines(), found.stderr.decode()
    passed_over = [line for line in found.stderr.decode().splitlines() if "not by" in line]
    assert [line for line in passed_over if "(Linux 6.3)" not in line] == []  # newer than this kernel
