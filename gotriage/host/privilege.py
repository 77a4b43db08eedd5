"""Who runs gotriage, and giving root away for good."""

from __future__ import annotations

import ctypes
import os
import pwd
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
"""include/uapi/linux/prctl.h."""

CAPABILITIES = (
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
)
"""Names by number, without CAP_: include/uapi/linux/capability.h."""

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Invoker:
    """The user who typed the command: behind sudo, doas or pkexec, or the process's own."""

    uid: int
    gid: int
    name: str
    home: str


def is_root() -> bool:
    """Whether this process may look everywhere (effective uid 0)."""
    return os.geteuid() == 0


def invoker() -> Invoker:
    """From SUDO_UID, PKEXEC_UID or DOAS_USER when root, else the process's own user."""
    uid = os.getuid()
    if uid == 0:
        for name in ("SUDO_UID", "PKEXEC_UID"):
            text = os.environ.get(name, "")
            if text.isascii() and text.isdigit():
                uid = int(text)
                break
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Invoker(uid, uid, str(uid), "/")
    return Invoker(uid, entry.pw_gid, entry.pw_name, entry.pw_dir)


def drop_to(user: Invoker) -> None:
    """Give root away: groups, gid, uid, and no way back. Does nothing when there is nothing to give away.

    Raises RuntimeError when root could be had again afterwards.
    """
    if os.geteuid() != 0 or user.uid == 0:
        return
    become(user)
    _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    try:
        os.setuid(0)
    except PermissionError:
        return
    raise RuntimeError("root could not be given away")


def become(user: Invoker) -> None:
    """The user's groups, gid and uid for good, but for programs with a set-user-ID bit (sudo). Only as root."""
    os.initgroups(user.name, user.gid) if user.name != str(user.uid) else os.setgroups([])
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)


def die_with_parent(signal_number: int) -> None:
    """The kernel sends this signal when the parent ends (PR_SET_PDEATHSIG)."""
    _libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)


def adopt_orphans() -> None:
    """What our children leave behind becomes our child (PR_SET_CHILD_SUBREAPER), so that it can be ended."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def capabilities() -> tuple[str, ...]:
    """The effective capabilities of this process by name ("CAP_SYS_PTRACE"), from /proc/self/status."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapEff:"):
                bits = int(line.split()[1], 16)
                return tuple(f"CAP_{name.upper()}" for number, name in enumerate(CAPABILITIES) if bits >> number & 1)
    return ()
