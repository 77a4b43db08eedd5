"""Mount calls of the kernel that neither Python nor every libc has, each with a plain OSError.

Sources: mount(2), pivot_root(2), mount_setattr(2), include/uapi/linux/mount.h, include/uapi/asm-generic/unistd.h (the
numbers of calls added since Linux 5.1 are the same on every architecture).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from typing import Final

from gotriage.errors import MissingFacility

CLONE_NEWNS: Final = 0x00020000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_MOVE = 0x2, 0x4, 0x8, 0x1000, 0x2000
MS_REC_PRIVATE: Final = 0x4000 | (1 << 18)
MS_PRIVATE: Final = 1 << 18
MNT_DETACH: Final = 0x2
AT_RECURSIVE, AT_EMPTY_PATH, AT_FDCWD = 0x8000, 0x1000, -100
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 0x1, os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH: Final = 0x4
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 0x1, 0x2, 0x4, 0x8
SYS_OPEN_TREE, SYS_MOVE_MOUNT, SYS_MOUNT_SETATTR = 428, 429, 442
_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "s390x": 217, "ppc64le": 203}
"""Number of pivot_root(2): arch/x86/entry/syscalls/syscall_64.tbl and its like."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        if code == errno.ENOSYS:
            raise MissingFacility(f"this kernel has no {what}")
        raise OSError(code, os.strerror(code), what)
    return result


def setns(fd: int, kind: str) -> None:
    """Join the namespace (setns(2)). Raises OSError."""
    _check(_libc.setns(fd, 0), f"setns({kind})")


def own_namespace() -> None:
    """Leave the mount namespace for a private copy; what is mounted in it is seen by nobody else. Raises OSError."""
    _check(_libc.unshare(CLONE_NEWNS), "unshare(mnt)")
    _check(_libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC_PRIVATE), None), "mount(/, private)")


def mount(source: str, where: str, kind: str | None, flags: int = 0, options: str = "") -> None:
    """mount(2). Raises OSError, which names `where`."""
    words = [os.fsencode(word) if word is not None else None for word in (source, where, kind)]
    _check(_libc.mount(*words, ctypes.c_ulong(flags), options.encode() or None), f"mount({where})")


def cloned_tree(place: int) -> int:
    """A descriptor of a copy, mounted nowhere, of all mounts below the directory of the O_PATH descriptor (Linux 5.2).

    The directory is in the caller's mount namespace. Raises MissingFacility, OSError.
    """
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_EMPTY_PATH
    call = _libc.syscall(ctypes.c_long(SYS_OPEN_TREE), ctypes.c_int(place), b"", ctypes.c_uint(flags))
    return _check(call, "open_tree (Linux 5.2)")


def only_for_reading(tree: int) -> None:
    """Nothing below the copy can be written, run, or used as a device (Linux 5.12). Raises MissingFacility, OSError."""
    attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
    how = struct.pack("=QQQQ", attributes, 0, MS_PRIVATE, 0)
    call = _libc.syscall(
        ctypes.c_long(SYS_MOUNT_SETATTR),
        ctypes.c_int(tree),
        b"",
        ctypes.c_uint(AT_EMPTY_PATH | AT_RECURSIVE),
        how,
        ctypes.c_size_t(len(how)),
    )
    _check(call, "mount_setattr (Linux 5.12)")


def attach(tree: int, where: str) -> None:
    """Mount a copy. Raises OSError."""
    call = _libc.syscall(
        ctypes.c_long(SYS_MOVE_MOUNT),
        ctypes.c_int(tree),
        b"",
        ctypes.c_int(AT_FDCWD),
        os.fsencode(where),
        ctypes.c_uint(MOVE_MOUNT_F_EMPTY_PATH),
    )
    _check(call, f"move_mount({where})")


def become_root() -> None:
    """The working directory, where something is mounted, becomes the root of this mount namespace; the rest goes.

    On the first root file system of the kernel (initramfs), which cannot be left, it is laid over. Raises OSError.
    """
    number = _PIVOT_ROOT.get(platform.machine())
    if number is not None and _libc.syscall(ctypes.c_long(number), b".", b".") == 0:
        _check(_libc.umount2(b".", MNT_DETACH), "umount(old root)")
    else:
        _check(_libc.mount(b".", b"/", None, ctypes.c_ulong(MS_MOVE), None), "mount(/)")
        os.chroot(".")
    os.chdir("/")
