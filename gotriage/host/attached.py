"""A program that traces the target by ptrace(2), from the moment it is attached to its end: strace, ltrace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.errors import GotriageError, MissingFacility, NotPermitted, TargetGone
from gotriage.host import clock
from gotriage.host.deadline import Deadline
from gotriage.host.keeper import Kept
from gotriage.host.letgo import let_go, stopped, tracer_of
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gotriage.host import Host


class Attached:
    """One run of such a program. `stop` lets go of the target and says what is not well.

    Attributes:
        name: of the program, as messages call it.
        attaches: seconds until it must be attached.
        main_only: it is attached when it traces the main process, though not yet the others.
        killable: it may be killed when it does not end; else only asked to end.
        pid: of the program.
    """

    name = ""
    attaches = 10.0
    main_only = False
    killable = True

    def __init__(self, host: Host, words: Sequence[str], pids: Sequence[int], seconds: float, most: int) -> None:
        """Start it and wait until it is attached to `pids`, the main one first; it may write `most` bytes.

        Raises TargetGone, NotPermitted, MissingFacility, OSError.
        """
        self._host, self._pids = host, tuple(pids)
        self._before = stopped(host, self._pids)
        self._kept = Kept(list(words), seconds=seconds, most=most, killable=self.killable)
        self.pid = self._kept.pid
        self._left: str | None = None
        try:
            self._wait()
        except BaseException:
            self.stop()
            self._kept.close()
            raise

    def _wait(self) -> None:
        limit = Deadline(self.attaches)
        awaited = self._pids[:1] if self.main_only else self._pids
        while not self._kept.ended:
            tracers = [tracer for pid in awaited if (tracer := self._tracer(pid)) is not None]
            if tracers and all(tracer == str(self.pid) for tracer in tracers):
                return
            if limit.over:
                raise MissingFacility(f"{self.name} did not attach within {self.attaches:g} s")
            clock.sleep(0.005)
        raise self._refusal()

    def _tracer(self, pid: int) -> str | None:
        """TracerPid of a process (man 5 proc); None when it has ended."""
        try:
            return self._host.proc.status(pid).get("TracerPid")
        except (GotriageError, OSError):
            return None

    def _refusal(self) -> GotriageError:
        """Why it ended before it was attached."""
        errors = self._kept.errors
        other = tracer_of(self._host, self._pids)
        if other is not None and other[0] != self.pid:
            who = f"{other[1]} (pid {other[0]})"
            return NotPermitted(f"it is traced already by {who}, and only one tracer may be attached")
        if "No such process" in errors:
            return TargetGone("the target has ended")
        if "not permitted" in errors:
            return NotPermitted(f"ptrace(2) is refused: {_why(self._host)}")
        last = clean(errors.strip().splitlines()[-1], 300) if errors.strip() else self._kept.ended
        return MissingFacility(f"{self.name} ended before it was attached: {last}")

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
                self._left = why.removeprefix("not: ") if self.killable else self._stays
        return self._left

    @property
    def _stays(self) -> str:
        return f"{self.name} (pid {self.pid}) does not end, and killing it would kill the target"

    def read(self, offset: int, size: int) -> bytes:
        """What it has written, from that byte on."""
        return self._kept.read(offset, size)

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
