"""Which patch releases declare the same: Go's source history tells that a layout cannot have moved between two of them.

    python -m tests.lab.golayout.declared [CLONE]    CLONE: a clone of Go's repository, with its release branches;
                                                     without it, the releases of the registry are compared

Compared are the declarations that the tables are made of: the wanted types, all that they are made of in turn, the
constants and lists. What it prints, `SAME` of releases.py is written from.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING, Final

from tests.lab import toolchain
from tests.lab.golayout import wanted

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FOLDERS: Final = (
    "src/runtime", "src/runtime/internal/atomic", "src/runtime/internal/sys", "src/internal/runtime/atomic",
    "src/internal/runtime/sys", "src/internal/runtime/gc", "src/internal/abi", "src/internal/cpu",
    "src/internal/goarch", "src/internal/poll", "src/internal/sync", "src/internal/godebug",
    "src/internal/chacha8rand", "src/internal/profilerecord", "src/internal/runtime/pprof/label",
    "src/sync", "src/sync/atomic", "src/os", "src/net", "src/time", "src/context", "src/runtime/pprof",
)  # fmt: skip
ELSEWHERE: Final = re.compile(
    r"_(test|windows|darwin|freebsd|netbsd|openbsd|dragonfly|solaris|illumos|aix|android|ios|js|wasm|wasip1|plan9|386|arm|mips"
    r"|mipsx|mips64x|mips64|mipsle|mips64le|ppc64x|ppc64|ppc64le|riscv64|riscv|s390x|loong64|libc|bsd|bsd44|kqueue)\b|race\.go"
)
LISTS: Final = re.compile(
    r"waitReason|_G(idle|running)|_P(idle|gcstop)|[Ff]unc(ID|Flag)|PCDATA|FUNCDATA|class_to_size|SizeClassTo"
)

Declarations = dict[str, str]
"""Declaration by its name: `runtime.g`; a block of constants by all that it declares."""


class History:
    """A clone of Go's repository."""

    def __init__(self, clone: str) -> None:
        self._clone = clone
        self.releases = self._releases()

    def _git(self, *words: str) -> str:
        return subprocess.run(["git", "-C", self._clone, *words], check=True, capture_output=True, text=True).stdout

    def _releases(self) -> dict[str, str]:
        """Version to commit: by tag, and by the words of a release's commit."""
        found = {}
        log = self._git(
            "log", "--branches", "--tags", "--format=%H %s", "--grep", r"^\[release-branch.go1[^]]*\] go1", "-E"
        )
        for line in log.splitlines():
            match = re.fullmatch(r"(\w+) \[release-branch\.go1\.\d+\] go(1\.(?:1[89]|[2-9]\d)(?:\.\d+)?)", line)
            if match:
                version = match[2] if match[2].count(".") == 2 else f"{match[2]}.0"
                found.setdefault(version, match[1])
        return found

    def unpack(self, version: str, folder: Path) -> None:
        """The source of a release, without the machine code in it (race detector, BoringCrypto)."""
        command = ["git", "-C", self._clone, "archive", self.releases[version], "src", "lib", ":(exclude)*.syso"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as archive:
            subprocess.run(["tar", "-x", "-C", folder], stdin=archive.stdout, check=True)

    def declarations(self, version: str) -> Declarations:
        """Of all the folders, by `package.name`."""
        lines = self._git("ls-tree", self.releases[version], *(f"{folder}/" for folder in FOLDERS)).splitlines()
        files = [(line.split("\t")[1], line.split()[2]) for line in lines if line.split()[1] == "blob"]
        return _together((path, self._of(blob)) for path, blob in files if _counts(path))

    @cache  # noqa: B019
    def _of(self, blob: str) -> Declarations:
        return _declared(self._git("cat-file", "blob", blob))


class Toolchains:
    """The releases of the registry, by the source that comes with them."""

    releases = dict.fromkeys(toolchain.RELEASES, "")

    def declarations(self, version: str) -> Declarations:
        """Of all the folders, by `package.name`."""
        home = toolchain.toolchain(version).parents[1]
        files = [path for folder in FOLDERS for path in (home / folder).glob("*.go") if _counts(str(path))]
        return _together((str(path.relative_to(home)), _declared(path.read_text())) for path in sorted(files))


def _counts(path: str) -> bool:
    return path.endswith(".go") and not ELSEWHERE.search(path.rpartition("/")[2])


def _together(files: Iterable[tuple[str, Declarations]]) -> Declarations:
    found: Declarations = {}
    for path, declared in files:
        package = path.removeprefix("src/").rpartition("/")[0]
        found |= {f"{package}.{name}": text for name, text in declared.items()}
    return found


def _declared(text: str) -> Declarations:
    """The types, constants and variables of a file, without comments, spacing and what variables begin with."""
    text = re.sub(r"(?m)//(?!go:).*$|/\*(?s:.*?)\*/", "", text)
    found: Declarations = {}
    for match in re.finditer(r"(?m)^(type|const|var) (\w+)?[^\n]*?(?:[({]\n(?:[ \t].*\n|\n)*?[)}].*$|$)", text):
        words = " ".join(match[0].split())
        if match[1] == "type" and match[2]:
            found[match[2]] = words
        elif match[1] == "type":
            for line in re.finditer(r"(?m)^\t(\w+)[^\n]*?(?:\{\n(?:\t\t.*\n|\n)*?\t\}$|$)", match[0]):
                found[line[1]] = " ".join(line[0].split())
        elif match[1] == "var" and not (match[2] and ("struct" in words or LISTS.search(words))):
            lines = [match[0][4:]] if match[2] else re.findall(r"(?m)^\t(\w.*)", match[0])
            for line in lines:
                found[f"var:{line.split()[0].rstrip(',')}"] = " ".join(line.partition("=")[0].split())
        else:
            names = [match[2]] if match[2] else re.findall(r"(?m)^\t(\w+)", match[0])
            if names:
                found[f"{match[1]}:{','.join(names)}"] = words
    return found


def reached(found: Declarations) -> set[str]:
    """Names of the declarations that the tables are made of."""
    by_word: dict[str, list[str]] = defaultdict(list)
    for name in found:
        package, _, own = name.rpartition(".")
        for word in own.partition(":")[2].split(",") if ":" in own else [own]:
            by_word[word].append(name)
            by_word[f"{package.rpartition('/')[2]}.{word}"].append(name)
    start = [name for name in wanted.STRUCTS if name in found]
    for name in found:
        if ":" in name and (LISTS.search(name) or any(wanted.CONSTANTS.fullmatch(w) for w in _full(name))):
            start.append(name)
        if name.startswith("runtime.var:") and f"runtime.{name[12:]}" in wanted.GLOBALS:
            start.append(name)
    seen: set[str] = set()
    while start:
        name = start.pop()
        if name not in seen:
            seen.add(name)
            package = name.rpartition(".")[0]
            for word in re.findall(r"\w+\.\w+|\w+", found[name]):
                start += [
                    other for other in by_word.get(word, ()) if "." in word or other.rpartition(".")[0] == package
                ]
    return seen


def _full(name: str) -> list[str]:
    package, _, own = name.rpartition(".")
    return [f"{package}.{word}" for word in own.partition(":")[2].split(",")]


def main(arguments: list[str]) -> int:
    """Prints of each release what it declares in another way than the one before it."""
    history = History(arguments[0]) if arguments else Toolchains()
    minors: dict[int, list[int]] = defaultdict(list)
    for version in history.releases:
        minors[int(version.split(".")[1])].append(int(version.split(".")[2]))
    for minor, patches in sorted(minors.items()):
        before: Declarations = {}
        for patch in sorted(patches):
            now = history.declarations(f"1.{minor}.{patch}")
            now = {name: now[name] for name in reached(now)}
            if before:
                changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
                print(f"1.{minor}.{patch}", "same" if not changed else f"changed: {' '.join(changed)}", flush=True)
            else:
                print(f"1.{minor}.{patch}: {len(now)} declarations")
            before = now
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
