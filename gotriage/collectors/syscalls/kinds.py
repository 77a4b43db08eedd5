"""What is known of system calls by name: which take a descriptor, transfer bytes, wait by nature, take a path."""

from __future__ import annotations

from functools import cache
from typing import Final

from gotriage.host.callnames import call_names

HAS_FD, BYTES, READS, WRITES, WAITS, PATH_1, PATH_2 = 1, 2, 4, 8, 16, 32, 64
"""Bits of `enum trait` in probes/syscalls.bpf.c."""
CALLS: Final = 512
"""Numbers that the programs in the kernel know; the last stands for all beyond."""
BEYOND: Final = CALLS - 1

_READ: Final = "read pread64 readv preadv preadv2 recvfrom recvmsg"
_WRITE: Final = "write pwrite64 writev pwritev pwritev2 sendto sendmsg sendfile vmsplice"
_FD: Final = (
    "close fstat lseek ioctl flock fsync fdatasync sync_file_range ftruncate fallocate getdents getdents64 fchdir"
    " fchmod fchown fcntl fstatfs fadvise64 readahead syncfs accept accept4 connect bind listen shutdown getsockname"
    " getpeername setsockopt getsockopt sendmmsg recvmmsg epoll_ctl epoll_wait epoll_pwait epoll_pwait2"
    " timerfd_settime timerfd_gettime signalfd4 io_uring_enter io_uring_register splice tee copy_file_range dup dup2"
    " dup3 fgetxattr fsetxattr flistxattr inotify_add_watch inotify_rm_watch setns pidfd_send_signal fsconfig"
)
_WAIT: Final = (
    "futex futex_wait futex_waitv poll ppoll select pselect6 epoll_wait epoll_pwait epoll_pwait2 nanosleep"
    " clock_nanosleep pause rt_sigsuspend rt_sigtimedwait wait4 waitid io_getevents io_pgetevents io_uring_enter"
    " restart_syscall msgrcv semtimedop semop accept accept4"
    " sched_yield"
)
_COUNTS: Final = f"{_READ} {_WRITE} splice tee copy_file_range getdents getdents64 getrandom process_vm_readv"
_PATH_1: Final = (
    "open creat stat lstat access execve chdir mkdir rmdir unlink chmod chown lchown truncate rename link symlink"
    " readlink statfs mknod utime utimes chroot umount2 getxattr lgetxattr listxattr setxattr removexattr uselib"
    " swapon acct"
)
_PATH_2: Final = (
    "openat openat2 newfstatat faccessat faccessat2 mkdirat mknodat unlinkat renameat renameat2 readlinkat fchmodat"
    " fchmodat2 fchownat statx execveat utimensat linkat inotify_add_watch name_to_handle_at mount"
)


def _bits() -> dict[str, int]:
    found: dict[str, int] = {}
    for names, bits in (
        (_READ, HAS_FD | READS), (_WRITE, HAS_FD | WRITES), (_FD, HAS_FD), (_WAIT, WAITS), (_COUNTS, BYTES),
        (_PATH_1, PATH_1), (_PATH_2, PATH_2),
    ):  # fmt: skip
        for name in names.split():
            found[name] = found.get(name, 0) | bits
    return found


TRAITS: Final = _bits()


@cache
def table() -> bytes:
    """The traits by number, as the programs in the kernel want them."""
    found = bytearray(CALLS)
    for number, name in call_names().items():
        if number < BEYOND:
            found[number] = TRAITS.get(name, 0)
    return bytes(found)


def waits(name: str) -> bool:
    """Whether it waits by nature."""
    return bool(TRAITS.get(name, 0) & WAITS)


def transfers(name: str) -> bool:
    """Whether its result counts bytes."""
    return bool(TRAITS.get(name, 0) & BYTES)


def has_fd(name: str) -> bool:
    """Whether its first argument is a descriptor."""
    return bool(TRAITS.get(name, 0) & HAS_FD)
