"""Where a container engine keeps a container's output, and reading it: files below the view's root, or the engine."""

from __future__ import annotations

import os
import re
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote

from gotriage.host import engine_api, engine_files
from gotriage.host.engine_parse import K8S_CONTAINER, K8S_NAMESPACE, K8S_POD, parse_time
from gotriage.host.inroot import InRoot
from gotriage.host.tail import Tail, newest_lines, open_in_view, rotated
from gotriage.records.logcontainer import Piece, parse_api, parse_cri, parse_json_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from gotriage.host import Host
    from gotriage.host.engine_api import Endpoint
    from gotriage.records.service import ContainerState

POD_LOGS: Final = "/var/log/pods"
HISTORY_BYTES: Final = 1024 * 1024
SEARCHED_BYTES: Final = 64 * 1024 * 1024
"""Most bytes of one file that are searched for history."""
MAX_FILES: Final = 20
_LOG_PATHS: Final = (
    "io.kubernetes.container.logpath",
    "io.kubernetes.cri.container-log-path",
    "io.kubernetes.cri-o.LogPath",
)
_NUMBERED: Final = re.compile(r"\d{1,9}\.log")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the output goes. `format` is json-file, cri or api, "" when it cannot be read back; `path` in the view."""

    engine: str = ""
    driver: str = ""
    path: str = ""
    format: str = ""
    id: str = ""
    endpoint: Endpoint | None = None


class Source(Protocol):
    """A container's output that can be read."""

    backend: str
    fresh: bool
    """Nothing was read yet."""

    def newest(self, count: int) -> Iterator[Piece | None]:
        """The newest pieces, about `count`, oldest first."""
        ...

    def more(self) -> Iterator[Piece | None]:
        """What came since."""
        ...

    def history(self, since: datetime | None, until: datetime | None, count: int) -> Iterator[Piece | None]:
        """The newest `count` pieces between two times, oldest first; the place of `more` stays."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


def find(host: Host, container_id: str) -> Place:
    """Where the container's output goes, by state files, Kubernetes labels or the engine; an empty Place if nowhere."""
    states = engine_files.containers(host, only=container_id)
    for state in states:
        if state.log_driver or state.log_path:
            return _by_driver(state, None)
    for state in states:
        if path := _pod_log(host, state.labels):
            return Place(state.engine, "CRI log file", path, "cri", container_id)
    endpoints = engine_api.endpoints(host)
    alive = engine_api.running(host, {endpoint.engine for endpoint in endpoints}) if endpoints else {}
    for endpoint in endpoints:
        if endpoint.engine in alive:
            try:
                return _by_driver(engine_api.inspect(endpoint, container_id), endpoint)
            except engine_api.EngineSilent:
                continue
    return Place()


def _by_driver(state: ContainerState, endpoint: Endpoint | None) -> Place:
    formats = {"json-file": "json-file", "k8s-file": "cri", "local": "api"}
    form = formats.get(state.log_driver, "")
    if state.engine == "podman" and state.log_driver == "json-file":
        form = "cri"  # podman takes the name for its own format
    return Place(state.engine, state.log_driver, state.log_path, form, state.id, endpoint)


def _pod_log(host: Host, labels: dict[str, str]) -> str:
    """The log file of a container of a pod: by its annotation, else by the kubelet's naming of folders."""
    for key in _LOG_PATHS:
        if _in_pod_logs(labels.get(key, "")):
            return labels[key]
    namespace, pod, container = (labels.get(key, "") for key in (K8S_NAMESPACE, K8S_POD, K8S_CONTAINER))
    if not (namespace and pod and container) or "/" in namespace + pod + container:
        return ""
    try:
        with InRoot(str(host.view)) as root:
            for folder in root.names(POD_LOGS, 2000):
                if folder.startswith(f"{namespace}_{pod}_"):
                    path = f"{POD_LOGS}/{folder}/{container}"
                    numbers = [name for name in root.names(path, 1000) if _NUMBERED.fullmatch(name)]
                    return f"{path}/{max(numbers, key=lambda name: int(name[:-4]))}" if numbers else ""
    except OSError:
        return ""
    return ""


def _in_pod_logs(path: str) -> bool:
    """Whether a label names a file that the kubelet would name so: an image may carry a label with any path."""
    return path.startswith(f"{POD_LOGS}/") and path.endswith(".log") and os.path.normpath(path) == path


def opened(host: Host, place: Place) -> Source | None:
    """The source of a place; None when it cannot be read back. Raises OSError, EngineSilent."""
    if place.format in ("json-file", "cri"):
        return FileSource(host, place) if place.path else None
    if place.format == "api":
        endpoint = place.endpoint or _endpoint(host, place.engine)
        return ApiSource(endpoint, place.id)
    return None


def _endpoint(host: Host, engine: str) -> Endpoint:
    found = [endpoint for endpoint in engine_api.endpoints(host) if endpoint.engine == engine]
    if not found or engine not in engine_api.running(host, (engine,)):
        raise engine_api.EngineSilent(f"{engine} does not run; only it can read its log driver 'local'")
    return found[0]


class FileSource:
    """A log file that the engine writes and rotates."""

    def __init__(self, host: Host, place: Place) -> None:
        self._host, self._path = host, place.path
        self._parse: Callable[[bytes], Piece | None] = parse_cri if place.format == "cri" else parse_json_file
        self._tail = Tail(partial(open_in_view, host, place.path), history=HISTORY_BYTES)
        self.backend = f"{place.driver} {place.format}" if place.format not in place.driver else place.driver
        self.fresh = True

    def newest(self, count: int) -> Iterator[Piece | None]:
        """See Source."""
        self.fresh = False
        for line in self._tail.lines()[-count:]:
            yield self._parse(line)

    def more(self) -> Iterator[Piece | None]:
        """See Source."""
        for line in self._tail.lines():
            yield self._parse(line)

    def history(self, since: datetime | None, until: datetime | None, count: int) -> Iterator[Piece | None]:
        """See Source."""
        parts: list[deque[Piece]] = []
        for path in [self._path, *rotated(self._host, self._path, MAX_FILES)]:
            kept: deque[Piece] = deque(maxlen=max(count - sum(map(len, parts)), 0))
            older = False
            for line in newest_lines(open_in_view(self._host, path), SEARCHED_BYTES):
                piece = self._parse(line)
                at = parse_time(piece.time) if piece else None
                if piece is None or at is None or (until is not None and at > until):
                    continue
                if since is not None and at < since:
                    older = True
                    continue
                kept.append(piece)
            parts.append(kept)
            if older or sum(map(len, parts)) >= count:
                break
        for part in reversed(parts):
            yield from part

    def close(self) -> None:
        """See Source."""
        self._tail.close()


class ApiSource:
    """docker's driver `local`, whose files only the engine can read: GET /containers/ID/logs."""

    backend = "engine API"
    EVERY: Final = 4
    """Looks between two questions: each is a request to the engine."""

    def __init__(self, endpoint: Endpoint, container_id: str) -> None:
        self._endpoint, self._id = endpoint, container_id
        self.fresh = True
        self._since = ""
        self._turn = 0

    def _get(self, **options: str | int) -> list[Piece]:
        query = "&".join(f"{name}={quote(str(value))}" for name, value in options.items() if value != "")
        path = f"/containers/{quote(self._id, safe='')}/logs?stdout=1&stderr=1&timestamps=1&{query}"
        return parse_api(engine_api.fetch(self._endpoint, path))

    def newest(self, count: int) -> Iterator[Piece | None]:
        """See Source."""
        self.fresh = False
        yield from self._seen(self._get(tail=count))

    def more(self) -> Iterator[Piece | None]:
        """See Source."""
        self._turn += 1
        if self._turn % self.EVERY == 0:
            before = self._since
            yield from self._seen([piece for piece in self._get(since=_epoch(before)) if piece.time > before])

    def _seen(self, pieces: list[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            self._since = max(self._since, piece.time)
            yield piece

    def history(self, since: datetime | None, until: datetime | None, count: int) -> Iterator[Piece | None]:
        """See Source."""
        begin = f"{since.timestamp():.6f}" if since else ""
        end = f"{until.timestamp():.6f}" if until else ""
        yield from self._get(since=begin, until=end, tail=count)

    def close(self) -> None:
        """Nothing is held between two questions."""


def _epoch(time: str) -> str:
    """An RFC 3339 time as the API takes it: seconds with nine digits of fraction."""
    moment = parse_time(time)
    if moment is None:
        return ""
    fraction = re.search(r"\.(\d{1,9})", time)
    return f"{int(moment.timestamp())}.{(fraction[1] if fraction else '0'):0<9}"
