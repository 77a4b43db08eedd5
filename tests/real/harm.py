"""Who is hit by which signal at which moment, and what must be so afterwards."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.lab.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

from tests.real.bpfleft import bpf_ids, held_bpf, pinned, tracefs
from tests.real.family import Tree, children, comm
from tests.real.patients import Patient, changed_code

GOTRIAGE: Final = [sys.executable, "-m", "gotriage"]
SETTLES: Final = 30.0
"""Seconds that the kernel and our own clearing up may take on a busy machine."""
STOPPED_FOR: Final = 1.5
"""Seconds that whoever was stopped stays so."""
VICTIMS: Final = ("launcher", "agent", "front", "helper")
SIGNALS: Final = (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGSEGV)


@dataclass(frozen=True)
class Moment:
    """Somebody gets a signal, `after` seconds from the start or from when the trace is attached.

    A stopped one goes on, or is killed as it stands.
    """

    after: float
    victim: str
    signal: signal.Signals
    then: signal.Signals = signal.SIGCONT
    attached: bool = True

    def __str__(self) -> str:
        then = f" then {self.then.name}" if self.signal == signal.SIGSTOP else ""
        since = "it was attached" if self.attached else "the start"
        return f"{self.signal.name}{then} to the {self.victim} {self.after:.2f} s after {since}"


def moments(seed: str) -> Iterator[Moment]:
    """Random ones, always the same for a seed; of sixteen in a row each pair of victim and signal once."""
    dice = random.Random(seed)
    pairs = [(victim, number) for victim in VICTIMS for number in SIGNALS]
    while True:
        dice.shuffle(pairs)
        for victim, number in pairs:
            attached = dice.random() < 0.6
            after = dice.uniform(0.0, 0.8 if attached else 2.0)
            yield Moment(after, victim, number, dice.choice((signal.SIGCONT, signal.SIGKILL)), attached)


ATTACHED: Final = {
    "strace": "traced",
    "ltrace": "traced",
    "Go uprobes": "changed",
    "C library probes": "changed",
    "process_vm_readv": "helper",
    "tracefs": "trace_pipe_raw",
    "perf events": "perf_event",
}
"""What shows that a backend has begun: the target's TracerPid, its code, a helper; else a descriptor of that kind."""
HELD: Final = r"bpf[-_](prog|link)|perf_event"


class Ward:
    """The machine around one patient: what there was before, and what has come and stayed."""

    def __init__(self, sick: Patient, folder: Path) -> None:
        self.patient = sick
        self._folder = folder
        self._bpf, self._pinned = bpf_ids(), pinned()
        self._children = self._own_children()
        self.hit: Counter[str] = Counter()

    def knows(self, pid: int) -> None:
        """Another child of ours that is none of gotriage's."""
        self._children |= {pid}

    def _own_children(self) -> frozenset[int]:
        return frozenset(children(os.getpid()))

    def _orphans(self) -> list[str]:
        found = []
        for pid in self._own_children() - self._children:
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    found.append(f"{comm(pid)} (pid {pid}) was left behind")
        return found

    def left(self, tree: Tree) -> list[str]:
        """All that is not as it was, in words."""
        pids = {one.pid for one in tree.seen}
        binary = Path(f"/proc/{self.patient.pid}/exe").readlink()
        entries = [
            line
            for line in tracefs(self._folder)
            if str(binary) in line or any(f"gotriage-{pid}" in line or f"_{pid}" in line for pid in pids)
        ]
        new = bpf_ids() - self._bpf
        unheld = sorted(new - held_bpf()) if new else []
        return [
            *self.patient.harmed(),
            *(f"{name} lives" for name in tree.left()),
            *self._orphans(),
            *(f"tracefs: {line}" for line in entries),
            *(f"BPF {kind} {number} is held by nobody" for kind, number in unheld),
            *(f"{path} is pinned" for path in sorted(pinned() - self._pinned)),
        ]

    def settle(self, tree: Tree, what: str) -> None:
        """Wait until nothing is left; AssertionError with what is."""
        self.patient.served_more()
        end = time.monotonic() + SETTLES
        while left := self.left(tree):
            assert time.monotonic() < end, f"{what}: {left}"
            time.sleep(0.1)

    def command(self, view: str, trace: str, options: dict[str, str], seconds: float) -> list[str]:
        words = [word for pair in options.items() for word in ("--option", "=".join(pair))]
        return [
            *GOTRIAGE, "show", view, "--pid", str(self.patient.pid), "--trace", trace, *words, "--for",
            f"{seconds:g}s", "--yes",
        ]  # fmt: skip

    def whole(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """A run that nobody disturbs."""
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def _attached(self, tree: Tree, backend: str) -> bool:
        """Whether the trace has begun, or will not."""
        if tree.launcher.poll() is not None:
            return True
        roles, sign = tree.look(), ATTACHED.get(backend, HELD)
        if sign == "traced":
            return "TracerPid:\t0\n" not in Path(f"/proc/{self.patient.pid}/status").read_text()
        if sign == "changed":
            return bool(changed_code(self.patient.pid))
        return bool(roles["helper"]) if sign == "helper" else tree.holds(sign)

    def strike(self, command: list[str], moment: Moment, backend: str) -> None:
        """Start the trace, hit somebody at that moment, end what is left of it, look."""
        before = self.patient.load.lost
        launcher = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        tree = Tree(launcher)
        self._children |= {launcher.pid}
        try:
            if moment.attached:
                wait_until(lambda: self._attached(tree, backend), SETTLES)
            end = time.monotonic() + moment.after
            while time.monotonic() < end:
                tree.look()
                time.sleep(0.05)
            told = self._hit(tree, moment)
        finally:
            self._end(tree)
        self.settle(tree, told)
        assert self.patient.load.lost == before, f"{told}: requests were not answered"

    def _hit(self, tree: Tree, moment: Moment) -> str:
        roles = tree.look()
        victims = roles[moment.victim] or roles["agent"] or roles["launcher"]
        if moment.signal != signal.SIGTERM:  # its breakpoints stay when it is killed; nobody can help that
            victims = [pid for pid in victims if comm(pid) != "ltrace"] or roles["launcher"]
        pid = victims[int(moment.after * 1000) % len(victims)]
        told = f"{moment}: {comm(pid)} (pid {pid})"
        print(told, flush=True)
        self.hit[moment.victim if roles[moment.victim] else "nobody"] += 1
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, moment.signal)
            if moment.signal == signal.SIGSTOP:
                time.sleep(STOPPED_FOR)
                self.patient.served_more()
                tree.look()
                os.kill(pid, moment.then)
            else:
                time.sleep(0.1)
        tree.look()
        return told

    def _end(self, tree: Tree) -> None:
        """The launcher is told to end; what of the run has begun since then is seen too."""
        launcher = tree.launcher
        end = time.monotonic() + SETTLES
        with contextlib.suppress(ProcessLookupError):
            launcher.terminate()
            launcher.send_signal(signal.SIGCONT)  # it stops with its front, as a job of a shell
        while launcher.poll() is None:
            tree.look()
            if time.monotonic() > end:
                launcher.kill()
                raise AssertionError(f"it did not end: {tree.left()}")
            time.sleep(0.05)
