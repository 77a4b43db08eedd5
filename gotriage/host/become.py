"""Do one thing with another user's identity, in a thread of its own: user managers and buses turn even root away.

Credentials belong to threads in the kernel; libc's setresuid changes all of them, the raw system call only the caller's
(credentials(7), nptl(7)). The thread ends afterwards, so no other one ever has the other identity.
"""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from typing import TYPE_CHECKING, Final, TypeVar

from gotriage.errors import NotPermitted

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_SETRESUID: Final = {"x86_64": 117, "aarch64": 147, "riscv64": 147, "s390x": 208, "ppc64le": 164}
"""Number of setresuid(2): arch/x86/entry/syscalls/syscall_64.tbl and its like; of setresuid32 where there are two."""

_libc = ctypes.CDLL(None, use_errno=True)


def as_user(uid: int, work: Callable[[], T]) -> T:
    """Run `work` with the effective uid `uid`; what it raises is raised here. Without root it runs as it is.

    Raises NotPermitted when the identity cannot be taken.
    """
    if os.geteuid() != 0 or uid == 0:
        return work()
    results: list[T] = []
    problems: list[BaseException] = []

    def run() -> None:
        try:
            _become(uid)
            results.append(work())
        except BaseException as error:  # carried over to the calling thread
            problems.append(error)

    thread = threading.Thread(target=run, name="as-user", daemon=True)
    thread.start()
    thread.join()
    if problems:
        raise problems[0]
    return results[0]


def _become(uid: int) -> None:
    number = _SETRESUID.get(platform.machine())
    keep = ctypes.c_long(-1)
    if number is None or _libc.syscall(ctypes.c_long(number), keep, ctypes.c_long(uid), keep) != 0:
        raise NotPermitted(f"the identity of uid {uid} cannot be taken; run gotriage as that user")
