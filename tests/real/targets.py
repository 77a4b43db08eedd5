"""A process of a test as what a collector or a tracer looks at."""

from __future__ import annotations

from gotriage.host import Host
from gotriage.records.target import TargetSpec
from gotriage.target.model import Process, Target


def target_of(*pids: int, host: Host | None = None) -> Target:
    """These processes, the main one first."""
    host = host or Host()
    return Target(spec=TargetSpec("pid", str(pids[0])), host=host, main=Process(host, pids[0]), pids=pids)
