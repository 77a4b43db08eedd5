"""What this machine offers: one function a facility, each cheap, none changes anything."""

from __future__ import annotations

import locale
import os
import platform
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from gotriage.errors import GotriageError
from gotriage.host import tools, toolview
from gotriage.host.facilities_tracing import CHECKS as TRACING
from gotriage.host.inroot import InRoot
from gotriage.host.text_file import small_text as _text
from gotriage.records.facility import Facility

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gotriage.host import Host

ENGINE_SOCKETS = (
    "/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
)


def survey(host: Host) -> Iterator[Facility]:
    """One row a facility, in the order in which they matter."""
    for check in _CHECKS:
        yield check(host)


def _root(_: Host) -> Facility:
    if os.geteuid() == 0:
        return Facility(name="privilege", state="ok", detail="root")
    return Facility(
        name="privilege",
        state="limited",
        detail=f"uid {os.geteuid()}",
        lost="other users' processes, most journals, engines' sockets",
        remedy="run with sudo",
    )


def _kernel(_: Host) -> Facility:
    release = platform.release()
    numbers = [int(word) for word in re.findall(r"\d+", release)[:2]]
    if numbers >= [5, 6]:
        return Facility(name="kernel", state="ok", detail=f"{release} {platform.machine()}")
    lost = "the target's own files (openat2 needs Linux 5.6)"
    return Facility(name="kernel", state="limited", detail=release, lost=lost, remedy="a kernel of 5.6 or later")


def _files_in_root(_: Host) -> Facility:
    try:
        with InRoot("/") as root:
            root.stat("/")
    except (OSError, GotriageError) as error:
        return Facility(name="openat2", state="missing", detail=str(error), lost="the target's own files")
    return Facility(name="openat2", state="ok", detail="RESOLVE_IN_ROOT works")


def _pidfd(_: Host) -> Facility:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return Facility(
            name="pidfd", state="limited", detail=str(error), lost="processes are pinned by start time only"
        )
    return Facility(name="pidfd", state="ok")


def _ptrace_scope(host: Host) -> Facility:
    scope = _text(Path(host.proc.path("sys", "kernel", "yama", "ptrace_scope")))
    if scope in (None, "0") or (os.geteuid() == 0 and scope != "3"):
        return Facility(
            name="ptrace", state="ok", detail="no Yama" if scope is None else f"kernel.yama.ptrace_scope={scope}"
        )
    return Facility(
        name="ptrace",
        state="limited",
        detail=f"kernel.yama.ptrace_scope={scope}",
        lost="memory of processes that gotriage did not start",
        remedy="run with sudo" if scope != "3" else "ptrace_scope=3 holds until the next boot",
    )


def _cgroups(host: Host) -> Facility:
    found = [line.split() for line in host.proc.text("self", "mountinfo").splitlines() if " - cgroup" in line]
    kinds = {words[words.index("-") + 1] for words in found}
    if kinds == {"cgroup2"}:
        return Facility(name="cgroups", state="ok", detail="version 2")
    if kinds:
        detail = "version 1" if kinds == {"cgroup"} else "hybrid: versions 1 and 2"
        return Facility(name="cgroups", state="ok", detail=detail)
    return Facility(
        name="cgroups",
        state="missing",
        lost="container limits, throttling",
        remedy="mount -t cgroup2 none /sys/fs/cgroup",
    )


def _pressure(host: Host) -> Facility:
    if _text(Path(host.proc.path("pressure", "cpu"))) is not None:
        return Facility(name="pressure (PSI)", state="ok")
    remedy = "boot with psi=1 (CONFIG_PSI)"
    return Facility(name="pressure (PSI)", state="missing", lost="stall times of CPU, memory and I/O", remedy=remedy)


def _kmsg(_: Host) -> Facility:
    try:
        os.close(os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return Facility(
            name="kernel log", state="missing", detail=error.strerror or "", lost="OOM kills", remedy="run with sudo"
        )
    return Facility(name="kernel log", state="ok", detail="/dev/kmsg")


def _journal(host: Host) -> Facility:
    from gotriage.host.optional import load_journal

    where = [path for path in ("/var/log/journal", "/run/log/journal") if host.at(path).is_dir()]
    if not where:
        return Facility(
            name="journal",
            state="missing",
            detail="no journal files",
            lost="the unit's log",
            remedy="systemctl status systemd-journald",
        )
    readable = [path for path in where if os.access(host.at(path), os.R_OK | os.X_OK)]
    if not readable:
        return Facility(
            name="journal",
            state="limited",
            detail="not readable",
            lost="the unit's log",
            remedy="run with sudo, or join the group systemd-journal",
        )
    if "/var/log/journal" not in readable:
        remedy = "mkdir -p /var/log/journal && systemctl restart systemd-journald"
        return Facility(
            name="journal",
            state="limited",
            detail="volatile: only /run/log/journal",
            lost="logs before the last boot",
            remedy=remedy,
        )
    if load_journal() is None:
        return Facility(
            name="journal",
            state="limited",
            detail="read by journalctl -o json",
            lost="speed",
            remedy="apt install python3-systemd",
        )
    return Facility(name="journal", state="ok", detail=" ".join(readable))


def _bus(host: Host) -> Facility:
    path = host.at("/run/dbus/system_bus_socket")
    return _socket("system bus", path, lost="unit properties come from systemctl show", remedy="systemctl start dbus")


def _socket(name: str, path: Path, *, lost: str, remedy: str) -> Facility:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(path))
        except OSError as error:
            return Facility(name=name, state="missing", detail=error.strerror or str(error), lost=lost, remedy=remedy)
    return Facility(name=name, state="ok", detail=str(path))


def _engines(host: Host) -> Facility:
    rows = [_socket("", host.at(path), lost="", remedy="") for path in ENGINE_SOCKETS]
    answering = [path for path, row in zip(ENGINE_SOCKETS, rows, strict=True) if row.state == "ok"]
    if answering:
        return Facility(name="container engines", state="ok", detail=" ".join(answering))
    detail = "no engine's socket answers"
    return Facility(
        name="container engines", state="limited", detail=detail, lost="container names where no state file tells them"
    )


def _security(host: Host) -> Facility:
    modules = _text(host.sys / "kernel/security/lsm") or ""
    return Facility(name="security modules", state="ok", detail=modules or "none visible")


def _helpers(_: Host) -> Facility:
    wanted = {
        "systemctl": "systemd",
        "journalctl": "systemd",
        "nsenter": "util-linux",
        "debugfs": "e2fsprogs",
        "nft": "nftables",
        "ip": "iproute2",
    }
    missing = {name: package for name, package in wanted.items() if tools.find(name) is None}
    if not missing:
        return Facility(name="helpers", state="ok", detail=" ".join(wanted))
    remedy = "apt install " + " ".join(sorted(set(missing.values())))
    return Facility(
        name="helpers", state="limited", detail=f"not found: {' '.join(missing)}", lost="the fall-backs", remedy=remedy
    )


def _busybox(_: Host) -> Facility:
    lost = "the target's files in gotriage shell --ns mnt"
    try:
        path = toolview.find()
    except OSError as error:
        return Facility(name="busybox", state="limited", detail=str(error.strerror), lost=lost)
    if path is not None:
        return Facility(name="busybox", state="ok", detail=f"{path}, static")
    return Facility(
        name="busybox", state="limited", detail="no static one", lost=lost, remedy="apt install busybox-static"
    )


def _locale(_: Host) -> Facility:
    encoding = locale.getpreferredencoding(do_setlocale=False)
    if encoding.upper().replace("-", "") == "UTF8":
        return Facility(name="locale", state="ok", detail=encoding)
    return Facility(
        name="locale", state="limited", detail=encoding, lost="plots and signs", remedy="export LANG=C.UTF-8"
    )


def _terminal(_: Host) -> Facility:
    term = os.environ.get("TERM", "")
    if not os.isatty(2):
        return Facility(
            name="terminal",
            state="limited",
            detail="standard error is no terminal",
            lost="the TUI; check and show work",
        )
    if term in ("", "dumb"):
        return Facility(
            name="terminal", state="limited", detail=f"TERM={term}", lost="the TUI", remedy="export TERM=xterm-256color"
        )
    size = os.get_terminal_size(2)
    return Facility(name="terminal", state="ok", detail=f"{term} {size.columns}x{size.lines}")


_CHECKS: tuple[Callable[[Host], Facility], ...] = (
    _root,
    _kernel,
    _files_in_root,
    _pidfd,
    _ptrace_scope,
    _cgroups,
    _pressure,
    _kmsg,
    _journal,
    _bus,
    _engines,
    _helpers,
    _busybox,
    _security,
    *TRACING,
    _locale,
    _terminal,
)
