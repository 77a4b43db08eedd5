"""The bundled demo recordings, made anew from real runs: `python -m tests.lab.incidents [NAME...]`.

Each incident happens to a unit of a systemd lab that is called as a machine could be, so nothing of the machine that
recorded it is in the file.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass

from tests.lab import systemd
from tests.lab.toolchain import ROOT, build

DEMOS = ROOT / "gotriage/demos"
MACHINE = "shop-1"


@dataclass(frozen=True, slots=True)
class Incident:
    """A service that falls ill, and when it is recorded.

    Attributes:
        service: folder of tests/services.
        name: of the unit and its program.
        arguments: of the service.
        settings: more lines of the unit file.
        before: seconds from its start to the recording's.
        seconds: length of the recording.
    """

    service: str
    name: str
    arguments: str
    settings: str
    before: float
    seconds: int


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
}


def record(name: str) -> None:
    """Let the incident happen in a lab, and record it by the product itself."""
    incident = INCIDENTS[name]
    DEMOS.mkdir(exist_ok=True)
    file = DEMOS / f"{name}.gts.jsonl.zst"
    binary = build(incident.service)
    lab = systemd.up(MACHINE)
    try:
        path = lab.install(binary, f"/usr/local/bin/{incident.name}")
        text = f"[Unit]\nDescription=The {incident.name} service\nStartLimitIntervalSec=0\n"
        text += f"[Service]\nExecStart={path} {incident.arguments}\n{incident.settings}\n"
        lab.add_unit(f"{incident.name}.service", text)
        time.sleep(incident.before)
        made = f"/tmp/{name}-{lab.pid}.gts.jsonl.zst"
        command = [
            ROOT / ".venv/bin/gotriage",
            "record",
            "--unit",
            incident.name,
            "-o",
            made,
            "--for",
            f"{incident.seconds}s",
        ]
        lab.run(*command, timeout=incident.seconds + 60)
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
