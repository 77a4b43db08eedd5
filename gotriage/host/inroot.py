"""Files of the target, read in the target's own root and nowhere else.

A plain open of /proc/PID/root/etc/x follows the target's symbolic links to files of the host. openat2(2) with
RESOLVE_IN_ROOT does not: every link, also an absolute one, resolves below the root. (Linux 5.6; older kernels are
refused rather than trusted.)
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat as stat_module
import struct
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gotriage.errors import MissingFacility

if TYPE_CHECKING:
    from collections.abc import Iterator

SYS_OPENAT2 = 437
"""Same number on every architecture (include/uapi/asm-generic/unistd.h)."""
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_IN_ROOT = 0x10
"""include/uapi/linux/openat2.h."""
AT_EMPTY_PATH = 0x1000
STATX_FLAGS = ((0x10, "immutable"), (0x20, "append-only"))
"""include/uapi/linux/fcntl.h; stx_attributes of include/uapi/linux/stat.h, the second word of struct statx."""

_libc = ctypes.CDLL(None, use_errno=True)


def _openat2(dirfd: int, path: str, flags: int, resolve: int = 0) -> int:
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve)
    for _ in range(8):
        fd: int = _libc.syscall(
            ctypes.c_long(SYS_OPENAT2), ctypes.c_int(dirfd), os.fsencode(path), how, ctypes.c_size_t(len(how))
        )
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code == errno.ENOSYS:
            raise MissingFacility("this kernel has no openat2 (Linux 5.6): the target's own files are not read")
        if code != errno.EAGAIN:  # EAGAIN: a rename raced with the walk (openat2(2))
            raise OSError(code, os.strerror(code), path)
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)


def readable(place: int, name: str) -> int:
    """A descriptor for reading of the regular file that the O_PATH descriptor `place` holds; the caller closes it.

    The file cannot change between the look at its type and the opening. Raises OSError (EINVAL when it is none).
    """
    if not stat_module.S_ISREG(os.fstat(place).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", name)
    try:
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from None


def statx_flags(fd: int) -> tuple[str, ...]:
    """The attributes of an open file, also of an O_PATH descriptor; () where there is no statx(2)."""
    buffer = ctypes.create_string_buffer(256)
    call = getattr(_libc, "statx", None)
    if call is None or call(ctypes.c_int(fd), b"", AT_EMPTY_PATH, ctypes.c_uint(0), buffer) != 0:
        return ()
    attributes: int = struct.unpack_from("=Q", buffer.raw, 8)[0]
    return tuple(name for bit, name in STATX_FLAGS if attributes & bit)


class InRoot:
    """The file system as process `pid` sees it; a context manager that holds its root directory open.

    Raises OSError from the constructor when /proc/PID/root may not be opened. Paths are absolute in that root.
    """

    def __init__(self, root: str) -> None:
        self._dirfd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> InRoot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the root."""
        if self._dirfd >= 0:
            os.close(self._dirfd)
            self._dirfd = -1

    @contextmanager
    def opened(self, path: str) -> Iterator[int]:
        """A descriptor of a regular file, for reading. Raises OSError (EINVAL when it is no regular file).

        Anything else is not even opened: that would let a writer of a FIFO go on, or start a watchdog device.
        """
        place = _openat2(self._dirfd, path, os.O_PATH)
        try:
            fd = readable(place, path)
        finally:
            os.close(place)
        try:
            yield fd
        finally:
            os.close(fd)

    def read(self, path: str, limit: int = 4 * 1024 * 1024) -> bytes:
        """At most `limit` bytes of a regular file."""
        with self.opened(path) as fd:
            chunks, left = [], limit
            while left > 0 and (chunk := os.read(fd, min(left, 1 << 20))):
                chunks.append(chunk)
                left -= len(chunk)
            return b"".join(chunks)

    def folder(self, path: str) -> int:
        """A descriptor of a directory, good for fstatat(2) only; the caller closes it. Raises OSError."""
        return _openat2(self._dirfd, path, os.O_PATH | os.O_DIRECTORY)

    def stat(self, path: str) -> os.stat_result:
        """What the path leads to, links followed inside the root."""
        fd = _openat2(self._dirfd, path, os.O_PATH)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def facts(self, path: str) -> tuple[os.stat_result, bytes]:
        """What `stat` gives, and the xattr system.posix_acl_access, empty where there is none."""
        fd = _openat2(self._dirfd, path, os.O_PATH)
        try:
            try:
                acl = os.getxattr(f"/proc/self/fd/{fd}", "system.posix_acl_access")
            except OSError:  # no ACL, or a file system without any
                acl = b""
            return os.fstat(fd), acl
        finally:
            os.close(fd)

    def attribute(self, path: str, name: str) -> bytes:
        """An extended attribute of what the path leads to. Raises OSError (ENODATA when it has none)."""
        fd = _openat2(self._dirfd, path, os.O_PATH)
        try:
            return os.getxattr(f"/proc/self/fd/{fd}", name)
        finally:
            os.close(fd)

    def flags(self, path: str) -> tuple[str, ...]:
        """What forbids changes to the file whoever asks: "immutable", "append-only" (statx(2)); () where not told."""
        fd = _openat2(self._dirfd, path, os.O_PATH)
        try:
            return statx_flags(fd)
        finally:
            os.close(fd)

    def exists(self, path: str) -> bool:
        """Whether the path leads anywhere."""
        try:
            self.stat(path)
        except OSError:
            return False
        return True

    def names(self, path: str, limit: int = 100_000) -> list[str]:
        """The names in a directory, at most `limit`, sorted."""
        fd = _openat2(self._dirfd, path, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)
        try:
            with os.scandir(fd) as entries:
                return sorted(entry.name for _, entry in zip(range(limit), entries, strict=False))
        finally:
            os.close(fd)

    def real(self, path: str) -> str:
        """The path with all links resolved, as seen in the root (what realpath(3) would give there)."""
        fd = _openat2(self._dirfd, path, os.O_PATH)
        try:
            seen = os.readlink(f"/proc/self/fd/{fd}")
            base = os.readlink(f"/proc/self/fd/{self._dirfd}")
        finally:
            os.close(fd)
        if base != "/" and seen.startswith(base.rstrip("/") + "/"):
            return seen[len(base.rstrip("/")) :]
        return seen

    def plain(self, path: str) -> bool:
        """Whether no component is a symbolic link, as far as it leads: the name tells the mount. Follows none."""
        try:
            os.close(_openat2(self._dirfd, path, os.O_PATH, RESOLVE_NO_SYMLINKS))
        except OSError as error:
            return error.errno != errno.ELOOP
        return True

    def mount(self, path: str) -> int | None:
        """The id of the mount that holds what the path leads to (mnt_id of proc_pid_fdinfo(5)); None when not told."""
        fd = _openat2(self._dirfd, path, os.O_PATH)
        try:
            with Path(f"/proc/self/fdinfo/{fd}").open("rb") as file:
                words = next((line.split() for line in file if line.startswith(b"mnt_id:")), [])
            return int(words[1]) if len(words) == 2 else None
        finally:
            os.close(fd)

    def statvfs(self, path: str) -> os.statvfs_result:
        """Blocks, inodes and mount flags of the file system that holds the path."""
        fd = _openat2(self._dirfd, path, os.O_PATH)
        try:
            return os.statvfs(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
