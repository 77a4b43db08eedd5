"""What a file system is made of and how full it is: space, inodes, quota, counted errors, the devices below it.

What may hang is asked in a child that is killed when it does not answer.
"""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gotriage.host.forked import Forked
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gotriage.host.inroot import InRoot

PATIENCE: Final = 1.0
"""Seconds that a file system may take to answer statfs(2)."""
MAX_LEVELS: Final = 8
MAX_DISKS: Final = 24
_SPACE: Final = struct.Struct("=8Q")
_DQBLK: Final = struct.Struct("@8QI4x")
"""struct if_dqblk: hard, soft block limit (in 1 KiB), bytes in use, inode hard, soft, use, two times, what is valid."""
Q_GETQUOTA: Final = 0x800007
USRQUOTA: Final = 0
"""include/uapi/linux/quota.h; the command stands above the type (QCMD)."""
QUOTA_OPTIONS: Final = ("usrquota", "usrjquota=", "uquota", "quota", "uqnoenforce")
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes and inodes as statfs(2) tells them: all, free for root, free for others; no inodes where `inodes` is 0."""

    total: int
    free: int
    available: int
    inodes: int
    inodes_free: int
    inodes_available: int
    read_only: bool


def _measured(root: InRoot, path: str) -> bytes:
    facts = root.statvfs(path)
    unit = facts.f_frsize
    numbers = (facts.f_blocks * unit, facts.f_bfree * unit, facts.f_bavail * unit)
    return _SPACE.pack(*numbers, facts.f_files, facts.f_ffree, facts.f_favail, facts.f_flag & os.ST_RDONLY, 0)


def _space(data: bytes) -> Space:
    total, free, available, inodes, inodes_free, inodes_available, read_only, _ = _SPACE.unpack(data)
    return Space(total, free, available, inodes, inodes_free, inodes_available, bool(read_only))


class Asker:
    """Asks file systems for their space; each that may hang in a child of its own, and never twice at a time."""

    def __init__(self) -> None:
        self._waiting: dict[str, Forked] = {}

    def space(self, root: InRoot, path: str, device: str, *, may_hang: bool) -> Space:
        """Of the file system that holds the path. Raises TimeoutError when it does not answer, OSError.

        A child that hangs is left alone: some waits in the kernel end by no signal. The next look asks it again.
        """
        if not may_hang:
            return _space(_measured(root, path))
        return _space(self._answer(device, lambda: _measured(root, path)))

    def real(self, root: InRoot, path: str) -> str:
        """Where links lead to; they may lead to what hangs. Raises TimeoutError, OSError."""
        return os.fsdecode(self._answer(path, lambda: os.fsencode(root.real(path))))

    def _answer(self, about: str, work: Callable[[], bytes]) -> bytes:
        child = self._waiting.pop(about, None)
        patience = PATIENCE if child is None else 0.0
        child = child or Forked(work)
        if not child.ready(patience):
            self._waiting[about] = child
            raise TimeoutError(f"no answer within {PATIENCE:g} s")
        return child.result(PATIENCE)

    def close(self) -> None:
        """Give up on those that still hang."""
        for child in self._waiting.values():
            child.abandon()
        self._waiting = {}


def disks(sys: Path, device: str) -> tuple[str, ...]:
    """The block devices below major:minor, that one first: LVM, dm, md, loop files; () for what has none (tmpfs)."""
    found: list[str] = []
    start = sys / "dev" / "block" / device
    if device.startswith("0:") or not start.exists():
        return ()
    level = [start.resolve()]
    for _ in range(MAX_LEVELS):
        below: list[Path] = []
        for place in level:
            if len(found) < MAX_DISKS:
                found.append(_described(place))
            below += _under(place)
        if not below:
            break
        level = below[:MAX_DISKS]
    return tuple(dict.fromkeys(found))


def _under(place: Path) -> list[Path]:
    """The devices that this one is made of: its slaves, and for a partition the disk that it is on."""
    try:
        slaves = sorted((place / "slaves").iterdir())[:MAX_DISKS]
    except OSError:
        slaves = []
    if slaves:
        return [path.resolve() for path in slaves]
    return [place.parent] if (place / "partition").exists() else []


def _described(place: Path) -> str:
    kind = _text(place / "dm" / "uuid").partition("-")[0]
    name, file = _text(place / "dm" / "name"), _text(place / "loop" / "backing_file")
    kinds = {"LVM": "LVM", "CRYPT": "encrypted", "mpath": "multipath"}
    words = [f"{name}, {kinds.get(kind, 'device mapper')}"] if name else [f"file {file}"] if file else []
    if _text(place / "ro") == "1":
        words.append("read-only")
    return clean(place.name + (f" ({', '.join(words)})" if words else ""), 300)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(512).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def node(sys: Path, device: str) -> str | None:
    """The /dev node of major:minor, None when there is none or it is another device."""
    try:
        name = os.path.basename(os.readlink(sys / "dev" / "block" / device)).replace("!", "/")
        path = f"/dev/{name}"
        number = os.stat(path).st_rdev
    except OSError:
        return None
    return path if f"{os.major(number)}:{os.minor(number)}" == device else None


def counted_errors(sys: Path, device: str) -> int | None:
    """What ext4 has found wrong (Documentation/ABI/testing/sysfs-fs-ext4); None where nobody counts."""
    try:
        name = os.path.basename(os.readlink(sys / "dev" / "block" / device))
        return int(_text(sys / "fs" / "ext4" / name / "errors_count"))
    except (OSError, ValueError):
        return None


def parse_quota(data: bytes) -> tuple[int, int] | None:
    """Limit (the hard one, else the soft one) and use in bytes of a struct if_dqblk; None when there is no limit."""
    hard, soft, used, *_ = _DQBLK.unpack_from(data)
    limit = hard or soft
    return (limit * 1024, used) if limit else None


def quota(path: str, uid: int) -> tuple[int, int] | None:
    """The user's limit and use in bytes on the device at `path` (quotactl(2)); None without one, or not permitted."""
    buffer = ctypes.create_string_buffer(128)
    command = Q_GETQUOTA << 8 | USRQUOTA
    if _libc.quotactl(ctypes.c_int(ctypes.c_int32(command).value), os.fsencode(path), ctypes.c_int(uid), buffer) != 0:
        return None
    return parse_quota(buffer.raw)
