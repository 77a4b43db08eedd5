"""A /proc and cgroup tree of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.host import Host
from gotriage.host.proc import Proc
from gotriage.records.target import TargetSpec
from gotriage.target.model import Process, Target

if TYPE_CHECKING:
    from pathlib import Path


def write(root: Path, files: dict[str, str | bytes]) -> None:
    """Files by path below `root`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def stat_line(pid: int, comm: str | bytes = "svc", state: str = "S", **more: int) -> bytes:
    """A /proc/PID/stat line; keywords by the names of host.proc.Stat."""
    fields = ["0"] * 50
    names = {"ppid": 1, "flags": 6, "minflt": 7, "majflt": 9, "utime": 11, "stime": 12, "threads": 17}
    names |= {"start_ticks": 19, "vsize": 20, "rss_pages": 21}
    fields[0] = state
    for name, value in more.items():
        fields[names[name]] = str(value)
    name = comm if isinstance(comm, bytes) else comm.encode()
    return b"%d (%s) %s\n" % (pid, name, " ".join(fields).encode())


def target_of(host: Host, *pids: int, **more: object) -> Target:
    """A running target with these processes."""
    target = Target(spec=TargetSpec("pid", str(pids[0]) if pids else ""), host=host, pids=tuple(pids))
    if pids:
        target.main = Process(host, pids[0])
    for name, value in more.items():
        setattr(target, name, value)
    return target


def real_target(*pids: int, **more: object) -> Target:
    """Real processes of this machine."""
    return target_of(Host(), *pids, **more)


def fake_host(root: Path) -> Host:
    """A host whose /proc is `root`/proc."""
    (root / "proc").mkdir(exist_ok=True)
    return Host(proc=Proc(root / "proc"), sys=root / "sys")
