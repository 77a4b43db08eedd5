"""docker and podman over their sockets: two GET requests of the Docker Engine API, with a deadline.

A socket that systemd holds open for a dead engine would start the engine when we connect, and dockerd's start may end
its surviving containers (live-restore off). So a socket is used only while its daemon is seen running.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from gotriage.errors import GotriageError, MissingFacility, NoSuchTarget
from gotriage.host import clock, engine_parse
from gotriage.host.pidns import PidView
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gotriage.host import Host
    from gotriage.records.service import ContainerState

MAX_BODY: Final = 16 * 1024 * 1024
"""Longest answer taken, bytes; 1000 containers with many labels are about 3 MB."""
MAX_USERS: Final = 50
SEARCH_EVERY: Final = 10.0
TIMEOUT: Final = 2.0
DENIED: Final = "permission denied"
DAEMONS: Final = {"docker": "dockerd", "podman": "podman"}


class EngineSilent(MissingFacility):
    """The engine does not run, hangs, or answers with an error; the text says which."""


class EngineRefused(EngineSilent):
    """The engine's socket is not for us."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A socket that speaks the Docker Engine API."""

    engine: str
    path: Path


def endpoints(host: Host) -> list[Endpoint]:
    """The sockets that exist, as far as we may look: the system's engines, then users' own."""
    return [endpoint for endpoint in _places(host) if _seen(endpoint.path)]


def refused(host: Host, engine: str = "") -> list[str]:
    """The sockets that may be there, in folders that we may not look into; of one engine when it is named."""
    return [
        f"{endpoint.engine}: {endpoint.path}: {DENIED}"
        for endpoint in _places(host)
        if engine in ("", endpoint.engine) and _seen(endpoint.path) is None
    ]


def _places(host: Host) -> list[Endpoint]:
    """Where the engines' sockets would be."""
    wanted = [("docker", "/run/docker.sock"), ("podman", "/run/podman/podman.sock")]
    try:
        users = sorted(name for name in os.listdir(host.at("/run/user")) if name.isascii() and name.isdigit())
    except OSError:
        users = []
    for uid in users[:MAX_USERS]:
        wanted += [("docker", f"/run/user/{uid}/docker.sock"), ("podman", f"/run/user/{uid}/podman/podman.sock")]
    return [Endpoint(engine, host.at(path)) for engine, path in wanted]


def _seen(path: Path) -> bool | None:
    """Whether the path is a socket; None when we may not look."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except PermissionError:
        return None
    except OSError:
        return False


def running(host: Host, engines: Iterable[str]) -> dict[str, int]:
    """Our PID of the daemon of each of the engines that runs where `host` looks."""
    wanted = {DAEMONS[engine]: engine for engine in engines}
    found: dict[str, int] = {}
    if not wanted:
        return found
    view = PidView(host)
    for pid in host.proc.pids():
        try:
            name = _name(host, pid)
            if name not in wanted or wanted[name] in found:
                continue
            if name == "podman" and "service" not in host.proc.cmdline(pid, 4096):
                continue
            if view.to_theirs(pid) is not None:
                found[wanted[name]] = pid
        except (GotriageError, OSError):
            continue
    return found


def off(engine: str) -> str:
    """That the engine's daemon does not run, in words; podman's containers do well without one."""
    return f"{engine}'s API service does not run" if engine == "podman" else f"{DAEMONS[engine]} does not run"


def _name(host: Host, pid: int) -> str:
    try:
        return host.proc.read(pid, "comm", limit=64).strip().decode("utf-8", "replace")
    except (GotriageError, OSError):
        return ""


class Daemons:
    """Remembers which process is an engine's daemon, so that asking again costs one small read."""

    def __init__(self) -> None:
        self._pids: dict[str, int] = {}
        self._searched: dict[str, float] = {}

    def alive(self, host: Host, engine: str) -> bool:
        """Whether the engine's daemon runs; a search for one that does not is made every 10 seconds at most."""
        pid = self._pids.get(engine)
        if pid is not None and _name(host, pid) == DAEMONS[engine]:
            return True
        if clock.monotonic() - self._searched.get(engine, -SEARCH_EVERY) < SEARCH_EVERY:
            return False
        self._searched[engine] = clock.monotonic()
        self._pids.pop(engine, None)
        self._pids.update(running(host, (engine,)))
        return engine in self._pids


def containers(endpoint: Endpoint, timeout: float = TIMEOUT) -> list[ContainerState]:
    """All containers, running or not, without their PIDs. Raises EngineSilent."""
    rows = _get(endpoint, "/containers/json?all=1", timeout)
    if not isinstance(rows, list):
        raise EngineSilent(f"{endpoint.engine}: {endpoint.path} did not answer with a list")
    return [engine_parse.listed(endpoint.engine, row) for row in rows if isinstance(row, dict)]


def inspect(endpoint: Endpoint, reference: str, timeout: float = TIMEOUT) -> ContainerState:
    """One container by id or name, with its PID. Raises NoSuchTarget, EngineSilent."""
    found = _get(endpoint, f"/containers/{quote(reference, safe='')}/json", timeout)
    if not isinstance(found, dict):
        raise EngineSilent(f"{endpoint.engine}: {endpoint.path} did not answer with a container")
    state = engine_parse.inspected(endpoint.engine, found)
    return engine_parse.with_source(state, "api")


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("engine", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the path instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _get(endpoint: Endpoint, path: str, timeout: float) -> object:
    """The JSON of a GET. Raises NoSuchTarget for 404, EngineSilent for everything else that is no answer."""
    try:
        decoded: object = json.loads(fetch(endpoint, path, timeout))
    except (ValueError, RecursionError) as error:
        raise EngineSilent(f"{endpoint.engine}: {endpoint.path}: not JSON") from error
    return decoded


def fetch(endpoint: Endpoint, path: str, timeout: float = TIMEOUT) -> bytes:
    """The body of a GET. Raises NoSuchTarget for 404, EngineSilent for everything else that is no answer."""
    who = f"{endpoint.engine}: {endpoint.path}"
    connection = _Connection(endpoint.path, max(0.05, timeout))
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        body = answer.read(MAX_BODY + 1)
    except TimeoutError as error:
        raise EngineSilent(f"{who} does not answer within {timeout:.1f} s") from error
    except PermissionError as error:
        raise EngineRefused(f"{who}: {DENIED}") from error
    except (OSError, http.client.HTTPException) as error:
        raise EngineSilent(f"{who}: {clean(str(error), 200) or type(error).__name__}") from error
    finally:
        connection.close()
    if answer.status == 404:
        raise NoSuchTarget(f"{endpoint.engine} has no such container")
    if answer.status != 200 or len(body) > MAX_BODY:
        raise EngineSilent(f"{who}: HTTP status {answer.status}: {clean(body[:200])}")
    return body
