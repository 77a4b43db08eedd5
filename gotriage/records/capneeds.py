"""What a Go service needs which capability for, and what it sees without it (capabilities(7))."""

from __future__ import annotations

from typing import Final

NEEDS: Final = {
    "CAP_NET_BIND_SERVICE": "listen below the first unprivileged port (80, 443); else bind: permission denied",
    "CAP_NET_RAW": "raw sockets: ping, packet capture; else socket: operation not permitted",
    "CAP_NET_ADMIN": "routes, interfaces, firewall, SO_MARK; else operation not permitted",
    "CAP_DAC_OVERRIDE": "root reads and writes files of others; without it root is refused like anybody",
    "CAP_DAC_READ_SEARCH": "reads every file, walks every directory (backup, log shippers)",
    "CAP_CHOWN": "os.Chown to another user; else operation not permitted",
    "CAP_FOWNER": "os.Chmod, os.Chtimes on files of others; else operation not permitted",
    "CAP_SETUID": "syscall.Setuid, SysProcAttr.Credential: to give root away",
    "CAP_SETGID": "syscall.Setgid, Setgroups: to give root away",
    "CAP_KILL": "signals to processes of other users",
    "CAP_SYS_PTRACE": "/proc/PID of other users: environ, fd, io (process exporters)",
    "CAP_SYS_RESOURCE": "hard limits raised, more open files than its user may have",
    "CAP_IPC_LOCK": "mlock beyond RLIMIT_MEMLOCK (secret stores); else cannot allocate memory",
    "CAP_SYS_ADMIN": "mount, setns, unshare, quotas; else operation not permitted",
    "CAP_SYS_NICE": "higher priority, CPU affinity of others",
    "CAP_SYS_TIME": "sets the clock",
    "CAP_BPF": "loads BPF programs (with CAP_PERFMON, CAP_NET_ADMIN)",
    "CAP_PERFMON": "perf events of other users",
    "CAP_SYSLOG": "/dev/kmsg, kernel addresses",
    "CAP_SYS_CHROOT": "chroot; else operation not permitted",
    "CAP_MKNOD": "device files",
    "CAP_AUDIT_WRITE": "writes to the kernel's audit log",
}
"""Those that services ask for, the most often missed first."""
