"""Where records come from: one row a source. A source lists its backends best first."""

from __future__ import annotations

from gotriage.catalog.shapes import Source
from gotriage.records.calls import LibraryCalls
from gotriage.records.cpustacks import CpuStacks
from gotriage.records.dns import Dns, DnsChecks
from gotriage.records.environment import Access, Environment
from gotriage.records.files import FileCounts, FileTable
from gotriage.records.firewall import Firewall
from gotriage.records.goroutines import GoroutineCounts, Goroutines
from gotriage.records.http import Http
from gotriage.records.libraries import Libraries
from gotriage.records.limits import LimitTable
from gotriage.records.logs import LogLines, LogState, OomKill
from gotriage.records.minimal import Minimal
from gotriage.records.namespaces import Namespaces
from gotriage.records.network import Network
from gotriage.records.paths import FileSystems, Inodes, Paths, Sleepers
from gotriage.records.probes import ProbeEvents, Probes, ProbeTables
from gotriage.records.process import CgroupSample, HostSample, ProcessSample
from gotriage.records.profile import CpuProfile, WallProfile
from gotriage.records.reach import Reach
from gotriage.records.runtime import GoBuild, GoRuntime, RuntimeDetail
from gotriage.records.security import Security
from gotriage.records.service import ContainerState, UnitState
from gotriage.records.straced import Straced
from gotriage.records.syscalls import Syscalls
from gotriage.records.target import GoServices
from gotriage.records.tls import Tls, TlsChecks

_C = "gotriage.collectors."
_ALSO_CORE = ("pid", "unit", "container", "core")

ROOM = 64 << 20
"""Bytes that have to be left for what is not needed for the first screen, all of it together."""

SOURCES: tuple[Source, ...] = (
    Source(
        "process", (_C + "process:ProcessCollector",), (ProcessSample,), about="/proc/PID/stat, status, io, schedstat"
    ),
    Source(
        "cgroup", (_C + "cgroup:CgroupCollector",), (CgroupSample,), idle=True, about="cgroupfs, v1 and v2, and PSI"
    ),
    Source(
        "machine",
        (_C + "machine:MachineCollector",),
        (HostSample,),
        every=2.0,
        idle=True,
        about="/proc/stat, meminfo, pressure",
    ),
    Source(
        "unit",
        (_C + "unit:UnitCollector", _C + "unit_show:UnitShowCollector"),
        (UnitState,),
        every=2.0,
        idle=True,
        needs="unit",
        about="systemd over D-Bus, else systemctl show",
    ),
    Source(
        "container",
        (_C + "container:ContainerCollector",),
        (ContainerState,),
        every=3.0,
        targets=("pid", "unit", "container"),
        idle=True,
        needs="container",
        about="the engine's socket, else its state files, else the cgroup",
    ),
    Source("file_counts", (_C + "files:CountCollector",), (FileCounts,), about="/proc/PID/fd"),
    Source(
        "files",
        (_C + "files:TableCollector",),
        (FileTable,),
        every=5.0,
        deadline=20.0,
        about="/proc/PID/fd, fdinfo, sock_diag",
    ),
    Source(
        "network",
        (_C + "network:NetworkCollector",),
        (Network,),
        every=5.0,
        deadline=30.0,
        about="sock_diag and rtnetlink in the target's network namespace, /proc/PID/net",
        memory=ROOM,
    ),
    Source(
        "limits",
        (_C + "limits:LimitCollector",),
        (LimitTable,),
        every=2.0,
        idle=True,
        about="/proc/PID/limits, cgroupfs, sysctl, statvfs",
    ),
    Source(
        "libraries",
        (_C + "libraries:LibraryCollector",),
        (Libraries,),
        every=30.0,
        deadline=30.0,
        idle=True,
        about="the ELF files in the target's root",
    ),
    Source(
        "environment",
        (_C + "environment:EnvironmentCollector",),
        (Environment,),
        every=20.0,
        targets=_ALSO_CORE,
        about="/proc/PID and the executable",
    ),
    Source(
        "access",
        (_C + "access:AccessCollector",),
        (Access,),
        every=20.0,
        deadline=10.0,
        about="modes and ACLs in the target's root",
    ),
    Source(
        "paths",
        (_C + "paths.collector:PathCollector",),
        (Paths, FileSystems),
        every=10.0,
        deadline=15.0,
        about="modes, ACLs, mounts and file systems in the target's root",
        memory=ROOM,
    ),
    Source(
        "sleepers",
        (_C + "paths.sleepers:SleeperCollector",),
        (Sleepers,),
        every=5.0,
        about="/proc/PID/task: state, switches, wchan, stack",
    ),
    Source(
        "inodes",
        (_C + "paths.inodes:InodeCollector",),
        (Inodes,),
        every=60.0,
        deadline=20.0,
        about="debugfs(8), which reads inodes of ext2, ext3, ext4 from the device",
    ),
    Source(
        "minimal",
        (_C + "minimal.collector:MinimalCollector",),
        (Minimal,),
        every=20.0,
        deadline=15.0,
        about="the target's root, /proc/PID, adjtimex(2), getrandom(2)",
        memory=ROOM,
    ),
    Source(
        "namespaces",
        (_C + "namespaces:NamespaceCollector",),
        (Namespaces,),
        every=30.0,
        deadline=10.0,
        about="/proc/PID/ns of all processes, status, uid_map",
        memory=ROOM,
    ),
    Source(
        "goroutines",
        (_C + "goroutines:GoroutineCollector",),
        (GoroutineCounts, Goroutines, CpuStacks),
        every=2.0,
        deadline=40.0,
        price="light",
        targets=_ALSO_CORE,
        about="the process's memory, read by process_vm_readv(2) in a process of its own",
    ),
    Source(
        "runtime",
        (_C + "runtime:RuntimeCollector",),
        (GoBuild, GoRuntime, RuntimeDetail),
        every=1.0,
        deadline=20.0,
        price="light",
        targets=_ALSO_CORE,
        about="the process's memory, as above, and its executable's build info",
    ),
    Source(
        "journal",
        (_C + "journal:JournalCollector", _C + "journalctl:JournalctlCollector"),
        (LogLines, LogState),
        every=0.5,
        deadline=15.0,
        idle=True,
        needs="unit",
        about="systemd's journal, as journalctl -u matches it",
    ),
    Source(
        "container_log",
        (_C + "container_log:ContainerLogCollector",),
        (LogLines, LogState),
        every=0.5,
        targets=("pid", "unit", "container"),
        idle=True,
        needs="container",
        about="the container engine's log files",
    ),
    Source(
        "file_log",
        (_C + "file_log:FileLogCollector",),
        (LogLines, LogState),
        every=0.5,
        about="files that stdout and stderr go to",
    ),
    Source(
        "kernel_log",
        (_C + "kernel_log:KernelLogCollector",),
        (OomKill,),
        every=1.0,
        idle=True,
        about="/dev/kmsg or the kernel's journal lines",
    ),
    Source(
        "http",
        (_C + "http:SocketTracer", _C + "http:CallTracer"),
        (Http,),
        deadline=10.0,
        price="light",
        asked=True,
        duty=(1.0, 10.0),
        about="the first bytes of reads and writes at sockets, counted by a BPF program",
        memory=ROOM,
    ),
    Source(
        "http_uprobes",
        (_C + "http_uprobes:HttpUprobes",),
        (Http,),
        every=1.0,
        deadline=10.0,
        price="heavy",
        asked=True,
        budget=0.02,
        about="probes at functions of net/http, database/sql, crypto/tls and gRPC, counted in the kernel",
    ),
    Source(
        "profile",
        (_C + "profile.cpu:BpfTracer", _C + "profile.cpu:PerfTracer"),
        (CpuProfile,),
        every=1.0,
        deadline=30.0,
        price="heavy",
        asked=True,
        lasts=5.0,
        about="each CPU's clock, 99 times a second: a BPF program, else perf events; names from the files' own tables",
    ),
    Source(
        "wall",
        (_C + "profile.wall:WallTracer",),
        (WallProfile,),
        every=0.1,
        deadline=30.0,
        price="light",
        asked=True,
        lasts=5.0,
        about="where all goroutines are, ten times a second, read from memory in a process of its own",
    ),
    Source(
        "syscalls",
        (_C + "syscalls.bpf:BpfTracer", _C + "syscalls.tracefs:TracefsTracer", _C + "syscalls.totals:TotalsTracer"),
        (Syscalls,),
        every=1.0,
        deadline=10.0,
        price="light",
        asked=True,
        duty=(1.0, 10.0),
        about="BPF programs at the begin and end of every system call, else trace events, else a perf counter",
        memory=ROOM,
    ),
    Source(
        "strace",
        (_C + "strace.tracer:StraceTracer",),
        (Straced,),
        every=0.5,
        deadline=10.0,
        price="stops",
        asked=True,
        lasts=3.0,
        longest=30.0,
        about="strace(1): each system call with arguments, result and reason",
    ),
    Source(
        "calls",
        (_C + "calls.probed:ProbedCalls",),
        (LibraryCalls,),
        every=1.0,
        deadline=10.0,
        price="heavy",
        asked=True,
        lasts=60.0,
        budget=0.05,
        about="user probes where the functions of mapped C libraries begin that the program calls",
    ),
    Source(
        "ltrace",
        (_C + "calls.ltraced:LtraceCalls",),
        (LibraryCalls,),
        every=0.5,
        deadline=30.0,
        price="stops",
        asked=True,
        lasts=3.0,
        longest=30.0,
        about="ltrace(1), for programs with one thread",
    ),
    Source(
        "probes",
        (_C + "probes:ProbeTracer",),
        (Probes, ProbeEvents, ProbeTables),
        every=0.5,
        deadline=10.0,
        price="light",
        asked=True,
        budget=0.05,
        about="prebuilt BPF programs for each probe, else bpftrace, BCC or plain trace events",
    ),
    Source(
        "firewall",
        (_C + "firewall:FirewallCollector",),
        (Firewall,),
        every=15.0,
        deadline=30.0,
        about="nft and iptables-save in the target's network namespace, BPF programs of its cgroup",
        memory=ROOM,
    ),
    Source(
        "dns",
        (_C + "dns.settings:DnsCollector",),
        (Dns,),
        every=15.0,
        about="resolv.conf, nsswitch.conf and hosts in the target's root, the build info, /proc/PID/net/udp",
        memory=ROOM,
    ),
    Source(
        "dns_checks",
        (_C + "dns.checks:DnsTracer",),
        (DnsChecks,),
        deadline=30.0,
        price="light",
        asked=True,
        lasts=30.0,
        longest=60.0,
        sends=True,
        about="questions to the target's name servers, sent from its network namespace",
    ),
    Source(
        "reach",
        (_C + "reach.tracer:ReachTracer",),
        (Reach,),
        deadline=30.0,
        price="light",
        asked=True,
        lasts=30.0,
        longest=60.0,
        sends=True,
        about="sockets, routes, packet filters and audit records, then one TCP connection",
    ),
    Source(
        "security",
        (_C + "security:SecurityCollector",),
        (Security,),
        every=15.0,
        deadline=30.0,
        idle=True,
        about="/proc/PID/attr and status; audit records of the kernel log, audit.log and the journal",
        memory=ROOM,
    ),
    Source(
        "tls",
        (_C + "tls.settings:TlsCollector",),
        (Tls,),
        every=30.0,
        deadline=20.0,
        about="the files of crypto/x509 in the target's root, and certificates that it was given",
        memory=ROOM,
    ),
    Source(
        "tls_checks",
        (_C + "tls.checks:TlsTracer",),
        (TlsChecks,),
        deadline=60.0,
        price="light",
        asked=True,
        lasts=60.0,
        longest=60.0,
        sends=True,
        about="TLS handshakes with the target's own listeners or with peers, from its network namespace",
    ),
)

PICKER_SOURCES: tuple[Source, ...] = (
    Source(
        "services",
        (_C + "services:ServiceCollector",),
        (GoServices,),
        every=2.0,
        targets=("none",),
        about="/proc and the executables",
    ),
)
