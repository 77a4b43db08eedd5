"""WHAT IS TRUE: frozen, typed records, one file a subject. They are the wire format, the file format and the JSON."""

from __future__ import annotations

from gotriage.records.base import Record, Row, Why
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
from gotriage.records.stream import End, Gap, Header, Heartbeat, Reply
from gotriage.records.syscalls import Syscalls
from gotriage.records.target import Event, GoServices, TargetState
from gotriage.records.tls import Tls, TlsChecks
from gotriage.records.tracing import Traces

AnyRecord = (
    Header
    | TargetState
    | Event
    | GoServices
    | Heartbeat
    | Gap
    | Reply
    | End
    | ProcessSample
    | CgroupSample
    | HostSample
    | UnitState
    | ContainerState
    | FileCounts
    | FileTable
    | LimitTable
    | Libraries
    | Environment
    | Access
    | Namespaces
    | LogLines
    | LogState
    | OomKill
    | Goroutines
    | GoroutineCounts
    | GoRuntime
    | RuntimeDetail
    | GoBuild
    | CpuStacks
    | Probes
    | ProbeEvents
    | ProbeTables
    | Traces
    | Syscalls
    | Straced
    | LibraryCalls
    | CpuProfile
    | WallProfile
    | Http
    | Dns
    | DnsChecks
    | Tls
    | TlsChecks
    | Network
    | Minimal
    | Paths
    | FileSystems
    | Sleepers
    | Inodes
    | Firewall
    | Security
    | Reach
)
"""Every record type that may stand in a stream; the codec decodes exactly these and keeps what it does not know."""

__all__ = ["AnyRecord", "Record", "Row", "Why"]
