"""strace(1) on running processes, for seconds: how it is called, when it is there, what its refusals mean."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError, MissingFacility, NotPermitted, TargetGone
from gotriage.host import clock, tools
from gotriage.host.deadline import Deadline
from gotriage.host.keeper import OUT, Kept
from gotriage.host.letgo import let_go, stopped, tracer_of
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gotriage.host import Host

PACKAGE: Final = "apt install strace, dnf install strace"
OLDEST: Final = (4, 10)
"""The first that names the two ends of a socket (-yy)."""
MOST_PIDS: Final = 64
MOST_OUTPUT: Final = 32 * 1024 * 1024
"""Bytes that it may write before the kernel ends it (RLIMIT_FSIZE): some 250,000 calls."""
ATTACHES: Final = 15.0
"""Seconds until it is attached; 5,000 threads take one."""
_VERSION: Final = re.compile(r"version (\d+)\.(\d+)")
_REFUSED: Final = re.compile(r"(?:attach: )?ptrace\((?:PTRACE_SEIZE|PTRACE_ATTACH)?[^)]*\): (.+)")


def find() -> tuple[str, str]:
    """Path and version. Raises MissingFacility."""
    path = tools.find("strace")
    if path is None:
        raise MissingFacility(f"strace is not installed ({PACKAGE})")
    said = tools.run([path, "-V"], timeout=5.0, limit=64 * 1024)
    match = _VERSION.search(said.out.decode("utf-8", "replace") + said.err)
    if match is None:
        raise MissingFacility("strace does not say its version")
    version = f"{match[1]}.{match[2]}"
    if (int(match[1]), int(match[2])) < OLDEST:
        raise MissingFacility(f"strace {version} is too old, 4.10 is needed")
    return path, version


class Strace:
    """One run. `stop` lets go of the target and says what is not well.

    Attributes:
        pid: of strace.
    """

    def __init__(self, host: Host, path: str, pids: Sequence[int], seconds: float, size: int, calls: str) -> None:
        """Attach to processes, the main one first, with all their threads and what they start.

        `size`: bytes of a string that are written; `calls`: what strace's -e trace= takes, "" for all.
        Raises TargetGone, NotPermitted, MissingFacility, OSError.
        """
        self._host, self._pids = host, tuple(pids)[:MOST_PIDS]
        self._before = stopped(host, self._pids)
        words = [path, "-f", "-ttt", "-T", "-yy", "-s", str(size), "-o", OUT]
        words += ["-e", f"trace={calls}"] if calls else []
        words += [word for pid in self._pids for word in ("-p", str(pid))]
        self._kept = Kept(words, seconds=seconds, most=MOST_OUTPUT)
        self.pid = self._kept.pid
        self._left: str | None = None
        try:
            self._wait()
        except BaseException:
            self.stop()
            self._kept.close()
            raise

    def _wait(self) -> None:
        """Until the main process is traced by it."""
        limit = Deadline(ATTACHES)
        while not self._kept.ended:
            if self._attached():
                return
            if limit.over:
                raise MissingFacility(f"strace did not attach within {ATTACHES:g} s")
            clock.sleep(0.005)
        raise self._refusal()

    def _attached(self) -> bool:
        try:
            return self._host.proc.status(self._pids[0]).get("TracerPid") == str(self.pid)
        except (GotriageError, OSError):
            return False

    def _refusal(self) -> GotriageError:
        """Why it ended before it was attached."""
        errors = self._kept.errors
        other = tracer_of(self._host, self._pids)
        if other is not None and other[0] != self.pid:
            return NotPermitted(
                f"it is traced already by {other[1]} (pid {other[0]}), and only one tracer may be attached"
            )
        match = _REFUSED.search(errors)
        if match and "No such process" in match[1]:
            return TargetGone("the target has ended")
        if match and "not permitted" in match[1]:
            return NotPermitted(f"ptrace(2) is refused: {_why(self._host)}")
        last = clean(errors.strip().splitlines()[-1], 300) if errors.strip() else self._kept.ended
        return MissingFacility(f"strace ended before it was attached: {last}")

    def read(self, offset: int, size: int) -> bytes:
        """What it has written from that byte on."""
        return self._kept.read(offset, size)

    @property
    def ended(self) -> str:
        """Why it has ended, "" while it runs."""
        return self._kept.ended

    def stop(self) -> str:
        """End it; what is not well with the target afterwards, in words, "" when it runs as before."""
        if self._left is None:
            why = self._kept.end()
            self._left = let_go(self._host, self._pids, self.pid, self._before)
            if why.startswith("not"):
                self._left = why.removeprefix("not: ")
        return self._left

    def close(self) -> None:
        """Forget what it has written."""
        self._kept.close()


def _why(host: Host) -> str:
    """What forbids ptrace(2), as far as it can be told (Documentation/admin-guide/LSM/Yama.rst)."""
    try:
        scope = host.proc.text("sys", "kernel", "yama", "ptrace_scope").strip()
    except (GotriageError, OSError):
        scope = "0"
    if scope == "3":
        return "kernel.yama.ptrace_scope is 3, which forbids it until the next boot"
    if scope in ("1", "2"):
        return f"kernel.yama.ptrace_scope is {scope}; run gotriage as root (sudo)"
    return "CAP_SYS_PTRACE is lacking, or a security module forbids it; run gotriage as root (sudo)"
