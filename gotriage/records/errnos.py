"""Why a system call failed, in words: errno names and what they mean to who runs a service (errno(3), intro(2))."""

from __future__ import annotations

import errno
from typing import Final

RESTARTED: Final = "ERESTART"
"""What the kernel says to itself when a signal interrupts a call that it will begin again (include/linux/errno.h)."""
_RESTARTS: Final = frozenset({512, 513, 514, 516})
USUAL: Final = frozenset({"EAGAIN", "EINTR", "EINPROGRESS", "ETIMEDOUT", "EALREADY", "EISCONN", RESTARTED})
"""Part of normal work: a non-blocking descriptor that has nothing, a wait that is over."""

WORDS: Final = {
    RESTARTED: "interrupted by a signal, and begun again",
    "EAGAIN": "nothing there yet: usual for non-blocking descriptors",
    "EINTR": "interrupted by a signal",
    "EINPROGRESS": "a connection is being made: usual for non-blocking sockets",
    "EALREADY": "a connection is already being made",
    "EISCONN": "already connected",
    "ETIMEDOUT": "no answer in time; for futex: a wait that was over",
    "EMFILE": "the process has as many descriptors open as it may (ulimit -n, LimitNOFILE)",
    "ENFILE": "the whole machine has as many files open as it may (fs.file-max)",
    "ENOSPC": "no space left on the file system, or no inotify watch left (fs.inotify.max_user_watches)",
    "EDQUOT": "the disk quota of the user is used up",
    "EFBIG": "the file would be larger than it may be (ulimit -f, LimitFSIZE)",
    "EROFS": "the file system is mounted read-only",
    "EACCES": "permission denied: mode bits, an ACL, a directory on the way, or a security module",
    "EPERM": "not permitted: a capability, the owner, a seccomp filter or an immutable file",
    "ENOENT": "no such file or directory",
    "ENOTDIR": "a part of the path is no directory",
    "EISDIR": "it is a directory",
    "EEXIST": "it exists already",
    "ENAMETOOLONG": "the path is too long",
    "ELOOP": "too many symbolic links",
    "EXDEV": "the two paths lie on different file systems",
    "ENOTEMPTY": "the directory is not empty",
    "EBUSY": "in use: a mount point, a device, or a file that a program runs from",
    "ETXTBSY": "a program runs from this file",
    "EIO": "the disk or the network file system behind it failed",
    "ESTALE": "the server of a network file system does not know the file any more",
    "ENODEV": "there is no such device",
    "ENXIO": "there is no such device, or nobody at the other end of the pipe",
    "ENOMEM": "no memory: a cgroup's or the machine's limit, or too many mappings (vm.max_map_count)",
    "ENOBUFS": "the kernel has no room for it: socket buffers or queues are full",
    "ECONNREFUSED": "nobody listens there",
    "ECONNRESET": "the other side ended the connection at once",
    "ECONNABORTED": "the connection was ended before it was accepted",
    "EPIPE": "the other side reads no more",
    "ENOTCONN": "not connected, or not any more",
    "EHOSTUNREACH": "no way to that host: routing, or a firewall says so",
    "ENETUNREACH": "no way to that network: no route",
    "ENETDOWN": "the network interface is down",
    "EADDRINUSE": "somebody uses this address and port already",
    "EADDRNOTAVAIL": "no local address or port left: ephemeral ports are used up, or the address is not here",
    "EAFNOSUPPORT": "this kind of address is not available here (IPv6 off?)",
    "EPROTONOSUPPORT": "this protocol is not available here",
    "EOPNOTSUPP": "this file or socket cannot do that",
    "ENOPROTOOPT": "the socket does not know this option",
    "EMSGSIZE": "the message is longer than the socket takes",
    "EDESTADDRREQ": "no destination was given",
    "EBADF": "the descriptor is not open: closed by somebody else meanwhile?",
    "EINVAL": "an argument makes no sense to the kernel",
    "EFAULT": "an argument points to memory that is not there",
    "ENOSYS": "this kernel has no such call, or a seccomp filter hides it",
    "ENOTSUP": "not supported here",
    "ENOTTY": "the descriptor cannot do that (ioctl)",
    "ESPIPE": "a pipe or socket has no position",
    "ESRCH": "no such process or thread",
    "ECHILD": "there is no such child",
    "EDEADLK": "waiting would never end",
    "ENOLCK": "no lock left, or the file system has none",
    "ERANGE": "the result does not fit",
    "E2BIG": "arguments and environment are too long",
    "ENOEXEC": "no program that this machine runs",
    "ECANCELED": "it was called off",
    "EOWNERDEAD": "who held the lock has died",
    "ENODATA": "there is no such attribute",
    "ETIME": "the timer ran out",
    "EPROTO": "the protocol was not kept",
    "ENOTSOCK": "the descriptor is no socket",
    "EMLINK": "too many links",
    "EUSERS": "too many users",
    "ENOKEY": "the key that is needed is not there",
}  # fmt: skip


def errno_name(number: int) -> str:
    """The name of a positive errno, "errno N" for one that has none."""
    return RESTARTED if number in _RESTARTS else errno.errorcode.get(number, f"errno {number}")


def errno_words(name: str) -> str:
    """What it means; "" for one that has no words here."""
    return WORDS.get(name, "")
