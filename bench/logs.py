"""Journal records of one unit: gotriage's typed log lines beside `journalctl -u -o json` into Python, and `-o short`.

The journal is made once by systemd-journal-remote from its export format: 22 fields an entry as a service's standard
output has them; a quarter of the messages each is JSON of log/slog, a line of package log, logfmt, and plain text. The
ways run one after the other in turn, with the page cache warm: wall time of the whole, and user and system time with
that of children, which other work on the machine disturbs less.

    python -m bench.logs [--records 1000000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[1]
UNIT = "orders-api.service"
REMOTE = "/lib/systemd/systemd-journal-remote"
START = 1_763_900_000_000_000

if TYPE_CHECKING:
    from collections.abc import Callable

MESSAGES = (
    '{{"time":"2026-11-23T02:47:10.{0:06d}Z","level":"INFO","msg":"request served","method":"GET",'
    '"path":"/orders/{1}","status":200,"duration_ms":{2}}}',
    "2026/11/23 02:47:10 worker {2} finished job {0} in {1} ms",
    'time=2026-11-23T02:47:10.000Z level=WARN msg="slow query" table=orders rows={1}',
    "GET /health/{1} 200 {2}us",
)

ENTRY = """__REALTIME_TIMESTAMP={us}
__MONOTONIC_TIMESTAMP={mono}
_BOOT_ID=5d1a3c6f2e8b4a70912c3d4e5f607182
_TRANSPORT=stdout
PRIORITY=6
SYSLOG_FACILITY=3
_UID=1000
_GID=1000
_CAP_EFFECTIVE=0
_SELINUX_CONTEXT=unconfined
_MACHINE_ID=0123456789abcdef0123456789abcdef
_HOSTNAME=web-1
_SYSTEMD_SLICE=system.slice
_RUNTIME_SCOPE=system
SYSLOG_IDENTIFIER=orders-api
_PID={pid}
_COMM=orders-api
_EXE=/usr/local/bin/orders-api
_CMDLINE=/usr/local/bin/orders-api -listen :8080
_SYSTEMD_CGROUP=/system.slice/orders-api.service
_SYSTEMD_UNIT=orders-api.service
_SYSTEMD_INVOCATION_ID=8f4b{run:028x}
_STREAM_ID=aa{run:030x}
MESSAGE={message}

"""


def journal(records: int) -> Path:
    """The folder with a journal of so many records, made when it is not there."""
    folder = ROOT / ".cache" / f"journal-{records}"
    if folder.is_dir():
        return folder
    if not Path(REMOTE).exists():
        sys.exit(f"{REMOTE} is missing: apt install systemd-journal-remote")
    print(f"making a journal of {records:,} records in {folder} ...", file=sys.stderr)
    making = folder.with_suffix(".part")
    making.mkdir(parents=True, exist_ok=True)
    words = [REMOTE, "-o", str(making / "big.journal"), "--split-mode=none", "-"]
    writer = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert writer.stdin is not None
    for number in range(records):
        message = MESSAGES[number % 4].format(number, number % 311, number % 97)
        run = number // 200_000
        us, mono = START + number * 1000, number * 1000 + 5_000_000
        writer.stdin.write(ENTRY.format(us=us, mono=mono, pid=4000 + run, run=run, message=message).encode())
    writer.stdin.close()
    if writer.wait():
        sys.exit("systemd-journal-remote failed")
    making.rename(folder)
    return folder


def command(folder: Path, form: str) -> list[str]:
    return ["journalctl", "--no-pager", "-q", f"--directory={folder}", "-u", UNIT, "-o", form]


def by_json(folder: Path) -> int:
    """journalctl -o json, each line through json.loads."""
    process = subprocess.Popen(command(folder, "json"), stdout=subprocess.PIPE)
    assert process.stdout is not None
    count = 0
    for line in process.stdout:
        json.loads(line)
        count += 1
    process.wait()
    return count


def by_short(folder: Path) -> int:
    """journalctl -o short, thrown away."""
    subprocess.run(command(folder, "short"), stdout=subprocess.DEVNULL, check=True)
    return -1


def by_library(folder: Path) -> int:
    """gotriage's history: every entry read, understood, masked and made a LogLine, in batches as they are sent."""
    from gotriage.host import Host
    from gotriage.host.journal import Place, unit_match
    from gotriage.host.journal_library import LibraryReader
    from gotriage.host.journal_watch import history

    reader = LibraryReader(Host(), Place("bench", (str(folder),)), unit_match(UNIT), 0)
    try:
        return sum(len(batch.rows) for batch in history([reader], None, None, 1 << 40))
    finally:
        reader.close()


WAYS: dict[str, Callable[[Path], int]] = {
    "gotriage": by_library,
    "journalctl -o json | json.loads": by_json,
    "journalctl -o short >/dev/null": by_short,
}


def cpu() -> float:
    """User and system seconds of this process and of its children so far."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    folder = journal(options.records)
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    spent: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(options.rounds):
        for name, way in WAYS.items():
            before, begun = cpu(), time.perf_counter()
            count = way(folder)
            times[name].append(time.perf_counter() - begun)
            spent[name].append(cpu() - before)
            if count not in (-1, options.records):
                sys.exit(f"{name}: {count} records instead of {options.records}")
    medians = {name: statistics.median(found) for name, found in times.items()}
    used = {name: statistics.median(found) for name, found in spent.items()}
    ours = next(iter(WAYS))
    print(f"{options.records:,} records, {options.rounds} rounds\n")
    print(f"{'':34}{'median s':>10}{'records/s':>12}{'min s':>9}{'max s':>9}{'ratio':>9}{'CPU s':>9}{'ratio':>9}")
    for name, median in medians.items():
        found = times[name]
        print(
            f"{name:34}{median:10.2f}{options.records / median:12,.0f}{min(found):9.2f}{max(found):9.2f}"
            f"{median / medians[ours]:8.2f}x{used[name]:9.2f}{used[name] / used[ours]:8.2f}x"
        )


if __name__ == "__main__":
    main()
