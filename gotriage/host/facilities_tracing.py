"""What this machine offers for traces: BPF, tracepoints, perf events, and the tools that trace."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gotriage.host import tools
from gotriage.host.optional import DIST_PACKAGES
from gotriage.host.text_file import small_text as _text
from gotriage.records.facility import Facility

if TYPE_CHECKING:
    from collections.abc import Callable

    from gotriage.host import Host


def _btf(host: Host) -> Facility:
    if (host.sys / "kernel/btf/vmlinux").exists():
        return Facility(name="BTF", state="ok")
    return Facility(
        name="BTF", state="missing", lost="prebuilt BPF programs", remedy="a kernel with CONFIG_DEBUG_INFO_BTF"
    )


def _tracing(host: Host) -> Facility:
    folder = host.sys / "kernel/tracing"
    if not (folder / "events").is_dir():
        remedy = "run with sudo" if os.geteuid() else "mount -t tracefs none /sys/kernel/tracing"
        return Facility(name="tracepoints", state="missing", lost="kernel probes", remedy=remedy)
    kinds = [name for name in ("kprobe", "uprobe") if (folder / f"{name}_events").exists()]
    detail = "tracepoints" + "".join(f", {kind}s" for kind in kinds)
    if len(kinds) == 2:
        return Facility(name="tracepoints", state="ok", detail=detail)
    return Facility(
        name="tracepoints",
        state="limited",
        detail=detail,
        lost="probes of kernel functions",
        remedy="a kernel with CONFIG_KPROBES",
    )


def _perf(host: Host) -> Facility:
    level = _text(Path(host.proc.path("sys", "kernel", "perf_event_paranoid")))
    if level is None:
        return Facility(name="perf events", state="missing", lost="CPU profiles")
    if os.geteuid() == 0 or (level.lstrip("-").isdigit() and int(level) <= 1):
        return Facility(name="perf events", state="ok", detail=f"kernel.perf_event_paranoid={level}")
    remedy = "run with sudo, or sysctl kernel.perf_event_paranoid=1"
    return Facility(
        name="perf events",
        state="limited",
        detail=f"kernel.perf_event_paranoid={level}",
        lost="CPU profiles",
        remedy=remedy,
    )


def _lockdown(host: Host) -> Facility:
    text = _text(host.sys / "kernel/security/lockdown") or "[none]"
    mode = text[text.find("[") + 1 : text.find("]")] if "[" in text else text
    if mode != "confidentiality":
        return Facility(name="lockdown", state="ok", detail=mode)
    return Facility(
        name="lockdown",
        state="limited",
        detail=mode,
        lost="BPF and perf of the kernel",
        remedy="boot without lockdown=confidentiality",
    )


def _libbpf(_: Host) -> Facility:
    try:
        ctypes.CDLL("libbpf.so.1")
    except OSError:
        return Facility(
            name="libbpf",
            state="missing",
            lost="counting in the kernel: system calls, HTTP requests, most probes",
            remedy="apt install libbpf1",
        )
    return Facility(name="libbpf", state="ok", detail="libbpf.so.1")


TOOLS: Final = {
    "bpftrace": ("bpftrace", "your own bpftrace scripts"),
    "perf": ("linux-perf", "one way to CPU profiles"),
    "strace": ("strace", "arguments of system calls"),
    "ltrace": ("ltrace", "one way to calls of C libraries"),
}
"""Tools that trace: the package, and what is lost without it."""


def _tools(_: Host) -> Facility:
    missing = [name for name in TOOLS if tools.find(name) is None]
    if not (DIST_PACKAGES / "bcc").is_dir():
        missing.append("BCC")
    if not missing:
        return Facility(name="tracing tools", state="ok", detail=f"{' '.join(TOOLS)} BCC")
    packages = [TOOLS[name][0] if name in TOOLS else "python3-bpfcc" for name in missing]
    lost = [TOOLS[name][1] if name in TOOLS else "your own BCC programs" for name in missing]
    return Facility(
        name="tracing tools",
        state="limited",
        detail=f"not found: {' '.join(missing)}",
        lost="; ".join(lost),
        remedy=f"apt install {' '.join(packages)}",
    )


CHECKS: Final[tuple[Callable[[Host], Facility], ...]] = (_btf, _libbpf, _tracing, _perf, _lockdown, _tools)
