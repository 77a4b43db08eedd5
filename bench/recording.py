"""Recording a session: how large ten minutes at 1 Hz are, and that `kill -9` loses nothing that was acknowledged.

Size: `gotriage record` on a real service of tests/services (`ill` leaks files and sockets up to its limit, `healthy`
serves a light load), for --seconds; what the first look costs once is told apart from what each second costs, and the
sum is worked out for ten minutes. `--seconds 600` measures all of it.

Kills: a process writes real records of that recording, one `Writer.write` each, and says after each how many have
returned; it is killed after a random time, and the file has to hold as many, equal to what was written.

    python -m bench.recording [--seconds 60] [--kills 200] [--service ill]
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import struct
import sys
import tempfile
import time
from pathlib import Path

from gotriage.session.recording import Reader, Writer
from tests.lab import toolchain
from tests.lab.process import Start, started

TEN_MINUTES = 600
BOUND = 5_000_000
"""Bytes that ten minutes may take."""


def record(pid: int, path: Path, seconds: float) -> list[tuple[float, int]]:
    """Run `gotriage record`; the file's size over time as (seconds, bytes)."""
    words = [sys.executable, "-m", "gotriage", "record", "--pid", str(pid), "-o", str(path), "--for", str(seconds)]
    child = os.posix_spawn(words[0], words, os.environ)
    sizes, begun = [], time.monotonic()
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        time.sleep(0.5)
        if path.exists():
            sizes.append((time.monotonic() - begun, path.stat().st_size))
    return sizes


def size(service: str, seconds: float, folder: Path) -> Path:
    """Record and print the figures; returns the recording."""
    path = folder / f"{service}.gts.jsonl.zst"
    with started(Start(toolchain.build(service))) as running:
        sizes = record(running.pid, path, seconds)
    total = path.stat().st_size
    half = next(at for at in sizes if at[0] >= seconds / 2)
    rate = (sizes[-1][1] - half[1]) / (sizes[-1][0] - half[0])
    expected = total + rate * max(0.0, TEN_MINUTES - seconds)
    count = sum(1 for _ in Reader(path))
    print(
        f"{service}: {seconds:.0f} s recorded, {count} records, {total:,} bytes; {rate:,.0f} bytes a second at the end"
    )
    print(f"    ten minutes: {expected / 1e6:.2f} MB (bound {BOUND / 1e6:g} MB)")
    return path


def kill_once(records: list, path: Path, rng: random.Random) -> tuple[int, int]:
    """Kill a writer at a random moment; how many records it had acknowledged, and how many the file holds."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        out = Writer(path, redact=False)
        for count, item in enumerate(records, 1):
            out.write(item)
            os.write(writer, struct.pack("<I", count))
        signal.pause()
    os.close(writer)
    time.sleep(rng.uniform(0.0, 0.15))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    acknowledged = struct.unpack("<I", said[len(said) // 4 * 4 - 4 : len(said) // 4 * 4])[0] if len(said) >= 4 else 0
    found = list(Reader(path)) if path.exists() and path.stat().st_size else []
    if found != records[: len(found)]:
        raise SystemExit("the file holds what was not written")
    path.unlink(missing_ok=True)
    return acknowledged, len(found)


def kills(recording: Path, count: int, folder: Path) -> None:
    """Print what `count` kills lost."""
    records = list(Reader(recording))[:-1]
    while len(records) < 20_000:
        records += records
    rng, lost, acknowledged = random.Random(1), 0, 0
    for _ in range(count):
        said, found = kill_once(records, folder / "killed", rng)
        acknowledged += said
        lost += max(0, said - found)
    print(f"{count} kills: {acknowledged:,} records acknowledged, {lost} lost")


def main() -> None:
    """Both measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--service", action="append", choices=("ill", "healthy"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        paths = [size(service, arguments.seconds, Path(name)) for service in arguments.service or ("ill", "healthy")]
        kills(paths[0], arguments.kills, Path(name))


if __name__ == "__main__":
    main()
