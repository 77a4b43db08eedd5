"""The target's own files against its own identity: what it was given and may not use.

Only what is certain is a problem: the path exists in the target's root, the access is one that the path is plainly
for, and mode, ACL and capabilities refuse it. A process that has changed its identity since it started may have read
its configuration before; of such a one only the working directory is checked.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gotriage.collectors import Unavailable
from gotriage.errors import GotriageError, NotPermitted
from gotriage.host import clock, users
from gotriage.host.inroot import InRoot
from gotriage.host.permissions import Identity, identity_of, refusal
from gotriage.records.environment import Access, AccessProblem
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.target.model import Target

MOST_PATHS = 200
_PATH = re.compile(r"^/[^\0\n]{1,4095}$")
_SPLIT = re.compile(r"[-._]+")
_WRITTEN = frozenset(["data", "storage", "cache", "state", "spool", "wal", "uploads", "upload", "logs", "tsdb", "db"])
"""Words of an option or variable name that say: the directory is written to."""
_ONLY_READ = frozenset(["static", "template", "templates", "assets", "public", "web", "ro", "readonly", "import"])
_SESSION = ("PATH", "HOME", "PWD", "OLDPWD", "SHELL", "MAIL", "MANPATH", "LS_COLORS", "SUDO_COMMAND", "_")
_LOADER = ("LD_LIBRARY_PATH", "LD_PRELOAD", "GOROOT", "GOPATH", "GOCACHE")
_MANAGER = ("XDG_RUNTIME_DIR", "XDG_CONFIG_DIRS", "XDG_DATA_DIRS", "NOTIFY_SOCKET", "JOURNAL_STREAM")
_NOT_ITS_OWN = frozenset((*_SESSION, *_LOADER, *_MANAGER))
"""Variables that sessions and managers set for everybody: the process need not use what they name."""
_TELLING = _WRITTEN | frozenset("config conf cert certs key ca tls file log".split())  # noqa: SIM905  a list of words
"""A variable is looked at only when its name says that the service reads or writes what it names ..."""
_TOOLS = frozenset("pip npm node pyenv rustup cargo git curl requests aws grpc nix cloudsdk gcloud tf conda".split())  # noqa: SIM905
"""... and is not that of a tool which happens to be configured in the same environment."""


@dataclass(frozen=True, slots=True)
class Given:
    """A path that the process was given, by what, and under which option or variable name."""

    path: str
    source: str
    name: str


def given_paths(argv: Sequence[str], env: dict[str, str], cwd: str) -> list[Given]:
    """Paths in arguments (also -flag=path, and a flag's next word), variables, and the working directory."""
    found = [Given(cwd, "working directory", "cwd")] if cwd.startswith("/") else []
    flag = ""
    for place, word in enumerate(argv[1:], 1):
        name, equals, value = word.partition("=")
        if word.startswith("-"):
            flag = "" if equals else word
        text = value if equals and word.startswith("-") else word
        if _PATH.match(text):
            found.append(Given(text, f"argument {place}", (name if equals else flag).lstrip("-")))
        if not word.startswith("-"):
            flag = ""
    found += [Given(value, name, name) for name, value in env.items() if _is_its_own(name) and _PATH.match(value)]
    return found[:MOST_PATHS]


def _is_its_own(name: str) -> bool:
    """Whether a variable of that name is plainly the service's."""
    words = name.lower().split("_")
    return name not in _NOT_ITS_OWN and bool(_TELLING.intersection(words)) and words[0] not in _TOOLS


def needs_of(given: Given, mode: int) -> str:
    """The access that the path is plainly for, "" when that cannot be told."""
    if given.name == "cwd":
        return "x"
    if stat.S_ISREG(mode):
        return "r"
    if stat.S_ISDIR(mode):
        words = {word.lower() for word in _SPLIT.split(given.name)}
        return "wx" if words & _WRITTEN and not words & _ONLY_READ else "x"
    return ""


class AccessCollector:
    """One `Access` a look."""

    backend = "modes and ACLs"

    def __init__(self, host: Host, target: Target) -> None:
        self._proc, self._target = host.proc, target
        self._users, self._groups = users.names(host), users.names(host, "/etc/group")

    def collect(self) -> Iterator[Record]:
        """Look once."""
        pid = self._target.pid
        if pid is None:
            return
        who = identity_of(self._proc.status(pid))
        self._need_same_users(pid)
        cwd = self._proc.link(pid, "cwd").removesuffix(" (deleted)")
        given = given_paths(*self._given(pid), cwd) if self._kept_identity(pid, who) else given_paths([], {}, cwd)
        try:
            root = InRoot(self._proc.path(pid, "root"))
        except PermissionError as error:
            raise NotPermitted("the target's root: permission denied; run gotriage as root (sudo)") from error
        with root:
            problems = [problem for path in given if (problem := self._problem(root, path, who)) is not None]
        yield Access(at=clock.now(), checked=len(given), problems=tuple(problems))

    def _given(self, pid: int) -> tuple[list[str], dict[str, str]]:
        return self._proc.cmdline(pid), self._proc.environ(pid)

    def _need_same_users(self, pid: int) -> None:
        """In another user namespace a capability holds only over the ids mapped there: nothing is certain."""
        try:
            same = self._proc.link(pid, "ns", "user") == self._proc.link("self", "ns", "user")
        except GotriageError:
            return
        if not same:
            raise Unavailable("the target is in another user namespace: its rights are not worked out", lost=False)

    def _kept_identity(self, pid: int, who: Identity) -> bool:
        """The kernel gives the files of /proc/PID to root once the process changed its ids (proc(5): dumpable)."""
        return os.stat(self._proc.path(pid, "status")).st_uid == who.uid

    def _problem(self, root: InRoot, given: Given, who: Identity) -> AccessProblem | None:
        try:
            needs = needs_of(given, root.stat(given.path).st_mode)
            found = refusal(root, given.path, needs, who) if needs else None
        except OSError:
            return None
        if found is None:
            return None
        what = {"r": "read", "w": "write", "x": "enter", "wx": "write in"}[found.needs]
        where = "it" if found.path == given.path else clean(found.path)
        return AccessProblem(
            path=clean(given.path),
            needs=needs,
            reason=f"uid {who.uid} may not {what} {where}",
            owner=f"{self._users.get(found.uid, found.uid)}:{self._groups.get(found.gid, found.gid)}",
            mode=found.mode,
            source=clean(given.source),
        )

    def close(self) -> None:
        """Nothing is held."""
