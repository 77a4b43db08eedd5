"""How a process ended, in systemd's words."""

from __future__ import annotations

import signal
from typing import Final

EXITED, KILLED, DUMPED = 1, 2, 3
"""CLD_* of waitid(2), as in ExecMainCode."""

SYSTEMD_STATUS: Final = {
    200: "CHDIR", 201: "NICE", 202: "FDS", 203: "EXEC", 204: "MEMORY", 205: "LIMITS", 206: "OOM_ADJUST",
    207: "SIGNAL_MASK", 208: "STDIN", 209: "STDOUT", 210: "CHROOT", 211: "IOPRIO", 212: "TIMERSLACK", 213: "SECUREBITS",
    214: "SETSCHEDULER", 215: "CPUAFFINITY", 216: "GROUP", 217: "USER", 218: "CAPABILITIES", 219: "CGROUP",
    220: "SETSID", 221: "CONFIRM", 222: "STDERR", 224: "PAM", 225: "NETWORK", 226: "NAMESPACE",
    227: "NO_NEW_PRIVILEGES", 228: "SECCOMP", 229: "SELINUX_CONTEXT", 230: "PERSONALITY", 231: "APPARMOR_PROFILE",
    232: "ADDRESS_FAMILIES", 233: "RUNTIME_DIRECTORY", 235: "CHOWN", 236: "SMACK_PROCESS_LABEL", 237: "KEYRING",
    238: "STATE_DIRECTORY", 239: "CACHE_DIRECTORY", 240: "LOGS_DIRECTORY", 241: "CONFIGURATION_DIRECTORY",
    242: "NUMA_POLICY", 243: "CREDENTIALS", 245: "BPF",
}  # fmt: skip
"""Exit statuses that systemd itself gives when it cannot start the program: systemd.exec(5), "Process Exit Codes"."""


def signal_name(number: int) -> str:
    """ "SIGKILL" for 9; "signal 70" for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def exit_words(code: int | None, status: int | None) -> str:
    """ExecMainCode and ExecMainStatus in words: "exited, status 203/EXEC", "killed by SIGKILL"; "" when never run."""
    if status is None or code not in (EXITED, KILLED, DUMPED):
        return ""
    if code == EXITED:
        name = SYSTEMD_STATUS.get(status, "")
        return f"exited, status {status}" + (f"/{name}" if name else "")
    return f"killed by {signal_name(status)}" + (", core dumped" if code == DUMPED else "")
