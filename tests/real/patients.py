"""A service under load, and whether it has come to harm."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.lab import toolchain
from tests.lab.process import Running, Start, started, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

STANDS: Final = 10.0
"""Seconds after which a request without an answer counts as a service that hangs."""


class Load:
    """Asks the service all the time; `served` counts answers, `lost` the others, `slowest` is in seconds."""

    def __init__(self, address: str, patience: float = 5.0) -> None:
        self.served, self.lost, self.slowest = 0, 0, 0.0
        self._address, self._patience, self._over = address, patience, threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._over.wait(0.01):
            begun = time.monotonic()
            connection = http.client.HTTPConnection(self._address, timeout=self._patience)
            try:
                connection.request("GET", "/")
                self.served += connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                self.lost += 1
            finally:
                connection.close()
            self.slowest = max(self.slowest, time.monotonic() - begun)


@dataclass(frozen=True)
class Patient:
    """The service that must not notice."""

    running: Running
    load: Load

    @property
    def pid(self) -> int:
        return self.running.pid

    def harmed(self) -> list[str]:
        """What is not as it should be: ended, stopped, traced, changed."""
        if self.running.process.poll() is not None:
            return [f"it ended with {self.running.process.returncode}: {self.running.log[-1500:]}"]
        return [*self._threads(), *changed_code(self.pid)]

    def _threads(self) -> Iterator[str]:
        for folder in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                facts = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines())
                if facts["State"][0] in "tT":
                    yield f"thread {folder.name} is {facts['State']}"
                if facts["TracerPid"] != "0":
                    yield f"thread {folder.name} is traced by {facts['TracerPid']}"

    def served_more(self, times: int = 3) -> None:
        """Wait until it has answered so many more requests; TimeoutError when it hangs."""
        before = self.load.served
        wait_until(lambda: self.load.served >= before + times, STANDS, self.running.alive)


@contextmanager
def patient(folder: Path, name: str = "healthy", *arguments: str, cgo: bool = False) -> Iterator[Patient]:
    """A loaded Go service, from a file of its own: others' probes at the same build do not count as ours."""
    binary = folder / name
    shutil.copy2(toolchain.build(name, cgo=cgo), binary)
    with started(Start(binary, arguments)) as running, Load(running.address.split()[0], STANDS) as load:
        yield Patient(running, load)


NGINX: Final = """
daemon off; master_process off; error_log {folder}/error.log; pid {folder}/nginx.pid;
events {{ worker_connections 64; }}
http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen {address}; location / {{ return 200 "well"; }} }} }}
"""


@contextmanager
def single_threaded(folder: Path) -> Iterator[Patient]:
    """A loaded service of one thread that is linked dynamically."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, address=address))
    binary = folder / "nginx"
    shutil.copy2("/usr/sbin/nginx", binary)
    how = Start(binary, ("-c", f"{folder}/nginx.conf", "-p", str(folder)), ready=False)
    with started(how) as running, Load(address, STANDS) as load:
        running.wait_for(lambda: load.served)
        load.lost = 0
        yield Patient(running, load)


def changed_code(pid: int) -> list[str]:
    """Executable mappings of files that differ from their file: breakpoints, that is."""
    found = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            bounds, rights, offset, _, inode, *path = line.split(None, 5)
            if "x" not in rights or inode == "0":
                continue
            start, end = (int(word, 16) for word in bounds.split("-"))
            with open(f"/proc/{pid}/map_files/{start:x}-{end:x}", "rb") as file:
                file.seek(int(offset, 16))
                should = file.read(end - start).ljust(end - start, b"\0")
            memory.seek(start)
            now = memory.read(end - start)
            if now != should:
                places = [at for at in range(len(should)) if now[at : at + 1] != should[at : at + 1]]
                bytes_ = ", ".join(f"{start + at:#x} {should[at]:02x}→{now[at]:02x}" for at in places[:4])
                found.append(f"{len(places)} bytes of {path[0]} are changed: {bytes_}")
    return found
