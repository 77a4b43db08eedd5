"""Devices, kernel files and folders in the target's root, and whether its identity may use them."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.host import mounts
from gotriage.host.rights import walk
from gotriage.records.minimal import Condition
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.host.inroot import InRoot
    from gotriage.host.mounts import Mount
    from gotriage.host.rights import Rights
    from gotriage.records.minimal import Standing


class Device(NamedTuple):
    """A device that programs expect: its numbers (Documentation/admin-guide/devices.txt), access, what needs it."""

    path: str
    major: int
    minor: int
    needs: str
    without: str
    vital: bool


DEVICES: Final = (
    Device("/dev/null", 1, 3, "rw", "os/exec opens it for every command without a stdin of its own", True),
    Device("/dev/zero", 1, 5, "r", "some C libraries and tools read it", False),
    Device("/dev/random", 1, 8, "r", "Go asks getrandom(2); C libraries and tools may read it", False),
    Device("/dev/urandom", 1, 9, "r", "Go asks getrandom(2) and reads it only before Linux 3.17", False),
)
TERMINALS: Final = ("/dev/pts/ptmx", "/dev/ptmx")
SHELL: Final = "/bin/sh"
MAKE: Final = "run containers with the engine's own /dev; in a chroot: mknod -m 666"

KERNEL_FILES: Final = (
    ("/proc", "proc", "/proc/meminfo", "os.Executable, pprof and metrics read /proc"),
    ("somaxconn", "", "/proc/sys/net/core/somaxconn", "Go listens with a backlog of 128 (net/sock_linux.go)"),
    ("/sys", "sysfs", "/sys/kernel", "the runtime reads the huge page size there, metrics much more"),
    ("cgroup", "", "/sys/fs/cgroup", "Go 1.25 and later take GOMAXPROCS from the CPU quota found there"),
)
"""Name, file system that it should be, a file in it, what is lost without."""


def device(root: InRoot, wanted: Device, rights: Rights) -> Condition:
    """The row of one device."""
    state: Standing = "fault" if wanted.vital else "note"
    make = f"{MAKE} {wanted.path} c {wanted.major} {wanted.minor}"

    def row(value: str, fix: str) -> Condition:
        return Condition(group="devices", name=wanted.path, state=state, value=value, detail=wanted.without, fix=fix)

    try:
        steps = walk(root, wanted.path, wanted.needs, rights)
    except OSError as error:
        return row("missing" if error.errno == errno.ENOENT else clean(error.strerror or ""), make)
    facts = steps[-1].facts
    if not stat.S_ISCHR(facts.st_mode):
        return row(f"a {kind(facts.st_mode)} stands in its place", f"rm {wanted.path}; {make}")
    if (os.major(facts.st_rdev), os.minor(facts.st_rdev)) != (wanted.major, wanted.minor):
        return row(f"device {os.major(facts.st_rdev)}:{os.minor(facts.st_rdev)}, another one", make)
    if refusing := next((step for step in steps if step.refused), None):
        return row(f"{refusing.path} is {refusing.mode}: not for uid {rights.who.uid}", f"chmod 666 {wanted.path}")
    return Condition(group="devices", name=wanted.path, value="device")


def kind(mode: int) -> str:
    """What a file is, in a word."""
    kinds = ((stat.S_ISREG, "regular file"), (stat.S_ISDIR, "directory"), (stat.S_ISFIFO, "FIFO"))
    return next((word for test, word in kinds if test(mode)), "file of another type")


def devices(root: InRoot, rights: Rights, points: Sequence[Mount]) -> Iterator[Condition]:
    """All devices, the mounts of /dev/shm and /dev/pts, and a nodev mount under them."""
    for wanted in DEVICES:
        row = device(root, wanted, rights)
        mount = mounts.holding(list(points), wanted.path)
        if row.state == "ok" and mount is not None and "nodev" in mount.options:
            row = Condition(
                group="devices",
                name=wanted.path,
                state="fault" if wanted.vital else "note",
                value=f"{clean(mount.point)} is mounted nodev: opening it is refused",
                detail=wanted.without,
                fix=f"mount -o remount,dev {clean(mount.point)}",
            )
        yield row
    yield _folder(root, rights, "devices", "/dev/shm", "/dev/shm", "POSIX shared memory (shm_open) fails")
    if any(root.exists(path) for path in TERMINALS):
        yield Condition(group="devices", name="/dev/pts", value="there")
    else:
        yield Condition(
            group="devices", name="/dev/pts", state="note", value="missing", detail="no terminal can be made in here"
        )


def kernel_files(root: InRoot, points: Sequence[Mount]) -> Iterator[Condition]:
    """Whether /proc and /sys are there and what they should be."""
    for name, file_system, path, lost in KERNEL_FILES:
        mount = mounts.holding(list(points), path)
        there = root.exists(path)
        if there and (not file_system or (mount is not None and mount.kind == file_system)):
            hidden = next((word for word in (mount.options if mount else ()) if word.startswith("hidepid=")), "")
            value = "there" if not hidden or hidden in ("hidepid=0", "hidepid=off") else f"there, {clean(hidden, 40)}"
            yield Condition(group="kernel files", name=name, value=value)
            continue
        value = f"{clean(mount.kind, 40)}, not {file_system}" if there and mount is not None else "missing"
        fix = f"mount -t {file_system} {file_system} {name}" if file_system else ""
        yield Condition(group="kernel files", name=name, state="note", value=value, detail=lost, fix=fix)


def folders(root: InRoot, rights: Rights, env: dict[str, str]) -> Iterator[Condition]:
    """HOME, the folder for temporary files, PATH, and a shell."""
    home = env.get("HOME", "")
    if home.startswith("/"):
        yield _folder(root, rights, "folders", "HOME", home, "what is kept under HOME cannot be written")
    else:
        yield Condition(
            group="folders", name="HOME", state="note", value="not set", detail="os.UserHomeDir gives an error"
        )
    temporary = env.get("TMPDIR") or "/tmp"
    given = "TMPDIR" if env.get("TMPDIR") else "TMPDIR (/tmp)"
    lost = "os.CreateTemp, large uploads (net/http multipart) and the like fail"
    yield _folder(root, rights, "folders", given, temporary, lost)
    yield _search_path(root, env)


def _search_path(root: InRoot, env: dict[str, str]) -> Condition:
    words = [word for word in env.get("PATH", "").split(":") if word][:100]
    there = [word for word in words if word.startswith("/") and root.exists(word)]
    shell = root.exists(SHELL)
    if not words:
        return Condition(
            group="folders", name="PATH", state="note", value="not set", detail="exec.Command needs absolute paths"
        )
    value = f"{len(there)} of {len(words)} folders exist, {'a' if shell else 'no'} shell"
    lost = "" if shell else "commands by `sh -c` fail"
    return Condition(group="folders", name="PATH", value=value, detail=lost)


def _folder(root: InRoot, rights: Rights, group: str, name: str, path: str, lost: str) -> Condition:
    """A folder that is to be written in."""

    def note(value: str, fix: str = "") -> Condition:
        return Condition(group=group, name=name, state="note", value=clean(value, 300), detail=lost, fix=clean(fix))

    try:
        steps = walk(root, path, "wx", rights)
        full = root.statvfs(path)
    except OSError as error:
        return note(f"{path}: missing" if error.errno == errno.ENOENT else f"{path}: {error.strerror}")
    if not stat.S_ISDIR(steps[-1].facts.st_mode):
        return note(f"{path}: a {kind(steps[-1].facts.st_mode)}")
    if refusing := next((step for step in steps if step.refused), None):
        return note(f"{refusing.path} is {refusing.mode}: not for uid {rights.who.uid}")
    if full.f_flag & os.ST_RDONLY:
        return note(f"{path}: on a read-only file system")
    return Condition(group=group, name=name, value=clean(f"{path}, writable" if path != name else "writable", 300))
