"""A service as a plain process of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Running:
    """A started service.

    Attributes:
        process: the child.
        address: where it listens, "" if nowhere.
        output: the file its standard output and error go to.
        folder: a folder of its own, removed at the end.
    """

    process: subprocess.Popen[bytes]
    address: str
    output: Path
    folder: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.output.read_text(errors="replace")

    def wait_for(self, condition: Callable[[], object], seconds: float = 20) -> None:
        """Wait until the condition holds; a service that ends before, or a time that runs out, is an error."""
        wait_until(condition, seconds, self.alive)

    def alive(self) -> None:
        """Raise if it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the service ended with {self.process.returncode}: {self.log[-2000:]}")

    def stop(self) -> int:
        """End it, its children too; its exit status as `Popen.returncode`."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        status = self.process.wait(5)
        with contextlib.suppress(ProcessLookupError):  # its children share its process group
            os.killpg(self.process.pid, signal.SIGKILL)
        return status


def wait_until(condition: Callable[[], object], seconds: float = 20, alive: Callable[[], None] | None = None) -> None:
    """Wait until the condition gives something true; TimeoutError after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if alive is not None:
            alive()
        if time.monotonic() > end:
            raise TimeoutError(f"not so after {seconds} s")
        time.sleep(0.02)


@dataclass
class Start:
    """How to start a service; what is not said is as for any child of this process.

    Without a `cwd` it gets a folder of its own: some write to where they are started.
    """

    binary: Path
    arguments: tuple[str, ...] = ()
    env: dict[str, str] | None = None
    cwd: Path | None = None
    uid: int | None = None
    ready: bool = True
    """Wait for -ready-file; False for a program that does not have this flag or ends at once."""
    wrapper: tuple[str, ...] = field(default=())
    """A command that execs the service, as ("nice", "-n5") or ("prlimit", "--nofile=64:64")."""


@contextmanager
def started(how: Start) -> Iterator[Running]:
    """Start the service, wait until it is ready, and end it with all its children on leaving."""
    with tempfile.TemporaryDirectory(prefix="gotriage-svc-") as name:
        folder = Path(name)
        ready = folder / "ready"
        if how.uid is not None:
            os.chown(folder, how.uid, how.uid)
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                [*how.wrapper, how.binary, *how.arguments, *([f"-ready-file={ready}"] if how.ready else [])],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=how.env,
                cwd=how.cwd or folder,
                user=how.uid,
                group=how.uid,
                extra_groups=None if how.uid is None else [],
                start_new_session=True,
            )
        running = Running(process, "", folder / "output", folder)
        try:
            if how.ready:
                running.wait_for(ready.exists)
                running.address = ready.read_text()
            yield running
        finally:
            running.stop()
