"""A root of our own to look at a target's files from: a static busybox, and the files at one place, for reading only.

It lives in memory and in a mount namespace of its own, and goes with the last process in it. Nothing is written to the
target's file systems, and none of its programs can be run: its files are mounted read-only, without set-user-ID,
devices or execution. That also holds for libraries that a program of ours might be led to load.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import Final

from gotriage.errors import MissingFacility
from gotriage.host import mounting, tools

PLACES: Final = ("/run", "/tmp", "/mnt")
"""Folders that every machine has; one of them becomes the root, in a namespace of our own: nothing is written there."""
TARGET: Final = "target"
LINKED: Final = ("etc", "run", "var", "srv", "opt", "home")
"""Folders of the target that its own absolute links lead to; none that a library would be searched in."""
DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
SIZE: Final = "mode=0755,size=16m"
INSTALL: Final = "install busybox-static (apt-get install busybox-static; dnf install busybox)"
HEAD: Final = 65536
"""Bytes of a program that hold its headers."""
_PT_INTERP: Final = 3
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.+-]{0,30}|\[\[?")


def is_static(head: bytes) -> bool:
    """Whether the ELF file (elf(5)) needs no loader, by its program headers; False for anything else."""
    if len(head) < 64 or head[:4] != b"\x7fELF" or head[4] != 2:
        return False
    order = "<" if head[5] == 1 else ">"
    (start,) = struct.unpack_from(order + "Q", head, 32)
    size, count = struct.unpack_from(order + "HH", head, 54)
    ends = start + size * count
    if size < 56 or not 0 < ends <= len(head):
        return False
    kinds = [struct.unpack_from(order + "I", head, start + size * number)[0] for number in range(count)]
    return _PT_INTERP not in kinds


def applets(text: str) -> list[str]:
    """What `busybox --list` names."""
    return [word for word in text.split()[:1000] if _NAME.fullmatch(word)]


def find() -> str | None:
    """The path of the machine's static busybox, or None. Raises OSError."""
    path = tools.find("busybox")
    if path is None:
        return None
    with Path(path).open("rb") as file:
        return path if is_static(file.read(HEAD)) else None


class Tools:
    """The machine's static busybox, read. Raises MissingFacility when there is none."""

    def __init__(self) -> None:
        path = find()
        if path is None:
            raise MissingFacility(f"no static busybox for a view of the target's files: {INSTALL}")
        self.program = Path(path).read_bytes()
        self.names = applets(tools.run([path, "--list"]).out.decode("ascii", "replace"))


def enter(tree: int, given: Tools) -> None:
    """Put the root together around the copy of the target's mounts and go there. Raises OSError, MissingFacility."""
    mounting.only_for_reading(tree)
    mounting.own_namespace()
    place = next((folder for folder in PLACES if os.path.isdir(folder)), "/")
    mounting.mount("gotriage", place, "tmpfs", mounting.MS_NOSUID | mounting.MS_NODEV, SIZE)
    os.chdir(place)
    for folder in ("bin", "dev", "proc", "tmp", "root", TARGET):
        os.mkdir(folder, 0o755)
    _program(given)
    _devices()
    mounting.attach(tree, TARGET)
    own_proc("proc")
    for name in LINKED:
        os.symlink(f"{TARGET}/{name}", name)
    mounting.become_root()


def own_proc(where: str = "/proc") -> None:
    """The processes of the PID namespace that we are in. Raises OSError."""
    flags = mounting.MS_NOSUID | mounting.MS_NODEV | mounting.MS_NOEXEC
    mounting.mount("proc", where, "proc", flags)


def _program(given: Tools) -> None:
    fd = os.open("bin/busybox", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755)
    try:
        view = memoryview(given.program)
        while view:
            view = view[os.write(fd, view) :]
        os.fchmod(fd, 0o755)
    finally:
        os.close(fd)
    for name in given.names:
        if name != "busybox":
            os.symlink("busybox", f"bin/{name}")


def _devices() -> None:
    """Those of the machine that cannot hurt, and its terminals."""
    for name in DEVICES:
        if os.path.exists(f"/dev/{name}"):
            os.close(os.open(f"dev/{name}", os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
            mounting.mount(f"/dev/{name}", f"dev/{name}", None, mounting.MS_BIND)
    if os.path.isdir("/dev/pts"):
        os.mkdir("dev/pts", 0o755)
        mounting.mount("/dev/pts", "dev/pts", None, mounting.MS_BIND)
    os.symlink("/proc/self/fd", "dev/fd")
