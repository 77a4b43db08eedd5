"""Resolve a target and say what was found, as JSON: run inside the lab, or from outside with --root-pid."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec
from gotriage.collectors import Unavailable
from gotriage.collectors.container import ContainerCollector
from gotriage.collectors.unit import UnitCollector
from gotriage.collectors.unit_show import UnitShowCollector
from gotriage.errors import GotriageError
from gotriage.host import Host
from gotriage.records.target import TargetSpec
from gotriage.target.resolve import refresh, release, resolve
from gotriage.target.state import state_of

if TYPE_CHECKING:
    from tests.lab.systemd import Lab

COLLECTORS = {"unit": UnitCollector, "unit_show": UnitShowCollector, "container": ContainerCollector}


def look(
    kind: str, value: str, *, user: bool = False, root_pid: int | None = None, collect: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Keys: error, exit_code, or the fields of TargetState; `took`; `events`; "NAME records" for each collector."""
    host, begun = Host.of(root_pid), time.monotonic()
    found: dict[str, Any] = {}
    try:
        target = resolve(TargetSpec(kind, value, user=user, root_pid=root_pid), host)
    except GotriageError as error:
        found |= {"error": str(error), "type": type(error).__name__, "exit_code": error.exit_code}
        return found | {"took": time.monotonic() - begun}
    found |= msgspec.to_builtins(state_of(target), str_keys=True)
    found["took"] = time.monotonic() - begun
    found["exec_path"] = target.exec_path
    found["events"] = [(event.what, event.detail) for event in refresh(target)]
    for name in collect:
        begun = time.monotonic()
        try:
            collector = COLLECTORS[name](host, target)
            found[f"{name} records"] = [msgspec.to_builtins(record) for record in collector.collect()]
            found[f"{name} backend"] = collector.backend
            collector.close()
        except Unavailable as error:
            found[f"{name} unavailable"] = str(error)
        found[f"{name} took"] = time.monotonic() - begun
    release(target)
    return found


def inside(lab: Lab, kind: str, value: str, *, user: bool = False, collect: tuple[str, ...] = ()) -> dict[str, Any]:
    """`look` as a process of the lab."""
    words = [sys.executable, "-m", "tests.real.look", kind, value, *(["--user"] if user else [])]
    done = subprocess.run(
        lab.command(*words, *(f"--collect={name}" for name in collect)),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind")
    parser.add_argument("value")
    parser.add_argument("--user", action="store_true")
    parser.add_argument("--root-pid", type=int)
    parser.add_argument("--collect", action="append", default=[])
    options = parser.parse_args()
    found = look(
        options.kind, options.value, user=options.user, root_pid=options.root_pid, collect=tuple(options.collect)
    )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
