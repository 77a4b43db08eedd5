"""A real systemd in namespaces of its own (tests/lab/sdlab), as an object."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.lab.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).with_name("sdlab")
HOME = Path("/run/sdlab")
PYTEST = "pytest-"
"""Labs of test runs are called pytest-PID or pytest-PID-MORE; who finds one whose PID is gone may end it."""

UNITS = "/etc/systemd/system"


@dataclass
class Lab:
    """A running lab.

    Attributes:
        name: also its host name.
        pid: its systemd, as this machine counts; for `--root-pid`.
    """

    name: str
    pid: int

    @property
    def root(self) -> Path:
        """Its root directory, from outside."""
        return Path(f"/proc/{self.pid}/root")

    @property
    def bus(self) -> str:
        """The address of its system bus, from outside."""
        return f"unix:path=/proc/{self.pid}/root/run/dbus/system_bus_socket"

    def command(self, *command: str | Path) -> list[str]:
        """The command as one that runs inside, for Popen or a terminal; it keeps the working directory."""
        inside = [
            "nsenter",
            "-t",
            str(self.pid),
            "-m",
            "-p",
            "-i",
            "-u",
            "-n",
            "-C",
            "-r",
            f"--wdns={Path.cwd()}",
            "--",
        ]
        return inside + [str(word) for word in command]

    def run(
        self, *command: str | Path, check: bool = True, timeout: float = 60, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside; its output as text. With `check`, a failure raises and shows the output.

        `more` goes to subprocess.run, as `input="..."` or `env={...}`.
        """
        done = subprocess.run(
            self.command(*command),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            **more,
        )
        if check and done.returncode:
            words = " ".join(map(str, command))
            raise RuntimeError(f"{words}: status {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        """Run systemctl inside; its standard output."""
        return self.run("systemctl", *arguments, check=check).stdout.strip()

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit, as `systemctl show` prints them."""
        lines = self.systemctl("show", "-p", ",".join(properties), "--", unit).splitlines()
        return dict(line.split("=", 1) for line in lines)

    def main_pid(self, unit: str) -> int:
        """The unit's MainPID as this machine counts; 0 if it has none."""
        return self.host_pid(int(self.show(unit, "MainPID")["MainPID"]))

    def host_pid(self, inner: int) -> int:
        """The PID on this machine of what is `inner` inside, also of a container's process; 0 if there is none."""
        if not inner:
            return 0
        level = len(_nested_pids(self.pid)) - 1
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if f"/sdlab-{self.name}/" in (folder / "cgroup").read_text():
                    pids = _nested_pids(int(folder.name))
                    if len(pids) > level and pids[level] == inner:
                        return pids[0]
        return 0

    def write(self, path: str, text: str | bytes, mode: int = 0o644) -> None:
        """Write a file inside, with its folders; nothing of it reaches the machine's own files."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        file.chmod(mode)

    def install(self, binary: Path, path: str = "") -> str:
        """Copy a binary inside, to /usr/local/bin by default; its path there."""
        path = path or f"/usr/local/bin/{binary.name}"
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        shutil.copy(binary, file)
        file.chmod(0o755)
        return path

    def add_unit(self, name: str, text: str, *, start: bool = True, wait: bool = True) -> str:
        """Write a unit file, load it and start it.

        With `wait`, starting waits as systemctl does and a failure raises; without, the job is only queued.
        """
        self.write(f"{UNITS}/{name}", text)
        self.systemctl("daemon-reload")
        if start:
            self.systemctl("start", *([] if wait else ["--no-block"]), name, check=wait)
        return name

    def remove_unit(self, name: str) -> None:
        """Kill the unit and forget it, with its drop-ins and instances."""
        stem, _, kind = name.partition("@.")
        names = [f"{stem}@*.{kind}"] if kind else [name]
        for action in (["kill", "-s", "KILL"], ["stop"], ["reset-failed"]):
            self.systemctl(*action, *names, check=False)
        (self.root / UNITS.lstrip("/") / name).unlink(missing_ok=True)
        shutil.rmtree(self.root / UNITS.lstrip("/") / f"{name}.d", ignore_errors=True)
        self.systemctl("daemon-reload")

    @contextmanager
    def unit(self, name: str, text: str, *, start: bool = True, wait: bool = True) -> Iterator[str]:
        """`add_unit`, and `remove_unit` on leaving."""
        try:
            yield self.add_unit(name, text, start=start, wait=wait)
        finally:
            self.remove_unit(name)

    def wait_state(self, unit: str, state: str, seconds: float = 20) -> None:
        """Wait until `systemctl is-active` says the state: active, failed, inactive, activating."""
        wait_until(lambda: self.systemctl("is-active", unit, check=False) == state, seconds)

    def journal(self, *arguments: str) -> str:
        """The output of journalctl inside, after everything written so far has reached the files."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", "--no-pager", "-q", *arguments).stdout

    def down(self) -> None:
        """End it; nothing is left."""
        subprocess.run([SCRIPT, "down", self.name], check=True)


def _nested_pids(pid: int) -> list[int]:
    """The PIDs a process has, from this machine's namespace to its own (NSpid in proc_pid_status(5))."""
    status = Path(f"/proc/{pid}/status").read_text(errors="replace")
    return [int(word) for word in status.split("NSpid:", 1)[1].split("\n", 1)[0].split()]


def up(name: str) -> Lab:
    """Start a lab of that name, anew if it runs."""
    done = subprocess.run([SCRIPT, "up", name], capture_output=True, text=True, timeout=90, check=False)
    if done.returncode:
        raise RuntimeError(f"the systemd lab did not start: {done.stderr[-3000:]}")
    return Lab(name, int(done.stdout.split()[-1]))


def attach(name: str) -> Lab:
    """The running lab of that name, for a second process."""
    try:
        pid = int((HOME / name / "pid").read_text())
    except FileNotFoundError:
        raise RuntimeError(f"no lab {name!r}; running: {', '.join(running()) or 'none'}") from None
    return Lab(name, pid)


def running() -> list[str]:
    """The names of the labs of this machine."""
    return sorted(path.name for path in HOME.iterdir()) if HOME.is_dir() else []


def sweep() -> list[str]:
    """End the labs of test runs that were killed; their names."""
    left = [name for name in running() if name.startswith(PYTEST) and not Path("/proc", name.split("-")[1]).exists()]
    for name in left:
        subprocess.run([SCRIPT, "down", name], check=True)
    return left
