"""A session made by hand: a Go service of systemd that runs out of descriptors, two minutes of it."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from functools import cache

from gotriage.records.base import Why
from gotriage.records.environment import Access, AccessProblem, Environment, Module, Stream
from gotriage.records.files import FileCounts, FileTable, OpenFile
from gotriage.records.findings import Finding, Fine, Unknown, Verdict
from gotriage.records.libraries import DynamicEntry, Libraries, Library
from gotriage.records.limits import Limit, LimitTable
from gotriage.records.process import CgroupSample, HostSample, Pressure, ProcessSample
from gotriage.records.service import UnitState
from gotriage.records.stream import CollectorState, Gap, Header, Heartbeat
from gotriage.records.target import Event, GoBrief, TargetSpec, TargetState
from gotriage.session.store import Session
from gotriage.ui.front import Front

from tests.ui import made_go

START = datetime(2026, 11, 23, 2, 44, 3, tzinfo=UTC)
NAME = "orders-api.service"
CGROUP = "/system.slice/orders-api.service"
SPEC = TargetSpec(kind="unit", value=NAME)
REFUSED = Why("/proc/41207/io: Permission denied", "run as root: sudo gotriage", permission=True)


def beginning(name: str = NAME):
    born = START - timedelta(hours=3, minutes=12)
    go = GoBrief(version="go1.24.3", module="example.com/orders", vcs_revision="9f3c2e1aa0", vcs_modified=True)
    yield Header(at=START, host="web1", kernel="6.1.0", uid=1000, spec=SPEC)
    yield TargetState(
        at=START,
        spec=SPEC,
        name=name,
        state="running",
        pid=41207,
        pids=(41207,),
        started_at=born,
        comm="orders-api",
        exe="/usr/bin/orders-api",
        unit=NAME,
        cgroup=CGROUP,
        go=go,
    )
    yield UnitState(
        at=START,
        name=NAME,
        description="Orders API",
        active_state="active",
        sub_state="running",
        main_pid=41207,
        unit_file_state="enabled",
        restart="on-failure",
        n_restarts=2,
        exec_main_start=born,
    )
    yield Event(at=START, what="attached", detail="pid 41207", pid=41207)


def second(number: int):
    """What is read each second; `number` counts from the start."""
    at, fds = START + timedelta(seconds=number), int(600 + number * 3.5)
    yield ProcessSample(
        at=at,
        processes=1,
        threads=14 + number // 40,
        cpu=0.4 + 0.3 * math.sin(number / 7),
        rss_bytes=(180 << 20) + number * 300_000,
        fds=fds,
        unknown={"read_bytes_rate": REFUSED, "write_bytes_rate": REFUSED},
    )
    yield CgroupSample(
        at=at,
        path=CGROUP,
        cpu_quota=2.0,
        throttled_share=0.31,
        memory_bytes=212 << 20,
        memory_limit_bytes=512 << 20,
        memory_working_set_bytes=190 << 20,
        pids=14,
        pids_limit=4915,
        cpu_pressure=Pressure(some_avg10=12.5),
    )
    yield FileCounts(
        at=at,
        total=fds,
        fullest=fds,
        fullest_pid=41207,
        soft_limit=1024,
        hard_limit=524288,
        by_type={"socket": fds - 30, "file": 30},
    )
    yield HostSample(at=at, cpus=8, cpu=3.1, load1=2.4, memory_total_bytes=16 << 30, memory_available_bytes=9 << 30)
    yield LimitTable(at=at, rows=tuple(limits(fds)))
    yield from made_go.second(number, at)
    done = CollectorState(last=at, took=0.002, backend="/proc")
    yield Heartbeat(at=at, collectors={"process": done, "files": done, "libraries": CollectorState(state="waiting")})


def limits(fds: int):
    pid = "pid 41207"
    fix = "LimitNOFILE=65536 in [Service], then systemctl daemon-reload"
    yield Limit(
        name="RLIMIT_NOFILE",
        scope="rlimit",
        soft=1024,
        hard=524288,
        used=fds,
        growth=0.63,
        full_in=11.0,
        subject=pid,
        fix=fix,
    )
    yield Limit(
        name="memory.max", scope="cgroup", unit="bytes", soft=512 << 20, used=212 << 20, growth=2e5, full_in=1500.0
    )
    yield Limit(name="RLIMIT_AS", scope="rlimit", unit="bytes", unlimited=True, used=1600 << 20, subject=pid)
    yield Limit(name="RLIMIT_MEMLOCK", scope="rlimit", unit="bytes", soft=8 << 20, subject=pid, unknown=REFUSED)
    yield Limit(name="kernel.file-max", scope="kernel", soft=2.0**63, used=4000)


def files(count: int) -> FileTable:
    rows = []
    for fd in range(count):
        if fd % 9:
            rows.append(
                OpenFile(
                    pid=41207,
                    fd=fd,
                    type="socket",
                    name=f"socket:[{90000 + fd}]",
                    mode="rwn",
                    protocol="tcp",
                    state="CLOSE_WAIT",
                    local=f"10.4.0.2:{30000 + fd % 30000}",
                    peer="10.4.0.17:8086",
                    recv_queue=1,
                    send_queue=0,
                )
            )
        else:
            name = f"/var/lib/orders/segments/2026/11/23/segment-{fd:08d}.wal"
            rows.append(
                OpenFile(
                    pid=41207, fd=fd, type="file", name=name, mode="rw", size=4096 * fd, offset=0, deleted=fd == 27
                )
            )
    return FileTable(at=START, rows=tuple(rows), by_state={"tcp CLOSE_WAIT": count * 8 // 9})


def once(count: int = 300):
    """What is read once in a while."""
    yield files(count)
    yield Gap(
        at=START,
        source="files.sockets",
        reason="sock_diag: Operation not permitted",
        lost="states of sockets",
        remedy="sudo gotriage --unit orders-api",
        permission=True,
    )
    lib = "/lib/x86_64-linux-gnu/"
    yield Libraries(
        at=START,
        executable="/usr/bin/orders-api",
        linkage="dynamic-pie",
        libc="glibc",
        libc_version="2.36",
        is_go=True,
        cgo=True,
        missing=1,
        rows=(
            Library(name="libm.so.6", depth=1, path=lib + "libm.so.6", rule="ld.so.cache", package="libc6"),
            Library(name="libfoo.so.3", depth=1, path=None, install="libfoo3"),
        ),
        dynamic=(DynamicEntry(section=".dynamic", tag="RUNPATH", value="$ORIGIN/../lib"),),
    )
    yield Environment(
        at=START,
        pid=41207,
        exe="/usr/bin/orders-api",
        exe_replaced=True,
        is_go=True,
        go_version="go1.24.3",
        module="example.com/orders",
        modules=(Module("golang.org/x/net", "v0.31.0"),),
        settings={"CGO_ENABLED": "1"},
        argv=("/usr/bin/orders-api", "--listen", ":8080"),
        env={"HOME": "/var/lib/orders", "DB_PASSWORD": "***"},
        masked=1,
        uid=(998,) * 4,
        gid=(998,) * 4,
        user="orders",
        streams=(Stream(1, "journal"),),
        namespaces={"mnt": "4026532001"},
        host_namespaces={"mnt": "4026531841"},
        cwd="/var/lib/orders",
    )
    yield from made_go.once(START)
    problem = AccessProblem(path="/var/lib/orders/wal", needs="w", reason="owner root, mode 0755", source="argument 2")
    yield Access(at=START, checked=14, problems=(problem,))


@cache
def records(seconds: int = 120, count: int = 300):
    times = [record for number in range(seconds) for record in second(number)]
    return (*beginning(), *times, *once(count))


def session(seconds: int = 120, count: int = 300) -> Session:
    made = Session(bounded=False)
    for record in records(seconds, count):
        made.feed(record)
    return made


def verdict(at: datetime = START) -> Verdict:
    critical = Finding(
        id="fd-exhaustion",
        severity="critical",
        title="1,021 of 1,024 descriptors open",
        view="files",
        observed_at=at,
        subject="pid 41207",
        evidence=("958 sockets in CLOSE_WAIT to 10.4.0.17:8086",),
        fix="LimitNOFILE=65536 (now 1024)",
        since=at - timedelta(minutes=3),
    )
    follows = Finding(
        id="error-responses", severity="warning", title="34 % are 502", observed_at=at, because="fd-exhaustion"
    )
    other = Finding(
        id="cpu-throttled", severity="warning", title="throttled 31 % of periods", observed_at=at, fix="CPUQuota=400%"
    )
    fine = (Fine("memory-limit-near", "memory 212 of 512 MB"),)
    unknown = (Unknown("already-traced", "Permission denied", "sudo gotriage"),)
    return Verdict(at=at, findings=(critical, follows, other), fine=fine, unknown=unknown)


class Judged(Front):
    """A front whose verdict is given: what the rules say is not what is tested here."""

    given: Verdict | None = None

    def verdict(self) -> Verdict:
        return self.given if self.given is not None else verdict(self.session.moment or START)


def front(made: Session | None = None, given: Verdict | None = None) -> Judged:
    judged = Judged(made if made is not None else session(), title="made")
    judged.given = given
    return judged
