"""Real cgroups of this kernel, v1 or v2, with limits of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gotriage.collectors.cgroup import CgroupCollector
from gotriage.host import Host, cgroup_tree
from gotriage.host.cgroupfs import parse_mounts
from gotriage.target.model import Target

from tests.collectors.fakes import real_target

pytestmark = pytest.mark.real
SPIN = "import sys, time\nheld = b'x' * (8 << 20)\nprint('ready', flush=True)\nwhile True: pass\n"
LIMITS = {
    1: {
        "memory": {"memory.limit_in_bytes": str(64 << 20)},
        "cpu": {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "20000"},
        "pids": {"pids.max": "33"},
    },
    2: {"": {"memory.max": str(64 << 20), "cpu.max": "20000 100000", "pids.max": "33"}},
}


def hierarchies() -> dict[str, Path]:
    """Controller to mount point: "" is the unified hierarchy, and only where it has the controllers."""
    mounts = parse_mounts(Path("/proc/self/mountinfo").read_text())
    unified = next((Path(mount.point) for mount in mounts if mount.version == 2), None)
    if unified and {"cpu", "memory", "pids"} <= set((unified / "cgroup.subtree_control").read_text().split()):
        return {"": unified}
    return {name: Path(m.point) for name in LIMITS[1] for m in mounts if name in m.controllers and not m.root}


@pytest.fixture
def limited():
    """A process that spins in a cgroup with 64 MB, a fifth of a CPU and 33 tasks, below a group without limits."""
    points = hierarchies()
    assert points, "this machine shows no cgroup hierarchy with cpu, memory and pids"
    version = 2 if "" in points else 1
    name = f"gotriage-test-{os.getpid()}/inner"
    folders = {controller: point / name for controller, point in points.items()}
    child = subprocess.Popen([sys.executable, "-c", SPIN], stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        for controller, folder in folders.items():
            folder.mkdir(parents=True)
            for file, value in LIMITS[version][controller].items():
                (folder if version == 1 else folder.parent).joinpath(file).write_text(value)
            (folder / "cgroup.procs").write_text(str(child.pid))
        yield child.pid, version, name
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
        for folder in folders.values():
            for path in (folder, folder.parent):
                _remove(path)


def _remove(path: Path) -> None:
    for _ in range(100):
        try:
            return path.rmdir()
        except FileNotFoundError:
            return None
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"{path} stays")


def look(pid: int) -> CgroupCollector:
    host = Host()
    groups = cgroup_tree.v1_groups(host, pid)
    return CgroupCollector(host, real_target(pid, cgroup=cgroup_tree.group_of(host, pid), cgroup_v1=groups))


def test_limits_use_and_throttling(limited):
    pid, version, name = limited
    collector = look(pid)
    list(collector.collect())
    time.sleep(1.2)
    (sample,) = collector.collect()
    assert sample.version == version
    assert sample.path == f"/{name}"
    owner = f"/{name}" if version == 1 else f"/{name}".removesuffix("/inner")
    assert (sample.memory_limit_bytes, sample.memory_limit_path) == (64 << 20, owner)
    assert sample.cpu_quota == pytest.approx(0.2)
    assert sample.cpu_quota_path == owner
    assert sample.pids_limit == 33
    assert sample.throttled_share > 0.5
    assert sample.throttled_seconds > 0
    assert sample.pids == 1
    assert sample.oom_kills == 0


def test_from_inside_another_cgroup_namespace_the_numbers_are_the_same(limited):
    """The reader is in a cgroup namespace and mount namespace of its own: the target's path begins with "/.."."""
    pid, _, _ = limited
    code = (
        "import sys; from tests.real.test_cgroups import look; (s,) = look(int(sys.argv[1])).collect();"
        "print(s.path, s.memory_limit_bytes, s.cpu_quota, s.pids_limit)"
    )
    out = subprocess.run(
        ["unshare", "--cgroup", "--mount", sys.executable, "-c", code, str(pid)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert out[1:] == [str(64 << 20), "0.2", "33"]


def test_a_target_without_a_process_any_more(limited):
    pid, version, name = limited
    if version == 2:
        target = Target(spec=real_target(pid).spec, host=Host(), cgroup=f"/{name}")
    else:
        target = Target(spec=real_target(pid).spec, host=Host(), cgroup_v1={"memory": f"/{name}", "pids": f"/{name}"})
    (sample,) = CgroupCollector(target.host, target).collect()
    assert sample.memory_limit_bytes == 64 << 20
    assert sample.pids_limit == 33
