"""The bundled demo recordings, made anew from real runs: `python -m tests.lab.incidents [NAME...]`.

Each incident happens in a systemd lab that is called as a machine could be, so nothing of the machine that recorded it
is in the file: to a unit, to a process named by its PID, to a container.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Literal

from tests.lab import engines, systemd
from tests.lab.toolchain import ROOT, build

DEMOS = ROOT / "gotriage/demos"
MACHINE = "shop-1"
HOSTS = f"127.0.0.1 localhost\n127.0.1.1 {MACHINE}\n"
RESOLV_CONF = "nameserver 10.8.0.2\nsearch shop.example\n"


@dataclass(frozen=True, slots=True)
class Incident:
    """A service that falls ill, and when it is recorded.

    Attributes:
        service: folder of tests/services.
        name: of the unit and its program.
        arguments: of the service.
        settings: more lines of the unit file.
        kind: how it is named to the product: by its unit, its PID, or its container.
        before: seconds from its start to the recording's.
        seconds: length of the recording.
        traces: what is traced meanwhile.
        load: arguments of a second run of the program, a unit of its own.
    """

    service: str
    name: str
    arguments: str
    settings: str
    before: float
    seconds: int
    kind: Literal["unit", "pid", "container"] = "unit"
    traces: tuple[str, ...] = ()
    load: tuple[str, ...] = ()


INCIDENTS = {
    "descriptors": Incident(
        "ill", "orders", "-nofile=512 -queued=290 -pace=3", "Restart=on-failure\nTimeoutStopSec=2", before=5, seconds=90
    ),
    "panic": Incident(
        "svc",
        "billing",
        "-listen=127.0.0.1:8081 -tick=300ms -format=json -message=invoice_sent -panic=6s",
        "Type=notify\nRestart=always\nRestartSec=2\nStartLimitIntervalSec=0",
        before=25,
        seconds=45,
    ),
    "leak": Incident("goill", "quotes", "-ill=leak -rate=3", "", before=20, seconds=60, kind="pid"),
    "requests": Incident(
        "web",
        "shop",
        "-listen=127.0.0.1:8082 -tls=127.0.0.1:8443",
        "",
        before=6,
        seconds=40,
        traces=("http", "syscalls:level=goroutines", "profile", "wall", "probes:probe=connects"),
        load=(
            "-get http://127.0.0.1:8082/orders/4711 -seconds 300 -workers 4 -pause 5ms",
            "-get http://127.0.0.1:8082/slow?ms=1400 -seconds 300 -workers 6",
            "-get http://127.0.0.1:8082/status/502 -seconds 300 -pause 10ms",
            "-get http://127.0.0.1:8082/nowhere -seconds 300 -pause 40ms",
            "-get http://127.0.0.1:8082/sql -seconds 300 -pause 20ms",
        ),
    ),
    "deadlock": Incident("goill", "ledger", "-ill=abba -count=30", "", before=10, seconds=40, kind="container"),
}


def started(lab: systemd.Lab, incident: Incident) -> tuple[str, str]:
    """Start the service; the words that name it to the product."""
    binary = build(incident.service)
    if incident.kind == "container":
        program = binary.with_name(incident.name)
        shutil.copy(binary, program)
        engine = engines.start_docker(lab)
        engine.run(incident.name, engine.image(program), *incident.arguments.split())
        return "--container", incident.name
    path = lab.install(binary, f"/usr/local/bin/{incident.name}")
    text = f"[Unit]\nDescription=The {incident.name} service\nStartLimitIntervalSec=0\n"
    text += f"[Service]\nExecStart={path} {incident.arguments}\n{incident.settings}\n"
    lab.add_unit(f"{incident.name}.service", text)
    for number, words in enumerate(incident.load):
        client = f"[Service]\nExecStart={path} {words.replace('%', '%%')}\n"
        lab.add_unit(f"client-{number}.service", client)
    if incident.kind == "unit":
        return "--unit", incident.name
    return "--pid", lab.run("systemctl", "show", "--value", "-p", "MainPID", incident.name).stdout.strip()


def record(name: str) -> None:
    """Let the incident happen in a lab, and record it by the product itself."""
    incident = INCIDENTS[name]
    DEMOS.mkdir(exist_ok=True)
    file = DEMOS / f"{name}.gts.jsonl.zst"
    lab = systemd.up(MACHINE)
    try:
        lab.write("/etc/hosts", HOSTS)
        lab.write("/etc/resolv.conf", RESOLV_CONF)
        target = started(lab, incident)
        time.sleep(incident.before)
        made = f"/tmp/{name}-{lab.pid}.gts.jsonl.zst"
        program = ROOT / ".venv/bin/gotriage"
        traces = [word for name in incident.traces for word in ("--trace", name)]
        words = ("record", *target, "-o", made, "--for", f"{incident.seconds}s", *traces)
        lab.run(program, *words, timeout=incident.seconds + 60)
        file.write_bytes((lab.root / made.lstrip("/")).read_bytes())
        (lab.root / made.lstrip("/")).unlink()
    finally:
        lab.down()
    print(f"{file.relative_to(ROOT)}: {file.stat().st_size:,} bytes")


def main() -> int:
    wanted = sys.argv[1:] or list(INCIDENTS)
    unknown = [name for name in wanted if name not in INCIDENTS]
    if unknown:
        print(f"no incident {', '.join(unknown)}; there are: {', '.join(INCIDENTS)}", file=sys.stderr)
        return 64
    for name in wanted:
        record(name)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, subprocess.SubprocessError) as error:
        sys.exit(f"incidents: {error}")
