"""Puts a Go release that is in no registry into .go/, from Go's own repository.

    python -m tests.lab.golayout.fromsource CLONE VERSION...     CLONE: a clone with its release branches

The compiler is that of another release of the same minor version, if there is one in .go/ (compilers of one series lay
structs out alike); else the release is built whole, which needs a Go to begin with (Debian's, some minutes).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.lab import toolchain
from tests.lab.golayout.declared import History

FIRST = Path("/usr/lib/go-1.19")


def place(history: History, version: str) -> Path:
    """The toolchain's folder: .go/VERSION/go."""
    home = toolchain.TOOLCHAINS / version / "go"
    if not home.exists():
        part = home.with_name("part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        history.unpack(version, part)
        (part / "VERSION").write_text(f"go{version}")
        sibling = _sibling(version)
        if sibling is None:
            part.rename(home)
            _whole(home)
        else:
            _borrow(part, sibling)
            part.rename(home)
    return home


def _sibling(version: str) -> Path | None:
    minor = version.rpartition(".")[0]
    if minor == "1.19":
        return FIRST
    return next(
        (path / "go" for path in sorted(toolchain.TOOLCHAINS.glob(f"{minor}.*")) if (path / "go/bin/go").exists()), None
    )


def _whole(home: Path) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(toolchain.CACHE), "GOROOT_BOOTSTRAP": str(FIRST), "CGO_ENABLED": "0"}
    subprocess.run(["./make.bash"], cwd=home / "src", env=env | {"GOPROXY": "off"}, check=True)


def _borrow(part: Path, sibling: Path) -> None:
    """The sibling's programs, and the source files that building a release makes."""
    (part / "pkg").mkdir()
    for name in ("bin", "pkg/tool", "pkg/include"):
        (part / name).symlink_to((sibling / name).resolve())
    source = (sibling / "src").resolve()
    for path in source.rglob("z*.go"):
        own = part / "src" / path.relative_to(source)
        if not own.exists() and "go tool dist" in path.read_text()[:200] and own.parent.exists():
            shutil.copy(path, own)


if __name__ == "__main__":
    clone = History(sys.argv[1])
    for each in sys.argv[2:]:
        print(place(clone, each))
