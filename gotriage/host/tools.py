"""Run a helper program, safely: absolute path, bare environment, deadline, bounded output. The only door to exec.

Helpers are looked up in a fixed list of folders, never in PATH, and refused when someone other than root may
write them: gotriage runs as root, and PATH and the working directory belong to whoever called it.
"""

from __future__ import annotations

import os
import selectors
import signal
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gotriage.errors import MissingFacility

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDERS = ("/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin")
ENVIRONMENT = {"PATH": ":".join(FOLDERS), "LANG": "C", "LC_ALL": "C", "TZ": "UTC", "SYSTEMD_PAGER": "", "PAGER": "cat"}


@dataclass(frozen=True, slots=True)
class Result:
    """What a helper said. `status` is the exit code, -N for signal N; `cut` output was longer than the bound."""

    status: int
    out: bytes
    err: str
    cut: bool = False
    timed_out: bool = False


def find(name: str) -> str | None:
    """The absolute path of a trustworthy helper, or None."""
    for folder in FOLDERS:
        path = Path(folder, name)
        try:
            facts = path.stat()
        except OSError:
            continue
        if stat.S_ISREG(facts.st_mode) and facts.st_mode & 0o111 and trusted(facts):
            return str(path)
    return None


def trusted(facts: os.stat_result) -> bool:
    """Owned by root, and nobody else may write it; without root's rights anything that we may run is as good."""
    return os.geteuid() != 0 or (facts.st_uid == 0 and not facts.st_mode & 0o022)


def run(
    words: Sequence[str],
    *,
    timeout: float = 5.0,
    limit: int = 64 * 1024 * 1024,
    stdin: bytes = b"",
    check: bool = False,
) -> Result:
    """Run helper `words[0]` with the other words as they are (no shell); wait at most `timeout` seconds.

    Raises MissingFacility when the helper is not installed. A helper that overstays is killed and its result says
    `timed_out`; output beyond `limit` bytes ends the run with `cut`.
    """
    path = find(words[0]) if "/" not in words[0] else words[0]
    if path is None:
        raise MissingFacility(f"{words[0]} is not installed")
    process = subprocess.Popen(
        [path, *words[1:]],
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        cwd="/",
        close_fds=True,
        start_new_session=True,
    )
    try:
        result = _gather(process, time.monotonic() + timeout, limit, stdin)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()
    if check and result.status:
        raise MissingFacility(
            f"{words[0]}: {result.err.strip().splitlines()[-1] if result.err.strip() else result.status}"
        )
    return result


def _gather(process: subprocess.Popen[bytes], deadline: float, limit: int, stdin: bytes) -> Result:
    """Read both pipes until they close, the deadline, or the bound."""
    assert process.stdout and process.stderr
    if process.stdin:
        process.stdin.write(stdin[: 1 << 16])
        process.stdin.close()
    gathered: dict[int, list[bytes]] = {process.stdout.fileno(): [], process.stderr.fileno(): []}
    out_fd, size, cut, late = process.stdout.fileno(), 0, False, False
    with selectors.DefaultSelector() as selector:
        for fd in gathered:
            selector.register(fd, selectors.EVENT_READ)
        while selector.get_map() and not cut:
            left = deadline - time.monotonic()
            if left <= 0:
                late = True
                break
            for key, _ in selector.select(left):
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fd)
                    continue
                gathered[key.fd].append(data)
                size += len(data)
                cut = size > limit
    status = _end(process, kill=late or cut, deadline=deadline)
    out = b"".join(gathered.pop(out_fd))[:limit]
    err = b"".join(next(iter(gathered.values())))[:65536].decode("utf-8", "replace")
    return Result(status, out, err, cut, late)


def _end(process: subprocess.Popen[bytes], *, kill: bool, deadline: float) -> int:
    if kill:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()
    try:
        return process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()
