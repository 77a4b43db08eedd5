"""Paths that a process was given: in its arguments, its environment, as its working directory; and what each is for."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

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
